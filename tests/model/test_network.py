"""Images in, unit vectors out."""

import pytest
import torch
from helpers import random_images, tiny_network


@pytest.mark.parametrize(
    "shape", [{}, {"first_stride": 2}, {"embedding_norm": True}, {"widths": [8], "blocks": 2}, {"members": 3}]
)
def test_embeddings_are_unit_vectors(shape):
    network = tiny_network(**shape)
    vectors = network(random_images(5))
    assert vectors.shape == (5, network.dimensions) and vectors.dtype == torch.float32
    assert network.dimensions == network.config.widths[-1] * shape.get("members", 1)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(5))
    assert (vectors >= 0).all() or network.config.embedding_norm  # which centres features


def test_normalisation_is_part_of_the_network():
    network, shifted = tiny_network().eval(), tiny_network(mean=(20.0, 10.0, 0.0)).eval()
    dark = random_images(3) // 2
    torch.testing.assert_close(network(dark + 100), shifted(dark))
