"""Images in, unit vectors out."""

import pytest
import torch
from helpers import random_images, tiny_network

from oneshot.model.network import batch_norms


@pytest.mark.parametrize("shape", [{}, {"first_stride": 2}, {"embedding_norm": True}, {"widths": [8], "blocks": 2}])
def test_embeddings_are_unit_vectors(shape):
    network = tiny_network(**shape)
    vectors = network(random_images(5))
    assert vectors.shape == (5, network.dimensions) and vectors.dtype == torch.float32
    assert network.dimensions == network.config["widths"][-1]
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(5))


def test_normalisation_is_part_of_the_network():
    network, shifted = tiny_network().eval(), tiny_network(mean=(20.0, 10.0, 0.0)).eval()
    dark = random_images(3) // 2
    torch.testing.assert_close(network(dark + 100), shifted(dark))


def test_without_their_batch_norm_features_are_never_negative_and_with_it_they_are_centred():
    plain, with_norm = tiny_network(), tiny_network(embedding_norm=True)
    assert (plain(random_images(8)) >= 0).all()
    assert (with_norm.train()(random_images(64)) < 0).any()
    assert len(batch_norms(with_norm)) == len(batch_norms(plain)) + 1
