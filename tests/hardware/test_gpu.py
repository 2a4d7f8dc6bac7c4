"""On a GPU: recorded steps are the steps, runs repeat to the byte, and the weights are those of the CPU up to rounding.

Skipped where there is no GPU.
"""

from pathlib import Path

import pytest
import torch
from helpers import at_step, raising, tiny_learner, tiny_params

from oneshot.data.dataset import save_dataset
from oneshot.data.split import make_split, save_split
from oneshot.hardware import device, recording
from oneshot.training import loop
from oneshot.training.classic import ClassicTraining
from oneshot.training.reptile import ReptileTraining

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
METHODS = [ClassicTraining, ReptileTraining]
OPTIMIZERS = ["adam", "muon", "sgd"]


def changes(optimizer, on="cuda", **more):
    rates = {"classic.learning_rate": 0.01, "reptile.inner_learning_rate": 0.01}
    kinds = {"classic.optimizer": optimizer, "reptile.inner_optimizer": optimizer}
    kept = {"reptile.inner_state": "keep", "reptile.inner_momentum": 0.9, "reptile.meta_batch_size": 2}
    here = {"hardware.device": on, "image_budget": 480, "batch.augmentation": "crop_flip_cutout_rotate"}
    return rates | kinds | kept | here | more


def weights_after(method, steps, how):
    learner = tiny_learner(tiny_params(how)).train()
    training = method(learner.params, learner)
    losses = [training.step(step).item() for step in range(steps)]
    return losses, [weight.detach().cpu() for weight in learner.weights()]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_recorded_steps_are_the_steps_themselves(method, optimizer, monkeypatch):
    recorded = weights_after(method, 10, changes(optimizer))
    monkeypatch.setattr(recording, "WARM_UP", 10**9)
    plain = weights_after(method, 10, changes(optimizer))
    assert recorded[0] == plain[0] and len(set(plain[0])) == 10
    for found, expected in zip(recorded[1], plain[1], strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_weights_are_those_of_the_cpu_up_to_rounding(method, optimizer):
    (_, found), (_, expected) = (weights_after(method, 5, changes(optimizer, on)) for on in ("cuda", "cpu"))
    for gpu, cpu in zip(found, expected, strict=True):
        torch.testing.assert_close(gpu, cpu, rtol=5e-3, atol=5e-4)


@pytest.mark.parametrize("method", METHODS)
def test_runs_repeat_to_the_byte_killed_or_not(method, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "FIRST_CHECKPOINT", 0)
    monkeypatch.setattr(loop, "CHECKPOINT_COST", 1e9)
    params = tiny_params(changes("muon", **{"hardware.precision": "bf16"}))
    save_dataset("data/dataset", small)
    save_split("data/split.json", make_split(small, params), small)

    def model(name):
        loop.train(method, params, Path("data/dataset"), Path("data/split.json"), Path(name))
        return (tmp_path / name / "model.safetensors").read_bytes()

    whole = model("whole")
    assert whole == model("again")
    with at_step(method, 6, raising(KeyboardInterrupt())), pytest.raises(KeyboardInterrupt):
        model("killed")
    assert whole == model("killed")


def test_bf16_is_chosen_where_the_gpu_has_units_for_it():
    compute = device.set_up(tiny_params({"hardware.device": "auto", "hardware.precision": "auto"}).hardware)
    assert compute.device.type == "cuda"
    assert compute.bf16 == (torch.cuda.get_device_capability()[0] >= 8)
