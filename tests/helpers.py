"""Small things that several tests build on: parameters, a data set and a learner that train in a second."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oneshot.compute import set_up
from oneshot.dataset import Dataset, save_dataset
from oneshot.images import ImageStore
from oneshot.learner import Learner
from oneshot.network import new_network, save_model
from oneshot.params import Params
from oneshot.sampling import ClassPool
from oneshot.split import make_split, save_split
from oneshot.subject import Subject

ROOT = Path(__file__).resolve().parents[1]
TINY = {
    "dataset": "digits",
    "unseen_classes": 3,
    "calibration_images": 5,
    "resnet_stem": 4,
    "resnet_widths": [4, 8, 16],
    "resnet_blocks": [1, 1, 1],
    "resnet_first_stride": 1,
    "image_budget": 240,
    "batch_size": 12,
    "classic_batch_classes": 3,
    "classic_learning_rate": 0.2,
    "task_classes": 3,
    "inner_steps": 2,
    "inner_learning_rate": 0.05,
    "inner_momentum": 0.0,
    "inner_state": "reset",
    "meta_momentum": 0.0,
    "augmentation": "crop",
    "views": 1,
    "episode_draws": 5,
    "episode_count": 20,
    "episode_ways": 2,
    "episode_queries": 3,
    "adapt_shots": [1, 5],
    "adapt_draws": 2,
    **{f"adapt_{method}_steps": [2, 2, 2] for method in ("classic", "meta")},
    **{f"adapt_{method}_learning_rate": [0.01, 0.01, 0.01] for method in ("classic", "meta")},
    "adapt_batch_size": 12,
    "adapt_classes": 2,
    "adapt_episodes": 2,
    "device": "cpu",
    "precision": "fp32",
    "threads": 1,
}


def tiny_params(**changes: Any) -> Params:
    """The committed parameters, made tiny, with `changes`."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    return Params.model_validate(values | TINY | changes)


def tiny_learner(params: Params, classes: int = 5, per_class: int = 12) -> Learner:
    """A learner on random 8x8 images of a few classes."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (classes * per_class, 8, 8, 1), dtype=np.uint8)
    pool = ClassPool(list(np.arange(classes * per_class).reshape(classes, per_class)))
    compute = set_up(params)
    network = new_network(params, [100.0], [50.0])
    return Learner(params, compute, network, ImageStore(images, compute.device, params.augmentation), pool)


def unit_vectors(count: int, dimensions: int = 6, seed: int = 0) -> torch.Tensor:
    """Random unit vectors (count, dimensions)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, dimensions, generator=generator), dim=1)


def make_subject(folder: Path, dataset: Dataset, weights_seed: int = 0, **changes: Any) -> Subject:
    """A network with random weights, with the data set and its split, in a folder of its own."""
    params = tiny_params(**changes)
    save_dataset(folder / "dataset", dataset)
    save_split(folder / "split.json", make_split(dataset, params), dataset)
    torch.manual_seed(weights_seed)
    network = new_network(params, [80.0], [90.0])
    save_model(folder / "model.pt", network, {"method": "classic"})
    return Subject(params, folder / "model.pt", folder / "dataset", folder / "split.json")


def fuzz(examples: int, *arguments: Any, **named: Any) -> Callable[[Any], Any]:
    """hypothesis.given with so many examples, times ONESHOT_FUZZ: scripts/torture.py tries many more of them."""
    most = examples * int(os.environ.get("ONESHOT_FUZZ", "1"))
    allowed = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]

    def decorate(test: Any) -> Any:
        test = given(*arguments, **named)(test)
        return pytest.mark.fuzz(settings(max_examples=most, deadline=None, suppress_health_check=allowed)(test))

    return decorate


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
