"""Test-time augmentation beside its views made pixel by pixel."""

import numpy as np
import torch
from helpers import random_images, tiny_network
from PIL import Image
from torch import nn

from oneshot.model.embedding import embed


def test_views_are_the_image_shifted_ones_and_an_enlarged_one_each_beside_its_mirror_image():
    network, images = tiny_network(), random_images(3)

    def both(views):
        return embed(network, views) + embed(network, views.flip(3))

    total = both(images)
    torch.testing.assert_close(embed(network, images, "flip"), nn.functional.normalize(total, dim=1))
    for down, right in [(-1, -1), (-1, 1), (1, -1), (1, 1)]:  # a sixteenth of 16 pixels
        view = torch.zeros_like(images)
        for y in range(16):
            for x in range(16):
                if 0 <= y + down < 16 and 0 <= x + right < 16:
                    view[:, :, y, x] = images[:, :, y + down, x + right]
        total += both(view)
    torch.testing.assert_close(embed(network, images, "flip_shift"), nn.functional.normalize(total, dim=1))
    planes = [Image.fromarray(plane) for plane in images.numpy().astype(np.float32).reshape(-1, 16, 16)]
    larger = [np.asarray(plane.resize((20, 20), Image.Resampling.BICUBIC)) for plane in planes]
    total += both(torch.from_numpy(np.stack(larger).reshape(3, 3, 20, 20)))
    found = embed(network, images, "flip_shift_zoom")
    torch.testing.assert_close(found, nn.functional.normalize(total, dim=1), rtol=1e-3, atol=1e-4)


def test_embedding_in_pieces_changes_nothing():
    network, images = tiny_network().train(), random_images(103)
    torch.testing.assert_close(embed(network, images), torch.cat([embed(network, part) for part in images.split(50)]))
    assert not network.training
