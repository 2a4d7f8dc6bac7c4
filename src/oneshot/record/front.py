"""What README shows: the answer in one table, and the shipped networks at work."""

from __future__ import annotations

import os
import subprocess
import sys

from oneshot.record import folds
from oneshot.record.markdown import estimated, table
from oneshot.record.studies import NotRun, Record
from oneshot.record.tables import paired
from oneshot.report.comparison import METHODS

SHOTS = {"one_shot": "1-shot", "five_shot": "5-shot"}
COMMANDS = (
    "oneshot verify examples/known/wolf.png examples/new/wolf.png",
    "oneshot verify examples/known/wolf.png examples/new/worm.png",
)


def headline(record: Record) -> str:
    """Classic beside meta on every class unseen once, on the reference's classes, and on CIFAR-FS beside papers.

    Raises:
        NotRun: the folds or CIFAR-FS have no figures.
    """
    runs = folds.of(record)
    if "cifar_fs" not in record.done:
        raise NotRun("make studies")
    groups = {
        f"all, each unseen once, in {len(runs)} folds of ten": runs,
        f"labels 90-99, as the reference, {len(record.seeds)} seeds": record.seeds,
    }
    measures = {"triplet": "triplet accuracy", "one_shot": "10-way 1-shot"}
    rows = [[group, words, *paired(runs, key), ""] for group, runs in groups.items() for key, words in measures.items()]
    sampled = {m: record.done["cifar_fs"][m]["unseen"]["sampled_episodes"] for m in METHODS}
    papers = record.published["cifar_fs"]
    for place, (key, words) in enumerate(SHOTS.items()):
        ours = [sampled[method][key] for method in METHODS]
        cells = [estimated(figures["accuracy"], figures["ci95"]) for figures in ours]
        best = max(figures[place] for figures in papers.values())
        published = f"ProtoNet {papers['ProtoNet, ResNet-12'][place]}, best {best}"
        rows.append(["CIFAR-FS, one seed", f"5-way {words}", *cells, "", published])
    heading = ["unseen classes", "in %", *METHODS, "meta - classic", "papers"]
    return f"**{folds.outcome(runs)}**\n\n{table(heading, rows)}"


def verify(record: Record) -> str:
    """What the shipped network says of a pair that it gets right and of one that it gets wrong."""
    if not (record.root / "models/meta.safetensors").exists():
        raise NotRun("dvc repro")
    lines, environment = [], os.environ | {"PYTHONPATH": str(record.root / "src")}  # not what is installed
    for command in COMMANDS:
        arguments = [sys.executable, "-m", "oneshot", *command.split()[1:]]
        done = subprocess.run(arguments, cwd=record.root, env=environment, capture_output=True, text=True)
        lines += [f"$ {command}", (done.stdout + done.stderr).strip()]
    return "```console\n" + "\n".join(lines) + "\n```"
