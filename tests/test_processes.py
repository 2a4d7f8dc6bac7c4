"""Tasks of an outer step shared by processes that torchrun starts: the weights of one process, up to rounding."""

import os
import re
import subprocess
import sys

import pytest
import torch
import yaml
from helpers import ROOT, TINY, tiny_learner, tiny_params

from oneshot import processes
from oneshot.classic import ClassicTraining
from oneshot.dataset import save_dataset
from oneshot.errors import UserError
from oneshot.network import load_model
from oneshot.reptile import ReptileTraining
from oneshot.split import make_split, save_split

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


@pytest.fixture
def project(tmp_path, digits):
    """A function that writes params.yaml beside the digits and their split, and gives the folder."""

    def write(**changes):
        values = yaml.safe_load((ROOT / "params.yaml").read_text()) | TINY | {"meta_tasks": 4} | changes
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
        save_dataset(tmp_path / "data/dataset", digits)
        save_split(tmp_path / "data/split.json", make_split(digits, tiny_params()), digits)
        return tmp_path

    return write


def run(folder, *command, **changes):
    environment = {name: value for name, value in os.environ.items() if name != "DVC_STAGE"} | changes
    return subprocess.run([*command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def trained(folder):
    network, about = load_model(folder / "results/trained/meta/model.pt")
    (folder / "results/trained/meta/model.pt").unlink()
    return network.state_dict(), about


@pytest.mark.parametrize(
    "changes",
    [
        {"inner_state": "reset", "meta_batch_norm": "interpolate"},
        {"inner_state": "keep", "inner_momentum": 0.9},
        {"inner_state": "keep", "inner_optimizer": "adam", "inner_momentum": 0.5, "inner_learning_rate": 0.001},
        {"inner_state": "keep", "inner_optimizer": "muon", "inner_momentum": 0.9},
    ],
    ids=["reset", "momentum", "adam", "muon"],
)
def test_two_processes_give_the_weights_of_one(project, changes):
    folder = project(**changes)
    stage = str(ROOT / "stages/train_meta.py")
    assert run(folder, sys.executable, stage).returncode == 0
    alone, about_alone = trained(folder)
    done = run(folder, *TORCHRUN, stage)
    assert done.returncode == 0, done.stderr
    together, about = trained(folder)
    assert about == about_alone and about["images"] == 192
    for name, value in alone.items():
        if name.endswith("num_batches_tracked"):  # of the first process alone; nothing uses it
            continue
        torch.testing.assert_close(together[name], value, rtol=1e-4, atol=1e-5)
    assert '"processes": 2' in (folder / "results/trained/meta/record.json").read_text()
    assert not list((folder / "checkpoints").glob("*.pt"))


def test_tasks_that_processes_cannot_share_are_refused(project):
    done = run(project(meta_tasks=3), *TORCHRUN, str(ROOT / "stages/train_meta.py"))
    assert done.returncode
    assert "params.yaml: meta_tasks: found 3; must be a multiple of 2" in done.stderr
    assert not re.search(r"stages/train_meta.py\", line", done.stderr)


def test_classic_training_is_one_process(monkeypatch):
    monkeypatch.setattr(processes, "COUNT", 2)
    with pytest.raises(UserError, match="train_classic: found 2 processes; must be one"):
        ClassicTraining(tiny_params(), tiny_learner(tiny_params()))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_task_is_taken_once(monkeypatch, count):
    monkeypatch.setattr(processes, "COUNT", count)
    taken = []
    for rank in range(count):
        monkeypatch.setattr(processes, "RANK", rank)
        taken += processes.share(6)
        assert len(processes.share(6)) == 6 / count
    assert sorted(taken) == list(range(6))


def test_the_order_of_tasks_does_not_matter(monkeypatch):
    """Each starts from the same weights and the same state of the optimizer, though that is kept."""
    params = tiny_params(meta_tasks=3, inner_state="keep", inner_momentum=0.9)
    weights = []
    for order in ([0, 1, 2], [2, 0, 1]):
        learner = tiny_learner(params)
        training = ReptileTraining(params, learner)
        monkeypatch.setattr(processes, "share", lambda tasks, order=order: order)
        for step in range(3):
            training.step(step)
        weights.append([weight.detach() for weight in learner.weights()])
        state = [value for value in training.optimizer_state() if value.abs().max() > 0]
        assert len(state) == len(weights[0])
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_run_of_two_processes_that_is_killed_goes_on(project, tmp_path):
    folder = project(image_budget=2400, checkpoint_steps=8, inner_state="keep", inner_momentum=0.9)
    stage = str(ROOT / "stages/train_meta.py")
    (tmp_path / "sitecustomize.py").write_text(KILL_SECOND_PROCESS)
    killed = run(folder, *TORCHRUN, stage, PYTHONPATH=str(tmp_path))
    assert killed.returncode and list((folder / "checkpoints").glob("*.pt"))
    assert "lost the others" in killed.stderr or "SIGTERM" in killed.stderr
    done = run(folder, *TORCHRUN, stage)
    assert done.returncode == 0 and "going on from checkpoints/train_meta-" in done.stderr
    resumed, _ = trained(folder)
    assert run(folder, *TORCHRUN, stage).returncode == 0
    whole, _ = trained(folder)
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0)


# Python runs this at its start where PYTHONPATH leads to it.
KILL_SECOND_PROCESS = """
import os, signal, sys
if os.environ.get("RANK") == "1" and sys.orig_argv[-1].endswith("train_meta.py"):
    sys.path.insert(0, os.path.join(os.path.dirname(sys.orig_argv[-1]), "..", "src"))
    from oneshot.reptile import ReptileTraining
    def step(self, number, take_step=ReptileTraining.step):
        if number == self.steps // 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return take_step(self, number)
    ReptileTraining.step = step
"""
