"""The ResNet's shape, its batch-norm statistics, and its file."""

import numpy as np
import pytest
import torch
from torch import nn

from oneshot.errors import UserError
from oneshot.network import (
    SiameseResNet,
    batch_norms,
    channel_statistics,
    embed,
    estimate_batch_norm,
    load_model,
    save_model,
)


def network(depth=8, width=4):
    torch.manual_seed(0)
    return SiameseResNet(depth, width, [120.0, 110.0, 100.0], [60.0, 61.0, 62.0])


def images(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(("depth", "weights"), [(20, 269_722 - 650), (56, 853_018 - 650)])
def test_layers_and_weights_are_those_of_the_paper(depth, weights):
    """CIFAR-10's ResNet-20 and -56 have 0.27 M and 0.85 M weights (He et al. 2016, table 6), 650 in the last layer."""
    net = network(depth, 16)
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == depth - 1
    assert sum(w.numel() for w in net.parameters()) == weights


def test_embeddings_are_unit_vectors():
    vectors = network()(images(5))
    assert vectors.shape == (5, 16) and vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(5))


def test_normalisation_is_part_of_the_network():
    net = network().eval()
    shifted = SiameseResNet(8, 4, [20.0, 10.0, 0.0], [60.0, 61.0, 62.0]).eval()
    shifted.load_state_dict(net.state_dict())
    dark = images(3) // 2
    torch.testing.assert_close(net(dark + 100), shifted(dark))


def test_estimated_statistics_are_the_mean_over_batches():
    net, seen = network(), []
    net.norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    batches = [images(8, seed=s) for s in range(3)]
    net.eval()
    estimate_batch_norm(net, batches)
    expected = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
    torch.testing.assert_close(net.norm.running_mean, expected)
    assert not net.training and all(m.momentum == 0.1 for m in batch_norms(net))


def test_flip_average_does_not_tell_an_image_from_its_mirror_image():
    net, batch = network(), images(4)
    vectors, mirrored = embed(net, batch, True), embed(net, batch.flip(3), True)
    torch.testing.assert_close(vectors, mirrored)
    assert not torch.allclose(embed(net, batch, False), embed(net, batch.flip(3), False))


def test_embedding_in_pieces_changes_nothing():
    net, batch = network(), images(7)
    torch.testing.assert_close(embed(net, batch, False, batch=3), embed(net, batch, False, batch=100))


def test_model_file_round_trip_and_equal_bytes(tmp_path):
    net, about = network(), {"method": "classic", "seen_classes": ["apple"]}
    for name in ("a.pt", "b.pt"):
        save_model(tmp_path / name, net, about)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    loaded, found = load_model(tmp_path / "a.pt")
    assert found == about
    torch.testing.assert_close(loaded(images(2)), net.eval()(images(2)))


def test_a_broken_or_missing_model_is_named(tmp_path):
    (tmp_path / "broken.pt").write_bytes(b"not a model")
    for name in ("broken.pt", "missing.pt"):
        with pytest.raises(UserError, match=name):
            load_model(tmp_path / name)


def test_channel_statistics():
    values = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    mean, std = channel_statistics(values)
    np.testing.assert_allclose(mean, values.reshape(-1, 3).mean(0))
    np.testing.assert_allclose(std, values.reshape(-1, 3).std(0), rtol=1e-6)
