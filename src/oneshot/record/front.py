"""What README shows: the answer in one table, and the shipped networks at work."""

from __future__ import annotations

from oneshot.recognizer import Recognizer
from oneshot.recognizer.cli import told
from oneshot.record import folds
from oneshot.record.cost import SHOTS
from oneshot.record.markdown import estimated, table
from oneshot.record.studies import NotRun, Record
from oneshot.record.tables import paired
from oneshot.report.comparison import METHODS

PAIRS = [("examples/known/wolf.png", f"examples/new/{other}.png") for other in ("wolf", "worm")]


def headline(record: Record) -> str:
    """Classic beside meta on every class unseen once, on the reference's classes, and on CIFAR-FS beside papers.

    Raises:
        NotRun: the folds or CIFAR-FS have no figures.
    """
    runs = folds.of(record)
    groups = {
        f"all, each unseen once, in {len(runs)} folds of ten": runs,
        f"labels 90-99, as the reference, {len(record.seeds)} seeds": record.seeds,
    }
    measures = {"triplet": "triplet accuracy", "one_shot": "10-way 1-shot"}
    rows = [[group, words, *paired(runs, key)] for group, runs in groups.items() for key, words in measures.items()]
    sampled = {m: record.study("cifar_fs")[m]["unseen"]["sampled_episodes"] for m in METHODS}
    papers = record.published["cifar_fs"]
    for place, (key, words) in enumerate(SHOTS.items()):
        cells = [estimated(sampled[method][key]["accuracy"], sampled[method][key]["ci95"]) for method in METHODS]
        best = max(figures[place] for figures in papers.values())
        published = f"ProtoNet {papers['ProtoNet, ResNet-12'][place]}, best listed {best}"
        rows.append([f"CIFAR-FS, one seed; papers: {published}", words, *cells, ""])
    heading = ["unseen classes", "in %", *METHODS, "meta - classic"]
    return f"**{folds.outcome(runs)}**\n\n{table(heading, rows)}"


def verify(record: Record) -> str:
    """What the shipped network says of a pair that it gets right and of one that it gets wrong."""
    model, lines = record.root / "models/meta.safetensors", []
    if not model.exists():
        raise NotRun("dvc repro")
    recognizer = Recognizer(model)
    for pair in PAIRS:
        lines += [f"$ oneshot verify {' '.join(pair)}", told(recognizer.verify(*(record.root / path for path in pair)))]
    return "```console\n" + "\n".join(lines) + "\n```"
