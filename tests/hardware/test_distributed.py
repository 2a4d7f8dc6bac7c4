"""Tasks and batches shared by processes that torchrun starts: the weights of one process, up to rounding."""

import os
import subprocess
import sys

import pytest
import torch
import yaml
from helpers import COMMITTED, KILL_TRAININGS, ROOT, TINY, refusal, tiny_learner, tiny_params

from oneshot.common.files import read_json
from oneshot.common.params import changed
from oneshot.data.dataset import save_dataset
from oneshot.data.split import make_split, save_split
from oneshot.hardware import distributed
from oneshot.model.model_file import load_model
from oneshot.training.classic import ClassicTraining
from oneshot.training.reptile import ReptileTraining

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
STAGES = ROOT / "stages"
KEEP = {"reptile.inner_state": "keep", "reptile.inner_momentum": 0.9}
CLASSIC = {"image_budget": 120}  # ten steps, or five: in more, rounding may turn a ReLU on
CASES = {
    "meta_reset": {"reptile.inner_state": "reset", "reptile.batch_norm": "interpolate"},
    "meta_adam": KEEP | {"reptile.inner_optimizer": "adam", "reptile.inner_learning_rate": 0.001},
    "meta_muon": KEEP | {"reptile.inner_optimizer": "muon", "batch.augmentation": "crop_flip_cutout_rotate"},
    "classic_muon": CLASSIC | {"network.embedding_norm": True, "batch.augmentation": "crop_flip_cutout_rotate"},
    "classic_bf16": {"image_budget": 12, "hardware.precision": "bf16"},  # one step: its rounding grows with each
    "classic_separate": CLASSIC | {
        "classic.optimizer": "sgd", "classic.learning_rate": 0.05, "loss.mining": "random",
        "batch.size": 24, "batch.forward_passes": "separate", "network.members": 2,
    },
}  # fmt: skip
CLASSIC_CASES = [case for case in CASES if case.startswith("classic")]
# Trains in each folder that the command line names, with a short training curve; all are one connection's.
TRAIN_ALL = f"""
import contextlib, os, runpy, sys
from pathlib import Path
sys.path.insert(0, {str(STAGES)!r})
import _checkout, torch
from oneshot.hardware import distributed
from oneshot.training import loop
loop.CURVE_TRIPLETS = 60
with distributed.connected(torch.device("cpu")):
    distributed.connected = contextlib.nullcontext
    for folder in sys.argv[1:]:
        os.chdir(folder)
        try:
            method = Path(folder).name.split("_")[0]
            runpy.run_path(f"{STAGES}/train_{{method}}.py", run_name="__main__")
        except SystemExit as end:
            assert not end.code, folder
"""


def run(folder, *command, **changes):
    environment = {name: value for name, value in os.environ.items() if name != "DVC_STAGE"} | changes
    return subprocess.run([*command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def trained(folder):
    """Weights, what the model says of itself, and the record."""
    (output,) = (folder / "results/trained").iterdir()
    network, about = load_model(output / "model.safetensors")
    return network.state_dict(), about, read_json(output / "record.json")


@pytest.fixture(scope="module")
def projects(tmp_path_factory, small):
    """For each case a folder where one process trained and others where several did."""
    top = tmp_path_factory.mktemp("processes")
    (top / "train_all.py").write_text(TRAIN_ALL)
    for count, cases in ((1, list(CASES)), (2, list(CASES)), (4, CLASSIC_CASES)):
        folders = [top / str(count) / case for case in cases]
        for folder in folders:
            tiny = TINY | {"reptile.meta_batch_size": 4, "image_budget": 960}
            save_dataset(folder / "data/dataset", small)
            save_split(folder / "data/split.json", make_split(small, tiny_params()), small)
            (folder / "params.yaml").write_text(yaml.safe_dump(changed(COMMITTED, tiny | CASES[folder.name])))
        launch = [*TORCHRUN, str(count)] if count > 1 else [sys.executable]
        done = run(top, *launch, "train_all.py", *map(str, folders))
        assert done.returncode == 0, done.stderr
    return top


@pytest.mark.parametrize(("count", "case"), [*((2, case) for case in CASES), *((4, case) for case in CLASSIC_CASES)])
def test_several_processes_give_the_weights_of_one(projects, count, case):
    alone, about_alone, record_alone = trained(projects / "1" / case)
    together, about, record = trained(projects / str(count) / case)
    assert about == about_alone and record == record_alone | {"processes": count}
    for name, value in alone.items():
        if not name.endswith("num_batches_tracked"):  # of the first process alone; nothing uses it
            rounding = {"rtol": 0.02, "atol": 0.01} if "bf16" in case else {"rtol": 1e-3, "atol": 1e-4}
            torch.testing.assert_close(together[name], value, **rounding)
    assert not list((projects / str(count) / case / "checkpoints").glob("*.pt"))


def test_a_run_of_two_processes_that_is_killed_goes_on(projects, tmp_path):
    folder, stage = projects / "2/meta_muon", str(STAGES / "train_meta.py")
    whole, _, _ = trained(folder)
    (tmp_path / "sitecustomize.py").write_text(KILL_TRAININGS)
    killed = run(folder, *TORCHRUN, "2", stage, PYTHONPATH=str(tmp_path))
    assert killed.returncode and list((folder / "checkpoints").glob("*.pt"))
    assert "lost the others" in killed.stderr or "SIGTERM" in killed.stderr
    done = run(folder, *TORCHRUN, "2", stage)
    assert done.returncode == 0 and "going on from checkpoints/train_meta-" in done.stderr
    resumed, _, _ = trained(folder)
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name


@pytest.mark.parametrize(
    ("training", "changes", "told"),
    [
        (ReptileTraining, {"reptile.meta_batch_size": 3}, "reptile.meta_batch_size: found 3; must be a multiple of 5"),
        (ClassicTraining, {"loss.mining": "random", "batch.forward_passes": "separate"}, "must be a multiple of 15"),
    ],
)
def test_what_processes_cannot_share_is_refused(monkeypatch, training, changes, told):
    monkeypatch.setattr(distributed, "WORLD_SIZE", 5)
    params = tiny_params(changes)
    assert told in refusal(training, params, tiny_learner(params))
