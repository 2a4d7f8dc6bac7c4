"""Runs of the pipeline with other parameters, each in a folder of its own: runs/<name>/.

Parameters have their full names, such as `reptile.inner_steps`.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from ruamel.yaml import YAML  # comes with DVC; keeps comments

from oneshot.common.errors import UserError
from oneshot.common.files import parse_yaml, read_yaml, write_bytes, write_text
from oneshot.common.lock import only_one
from oneshot.common.params import changed, load_params
from oneshot.common.schema import names_of, nearest
from oneshot.params import Params, check_params
from oneshot.report.comparison import flat
from oneshot.sources.datasets import DATASETS

LOCK = "checkpoints/run.lock"  # in a run's folder, where neither Git nor DVC looks
PATHS = ("dataset", "network.start_from")  # parameters that may name a file or folder, beside these words:
WORDS = (*DATASETS, "none")

# The project's cache: neither data nor results are kept twice.
DVC_CONFIG = """\
[core]
    analytics = false
    check_update = false
[cache]
    dir = ../../../.dvc/cache
"""


def run_pipeline(root: Path, name: str, overrides: dict[str, Any], *targets: str) -> Path:
    """Run the pipeline of the project in `root`, or what the stages `targets` need of it, in its runs/<name>/.

    Ends this program where the pipeline fails.

    Raises:
        UserError: it runs there already, or a parameter is wrong.
    """
    folder = root / "runs" / name
    params = params_with(root, overrides)  # first: what is refused leaves no folder
    with only_one(folder / LOCK) as lock:
        mirror_project(root, folder)
        write_text(folder / "params.yaml", params)
        print(f"The pipeline runs in {os.path.relpath(folder)}/", flush=True)
        make_repository(folder)
        if code := repro(folder, lock, *targets):
            sys.exit(code)
        git(folder, "add", "--all")
        if git(folder, "diff", "--cached", "--quiet"):
            git(folder, "commit", "--quiet", f"--message=Results of runs/{name}")
    return folder


def make_repository(folder: Path) -> None:
    """Make a run's folder a Git repository, so that `dvc exp run` and `dvc metrics diff` work in it."""
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch=main")
    if git(folder, "config", "user.email"):  # nobody has told Git who they are
        git(folder, "config", "user.name", "oneshot")
        git(folder, "config", "user.email", "oneshot@localhost")


def git(folder: Path, *arguments: str) -> int:
    """The exit code of a Git command in a run's repository."""
    return subprocess.run(["git", *arguments], cwd=folder, stdout=subprocess.DEVNULL).returncode


def read_overrides(config: Path, settings: list[str]) -> dict[str, Any]:
    """Parameters of a config file, and after them those of `NAME=VALUE` settings, by their full names.

    Raises:
        UserError: the file or a setting cannot be read.
    """
    there = ", ".join(str(path) for path in sorted(config.parent.glob("*.yaml")))
    values = read_yaml(config, dict[str, Any], f"there are {there}" if there else "see configs/")
    overrides: dict[str, Any] = flat(values)
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator:
            raise UserError(f"--set {setting}: must be NAME=VALUE, such as --set reptile.inner_steps=10")
        overrides[name.strip()] = parse_yaml(value, f"--set {name}")
    for name in PATHS:
        path = os.path.expanduser(str(overrides.get(name, "")))
        if path not in WORDS and os.path.exists(path):
            overrides[name] = os.path.abspath(path)  # the run has a folder of its own
    return overrides


def mirror_project(root: Path, folder: Path) -> None:
    """Give `folder`, one of its runs/, the code and pipeline of the project in `root`, a DVC set-up, its downloads."""
    files = [root / name for name in ("dvc.yaml", ".dvcignore", ".gitignore", ".dvc/.gitignore")]
    code = [*files, *root.glob("src/oneshot/**/*.py"), *root.glob("stages/*.py")]
    copies = {folder / path.relative_to(root): path.read_bytes() for path in code}
    copies[folder / ".dvc/config"] = DVC_CONFIG.encode()
    for path in {*folder.glob("src/oneshot/**/*.py"), *folder.glob("stages/*.py")} - set(copies):
        path.unlink()
    for path, content in copies.items():
        if not path.exists() or path.read_bytes() != content:
            write_bytes(path, content)
    raw = folder / "data/raw"
    if not raw.exists():
        (root / "data/raw").mkdir(parents=True, exist_ok=True)
        raw.parent.mkdir(exist_ok=True)
        with contextlib.suppress(OSError):  # no symbolic links here: then it downloads for itself
            raw.symlink_to("../../../data/raw", target_is_directory=True)


def params_with(root: Path, overrides: dict[str, Any]) -> str:
    """The text of the params.yaml of the project in `root` with `overrides`, comments kept.

    Raises:
        UserError: an unknown parameter, or a value that is not allowed.
    """
    load_params(Params, root / "params.yaml")  # what it lacks, no override can change
    yaml = YAML()
    yaml.width = 1000
    params = yaml.load(root / "params.yaml")
    known = names_of(Params)
    for name in overrides:
        if name not in known:
            raise UserError(f"{name}: unknown parameter; {nearest(name, known)}")
    text = io.StringIO()
    yaml.dump(changed(params, overrides), text)
    check_params("params.yaml", text.getvalue())
    return text.getvalue()


def start(folder: Path, *targets: str, **options: Any) -> subprocess.Popen[bytes]:
    """`dvc repro` in `folder` with this Python, begun with these options of Popen."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "dvc", "repro", *targets]
    return subprocess.Popen(command, cwd=folder, env=os.environ | {"PATH": path}, **options)


def repro(folder: Path, lock: IO[str], *targets: str) -> int:
    """Let `dvc repro` in `folder` come to its end, and return its exit code; its output passes through.

    DVC holds the lock, too: where this program alone is killed, DVC goes on.
    """
    os.set_inheritable(lock.fileno(), True)
    # Ctrl-C reaches DVC and its stage directly; this process waits until they have ended in good order.
    before = {signal.SIGINT: signal.signal(signal.SIGINT, lambda number, frame: None)}
    try:
        with start(folder, *targets, close_fds=False) as process:
            print(f", {process.pid}", end="", file=lock, flush=True)
            # SIGTERM reaches this process alone; DVC must not go on without it.
            before[signal.SIGTERM] = signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
            return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
