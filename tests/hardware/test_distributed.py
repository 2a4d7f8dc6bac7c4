"""Tasks of an outer step shared by processes that torchrun starts: the weights of one process, up to rounding."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from helpers import COMMITTED, ROOT, TINY, tiny_learner, tiny_params

from oneshot.common.errors import UserError
from oneshot.common.files import read_json
from oneshot.common.params import changed, load_params
from oneshot.data.dataset import save_dataset
from oneshot.data.split import make_split, save_split
from oneshot.hardware import distributed
from oneshot.model.model_file import load_model
from oneshot.training import loop
from oneshot.training.classic import ClassicTraining
from oneshot.training.reptile import ReptileStage, ReptileTraining

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
TRAIN = str(ROOT / "stages/train_meta.py")
KEEP = {"reptile.inner_state": "keep", "reptile.inner_momentum": 0.9}
CASES = {
    "reset": {"reptile.inner_state": "reset", "reptile.batch_norm": "interpolate"},
    "sgd": KEEP | {"reptile.inner_optimizer": "sgd"},
    "adam": KEEP | {"reptile.inner_optimizer": "adam", "reptile.inner_learning_rate": 0.001},
    "muon": KEEP | {"reptile.inner_optimizer": "muon"},
}
# Trains in each folder that the command line names, with a short training curve; all are one connection's.
TRAIN_ALL = f"""
import contextlib, os, runpy, sys
sys.path.insert(0, os.path.dirname({TRAIN!r}))
import _checkout, torch
from oneshot.hardware import distributed
from oneshot.training import loop
loop.CURVE_TRIPLETS = 60
with distributed.connected(torch.device("cpu")):
    distributed.connected = contextlib.nullcontext
    for folder in sys.argv[1:]:
        os.chdir(folder)
        try:
            runpy.run_path({TRAIN!r}, run_name="__main__")
        except SystemExit as end:
            assert not end.code, folder
"""
# Python runs this at its start where PYTHONPATH leads to it: one process saves often, the other is killed.
KILL_SECOND_PROCESS = f"""
import os, signal, sys
if "RANK" in os.environ and sys.orig_argv[-1] == {TRAIN!r}:
    sys.path.insert(0, os.path.dirname({TRAIN!r}))
    import _checkout
    from oneshot.training import loop
    from oneshot.training.reptile import ReptileTraining
    loop.FIRST_CHECKPOINT, loop.CHECKPOINT_COST = 0, 1e9
    def step(self, number, take_step=ReptileTraining.step):
        if number == self.steps // 2 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return take_step(self, number)
    ReptileTraining.step = step
"""


def run(folder, *command, **changes):
    environment = {name: value for name, value in os.environ.items() if name != "DVC_STAGE"} | changes
    return subprocess.run([*command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def trained(folder):
    """Weights, what the model says of itself, and the record."""
    network, about = load_model(folder / "results/trained/meta/model.safetensors")
    return network.state_dict(), about, read_json(folder / "results/trained/meta/record.json")


@pytest.fixture(scope="module")
def projects(tmp_path_factory, small):
    """For each case a folder where one process trained and another where two did."""
    top = tmp_path_factory.mktemp("processes")
    for case, changes in CASES.items():
        for folder in (top / "one" / case, top / "two" / case):
            params = changed(COMMITTED, TINY | {"reptile.meta_batch_size": 4, "image_budget": 960} | changes)
            save_dataset(folder / "data/dataset", small)
            save_split(folder / "data/split.json", make_split(small, tiny_params()), small)
            (folder / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "CURVE_TRIPLETS", 60)
        for case in CASES:
            patch.chdir(top / "one" / case)
            out = Path("results/trained/meta")
            loop.train(ReptileTraining, load_params(ReptileStage), Path("data/dataset"), Path("data/split.json"), out)
    (top / "train_all.py").write_text(TRAIN_ALL)
    done = run(top, *TORCHRUN, "train_all.py", *(str(top / "two" / case) for case in CASES))
    assert done.returncode == 0, done.stderr
    return top


@pytest.mark.parametrize("case", CASES)
def test_two_processes_give_the_weights_of_one(projects, case):
    alone, about_alone, record_alone = trained(projects / "one" / case)
    together, about, record = trained(projects / "two" / case)
    assert about == about_alone and about["images"] == 960
    assert record == record_alone | {"processes": 2}
    for name, value in alone.items():
        if not name.endswith("num_batches_tracked"):  # of the first process alone; nothing uses it
            torch.testing.assert_close(together[name], value, rtol=1e-3, atol=1e-4)
    assert not list((projects / "two" / case / "checkpoints").glob("*.pt"))


def test_a_run_of_two_processes_that_is_killed_goes_on(projects, tmp_path):
    folder = projects / "two/muon"
    whole, _, _ = trained(folder)
    (tmp_path / "sitecustomize.py").write_text(KILL_SECOND_PROCESS)
    killed = run(folder, *TORCHRUN, TRAIN, PYTHONPATH=str(tmp_path))
    assert killed.returncode and list((folder / "checkpoints").glob("*.pt"))
    assert "lost the others" in killed.stderr or "SIGTERM" in killed.stderr
    done = run(folder, *TORCHRUN, TRAIN)
    assert done.returncode == 0 and "going on from checkpoints/train_meta-" in done.stderr
    resumed, _, _ = trained(folder)
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name


def test_tasks_that_processes_cannot_share_are_refused(monkeypatch):
    monkeypatch.setattr(distributed, "WORLD_SIZE", 2)
    params = tiny_params({"reptile.meta_batch_size": 3})
    with pytest.raises(UserError, match="^reptile.meta_batch_size: found 3; must be a multiple of 2") as error:
        ReptileTraining(params, tiny_learner(params))
    assert "\n" not in str(error.value)


def test_classic_training_is_one_process(monkeypatch):
    monkeypatch.setattr(distributed, "WORLD_SIZE", 2)
    with pytest.raises(UserError, match="train_classic: found 2 processes; must be one"):
        ClassicTraining(tiny_params(), tiny_learner(tiny_params()))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_task_is_taken_once(monkeypatch, count):
    monkeypatch.setattr(distributed, "WORLD_SIZE", count)
    taken = []
    for rank in range(count):
        monkeypatch.setattr(distributed, "RANK", rank)
        assert len(distributed.share(6)) == 6 / count
        taken += distributed.share(6)
    assert sorted(taken) == list(range(6))
