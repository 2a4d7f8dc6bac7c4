"""The training loop: learning, resuming, refusing to run twice, and stopping where the loss is no number."""

import json
import os
import re
import signal

import numpy as np
import pytest
import torch
from helpers import at_step, damaged, fuzz, raising, refusal, tiny_learner, tiny_params
from hypothesis import strategies as st

from oneshot.common.files import read_table
from oneshot.common.lock import only_one
from oneshot.data.dataset import load_dataset, save_dataset
from oneshot.data.sampling import ClassPool
from oneshot.data.split import make_split, save_split
from oneshot.model.model_file import load_model, save_model
from oneshot.model.network import SiameseNetwork, batch_norms
from oneshot.training import checkpoint as checkpoints
from oneshot.training import loop
from oneshot.training.checkpoint import Checkpoint, fingerprint
from oneshot.training.classic import ClassicStage, ClassicTraining
from oneshot.training.reptile import ReptileStage, ReptileTraining

STAGES = {ClassicTraining: ClassicStage, ReptileTraining: ReptileStage}


class Killed(BaseException):
    """Stands for a sudden end."""


@pytest.fixture
def project(tmp_path, monkeypatch, small):
    """The current folder: some digits and their split, a short training curve, a checkpoint after every step."""
    monkeypatch.chdir(tmp_path)
    constants = {"CURVE_POINTS": 4, "CURVE_TRIPLETS": 60, "FIRST_CHECKPOINT": 0, "CHECKPOINT_COST": 1e9}
    for name, value in constants.items():
        monkeypatch.setattr(loop, name, value)
    save_dataset("data/dataset", small)
    save_split("data/split.json", make_split(small, tiny_params()), small)
    return tmp_path


def run(project, method, changes=None, name="out"):
    params = STAGES[method].model_validate(tiny_params(changes).model_dump())
    loop.train(method, params, project / "data/dataset", project / "data/split.json", project / name)
    return {path.name: path.read_bytes() for path in (project / name).iterdir()}


def run_killed(project, method, stop, changes=None, name="out"):
    """Run until step number `stop`."""
    with at_step(method, stop, raising(Killed())), pytest.raises(Killed):
        run(project, method, changes, name)


def saved_state(project):
    """What the one checkpoint holds."""
    (path,) = (project / "checkpoints").glob("*.pt")
    name, _, fingerprint = path.stem.rpartition("-")
    return Checkpoint(name, fingerprint).load()


@pytest.mark.parametrize("method", STAGES)
def test_outputs_and_equal_bytes(project, method):
    first, again = run(project, method), run(project, method, name="again")
    assert set(first) == {"model.safetensors", "curve.tsv", "record.json"}
    assert first == again
    assert run(project, method, {"seed": 2}, "other")["model.safetensors"] != first["model.safetensors"]
    network, about = load_model(project / "out/model.safetensors")
    assert about["seen_classes"] == ["zero", "one", "two", "three", "four", "five", "six"]
    assert (about["method"], about["images"], about["image_size"]) == (method.name, 240, 8)
    record = json.loads(first["record.json"])
    assert record["images"] == 240 and record["device"] == "cpu" and record["threads"] == 1
    assert record["weights"] == sum(weight.numel() for weight in network.parameters())
    rows = read_table(project / "out/curve.tsv")
    assert [row["images"] for row in rows] == (
        [60, 120, 180, 240] if method is ClassicTraining else [72, 120, 192, 240]
    )
    assert all(0 <= row["heldout_triplet_accuracy"] <= 1 and row["loss"] > 0 for row in rows)
    assert all(torch.isfinite(weight).all() for weight in network.parameters())
    assert not list((project / "checkpoints").glob("*.pt"))


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize(("method", "tasks"), [(ClassicTraining, 1), (ReptileTraining, 1), (ReptileTraining, 2)])
def test_killed_anywhere_and_resumed_gives_the_same_bytes(project, method, tasks, optimizer, capsys):
    inner = {"state": "keep", "optimizer": optimizer, "learning_rate": 0.001, "momentum": 0.9}
    changes = {f"reptile.inner_{name}": value for name, value in inner.items()}
    changes |= {"image_budget": 240 * tasks, "reptile.meta_batch_size": tasks}
    changes |= {"classic.optimizer": optimizer, "classic.learning_rate": 0.001}
    whole = run(project, method, changes)
    for stop in (1, 4, 9):
        run_killed(project, method, stop, changes, "resumed")
    assert not (project / "resumed/model.safetensors").exists()
    assert run(project, method, changes, "resumed") == whole
    told = capsys.readouterr().err
    assert all(f"step {stop} of" in told for stop in (1, 4, 9))


def test_checkpoints_take_a_share_of_the_time_alone(project, monkeypatch):
    now, saved = [0], []

    def pass_time(seconds):
        now[0] += seconds
        return 1

    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Checkpoint, "save", lambda self, state: saved.append(state["done"]) or pass_time(2))
    monkeypatch.setattr(loop, "FIRST_CHECKPOINT", 3)
    monkeypatch.setattr(loop, "CHECKPOINT_COST", 0.25)
    with at_step(ClassicTraining, 0, lambda _: pass_time(1)):
        run(project, ClassicTraining)
    assert saved == [4, 13]  # saving took 2 seconds: 8 pass before the next


@pytest.mark.parametrize("method", STAGES)
def test_no_image_that_is_held_out_reaches_training(project, method, monkeypatch):
    """By content: whatever the network sees while it learns is one of the images that training may use."""
    seen = set()
    forward = SiameseNetwork.forward

    def watched(self, images):
        if self.training:
            seen.update(image.numpy().tobytes() for image in images)
        return forward(self, images)

    monkeypatch.setattr(SiameseNetwork, "forward", watched)
    changes = {"image_budget": 1200, "batch.augmentation": "none", "split.validation_classes": 2}
    dataset = load_dataset(project / "data/dataset")
    split = make_split(dataset, tiny_params(changes))
    save_split(project / "data/split.json", split, dataset)
    run(project, method, changes)
    rows = np.concatenate([split.training[label] for label in split.seen])
    allowed = {image.transpose(2, 0, 1).tobytes() for image in dataset.train_images[rows]}
    assert len(seen) > 0.9 * len(allowed) and seen <= allowed  # tests/data/test_split.py: none of them is held out


def test_rotated_classes_are_trained_on_and_no_part_of_the_curve(project, monkeypatch):
    pools = []
    monkeypatch.setattr(loop, "ClassPool", lambda *about: pools.append(ClassPool(*about)) or pools[-1])
    run(project, ClassicTraining, {"batch.augmentation": "crop_flip_cutout_rotate"})
    assert [len(pool) // pool.upright for pool in pools] == [4, 1]


def test_a_warm_start_counts_the_images_before_and_refuses_what_saw_a_held_out_class(project):
    run(project, ClassicTraining)
    path = project / "out/model.safetensors"
    run(project, ReptileTraining, {"network.start_from": str(path)}, "warm")
    network, about = load_model(project / "warm/model.safetensors")
    assert about["images"] == 480
    save_model(path, network, about | {"seen_classes": ["zero", "nine"]})
    told = refusal(run, project, ReptileTraining, {"network.start_from": str(path)})
    assert told.startswith("network.start_from: found ") and "trained on nine, which this split holds out" in told


@pytest.mark.parametrize("method", STAGES)
def test_an_ensemble_is_what_its_members_are_alone_side_by_side(project, method):
    run(project, method, {"network.members": 2}, "both")
    for number, name in enumerate(("first", "second")):
        run(project, method, {"seed": 1 + number * loop.SEEDS_APART}, name)
    both, first, second = (load_model(project / f"{name}/model.safetensors")[0] for name in ("both", "first", "second"))
    images = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8)
    similarities = [vectors @ vectors.T for vectors in (both(images), first(images), second(images))]
    torch.testing.assert_close(similarities[0], (similarities[1] + similarities[2]) / 2)
    assert both.dimensions == 2 * first.dimensions == both(images).shape[1]
    losses = [read_table(project / f"{name}/curve.tsv")[-1]["loss"] for name in ("both", "first", "second")]
    assert losses[0] == pytest.approx((losses[1] + losses[2]) / 2, abs=1e-6)
    assert not list((project / "checkpoints").glob("*.pt"))


@pytest.mark.parametrize("method", STAGES)
def test_a_kill_in_the_second_member_spares_the_first(project, method, capsys, monkeypatch):
    monkeypatch.setattr(loop, "FIRST_CHECKPOINT", 1000)
    whole = run(project, method, {"network.members": 2})

    def kill_the_second(training):
        if training.params.seed > loop.SEEDS_APART:
            raise Killed
        return 1

    with at_step(method, 0, kill_the_second), pytest.raises(Killed):
        run(project, method, {"network.members": 2}, "resumed")
    capsys.readouterr()
    with at_step(method, 0, lambda training: float(training.params.seed > loop.SEEDS_APART)):
        assert run(project, method, {"network.members": 2}, "resumed") == whole
    assert len(capsys.readouterr().err.split("going on from")) == 2


@pytest.mark.parametrize(
    ("method", "changes", "goes_on"),
    [
        (ClassicTraining, {}, True),
        (ClassicTraining, {"meta_step": 0.5, "adaptation.steps": 7}, True),
        (ClassicTraining, {"classic.learning_rate": 0.1}, False),
        (ReptileTraining, {"classic.learning_rate": 0.1}, True),
        (ReptileTraining, {"meta_step": 0.5}, False),
    ],
)
def test_only_what_a_training_uses_starts_it_anew(project, capsys, method, changes, goes_on):
    run_killed(project, method, 5)
    capsys.readouterr()
    after = run(project, method, changes)
    assert ("going on from" in capsys.readouterr().err) == goes_on
    assert after == run(project, method, changes, "again")


def test_ctrl_c_saves_and_says_so(project, monkeypatch):
    whole = run(project, ClassicTraining)
    monkeypatch.setattr(loop, "FIRST_CHECKPOINT", 1000)
    with at_step(ClassicTraining, 7, lambda _: os.kill(os.getpid(), signal.SIGINT) or 1):
        told = refusal(run, project, ClassicTraining, {}, "resumed")
    assert told.startswith("train_classic: stopped by signal 2 at step 8; run again to go on")
    assert saved_state(project)["done"] == 8
    assert run(project, ClassicTraining, name="resumed") == whole


def break_weights(training):
    """The loss of the step that breaks them is still a number."""
    training.learner.network.backbone.conv.weight.data[0] = float("inf")
    return 1


@pytest.mark.parametrize(
    ("method", "act", "told"),
    [
        (ClassicTraining, lambda training: float("nan"), "the loss is nan .* classic.learning_rate: found .*last good"),
        (ReptileTraining, break_weights, "reptile.inner_learning_rate: found"),
    ],
)
def test_no_numbers_in_loss_or_weights_stop_with_the_cause_and_are_never_a_checkpoint(project, method, act, told):
    with at_step(method, 5, act):
        assert re.search(told, refusal(run, project, method))
    state = saved_state(project)
    assert state["done"] == 5 and torch.isfinite(state["total"])
    assert all(value.isfinite().all() for value in state["learner"].values())


@pytest.mark.parametrize(("method", "batches"), [(ClassicTraining, 0), (ReptileTraining, 3)])
def test_interpolated_weights_get_statistics_of_mixed_batches_and_others_keep_theirs(method, batches):
    learner, seen = tiny_learner(tiny_params({"batch.augmentation": "none"})), []
    training = method(learner.params, learner)
    training.step(0)
    before = batch_norms(learner.network)[0].running_mean.clone()
    learner.network.backbone.norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    finished = loop.Curve(training, learner, learner.pool).finished_network(3)
    assert len(seen) == batches
    expected = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0) if seen else before
    torch.testing.assert_close(batch_norms(finished)[0].running_mean, expected)
    assert torch.equal(batch_norms(learner.network)[0].running_mean, before)  # training goes on undisturbed


def test_no_second_training_beside_a_first(project):
    lock = checkpoints.FOLDER / "train_classic.lock"
    with only_one(lock):
        assert f"held by process {os.getpid()}" in refusal(run, project, ClassicTraining)
    run(project, ClassicTraining)  # released


@fuzz(100, data=st.data())
def test_a_damaged_checkpoint_is_the_whole_state_or_none(tmp_path, capsys, data):
    """One that a power failure left half written, say, or a disk with a flipped bit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "FOLDER", tmp_path)
        checkpoint = Checkpoint("train_classic", "0" * 12)
        checkpoint.save({"step": 3, "weights": torch.arange(40.0)})
        whole = checkpoint.path.read_bytes()
        checkpoint.path.write_bytes(damaged(data, whole))
        state = checkpoint.load()
        told = capsys.readouterr().err
        assert (state is None) == (f"{checkpoint.path}: damaged, starting again" in told)
        assert (state is not None) == (checkpoint.path.read_bytes() == whole)
    if state is not None:
        assert state["step"] == 3 and torch.equal(state["weights"], torch.arange(40.0))


def test_fingerprint_follows_values_inputs_and_code(tmp_path, monkeypatch):
    path, code = tmp_path / "input", tmp_path / "packages/training/loop.py"
    code.parent.mkdir(parents=True)
    monkeypatch.setattr(checkpoints, "_PACKAGES", tmp_path / "packages")
    found = []
    for value, content, program in ((1, "a", "c"), (2, "a", "c"), (1, "b", "c"), (1, "a", "d"), (1, "a", "c")):
        path.write_text(content)
        code.write_text(program)
        found.append(fingerprint({"x": value}, [path]))
    assert found[0] == found[4] and len(set(found)) == 4


def test_one_cycle_rises_for_a_fifth_and_falls_to_zero():
    params = tiny_params({"image_budget": 1200})
    training = ClassicTraining(params, tiny_learner(params))
    rates = [training.learning_rate(step) for step in range(training.steps)]
    assert training.steps == 100 and np.argmax(rates) in (19, 20)
    assert max(rates) == pytest.approx(0.2, rel=0.05) and rates[0] < 0.01 and rates[-1] < 0.002
    params = tiny_params({"classic.schedule": "constant"})
    assert ClassicTraining(params, tiny_learner(params)).learning_rate(7) == 0.2


@pytest.mark.parametrize("method", STAGES)
@pytest.mark.parametrize("mining", ["random", "all", "hard"])
def test_every_way_of_mining_learns(method, mining):
    changes = {"loss.mining": mining, "image_budget": 1800, "batch.augmentation": "none"}
    learner = tiny_learner(tiny_params(changes | {"reptile.inner_learning_rate": 0.1}))
    training = method(learner.params, learner)
    losses = [training.step(step).item() for step in range(training.steps)]
    tenth = len(losses) // 10
    assert np.mean(losses[-tenth:]) < 0.9 * np.mean(losses[:tenth])
