"""Two machines on a slow network, equal wall time: does an outer step once in 60 batches beat talking at each batch?

    .venv/bin/python regimes/slow_network.py measure    as root, nothing else on: seconds a step, 6 minutes on two cores
    python regimes/slow_network.py                      what is left: trainings, and the answer; an hour on one core
    python regimes/slow_network.py meta_10_fold_1       one of them

Two network namespaces of this machine stand for two machines. What a step sends does not depend on the network's speed,
nor do weights on the number of processes, up to rounding. So seconds are measured there, and accuracies are those of
one process that trains, with its whole schedule, on as many images as two minutes allow. Killed, it goes on.
"""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from _question import ROOT, write_answer
from _two_machines import measure

from oneshot.adaptation.adapter import Embedder
from oneshot.common.files import read_json, write_json, write_text
from oneshot.common.params import load_params
from oneshot.common.stage import Parser, run_stage
from oneshot.data.dataset import load_dataset
from oneshot.data.images import ImageStore
from oneshot.data.sampling import ClassPool
from oneshot.data.split import load_split
from oneshot.evaluation.episodes import few_shot_accuracy
from oneshot.evaluation.metrics import triplet_accuracy
from oneshot.hardware.device import set_up
from oneshot.model.model_file import load_model
from oneshot.record.runs import params_with
from oneshot.report.comparison import METHODS
from oneshot.training.learner import Learner, TrainingStage
from oneshot.training.loop import FINAL_NORM_BATCHES

RUNS = ROOT / "runs/slow_network"
FOLDS = {f"fold_{number}": number for number in range(1, 11)}  # the unseen classes, and the seed
# The first could not decide on the slowest network: the fresh ones repeat it
FIRST, FRESH = list(FOLDS)[:3], list(FOLDS)[3:]
MBIT = {"10": 10, "100": 100, "1000": 1000, "unlimited": None, "alone": None}  # each way; alone: one machine
MEASURED = ("triplet accuracy", "10-way 1-shot accuracy")
ALLOWED = 120  # seconds of training
BATCH, TASKS, INNER_STEPS = 128, 2, 30  # a task for each machine
IMAGES_A_STEP = {"classic": BATCH, "meta": TASKS * INNER_STEPS * BATCH}
STEPS = {  # that are measured
    "classic": {"10": 8, "100": 40, "1000": 100, "unlimited": 100, "alone": 60},
    "meta": {"10": 3, "100": 6, "1000": 3, "unlimited": 3},
}
LIMITED = ("10", "100", "1000")  # networks that trainings are made for
BOTH = {"hardware.threads": 1, "adaptation.shots": [], "evaluation.tta": "none", "batch.size": BATCH}
BOTH |= {"network.widths": [64, 128, 256], "loss.softmax_scale": 10.0}  # as all answers, of the former default
# An outer step sends the optimizer's state in either case; to keep it was better on validation classes.
REPTILE = {"reptile.meta_batch_size": TASKS, "reptile.inner_steps": INNER_STEPS, "reptile.inner_state": "keep"}
CHANGES: dict[str, dict[str, Any]] = {"classic": BOTH, "meta": BOTH | REPTILE}


def main() -> None:
    cases = [*product(LIMITED, METHODS, FIRST), *product(LIMITED[:1], METHODS, FRESH)]
    pieces = {f"{m}_{n}_{fold}": (m, n, fold) for n, m, fold in cases}
    parser = Parser(description="Classic training and Reptile on two machines, by the speed of their network.")
    parser.add_argument("names", nargs="*", choices=["all", "measure", *pieces], default="all", metavar="NAME")
    names = parser.parse_args().names  # "all" where none is given
    speeds = {method: {network: speed(method, network) for network in STEPS[method]} for method in METHODS}
    wanted = {name: piece for name, piece in pieces.items() if name in names or "all" in names}
    found = {name: trained(name, m, fold, int(speeds[m][n]["images"])) for name, (m, n, fold) in wanted.items()}
    if len(found) == len(pieces):
        figures: dict[str, Any] = {}
        first = [(what, network, FIRST, "first folds") for what, network in product(MEASURED, LIMITED)]
        fresh = [(what, LIMITED[0], FRESH, "fresh folds") for what in MEASURED]
        for what, network, folds, words in (fresh[0], *first[1:3], fresh[1], first[0], *first[3:]):
            both = [[found[f"{method}_{network}_{fold}"][what] for fold in folds] for method in METHODS]
            figures[f"{what} at {network} Mbit, {words}"] = both
        machine = read_json(RUNS / "speed_meta_10_a/results/trained/meta/record.json")["hardware"]
        images = {
            method: {network: f"{of['images']:,}" for network, of in speeds[method].items()} for method in METHODS
        }
        allowed = "; ".join(f"at {n} Mbit {images['classic'][n]} / {images['meta'][n]}" for n in LIMITED)
        note = f"Images in two minutes, classic / meta: {allowed}; classic on one machine {images['classic']['alone']}."
        note += " Batch-norm statistics are measured afterwards, in both."
        write_answer("slow_network", METHODS, FRESH, figures, {"note": note, "machine": machine} | speeds)


def images_allowed(seconds: float, images: int) -> int:
    """Images in the whole steps that fit into the time allowed, of a step's seconds and images."""
    return int(ALLOWED / seconds) * images


def project(name: str, method: str, fold: str, images: int) -> Path:
    """A folder to train in: with parameters and data."""
    folder = RUNS / name
    if not (folder / "data/split.json").exists():
        (folder / "data").mkdir(parents=True, exist_ok=True)
        if not (folder / "data/dataset").exists():
            (folder / "data/dataset").symlink_to(ROOT / "data/dataset")
        here = {"split.unseen": fold, "seed": FOLDS[fold], "image_budget": images}
        write_text(folder / "params.yaml", params_with(ROOT, CHANGES[method] | here))
        stage(folder, "split_tasks")
    return folder


def stage(folder: Path, name: str) -> None:
    """Run a stage of the pipeline in a folder, or end this program as it ends."""
    if code := subprocess.run([sys.executable, ROOT / f"stages/{name}.py"], cwd=folder).returncode:
        sys.exit(code)


def speed(method: str, network: str) -> dict[str, float]:
    """Seconds and bytes that a step takes, and how many images the time allows; measured once."""
    images, machines = STEPS[method][network] * IMAGES_A_STEP[method], "a" if network == "alone" else "ab"
    folders = [project(f"speed_{method}_{network}_{machine}", method, "fold_1", images) for machine in machines]
    file = folders[0] / "speed.json"
    if not file.exists():
        write_json(file, measure(folders, method, MBIT[network]))
    found = read_json(file)
    return {**found, "images": images_allowed(found["seconds a step"], IMAGES_A_STEP[method])}


def trained(name: str, method: str, fold: str, images: int) -> dict[str, float]:
    """Train on so many images, and measure the network on the fold's unseen classes; once."""
    folder = project(name, method, fold, images)
    if not (folder / "figures.json").exists():
        if not (folder / f"results/trained/{method}/model.safetensors").exists():
            stage(folder, f"train_{method}")
        params = load_params(TrainingStage, folder / "params.yaml")
        compute = set_up(params.hardware)
        network, _ = load_model(folder / f"results/trained/{method}/model.safetensors", compute.device)
        data, split = load_dataset(folder / "data/dataset"), load_split(folder / "data/split.json")
        pool = ClassPool([split.training[label] for label in split.seen])
        seen = ImageStore(data.train_images, compute.device, params.batch.augmentation)
        # The moving averages of a few steps would lag behind: statistics of both arms are measured, not timed.
        Learner(params, compute, network, seen, pool).reestimate(network, FINAL_NORM_BATCHES)
        embed = Embedder(network.eval(), compute, "none")
        rows = np.flatnonzero(np.isin(data.test_labels, split.unseen))
        vectors, labels = embed(ImageStore(data.test_images, compute.device), rows), data.test_labels[rows]
        supports = [embed(seen, split.support[label]) for label in split.unseen]
        one_shot = few_shot_accuracy(supports, vectors, np.searchsorted(split.unseen, labels), 1, FOLDS[fold]).mean
        triplets = mean(triplet_accuracy(vectors, labels).values())
        write_json(folder / "figures.json", dict(zip(MEASURED, (triplets, one_shot), strict=True)))
    return dict(read_json(folder / "figures.json"))


if __name__ == "__main__":
    run_stage(main)
