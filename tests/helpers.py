"""Small things that several tests build on: parameters, a data set and a learner that train in a second."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from oneshot.common.errors import UserError
from oneshot.common.params import changed
from oneshot.data.dataset import Dataset, save_dataset
from oneshot.data.images import ImageStore
from oneshot.data.sampling import ClassPool
from oneshot.data.split import make_split, save_split
from oneshot.evaluation.context import Context
from oneshot.evaluation.embedded import embed_all
from oneshot.hardware.device import set_up
from oneshot.model.model_file import save_model
from oneshot.model.network import NetworkConfig, SiameseNetwork, new_network
from oneshot.params import Params
from oneshot.training.learner import Learner, TrainingStage

ROOT = Path(__file__).resolve().parents[1]
TINY = {
    "dataset": "digits",
    "image_budget": 240,
    "loss.softmax_scale": 10.0,
    "split.unseen_classes": 3,
    "split.calibration_images": 5,
    "network.stem": 4,
    "network.widths": [4, 8, 16],
    "network.first_stride": 1,
    "batch.size": 12,
    "batch.augmentation": "crop",
    "classic.batch_classes": 3,
    "classic.learning_rate": 0.2,
    "reptile.task_classes": 3,
    "reptile.inner_steps": 2,
    "reptile.inner_momentum": 0.0,
    "reptile.inner_state": "reset",
    "evaluation.tta": "none",
    "adaptation.shots": [1, 5],
    "adaptation.steps": 2,
    "adaptation.learning_rate": 0.01,
    "hardware.device": "cpu",
    "hardware.precision": "fp32",
    "hardware.threads": 1,
}
# Python runs this at its start where PYTHONPATH leads to it, as sitecustomize.py: a training is killed in the middle,
# between two checkpoints, as if the power had failed; of several processes, the second.
KILL_TRAININGS = """
import os, signal, sys
script = os.path.abspath(sys.orig_argv[-1])
if os.path.basename(script) in ("train_classic.py", "train_meta.py"):
    sys.path.insert(0, os.path.join(os.path.dirname(script), "../src"))
    from oneshot.training import classic, loop, reptile
    loop.CHECKPOINT_COST, loop.FIRST_CHECKPOINT = 1e9, 0  # one a step
    def dying(take_step):
        def step(self, number):
            if number == self.steps // 2 + 1 and os.environ.get("RANK", "1") == "1":
                os.kill(os.getpid(), signal.SIGKILL)
            return take_step(self, number)
        return step
    for training in (classic.ClassicTraining, reptile.ReptileTraining):
        training.step = dying(training.step)
"""
COMMITTED: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())


def tiny_params(changes: dict[str, Any] | None = None) -> Params:
    """The committed parameters, made tiny, with others by their full names."""
    return Params.model_validate(changed(COMMITTED, TINY | (changes or {})))


def tiny_learner(params: TrainingStage, classes: int = 5, per_class: int = 12) -> Learner:
    """A learner on random 8x8 images of a few classes."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (classes * per_class, 8, 8, 1), dtype=np.uint8)
    pool = ClassPool(list(np.arange(classes * per_class).reshape(classes, per_class)), params.batch.rotates)
    compute = set_up(params.hardware)
    network = new_network(params.network, [100.0], [50.0])
    return Learner(params, compute, network, ImageStore(images, compute.device, params.batch.augmentation), pool)


def tiny_network(mean: tuple[float, ...] = (120.0, 110.0, 100.0), **changes: Any) -> SiameseNetwork:
    """A network for images of three channels, with random weights, the same each time."""
    torch.manual_seed(0)
    shape = {"stem": 4, "widths": [4, 8, 16], "blocks": 1, "first_stride": 1, "embedding_norm": False}
    return SiameseNetwork(NetworkConfig(**(shape | changes), mean=list(mean), std=[60.0, 61.0, 62.0]))


def random_images(count: int, seed: int = 0) -> torch.Tensor:
    """Random uint8 images (count, 3, 16, 16)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=generator)


def unit_vectors(count: int, dimensions: int = 6, seed: int = 0) -> torch.Tensor:
    """Random unit vectors (count, dimensions)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, dimensions, generator=generator), dim=1)


@contextmanager
def at_step(method: Any, stop: int, act: Callable[[Any], float]) -> Iterator[None]:
    """After each step of a training from number `stop` on, `act` is called with it; what it returns scales the loss."""
    step = method.step

    def disturbed(self: Any, number: int) -> torch.Tensor:
        loss = step(self, number)
        return loss * act(self) if number >= stop else loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(method, "step", disturbed)
        yield


def raising(error: BaseException) -> Callable[..., Any]:
    """A function that raises this, whatever it is given."""

    def function(*_: object, **__: object) -> Any:
        raise error

    return function


def refusal(call: Callable[..., Any], *arguments: Any) -> str:
    """The one line of the UserError in which a call ends."""
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def make_context(
    folder: Path, dataset: Dataset, changes: dict[str, Any] | None = None, weights_seed: int = 0
) -> Context:
    """A network with random weights, with the data set and its split, in a folder of its own."""
    params = tiny_params(changes)
    save_dataset(folder / "dataset", dataset)
    save_split(folder / "split.json", make_split(dataset, params), dataset)
    torch.manual_seed(weights_seed)
    network = new_network(params.network, [80.0], [90.0])
    save_model(folder / "model.safetensors", network, {"method": "classic"})
    embed_all(params, folder / "model.safetensors", folder / "dataset", folder / "split.json", folder)
    return Context(params, folder / "model.safetensors", folder, folder / "dataset", folder / "split.json")


def write_pictures(folder: Path, dataset: Dataset, each: int = 10) -> Path:
    """The first pictures of each class of a data set as files, a folder a class."""
    for label, name in enumerate(dataset.class_names):
        (folder / name).mkdir(parents=True)
        for number, row in enumerate(np.flatnonzero(dataset.train_labels == label)[:each]):
            Image.fromarray(dataset.train_images[row].squeeze()).save(folder / name / f"{number:03}.png")
    return folder


def fuzz(examples: int, *arguments: Any, **named: Any) -> Callable[[Any], Any]:
    """hypothesis.given with so many examples, times ONESHOT_FUZZ: tests/torture.py tries many more of them."""
    most = examples * int(os.environ.get("ONESHOT_FUZZ", "1"))
    allowed = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]

    def decorate(test: Any) -> Any:
        test = given(*arguments, **named)(test)
        return pytest.mark.fuzz(settings(max_examples=most, deadline=None, suppress_health_check=allowed)(test))

    return decorate


def taken_or_named(words: str, call: Callable[..., Any], *arguments: Any) -> Any:
    """What a call returns; None where it ends in a UserError, which is one line with these words."""
    try:
        return call(*arguments)
    except UserError as error:
        assert words in str(error) and "\n" not in str(error)
        return None


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=8,
)


def damaged(data: st.DataObject, content: bytes) -> bytes:
    """`content` with some bytes changed, cut short, or with some added: one of these, or several."""
    odd = bytearray(content)
    if data.draw(st.booleans()):
        for _ in range(data.draw(st.integers(1, 8))):
            odd[data.draw(st.integers(0, len(odd) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.integers(0, 3)) == 0:
        odd = odd[: data.draw(st.integers(0, len(odd)))]
    if data.draw(st.integers(0, 3)) == 0:
        odd += data.draw(st.binary(max_size=20))
    return bytes(odd)
