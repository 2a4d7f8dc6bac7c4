"""The ResNet beside the paper: its layers, its shortcut written out, its last mean."""

import pytest
import torch
from helpers import random_images, tiny_network
from torch import nn

from oneshot.model.resnet import ResidualBlock, ResNet


@pytest.mark.parametrize(("depth", "weights"), [(20, 269_722 - 650), (56, 853_018 - 650)])
def test_layers_and_weights_are_those_of_the_paper(depth, weights):
    """CIFAR-10's ResNet-20 and -56 have 0.27 M and 0.85 M weights (He et al. 2016, table 6), 650 in the last layer."""
    network = ResNet(3, 16, [16, 32, 64], (depth - 2) // 6, 1)
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == depth - 1
    assert sum(weight.numel() for weight in network.parameters()) == weights


@pytest.mark.parametrize(("stride", "channels"), [(2, 8), (2, 12), (1, 4)])
def test_a_block_and_its_gradients_are_those_of_the_plain_form(stride, channels):
    """The shortcut written out as in the paper, 'option A': every other pixel, and channels of zeros."""
    block = ResidualBlock(4, channels, stride).to(memory_format=torch.channels_last)
    inputs = torch.randn(6, 4, 8, 8).contiguous(memory_format=torch.channels_last)
    results = []
    for plain in (False, True):
        x = inputs.clone(memory_format=torch.preserve_format).requires_grad_()
        if plain:
            y = block.norm2(block.conv2(nn.functional.relu(block.norm1(block.conv1(x)))))
            shortcut = torch.zeros_like(y)
            first = (channels - 4) // 2
            shortcut[:, first : first + 4] = x[:, :, ::stride, ::stride]
            out = nn.functional.relu(y + shortcut)
        else:
            out = block(x)
        block.zero_grad()
        (out**2).sum().backward()
        results.append([out.detach(), x.grad, *(weight.grad.clone() for weight in block.parameters())])
        assert plain or x.grad.is_contiguous(memory_format=torch.channels_last)
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow)


def test_features_are_means_over_all_places():
    network = ResNet(3, 4, [4, 8, 16], 1, 1)
    x = torch.randn(2, 3, 16, 16)
    maps = network.blocks(nn.functional.relu(network.norm(network.conv(x))))
    assert maps.shape[2:] == (4, 4)
    torch.testing.assert_close(network(x), maps.mean(dim=(2, 3)))


def test_a_first_stride_of_two_halves_every_map():
    sizes = []
    for stride in (1, 2):
        network = tiny_network(first_stride=stride)
        network.backbone.blocks.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[-1]))
        network(random_images(2))
    assert sizes == [4, 2]
