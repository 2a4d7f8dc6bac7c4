"""Run the pipeline with other parameters in a folder of its own, beside the project's results: runs/<config>/.

    python scripts/run_config.py configs/demo.yaml [--set key=value ...]

Run again, it goes on where it was; what the project has computed already, it takes from the project's DVC cache.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from ruamel.yaml import YAML, YAMLError  # comes with DVC; keeps comments

from oneshot.errors import UserError
from oneshot.files import write_bytes, write_text
from oneshot.params import load_params
from oneshot.stage import run_stage

PATHS = ("data_folder", "pretrained_weights")  # parameters that may name a file or folder

# DVC without Git, with the project's cache: neither data nor results are kept twice.
DVC_CONFIG = """\
[core]
    analytics = false
    check_update = false
    no_scm = true
[cache]
    dir = ../../../.dvc/cache
"""


def main() -> None:
    arguments = parse_arguments()
    config = Path(arguments.config)
    overrides = read_overrides(config, arguments.set)
    folder = run_pipeline(config.stem, overrides)
    pictures = sorted([*folder.glob("plots/*.svg"), *folder.glob("plots/*.png")])
    print(f"\nPictures: {', '.join(os.path.relpath(path) for path in pictures)}")
    print(f"All figures: {os.path.relpath(folder)}/metrics/")


def run_pipeline(name: str, overrides: dict[str, Any], *targets: str) -> Path:
    """Run the pipeline, or what the stages `targets` need of it, in runs/<name>/; ends this program where it fails."""
    folder = ROOT / "runs" / name
    mirror_project(folder)
    write_params(folder / "params.yaml", overrides)
    print(f"The pipeline runs in {os.path.relpath(folder)}/", flush=True)
    if code := repro(folder, *targets):
        sys.exit(code)
    return folder


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the pipeline with other parameters, in runs/<config>/.")
    parser.add_argument("config", help="a file of `name: value` lines, such as configs/demo.yaml")
    parser.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], help="one more parameter; may be repeated"
    )
    return parser.parse_args()


def read_overrides(config: Path, settings: list[str]) -> dict[str, Any]:
    """Parameters of a config file, and after them those of `NAME=VALUE` settings.

    Raises:
        UserError: the file or a setting cannot be read.
    """
    try:
        overrides = YAML(typ="safe").load(config.read_text(encoding="utf-8")) or {}
    except (FileNotFoundError, IsADirectoryError):
        there = ", ".join(os.path.relpath(path) for path in sorted(ROOT.glob("configs/*.yaml")))
        raise UserError(f"{config}: no such file; there are {there}") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{config}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(overrides, dict):
        raise UserError(f"{config}: must be lines of `name: value`")
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator:
            raise UserError(f"--set {setting}: must be NAME=VALUE, such as --set meta_step=0.5")
        try:
            overrides[name.strip()] = YAML(typ="safe").load(value)
        except YAMLError:
            raise UserError(f"--set {setting}: the value is not valid YAML") from None
    for name in PATHS:
        if isinstance(path := overrides.get(name), str) and os.path.exists(path):
            overrides[name] = os.path.abspath(path)  # the run has a folder of its own
    return overrides


def mirror_project(folder: Path) -> None:
    """Give `folder` the project's code and pipeline, a DVC set-up, and the downloads of the project."""
    code = [ROOT / "dvc.yaml", ROOT / ".dvcignore", *ROOT.glob("src/oneshot/*.py"), *ROOT.glob("stages/*.py")]
    copies = {folder / path.relative_to(ROOT): path.read_bytes() for path in code}
    copies[folder / ".dvc/config"] = DVC_CONFIG.encode()
    for path in {*folder.glob("src/oneshot/*.py"), *folder.glob("stages/*.py")} - set(copies):
        path.unlink()
    for path, content in copies.items():
        if not path.exists() or path.read_bytes() != content:
            write_bytes(path, content)
    raw = folder / "data/raw"
    if not raw.exists():
        (ROOT / "data/raw").mkdir(parents=True, exist_ok=True)
        raw.parent.mkdir(exist_ok=True)
        with contextlib.suppress(OSError):  # no symbolic links here: then it downloads for itself
            raw.symlink_to("../../../data/raw", target_is_directory=True)


def write_params(path: Path, overrides: dict[str, Any]) -> None:
    """Write the project's params.yaml with `overrides`, comments kept.

    Raises:
        UserError: an unknown parameter, or a value that is not allowed.
    """
    yaml = YAML()
    yaml.width = 1000
    params = yaml.load(ROOT / "params.yaml")
    for name, value in overrides.items():
        if name not in params:
            nearest = difflib.get_close_matches(str(name), params, n=1)
            todo = f"did you mean {nearest[0]}?" if nearest else "remove it"
            raise UserError(f"{name}: unknown parameter; {todo}")
        params[name] = value
    text = io.StringIO()
    yaml.dump(params, text)
    write_text(path, text.getvalue())
    load_params(path)


def repro(folder: Path, *targets: str) -> int:
    """`dvc repro` in `folder` with this Python, whose exit code it returns; its output passes through."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    # Ctrl-C reaches DVC and its stage directly; this process waits until they have ended in good order.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    command = [sys.executable, "-m", "dvc", "repro", *targets]
    with subprocess.Popen(command, cwd=folder, env=os.environ | {"PATH": path}) as process:
        # SIGTERM reaches this process alone; DVC must not go on without it.
        signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
        return process.wait()


if __name__ == "__main__":
    run_stage(main)
