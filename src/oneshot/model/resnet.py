"""The ResNet for small images (He et al. 2016, section 4.2), without its last layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


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


class ResNet(nn.Module):
    """A ResNet for small images, without its last layer.

    ResNet-20 and ResNet-56 of He et al. have a stem of 16, widths 16, 32, 64, 3 or 9 blocks, and a first stride of 1.

    Args:
        in_channels: of the images.
        stem: channels of the first convolution.
        widths: channels of each stage; the last is the number of features.
        blocks: residual blocks of each stage, of two convolutions each.
        first_stride: stride of the first stage; that of all later stages is 2.
    """

    def __init__(self, in_channels: int, stem: int, widths: Sequence[int], blocks: int, first_stride: int) -> None:
        super().__init__()
        self.features = widths[-1]
        self.conv = nn.Conv2d(in_channels, stem, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(stem)
        layers, channels = [], stem
        for stage, width in enumerate(widths):
            for block in range(blocks):
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
