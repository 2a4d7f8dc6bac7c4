"""The training loop: learning, resuming, refusing to run twice, and stopping where the loss is no number."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from helpers import damaged, fuzz, tiny_learner, tiny_params
from hypothesis import strategies as st

from oneshot import checkpoint as checkpoints
from oneshot.checkpoint import Checkpoint, fingerprint, only_one
from oneshot.classic import ClassicTraining
from oneshot.dataset import Dataset, load_dataset, save_dataset
from oneshot.errors import UserError
from oneshot.network import SiameseNetwork, load_model
from oneshot.reptile import ReptileTraining
from oneshot.split import make_split, save_split
from oneshot.training import train

METHODS = [ClassicTraining, ReptileTraining]


@pytest.fixture
def project(tmp_path, monkeypatch, digits):
    """A folder with the digits and their split, and the current folder for the test."""
    monkeypatch.chdir(tmp_path)
    small = Dataset(
        digits.train_images[:400], digits.train_labels[:400], digits.test_images, digits.test_labels, digits.class_names
    )
    save_dataset("data/dataset", small)
    save_split("data/split.json", make_split(small, tiny_params()), small)
    return tmp_path


def run(project, method, params, name="out"):
    train(method, params, project / "data/dataset", project / "data/split.json", project / name)
    return {path.name: path.read_bytes() for path in (project / name).iterdir()}


@pytest.mark.parametrize("method", METHODS)
def test_outputs_and_equal_bytes(project, method):
    params = tiny_params()
    first, again = run(project, method, params), run(project, method, params, "again")
    assert set(first) == {"model.pt", "curve.tsv", "record.json"}
    assert first == again
    assert run(project, method, tiny_params(seed=2), "other")["model.pt"] != first["model.pt"]
    network, about = load_model(project / "out/model.pt")
    assert about["seen_classes"] == ["zero", "one", "two", "three", "four", "five", "six"]
    record = json.loads(first["record.json"])
    assert record["images"] == 240 and record["device"] == "cpu" and record["threads"] == 1
    assert all(torch.isfinite(weight).all() for weight in network.parameters())
    assert not list((project / "checkpoints").glob("*.pt"))


@pytest.mark.parametrize(("method", "tasks"), [(ClassicTraining, 1), (ReptileTraining, 1), (ReptileTraining, 2)])
@pytest.mark.parametrize("stop_after", [1, 4, 9])
@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_killed_anywhere_and_resumed_gives_the_same_bytes(project, method, tasks, stop_after, optimizer, monkeypatch):
    changes = {"inner_state": "keep", "inner_optimizer": optimizer, "inner_learning_rate": 0.001}
    if optimizer == "muon":
        changes |= {"classic_optimizer": optimizer, "inner_momentum": 0.9}
    params = tiny_params(checkpoint_steps=2, image_budget=240 * tasks, meta_tasks=tasks, **changes)
    whole = run(project, method, params)

    class Killed(BaseException):
        pass

    step = method.step

    def killed(self, number):
        if number == stop_after:
            raise Killed
        return step(self, number)

    monkeypatch.setattr(method, "step", killed)
    with pytest.raises(Killed):
        run(project, method, params, "resumed")
    assert not (project / "resumed/model.pt").exists()
    monkeypatch.setattr(method, "step", step)
    assert run(project, method, params, "resumed") == whole


@pytest.mark.parametrize("method", METHODS)
def test_no_image_that_is_held_out_reaches_training(project, method, monkeypatch):
    """By content: whatever the network sees while it learns is one of the images that training may use."""
    seen = set()
    forward = SiameseNetwork.forward

    def watched(self, images):
        if self.training:
            seen.update(image.numpy().tobytes() for image in images)
        return forward(self, images)

    monkeypatch.setattr(SiameseNetwork, "forward", watched)
    params = tiny_params(image_budget=2400, augmentation="none", validation_classes=2)
    dataset = load_dataset(project / "data/dataset")
    split = make_split(dataset, params)
    save_split(project / "data/split.json", split, dataset)
    run(project, method, params)

    def contents(images):
        return {image.transpose(2, 0, 1).tobytes() for image in images}

    allowed = contents(dataset.train_images[np.concatenate([split.training[label] for label in split.seen])])
    held_out = np.isin(dataset.train_labels, split.validation + split.unseen)
    calibration = np.concatenate([split.calibration[label] for label in split.seen])
    forbidden = [dataset.test_images, dataset.train_images[held_out], dataset.train_images[calibration]]
    assert len(seen) > 0.9 * len(allowed) and seen <= allowed
    assert not any(seen & contents(images) for images in forbidden)


def saved_state(project):
    """What the one checkpoint holds."""
    (path,) = (project / "checkpoints").glob("*.pt")
    name, _, fingerprint = path.stem.rpartition("-")
    return Checkpoint(name, fingerprint).load()


def test_another_parameter_never_continues_a_run(project, monkeypatch):
    params = tiny_params(checkpoint_steps=1)
    step = ClassicTraining.step
    monkeypatch.setattr(ClassicTraining, "step", lambda self, n: step(self, n) if n < 5 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(project, ClassicTraining, params)
    monkeypatch.setattr(ClassicTraining, "step", step)
    other = tiny_params(checkpoint_steps=1, classic_learning_rate=0.1)
    assert run(project, ClassicTraining, other) == run(project, ClassicTraining, other, "again")


def test_ctrl_c_saves_and_says_so(project, monkeypatch):
    params = tiny_params(checkpoint_steps=1000)
    whole = run(project, ClassicTraining, params)
    step = ClassicTraining.step

    def interrupted(self, number):
        if number == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, number)

    monkeypatch.setattr(ClassicTraining, "step", interrupted)
    with pytest.raises(UserError, match="stopped by signal 2 at step 8; run again"):
        run(project, ClassicTraining, params, "resumed")
    monkeypatch.setattr(ClassicTraining, "step", step)
    assert run(project, ClassicTraining, params, "resumed") == whole


def test_a_training_ends_with_the_dvc_that_started_it(project, monkeypatch):
    parents = iter([1, 1, 1, 2, 2, 2, 2, 2])
    monkeypatch.setattr(os, "getppid", lambda: next(parents, 2))
    run(project, ClassicTraining, tiny_params(), "by hand")  # with nohup, say: it outlives its shell
    parents = iter([1, 1, 1, 2, 2, 2, 2, 2])
    monkeypatch.setenv("DVC_STAGE", "train_classic")
    with pytest.raises(UserError, match="program that started this training has ended"):
        run(project, ClassicTraining, tiny_params(checkpoint_steps=1000))
    assert list((project / "checkpoints").glob("train_classic-*.pt"))


def test_a_loss_that_is_no_number_stops_with_step_and_cause(project, monkeypatch):
    step = ClassicTraining.step
    monkeypatch.setattr(ClassicTraining, "step", lambda self, n: step(self, n) * (float("nan") if n >= 5 else 1))
    with pytest.raises(UserError, match="the loss is nan .* classic_learning_rate: found 0.2") as caught:
        run(project, ClassicTraining, tiny_params(checkpoint_steps=2))
    assert "last good state" in str(caught.value) and "\n" not in str(caught.value)
    state = saved_state(project)
    assert state["step"] <= 5 and torch.isfinite(state["total"])


def test_weights_that_are_no_numbers_are_never_a_checkpoint(project, monkeypatch):
    """The loss of the step that breaks the weights is still a number."""
    step = ReptileTraining.step

    def breaking(self, number):
        loss = step(self, number)
        if number == 5:
            self.learner.network.backbone.conv.weight.data[0] = float("inf")
        return loss

    monkeypatch.setattr(ReptileTraining, "step", breaking)
    with pytest.raises(UserError, match="inner_learning_rate: found"):
        run(project, ReptileTraining, tiny_params(checkpoint_steps=2))
    state = saved_state(project)
    assert all(value.isfinite().all() for value in state["learner"].values())


@pytest.mark.parametrize(
    ("method", "changes", "goes_on"),
    [
        (ClassicTraining, {"meta_step": 0.5}, True),
        (ClassicTraining, {"adapt_classic_steps": [7, 7, 7]}, True),
        (ClassicTraining, {"classic_learning_rate": 0.1}, False),
        (ReptileTraining, {"classic_learning_rate": 0.1}, True),
        (ReptileTraining, {"meta_step": 0.5}, False),
    ],
)
def test_only_what_a_training_uses_starts_it_anew(project, monkeypatch, capsys, method, changes, goes_on):
    step = method.step
    monkeypatch.setattr(method, "step", lambda self, n: step(self, n) if n < 5 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(project, method, tiny_params(checkpoint_steps=1))
    monkeypatch.setattr(method, "step", step)
    run(project, method, tiny_params(checkpoint_steps=1, **changes))
    assert ("going on from" in capsys.readouterr().err) == goes_on


def test_no_second_training_beside_a_first(project):
    with only_one("train_classic"), pytest.raises(UserError, match=f"held by process {os.getpid()}"):
        run(project, ClassicTraining, tiny_params())
    run(project, ClassicTraining, tiny_params())  # released


def test_a_broken_checkpoint_starts_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoints, "FOLDER", tmp_path)
    checkpoint = Checkpoint("train_classic", "0" * 12)
    assert checkpoint.load() is None
    checkpoint.save({"step": 3})
    assert checkpoint.load() == {"step": 3}
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:100])
    assert checkpoint.load() is None and "starting again" in capsys.readouterr().err


@fuzz(100, data=st.data())
def test_a_damaged_checkpoint_is_the_whole_state_or_none(tmp_path, data):
    """One that a power failure left half written, say, or a disk with a flipped bit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "FOLDER", tmp_path)
        checkpoint = Checkpoint("train_classic", "0" * 12)
        checkpoint.save({"step": 3, "weights": torch.arange(40.0)})
        whole = checkpoint.path.read_bytes()
        checkpoint.path.write_bytes(damaged(data, whole))
        state = checkpoint.load()
        assert (state is not None) == (checkpoint.path.read_bytes() == whole)
    if state is not None:
        assert state["step"] == 3 and torch.equal(state["weights"], torch.arange(40.0))


def test_fingerprint_follows_values_and_inputs(tmp_path):
    path = tmp_path / "input"
    path.write_text("a")
    first = fingerprint({"x": 1}, [path])
    assert fingerprint({"x": 1}, [path]) == first != fingerprint({"x": 2}, [path])
    path.write_text("b")
    assert fingerprint({"x": 1}, [path]) != first


def test_one_cycle_rises_for_a_fifth_and_falls_to_zero():
    training = ClassicTraining(tiny_params(image_budget=1200), tiny_learner(tiny_params()))
    rates = [training.learning_rate(step) for step in range(training.steps)]
    assert training.steps == 100 and np.argmax(rates) in (19, 20)
    assert max(rates) == pytest.approx(0.2, rel=0.05) and rates[0] < 0.01 and rates[-1] < 0.002


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mining", ["random", "all", "hard"])
def test_every_way_of_mining_learns(method, mining):
    params = tiny_params(
        triplet_mining=mining, image_budget=2400, augmentation="none", inner_learning_rate=0.1, meta_momentum=0.0
    )
    learner = tiny_learner(params)
    training = method(params, learner)
    losses = [training.step(step).item() for step in range(training.steps)]
    tenth = len(losses) // 10
    assert np.mean(losses[-tenth:]) < 0.9 * np.mean(losses[:tenth])
