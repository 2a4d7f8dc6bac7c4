"""Kill the pipeline at random moments and compare every byte with an undisturbed run; feed the readers made-up input.

    python scripts/torture.py                 50 runs and 20 times the tests' made-up input, an hour on two cores
    python scripts/torture.py --times 3 --fuzz 1       less of both, to look at; writes nothing

Each time, a fresh copy of the project runs `dvc repro` on the digits with a tiny network. At random moments, in
whatever stage, it gets SIGKILL, SIGTERM or SIGINT, as a whole, or DVC alone, and is run again until it ends.
The tally goes to docs/torture.json, and from there to docs/trust.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from markdown import markdown_table
from run_config import DVC_CONFIG, write_params
from tqdm import tqdm

from oneshot.errors import UserError
from oneshot.files import md5, read_json, write_json, write_text
from oneshot.stage import run_stage

TALLY = ROOT / "docs/torture.json"
CODE = ("src", "stages", "dvc.yaml", ".dvcignore")
OUTPUTS = ("data/dataset", "data/split.json", "results", "metrics", "plots", "models")
PARAMS = {
    "dataset": "digits", "unseen_classes": 3, "calibration_images": 5, "resnet_stem": 4, "resnet_widths": [4, 8, 16],
    "resnet_first_stride": 1, "image_budget": 24000, "batch_size": 12, "classic_batch_classes": 3, "task_classes": 3,
    "inner_steps": 2, "augmentation": "crop", "views": 1, "episode_draws": 20, "episode_count": 20,
    "episode_ways": 2, "episode_queries": 3, "adapt_shots": [1, 5], "adapt_draws": 2, "adapt_batch_size": 12,
    "adapt_classes": 3, "adapt_episodes": 2, "device": "cpu", "precision": "fp32", "threads": 1,
    "checkpoint_steps": 100,
    **{f"adapt_{method}_steps": [2, 2, 2] for method in ("classic", "meta")},
    **{f"adapt_{method}_learning_rate": [0.1, 0.1, 0.1] for method in ("classic", "meta")},
}  # fmt: skip
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")
ENOUGH = 50  # runs for a tally that is written down
MOST_KILLS = 3  # in one run, before it is left alone


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill the pipeline at random moments and compare bytes.")
    parser.add_argument("--times", type=int, default=50, help="runs that are disturbed (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and signals (default: 0)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, each on one core (default: 2)")
    parser.add_argument("--fuzz", type=int, default=20, help="times the made-up input of a test run (default: 20)")
    arguments = parser.parse_args()
    result = {
        "killed": killed(arguments.times, arguments.seed, arguments.jobs),
        "made_up_input": made_up_input(arguments.fuzz),
    }
    if arguments.times < ENOUGH:
        return
    write_json(TALLY, result)
    write_text(ROOT / "docs/trust.md", page(ROOT))
    print("docs/trust.md: written")


def killed(times: int, seed: int, jobs: int) -> dict[str, Any]:
    """Disturb so many runs, `jobs` at once, and compare their bytes with those of a run that nobody disturbs.

    Raises:
        UserError: one ends with other bytes, or not at all.
    """
    with tempfile.TemporaryDirectory(prefix="torture-") as scratch, ThreadPool(jobs) as pool:
        began = time.monotonic()
        expected, _ = undisturbed(Path(scratch) / "undisturbed")
        duration = time.monotonic() - began

        def one(number: int) -> list[str]:
            folder = Path(scratch) / f"run-{number}"
            kills = disturbed(folder, duration, random.Random(f"{seed} {number}"))
            found = contents(folder)
            if found != expected:
                odd = sorted(path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path))
                raise UserError(f"run {number} of seed {seed}: {', '.join(odd)} differ from an undisturbed run")
            shutil.rmtree(folder)
            return kills

        tally: Counter[str] = Counter()
        same = 0
        for kills_of_one in tqdm(
            pool.imap_unordered(one, range(times)), total=times, desc="disturbed runs", unit="run", dynamic_ncols=True
        ):
            tally.update(kills_of_one)
            same += 1
    kills = tally.total()
    print(f"{same} of {times} disturbed runs ended with the bytes of an undisturbed one; {kills} kills")
    return {
        "runs": times,
        "same_bytes": same,
        "files_compared": len(expected),
        "kills": kills,
        "kills_by_signal_and_stage": dict(sorted(tally.items())),
    }


def made_up_input(factor: int) -> dict[str, int]:
    """Run the tests marked `fuzz` with so many times the examples; the examples that each tried.

    Raises:
        UserError: one failed.
    """
    command = [sys.executable, "-m", "pytest", "-m", "fuzz", "--hypothesis-show-statistics", "-p", "no:cacheprovider"]
    environment = os.environ | {"ONESHOT_FUZZ": str(factor)}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise UserError(f"made-up input: a test fails:\n{done.stdout[-3000:]}")
    tried = examples_tried(done.stdout)
    print(f"{sum(tried.values()):,} made-up inputs, each taken or refused in one line")
    return tried


def examples_tried(printed: str) -> dict[str, int]:
    """The examples that passed, by the words of the test's name, from what `--hypothesis-show-statistics` prints.

    Raises:
        UserError: a test without any: hypothesis counts in other words now.
    """
    tried: dict[str, int] = {}
    for line in printed.splitlines():
        if match := re.fullmatch(r"tests/\w+\.py::test_(\w+):", line.strip()):
            name = match[1].replace("_", " ")
            tried[name] = 0
        elif match := re.search(r"(\d+) passing\b.*\b0 failing\b", line):
            tried[name] += int(match[1])
    if not tried or not all(tried.values()):
        raise UserError("made-up input: hypothesis printed no count of examples that this script can read")
    return tried


def page(root: Path) -> str:
    """docs/trust.md, from the tally in docs/torture.json."""
    tally = read_json(root / TALLY.relative_to(ROOT))
    runs, tried = tally["killed"], tally["made_up_input"]
    by_place: dict[str, Counter[str]] = {}
    for kind, count in runs["kills_by_signal_and_stage"].items():
        what, _, stage = kind.partition(" in ")
        by_place.setdefault(stage, Counter())[what.split()[0]] += count
    parts = [
        "# What was tried to break it",
        "Written by `python scripts/torture.py` (`make torture`); do not edit.",
        "## Killed at random moments",
        f"**{runs['same_bytes']} of {runs['runs']}** runs of the whole pipeline, killed {runs['kills']} times in all "
        f"and run again, ended with the bytes of an undisturbed run: {runs['files_compared']} files compared each "
        "time, models and pictures included. Signals went to DVC alone or to it and its stage, in whatever stage was "
        "running:",
        markdown_table(
            ["stage", *SIGNALS],
            [[stage, *(str(counts[name]) for name in SIGNALS)] for stage, counts in sorted(by_place.items())],
        ),
        "## Made-up input",
        f"{sum(tried.values()):,} made-up or damaged files and values, each of which was read or refused in one line:",
        markdown_table(["what", "tried"], [[name, f"{count:,}"] for name, count in tried.items()]),
    ]
    return "\n\n".join(parts) + "\n"


def make_project(folder: Path) -> None:
    """A copy of the project's code in `folder`, with DVC but without Git, and tiny parameters."""
    for name in CODE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy: Any = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    write_text(folder / ".dvc/config", DVC_CONFIG.partition("[cache]")[0])  # a cache of its own
    write_params(folder / "params.yaml", PARAMS)


def start(folder: Path) -> subprocess.Popen[bytes]:
    """`dvc repro` in a process group of its own."""
    environment = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}
    with open(folder / "log.txt", "ab") as log:
        command = [sys.executable, "-m", "dvc", "repro"]
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)


def undisturbed(folder: Path) -> tuple[dict[str, str], str]:
    """The contents and the log of a run that nobody disturbs."""
    make_project(folder)
    code = start(folder).wait()
    log = log_of(folder)
    if code:
        raise UserError(f"the undisturbed run failed with exit code {code}: {log[-500:]}")
    return contents(folder), log


def disturbed(folder: Path, duration: float, rng: random.Random) -> list[str]:
    """A run that is killed up to MOST_KILLS times and then left alone; the kills, as 'signal to whom, in stage'."""
    make_project(folder)
    kills = []
    for _ in range(rng.randint(1, MOST_KILLS)):
        process = start(folder)
        try:
            process.wait(timeout=rng.uniform(0.5, 0.9 * duration))
            break  # it was done before
        except subprocess.TimeoutExpired:
            name, whole = rng.choice(SIGNALS), rng.random() < 0.7
            number = getattr(signal, name)
            running = last_stage(folder)
            os.killpg(process.pid, number) if whole else os.kill(process.pid, number)
            kills.append(f"{name} to {'all' if whole else 'DVC'} in {running}")
            wait_for_the_end(folder, process, kills[-1])
    for attempt in range(3):  # a run that was told to stop may have to be asked twice
        if start(folder).wait(timeout=600) == 0:
            return kills
        time.sleep(2 * (attempt + 1))
    raise UserError(f"after {', '.join(kills)}: `dvc repro` fails: {log_of(folder)[-800:]}")


def last_stage(folder: Path) -> str:
    """The stage that was running: the last one that the log names."""
    stages = [
        line.split("'")[1].split("@")[0] for line in log_of(folder).splitlines() if line.startswith("Running stage '")
    ]
    return stages[-1] if stages else "the start"


def wait_for_the_end(folder: Path, process: subprocess.Popen[bytes], kill: str, most: float = 300) -> None:
    """Wait until DVC has ended, and any stage that it left behind: a training stops by itself when DVC is gone.

    Told to stop with Ctrl-C alone, DVC lets its stage end first.
    """
    end = time.monotonic() + most
    while process.poll() is None or running_in(folder):
        if time.monotonic() > end:
            there = ", ".join(running_in(folder))
            raise UserError(f"{folder}: {most:.0f} s after {kill} there is still: {there}; {log_of(folder)[-500:]}")
        time.sleep(0.2)


def running_in(folder: Path) -> list[str]:
    """The command lines of the processes that run in `folder`."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is not ours
            if os.readlink(process / "cwd") == str(folder.resolve()):
                lines.append((process / "cmdline").read_text(encoding="utf-8").replace("\0", " ").strip())
    return lines


def log_of(folder: Path) -> str:
    """What the runs in `folder` have printed."""
    return (folder / "log.txt").read_text(encoding="utf-8", errors="replace")


def contents(folder: Path) -> dict[str, str]:
    """Each output's path and md5."""
    files = [path for name in OUTPUTS for path in [folder / name, *(folder / name).rglob("*")] if path.is_file()]
    return {path.relative_to(folder).as_posix(): md5(path) for path in files}


if __name__ == "__main__":
    run_stage(main)
