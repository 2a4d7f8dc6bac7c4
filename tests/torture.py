"""Kill the pipeline wherever it is, run two at once, and compare every byte; feed the readers made-up input.

    python tests/torture.py                       all of it, an hour on two cores
    python tests/torture.py each_stage            one part or several; the others' tallies are kept
    python tests/torture.py --times 3 --fuzz 1    less of it, to look at; writes nothing

Each time, a fresh copy of the project runs `dvc repro` on the digits with a tiny network. At random moments, or in each
stage in turn, it gets SIGKILL, SIGTERM or SIGINT, as a whole, or DVC alone, and is run again until it ends. Two runs of
one folder start at about the same time, and some are killed.
The tally goes to docs/torture.json, and from there to docs/trust.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
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
from collections.abc import Callable
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from helpers import ROOT, TINY
from ruamel.yaml import YAML, YAMLError
from tqdm import tqdm
from voluptuous import Invalid

from oneshot.common.errors import UserError
from oneshot.common.files import md5, read_json, write_json, write_text
from oneshot.common.stage import run_stage
from oneshot.record.pages import write_pages
from oneshot.record.runs import mirror_project, params_with, start

TALLY = ROOT / "docs/torture.json"
OUTPUTS = ("data/dataset", "data/split.json", "results", "metrics", "plots", "models")
PARAMS = TINY | {"image_budget": 24000}  # trainings of some seconds
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")
ENOUGH, ENOUGH_FUZZ, PAIRS = 30, 20, 20  # runs, times the made-up input, and pairs, for a tally that is written down
CUT = "a file of DVC's own cut short"
DVC_ALONE = "[core]\n    analytics = false\n    check_update = false\n    no_scm = true\n"
KILLS = (2, 5)  # fewest and most in one run, before it is left alone
JOBS = 2  # runs at once, each on one core
SEEDS = (5, 6)  # of two runs of one folder
RUN = """
import sys
from pathlib import Path
from oneshot.common.stage import run_stage
from oneshot.record.runs import run_pipeline
run_stage(lambda: print(run_pipeline(Path(), "pair", {"seed": int(sys.argv[1])}, "train_classic")))
"""
Kill = Callable[[Path, int, dict[str, float]], list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill the pipeline wherever it is and compare bytes.")
    parser.add_argument("parts", nargs="*", help="which; all if none is named")
    parser.add_argument("--times", type=int, default=ENOUGH, help="runs that are killed at random moments")
    parser.add_argument("--fuzz", type=int, default=ENOUGH_FUZZ, help="times the made-up input of a test run")
    arguments = parser.parse_args()
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "random_moments": lambda: disturbed(at_random_moments, arguments.times),
        "each_stage": lambda: disturbed(in_each_stage, 2),
        "two_at_once": lambda: two_at_once(min(arguments.times, PAIRS)),
        "made_up_input": lambda: made_up_input(arguments.fuzz),
    }
    for name in arguments.parts:
        if name not in parts:
            raise UserError(f"{name}: no such part; there are {', '.join(parts)}")
    tally: dict[str, Any] = read_json(TALLY) if TALLY.exists() else {}
    for name in arguments.parts or parts:
        tally[name] = parts[name]()
    if arguments.times < ENOUGH or arguments.fuzz < ENOUGH_FUZZ or set(tally) != set(parts):
        return
    write_json(TALLY, {name: tally[name] for name in parts})
    print(f"written: {', '.join([TALLY.name, *write_pages(ROOT)])}")


def at_random_moments(folder: Path, number: int, seconds: dict[str, float]) -> list[str]:
    """Kill a run a few times, at random moments of the time that an undisturbed one takes."""
    rng = random.Random(f"0 {number}")
    kills, times = [], rng.randint(*KILLS)
    for _ in range(times):
        process = begin(folder)
        try:
            process.wait(timeout=rng.uniform(0.5, 1.5 * sum(seconds.values()) / times))
            break  # it was done before
        except subprocess.TimeoutExpired:
            kills += send(process, folder, rng.choice(SIGNALS), whole=rng.random() < 0.7)
    return kills


def in_each_stage(folder: Path, number: int, seconds: dict[str, float]) -> list[str]:
    """Kill a run in each of its stages, by each signal: run 0 as a whole, in run 1 DVC alone."""
    rng = random.Random(f"0 {number}")
    stages = list(seconds)
    kills = []
    for place, stage in enumerate(stages):
        for name in SIGNALS:
            earlier = len(stages_in(folder))
            process = begin(folder)
            began = first_of(stages[place:], folder, process, earlier)
            time.sleep(rng.uniform(0, 0.9 * seconds[stage]) if began == stage else 0)  # else: that one is done
            if process.poll() is None:
                kills += send(process, folder, name, whole=number == 0, patience=0.5)
    return kills


def disturbed(kill: Kill, times: int) -> dict[str, Any]:
    """Disturb so many runs, and compare their bytes with those of a run that nobody disturbs.

    Args:
        kill: disturbs the run in a folder, given its number and the seconds of each stage of an undisturbed run;
            returns what it did, as 'signal to whom, in stage'.

    Raises:
        UserError: one ends with other bytes, or not at all.
    """
    with tempfile.TemporaryDirectory(prefix="torture-") as scratch, ThreadPool(JOBS) as pool:
        expected, seconds = undisturbed(Path(scratch) / "undisturbed")

        def one(number: int) -> list[str]:
            folder = Path(scratch) / f"run-{number}"
            make_project(folder)
            kills = kill(folder, number, seconds)
            finish(folder, kills)
            compare(folder, expected, kills)
            shutil.rmtree(folder)
            return kills

        tally: Counter[str] = Counter()
        for kills in tqdm(pool.imap_unordered(one, range(times)), total=times, desc="disturbed runs", unit="run"):
            tally.update(kills)
    cut = tally.pop(CUT, 0)
    print(f"{times} disturbed runs ended with the bytes of an undisturbed one; {tally.total()} kills")
    return {
        "runs": times,
        "same_bytes": times,
        "files_compared": len(expected),
        "kills": tally.total(),
        "dvc_files_cut_short": cut,
        "kills_by_signal_and_stage": dict(sorted(tally.items())),
    }


def two_at_once(times: int) -> dict[str, int]:
    """Start two runs of one folder, at once or one a little later, and kill some of the first; how many ended how.

    Raises:
        UserError: the folder holds something else than one of them alone leaves there.
    """
    tally: Counter[str] = Counter({"pairs": times})
    with tempfile.TemporaryDirectory(prefix="torture-") as scratch, ThreadPool(JOBS) as pool:
        expected, began = [], time.monotonic()
        for seed in SEEDS:
            root = make_project(Path(scratch) / f"seed-{seed}")
            ended(run_in(root, seed))
            expected.append(contents(root / "runs/pair"))
        seconds = (time.monotonic() - began) / len(SEEDS)

        def one(number: int) -> list[str]:
            root, rng = make_project(Path(scratch) / f"pair-{number}"), random.Random(f"0 {number}")
            first = run_in(root, SEEDS[0])
            time.sleep(rng.choice([0, rng.uniform(0, seconds)]))
            second = run_in(root, SEEDS[1])
            if rng.random() < 0.4:
                time.sleep(rng.uniform(0, seconds / 2))
                first.kill()
            ends = [ended(first), ended(second)]
            if "done" in ends:
                compare(root / "runs/pair", expected[ends[1] == "done"], ends)
            ended(run_in(root, SEEDS[1]))
            compare(root / "runs/pair", expected[1], ends)
            shutil.rmtree(root)
            return ends

        for ends in tqdm(pool.imap_unordered(one, range(times)), total=times, desc="two at once", unit="pair"):
            tally.update(ends)
    print(f"two runs of one folder at once: {dict(tally)}")
    return dict(tally)


def run_in(root: Path, seed: int) -> subprocess.Popen[str]:
    """A run of the project in `root`, in its runs/pair/."""
    command, environment = [sys.executable, "-c", RUN, str(seed)], os.environ | {"PYTHONPATH": str(ROOT / "src")}
    out: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=root, env=environment, **out)


def ended(run: subprocess.Popen[str]) -> str:
    """How a run ends, with the DVC that it may have left behind: done, refused in one line, or killed."""
    told = run.communicate()[1]
    refused = "refused" if re.fullmatch(r"error: \S+: held by process .*\n", told) else None
    if end := {0: "done", 1: refused, -signal.SIGKILL: "killed"}.get(run.returncode):
        return end
    raise UserError(f"one of two runs at once ends with {run.returncode}: {told[-2000:]}")


def made_up_input(factor: int) -> dict[str, int]:
    """Run the tests marked `fuzz` with so many times the examples; those that passed, by the words of a test's name.

    Raises:
        UserError: one failed, or hypothesis counts in other words now.
    """
    options = "-m pytest -m fuzz -n 0 --hypothesis-show-statistics -p no:cacheprovider"
    command = [sys.executable, *options.split()]
    environment = os.environ | {"ONESHOT_FUZZ": str(factor)}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    tried: Counter[str] = Counter()
    for line in done.stdout.splitlines():
        if match := re.fullmatch(r"tests/[\w/]+\.py::test_(\w+):", line.strip()):
            name = match[1].replace("_", " ")
        elif match := re.search(r"(\d+) passing\b.*\b0 failing\b", line):
            tried[name] += int(match[1])
    if done.returncode or not tried:
        print(done.stdout[-3000:])
        raise UserError("made-up input: a test fails, or none is counted, as printed above")
    print(f"{tried.total():,} made-up inputs, each taken or refused in one line")
    return dict(tried)


def make_project(folder: Path) -> Path:
    """A copy of the project's code in `folder`, with DVC but without Git, and tiny parameters."""
    mirror_project(ROOT, folder)
    (folder / "data/raw").unlink(missing_ok=True)  # a link that leads nowhere
    write_text(folder / ".dvc/config", DVC_ALONE)
    write_text(folder / "params.yaml", params_with(ROOT, PARAMS))
    write_text(folder / "log.txt", "")
    return folder


def begin(folder: Path) -> subprocess.Popen[bytes]:
    """`dvc repro` in a process group of its own."""
    with open(folder / "log.txt", "ab") as log:
        return start(folder, stdout=log, stderr=log, start_new_session=True)


def undisturbed(folder: Path) -> tuple[dict[str, str], dict[str, float]]:
    """The contents of a run that nobody disturbs, and the seconds of each stage in it, in order."""
    make_project(folder)
    process = begin(folder)
    began: dict[str, float] = {}
    while process.poll() is None:
        for stage in stages_in(folder):
            began.setdefault(stage, time.monotonic())
        time.sleep(0.05)
    if process.returncode:
        raise UserError(f"the undisturbed run failed with exit code {process.returncode}: {log_of(folder)[-500:]}")
    ends = [*list(began.values())[1:], time.monotonic()]
    return contents(folder), {stage: end - begin for (stage, begin), end in zip(began.items(), ends, strict=True)}


def first_of(stages: list[str], folder: Path, process: subprocess.Popen[bytes], earlier: int) -> str | None:
    """Wait until DVC begins one of `stages`, after the `earlier` ones in the log, and say which; None where it ends."""
    while process.poll() is None:
        for stage in stages_in(folder)[earlier:]:
            if stage in stages:
                return stage
        time.sleep(0.05)
    return None


def send(process: subprocess.Popen[bytes], folder: Path, name: str, whole: bool, patience: float = 0) -> list[str]:
    """Send a signal to DVC, or to it and its stage, and wait for their end.

    Args:
        patience: seconds after which DVC and its stage get SIGKILL where they still run; 0: they may go on, as DVC
            does when it alone gets Ctrl-C.

    Returns:
        'signal to whom, in stage' for each signal, and CUT for each of DVC's own files that it was about to write: they
        are then removed, as docs/how-to.md says.
    """
    sent = [strike(process, folder, name, whole)]
    if patience:
        try:
            process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            sent.append(strike(process, folder, "SIGKILL", whole=True))
    wait_for_the_end(folder, process, sent[-1])
    cut = [path for path in (folder / "dvc.lock", folder / ".dvc/tmp/rwlock") if path.exists() and not is_whole(path)]
    for path in cut:
        path.unlink()
    return [*sent, *(CUT for _ in cut)]


def strike(process: subprocess.Popen[bytes], folder: Path, name: str, whole: bool) -> str:
    """Send a signal; 'signal to whom, in stage'."""
    running = [stage.split("@")[0] for stage in stages_in(folder)] or ["the start"]
    number = getattr(signal, name)
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.killpg(process.pid, number) if whole else os.kill(process.pid, number)
    return f"{name} to {'all' if whole else 'DVC'} in {running[-1]}"


def is_whole(path: Path) -> bool:
    """Whether DVC can read its own dvc.lock or rwlock."""
    try:
        content = path.read_text(encoding="utf-8")
        if path.name == "dvc.lock":
            COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(content))
        else:
            json.loads(content)
    except (ValueError, YAMLError, Invalid):
        return False
    return True


def finish(folder: Path, kills: list[str]) -> None:
    """Leave a run alone until it ends; UserError where it fails."""
    for attempt in range(3):  # a run that was told to stop may have to be asked twice
        if begin(folder).wait(timeout=600) == 0:
            return
        time.sleep(2 * (attempt + 1))
    raise UserError(f"after {', '.join(kills)}: `dvc repro` fails: {log_of(folder)[-800:]}")


def stages_in(folder: Path) -> list[str]:
    """The stages that were run in a folder, in order."""
    return [line.split("'")[1] for line in log_of(folder).splitlines() if line.startswith("Running stage '")]


def wait_for_the_end(folder: Path, process: subprocess.Popen[bytes], kill: str, most: float = 300) -> None:
    """Wait until DVC has ended, and any stage that it left behind; told to stop alone, DVC lets its stage end first."""
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


def compare(folder: Path, expected: dict[str, str], kills: list[str]) -> None:
    """Raise UserError where a folder has other contents than expected."""
    found = contents(folder)
    if odd := sorted(path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path)):
        raise UserError(f"{folder.name}, {', '.join(kills)}: {', '.join(odd)} differ from an undisturbed run")


def contents(folder: Path) -> dict[str, str]:
    """Each output's path and md5."""
    files = [path for name in OUTPUTS for path in [folder / name, *(folder / name).rglob("*")] if path.is_file()]
    return {path.relative_to(folder).as_posix(): md5(path) for path in files}


if __name__ == "__main__":
    run_stage(main)
