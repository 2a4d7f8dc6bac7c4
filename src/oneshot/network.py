"""The Siamese network: a ResNet for small images (He et al. 2016, section 4.2) that ends in an embedding.

'Siamese' means that one network with one set of weights embeds both pictures of a pair.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oneshot.errors import UserError
from oneshot.files import write_bytes
from oneshot.params import Params


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut without parameters ('option A': subsample, pad with zero channels)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.padding = channels - channels_in

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.stride > 1 or self.padding:
            half = self.padding // 2
            # Pooling of 1x1 takes every other pixel. Slices would, too, but their gradient is not channels-last, which
            # makes all that meets it slow: a fifth of a step.
            x = F.pad(F.avg_pool2d(x, 1, self.stride), (0, 0, 0, 0, half, self.padding - half))
        return F.relu(y + x)


class SmallResNet(nn.Module):
    """The ResNet for small images less its last layer.

    ResNet-20 and ResNet-56 of He et al. have a stem of 16, widths 16, 32, 64, blocks 3, 3, 3 or 9, 9, 9,
    and a first stride of 1.

    Args:
        colours: channels of the images.
        stem: channels of the first convolution.
        widths: channels of each stage; the last is the number of features.
        blocks: residual blocks of each stage, of two convolutions each.
        first_stride: stride of the first stage; that of all later stages is 2.
    """

    def __init__(
        self, colours: int, stem: int, widths: Sequence[int], blocks: Sequence[int], first_stride: int
    ) -> None:
        super().__init__()
        self.features = widths[-1]
        self.conv = nn.Conv2d(colours, stem, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(stem)
        layers, channels = [], stem
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for block in range(count):
                stride = 1 if block else (2 if stage else first_stride)
                layers.append(ResidualBlock(channels, width, stride))
                channels = width
        self.blocks = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (B, C, H, W) to features (B, features), each its mean over all places."""
        x = self.blocks(F.relu(self.norm(self.conv(x)))).float()
        # Not mean(): its gradient is not channels-last either.
        return F.avg_pool2d(x, x.shape[2:]).flatten(1)


class ResNet18(nn.Module):
    """torchvision's ResNet-18 less its last layer: the one with weights learnt on ImageNet to start from."""

    SIDE = 64  # pixels; smaller images are enlarged: its first layers divide the side by 4, all by 32

    def __init__(self, colours: int) -> None:
        super().__init__()
        from torchvision.models import resnet18  # here alone: others start a second sooner

        self.network = resnet18(weights=None)
        self.features = self.network.fc.in_features
        self.network.fc = nn.Identity()
        self.repeat = 3 // colours

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (B, 1 or 3, H, W) to features (B, 512)."""
        if x.shape[-1] < self.SIDE:
            x = F.interpolate(x, size=(self.SIDE, self.SIDE), mode="bilinear", antialias=False)
        x = x.repeat(1, self.repeat, 1, 1).contiguous(memory_format=torch.channels_last)
        return self.network(x).float()


BACKBONES: dict[str, type[nn.Module]] = {"small": SmallResNet, "resnet18": ResNet18}


class SiameseNetwork(nn.Module):
    """Images to unit vectors: normalisation, a ResNet, and, if asked for, a batch norm of its features.

    That batch norm lets features be negative, so that unlike pictures can be further apart than a right
    angle ('BNNeck', Luo et al. 2019, "Bag of Tricks and a Strong Baseline for Deep Person Re-identification").

    Args:
        backbone: a name in `BACKBONES`.
        shape: the backbone's own arguments, after the channels of the images.
        embedding_norm: whether there is a batch norm between the features and the embedding.
        mean, std: of the training images, one value a channel, in units of 0..255.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: str, shape: dict[str, Any], embedding_norm: bool, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        mean, std = list(mean), list(std)
        self.config = {
            "backbone": backbone, "shape": shape, "embedding_norm": embedding_norm, "mean": mean, "std": std
        }  # fmt: skip
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.backbone = BACKBONES[backbone](len(mean), **shape)
        # What an earlier training, from whose weights this one starts, has seen.
        self.images_before = 0
        self.classes_before: list[str] = []
        self.dimensions = int(self.backbone.features)  # type: ignore[arg-type]
        self.embedding_norm = nn.BatchNorm1d(self.dimensions) if embedding_norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Embed images (B, C, H, W) of uint8 or float32, 0..255, as float32 unit vectors (B, dimensions)."""
        x = ((images.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        return F.normalize(self.embedding_norm(self.backbone(x)).float(), dim=1)


def new_network(params: Params, mean: Sequence[float], std: Sequence[float]) -> SiameseNetwork:
    """A network as `params` describes it, with random weights or `pretrained_weights`.

    Raises:
        UserError: the file of weights is missing or does not fit.
    """
    shape = {
        "stem": params.resnet_stem,
        "widths": params.resnet_widths,
        "blocks": params.resnet_blocks,
        "first_stride": params.resnet_first_stride,
    }
    network = SiameseNetwork(
        params.backbone, shape if params.backbone == "small" else {}, params.embedding_norm, mean, std
    )
    if params.pretrained_weights != "none":
        load_pretrained(network, params.pretrained_weights)
    return network


def load_pretrained(network: SiameseNetwork, source: str) -> None:
    """Start from weights that an earlier training left.

    Code inside the file is never run.

    Args:
        source: for the backbone resnet18 `download` (torchvision's weights, learnt on ImageNet) or a local file of
            the same content; for the small one a model file of this project: a warm start, whose images count.

    Raises:
        UserError: no such file, or not the weights of such a network.
    """
    small = network.config["backbone"] == "small"
    try:
        if small:
            saved = torch.load(source, map_location="cpu", weights_only=True)
            network.load_state_dict(saved["state"])
            network.images_before = int(saved["about"]["images"])
            network.classes_before = list(saved["about"]["seen_classes"])
            return
        if source == "download":
            from torchvision.models import ResNet18_Weights

            state = ResNet18_Weights.IMAGENET1K_V1.get_state_dict(check_hash=True, map_location="cpu")
        else:
            state = torch.load(source, map_location="cpu", weights_only=True)
        kept = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
        network.backbone.get_submodule("network").load_state_dict(kept)
    except FileNotFoundError:
        raise UserError(f"params.yaml: pretrained_weights: found {source!r}; there is no such file") from None
    except Exception as error:  # torch raises many kinds for a broken file, urllib for a missing network
        reason = " ".join(str(error).split())[:120]
        fitting = "a model of this project of the same shape" if small else "weights of torchvision's resnet18"
        raise UserError(
            f"params.yaml: pretrained_weights: found {source!r}; must be {fitting} ({type(error).__name__}: {reason})"
        ) from None


BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


def batch_norms(network: nn.Module) -> list[BatchNorm]:
    """The batch-norm layers of a network, in order."""
    return [module for module in network.modules() if isinstance(module, BatchNorm)]


@torch.no_grad()
def estimate_batch_norm(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the batch-norm statistics to their plain average over image batches (B, C, H, W).

    Weights that were averaged or interpolated have no statistics of their own, and those of the last
    task describe that task only: so they are measured again on batches of mixed classes.
    """
    layers = batch_norms(network)
    momenta = [layer.momentum for layer in layers]
    was_training = network.training
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's way to ask for the plain average instead of a moving one
    network.train()
    for images in batches:
        network(images)
    network.train(was_training)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


@torch.no_grad()
def embed(network: SiameseNetwork, images: Tensor, views: int, batch: int = 500) -> Tensor:
    """Embed images (N, C, H, W) of uint8 in evaluation mode, as float32 unit vectors (N, D) on the CPU.

    Args:
        views: of each image, the normalised mean of whose embeddings is taken: 1, the image; 2, also its mirror image;
            10, also both shifted by a sixteenth of the side, half of what training shifts, to each corner; 12, also
            both enlarged by a quarter.
    """
    network.eval()
    vectors = []
    for chunk in images.split(batch):
        vector = torch.stack([network(view) for view in _views(chunk, views)]).sum(0)
        vectors.append((F.normalize(vector, dim=1) if views > 1 else vector).cpu())
    return torch.cat(vectors)


def _views(images: Tensor, views: int) -> Iterator[Tensor]:
    """Each view of images (N, C, H, W) in turn; what is shifted in from outside is black, as in training."""
    height, width = images.shape[2:]
    reach = max(1, height // 16)
    corners = (0, 2 * reach)
    padded = F.pad(images, [reach] * 4)
    shifts = [(reach, reach)] + ([(down, right) for down in corners for right in corners] if views > 2 else [])
    for down, right in shifts:
        view = padded[:, :, down : down + height, right : right + width]
        yield view
        if views > 1:
            yield view.flip(3)
    if views > 10:
        larger = (height + height // 4, width + width // 4)
        view = F.interpolate(images.float(), larger, mode="bicubic", antialias=True)
        yield view
        yield view.flip(3)


def save_model(path: str | Path, network: SiameseNetwork, about: dict[str, Any], half: bool = False) -> None:
    """Write the network and `about` (plain values) in a file that `load_model` reads on any machine.

    Args:
        half: store numbers in 16 bits, in half the space; `load_model` gives them 32 again.
    """
    state = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    if half:
        state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    buffer = io.BytesIO()  # saving to a path would put the path's name into the bytes
    torch.save({"config": network.config, "state": state, "about": about}, buffer)
    write_bytes(path, buffer.getvalue())


def load_model(path: str | Path, device: torch.device | str = "cpu") -> tuple[SiameseNetwork, dict[str, Any]]:
    """Read what `save_model` wrote; code inside the file is never run.

    Raises:
        UserError: the file is missing or is not such a model.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        network = SiameseNetwork(**saved["config"])
        network.load_state_dict(saved["state"])
        about = dict(saved["about"])
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run `dvc repro`, which trains it") from None
    except Exception as error:  # torch raises many kinds for a broken file
        raise UserError(f"{path}: not a model of this project ({type(error).__name__}); train it again") from None
    return network.to(device).to(memory_format=torch.channels_last).eval(), about


def channel_statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of images (N, H, W, C), in units of 0..255."""
    counts = [np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(images.shape[3])]
    values = np.arange(256)
    means = [float((values * count).sum() / count.sum()) for count in counts]
    variances = [
        float((values**2 * count).sum() / count.sum()) - mean**2 for mean, count in zip(means, counts, strict=True)
    ]
    return means, [max(variance, 1.0) ** 0.5 for variance in variances]  # a constant channel divides by 1
