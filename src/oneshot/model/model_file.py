"""The file of a trained network: safetensors, which hold numbers and text alone, so that reading one runs no code."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open

from oneshot.common.errors import UserError
from oneshot.common.files import check_file, write_bytes
from oneshot.common.params import Count, StageParams
from oneshot.common.schema import checked
from oneshot.model.network import NetworkConfig, SiameseNetwork

TODO = "take a file from models/, which `dvc repro` writes there"
MOST_BYTES = 2**33  # of a file


class About(StageParams):
    """What each model file says of itself."""

    network: NetworkConfig


class Trained(About):
    """What training adds to that, for a training that goes on from its weights."""

    seen_classes: list[str]
    images: Count


def save_model(path: str | Path, network: SiameseNetwork, about: dict[str, Any], half: bool = False) -> None:
    """Write the network and `about` (JSON values) for `load_model` on any machine; `half`: in 16 bits a number."""
    state = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    if half:
        state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    save_tensors(path, state, {"network": network.config.model_dump(exclude_defaults=True), **about})


def load_model(
    path: str | Path, device: torch.device | str = "cpu", schema: type[About] = About
) -> tuple[SiameseNetwork, dict[str, Any]]:
    """Read what `save_model` wrote, where it says of itself what `schema` asks for; else raises a UserError."""
    with open_tensors(path, schema, "model", TODO) as (file, about):
        config = NetworkConfig(**about.pop("network"))
        if len(config.mean) != len(config.std) or len(config.mean) == 2:
            raise ValueError("network.mean and network.std: must be of 1 or 3 channels")
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        # The second convolutions of all members alone have so many weights: the file must hold them before memory does.
        least = 9 * config.blocks * sum(width**2 for width in config.widths) * config.members
        network = SiameseNetwork(config) if least <= sum(map(math.prod, shapes.values())) else None
        if not network or shapes != {name: list(tensor.shape) for name, tensor in network.state_dict().items()}:
            raise ValueError("its tensors are not those of its network")
        state = {name: file.get_tensor(name) for name in shapes}
        if not all(tensor.isfinite().all() for tensor in state.values()):
            raise ValueError("a weight is no finite number")
        network.load_state_dict(state)
    return network.to(device).to(memory_format=torch.channels_last).eval(), about


def start_from(network: SiameseNetwork, path: str | Path, held_out: Collection[str]) -> dict[str, Any]:
    """Give `network` the weights of a model file, or leave it as it is if `path` is none.

    Returns:
        What the file says of the training that they come from: the classes seen, and how many images.

    Raises:
        UserError: no file of such a network, or it has seen a class that is held out.
    """
    if path == "none":
        return {"seen_classes": [], "images": 0}
    earlier, about = load_model(path, schema=Trained)
    if known := set(held_out).intersection(about["seen_classes"]):
        raise UserError(
            f"network.start_from: found {str(path)!r}, trained on {min(known)}, which this split holds out; must be a "
            "model that has not seen the held-out classes"
        )
    try:
        network.load_state_dict(earlier.state_dict())
    except RuntimeError:
        raise UserError(f"network.start_from: found {str(path)!r}; must be one network of the same shape") from None
    return {key: about[key] for key in ("seen_classes", "images")}


def save_tensors(path: str | Path, tensors: dict[str, torch.Tensor], about: dict[str, Any]) -> None:
    """Write tensors and `about` (JSON values) in one file; the same bytes for the same content."""
    # One entry: safetensors writes several in random order.
    write_bytes(path, safetensors.torch.save(tensors, {"oneshot": json.dumps(about, allow_nan=False)}))


@contextlib.contextmanager
def open_tensors(
    path: str | Path, schema: type[StageParams], kind: str, todo: str
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Open what `save_tensors` wrote: yields the file, in which sizes are seen to be right, and `about`, a `schema`.

    A UserError tells that it is missing, unreadable or no such `kind` of file, or that the code inside raised a
    ValueError about it; and what is `todo`.
    """
    check_file(path, todo, MOST_BYTES)
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["oneshot"])
            checked(schema, about, f"{path}: not a {kind} of this project", todo)
            yield file, about
    except (safetensors.SafetensorError, LookupError, TypeError, ValueError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise UserError(f"{path}: not a {kind} of this project ({reason}); {todo}") from None
    except (OSError, MemoryError, RuntimeError) as error:  # torch has a RuntimeError for too little memory
        reason = getattr(error, "strerror", "") or str(error) or "out of memory"
        raise UserError(f"{path}: cannot be read ({reason})") from None
