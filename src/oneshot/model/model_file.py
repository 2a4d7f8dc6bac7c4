"""The file of a trained network: safetensors, which hold numbers and text alone, so that reading one runs no code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open

from oneshot.common.errors import UserError
from oneshot.common.files import write_bytes
from oneshot.model.network import SiameseNetwork


def save_model(path: str | Path, network: SiameseNetwork, about: dict[str, Any], half: bool = False) -> None:
    """Write the network and `about` (JSON values) in a file that `load_model` reads on any machine.

    Args:
        half: store numbers in 16 bits, in half the space; `load_model` gives them 32 again.
    """
    state = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    if half:
        state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    # One entry: safetensors writes several in random order.
    metadata = {"oneshot": json.dumps({"network": network.config, **about}, allow_nan=False)}
    write_bytes(path, safetensors.torch.save(state, metadata))


def load_model(path: str | Path, device: torch.device | str = "cpu") -> tuple[SiameseNetwork, dict[str, Any]]:
    """Read what `save_model` wrote.

    Raises:
        UserError: the file is missing or is not such a model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["oneshot"])
            network = SiameseNetwork(**about.pop("network"))
            network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run `dvc repro`, which trains it") from None
    except Exception as error:  # a broken file raises many kinds
        raise UserError(f"{path}: not a model of this project ({type(error).__name__}); train it again") from None
    return network.to(device).to(memory_format=torch.channels_last).eval(), about


def start_from(network: SiameseNetwork, path: str | Path) -> dict[str, Any]:
    """Give `network` the weights of a model file; returns what the file says of the training that they come from.

    Raises:
        UserError: no such file, or a network of another shape.
    """
    if not Path(path).is_file():
        raise UserError(f"network.start_from: found {str(path)!r}; there is no such file")
    earlier, about = load_model(path)
    try:
        network.load_state_dict(earlier.state_dict())
        return {key: about[key] for key in ("seen_classes", "images")}
    except (RuntimeError, KeyError):
        raise UserError(
            f"network.start_from: found {str(path)!r}; must be a network of the same shape that this project trained"
        ) from None
