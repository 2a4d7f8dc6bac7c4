"""The ResNet's shape, its batch-norm statistics, and its file."""

import numpy as np
import pytest
import torch
from helpers import tiny_learner, tiny_params
from PIL import Image
from torch import nn

from oneshot.classic import ClassicTraining
from oneshot.errors import UserError
from oneshot.network import (
    ResidualBlock,
    SiameseNetwork,
    _views,
    batch_norms,
    channel_statistics,
    embed,
    estimate_batch_norm,
    load_model,
    new_network,
    save_model,
)


def network(blocks=1, width=4, first_stride=1, norm=False, mean=(120.0, 110.0, 100.0)):
    torch.manual_seed(0)
    shape = {"stem": width, "widths": [width, 2 * width, 4 * width], "blocks": [blocks] * 3}
    return SiameseNetwork("small", shape | {"first_stride": first_stride}, norm, mean, (60.0, 61.0, 62.0))


def images(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(("depth", "weights"), [(20, 269_722 - 650), (56, 853_018 - 650)])
def test_layers_and_weights_are_those_of_the_paper(depth, weights):
    """CIFAR-10's ResNet-20 and -56 have 0.27 M and 0.85 M weights (He et al. 2016, table 6), 650 in the last layer."""
    net = network((depth - 2) // 6, 16)
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == depth - 1
    assert sum(w.numel() for w in net.parameters()) == weights


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
    net = network().backbone
    x = torch.randn(2, 3, 16, 16)
    maps = net.blocks(nn.functional.relu(net.norm(net.conv(x))))
    torch.testing.assert_close(net(x), maps.mean(dim=(2, 3)))


@pytest.mark.parametrize("shape", [{}, {"first_stride": 2}, {"norm": True}])
def test_embeddings_are_unit_vectors(shape):
    vectors = network(**shape)(images(5))
    assert vectors.shape == (5, 16) and vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(5))


def test_normalisation_is_part_of_the_network():
    net = network().eval()
    shifted = network(mean=(20.0, 10.0, 0.0)).eval()
    shifted.load_state_dict(net.state_dict())
    dark = images(3) // 2
    torch.testing.assert_close(net(dark + 100), shifted(dark))


def test_estimated_statistics_are_the_mean_over_batches():
    net, seen = network(), []
    net.backbone.norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    batches = [images(8, seed=s) for s in range(3)]
    net.eval()
    estimate_batch_norm(net, batches)
    expected = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
    torch.testing.assert_close(net.backbone.norm.running_mean, expected)
    assert not net.training and all(m.momentum == 0.1 for m in batch_norms(net))


def test_without_their_batch_norm_features_are_never_negative_and_with_it_they_are_centred():
    assert (network()(images(8)) >= 0).all()
    with_norm = network(norm=True).train()(images(64))
    assert (with_norm < 0).any()
    assert len(batch_norms(network(norm=True))) == len(batch_norms(network())) + 1


def test_a_first_stride_of_two_halves_every_map():
    sizes = []
    for stride in (1, 2):
        net = network(first_stride=stride)
        net.backbone.blocks.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[-1]))
        net(images(2))
    assert sizes == [4, 2]


@pytest.fixture(scope="module")
def resnet18_file(tmp_path_factory):
    """Weights such as torchvision's, of random values: the file has all that the published one has."""
    from torchvision.models import resnet18

    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(resnet18(weights=None).state_dict(), path)
    return path


@pytest.mark.parametrize("colours", [1, 3])
def test_resnet18_starts_from_a_local_file(resnet18_file, colours):
    params = tiny_params(backbone="resnet18", pretrained_weights=str(resnet18_file), embedding_norm=False)
    net = new_network(params, [120.0] * colours, [60.0] * colours).eval()
    saved = torch.load(resnet18_file, weights_only=True)
    assert torch.equal(net.backbone.network.conv1.weight, saved["conv1.weight"])
    vectors = net(images(2)[:, :colours])
    assert vectors.shape == (2, 512)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))


def test_resnet18_trains_and_is_saved_as_any_network(resnet18_file, tmp_path):
    params = tiny_params(backbone="resnet18", pretrained_weights=str(resnet18_file))
    learner = tiny_learner(params)
    before = learner.network.backbone.network.layer4[1].conv2.weight.clone()
    ClassicTraining(params, learner).step(0)
    assert not torch.equal(learner.network.backbone.network.layer4[1].conv2.weight, before)
    save_model(tmp_path / "model.pt", learner.network, {})
    loaded, _ = load_model(tmp_path / "model.pt")
    grey = images(2)[:, :1]
    torch.testing.assert_close(loaded(grey), learner.network.eval()(grey))


@pytest.mark.parametrize("content", [None, b"broken", "other"])
def test_pretrained_weights_that_do_not_fit_are_named(tmp_path, content):
    path = tmp_path / "weights.pth"
    if content == "other":
        torch.save({"weight": torch.ones(2)}, path)
    elif content:
        path.write_bytes(content)
    params = tiny_params(backbone="resnet18", pretrained_weights=str(path))
    with pytest.raises(UserError, match="pretrained_weights: found") as error:
        new_network(params, [120.0], [60.0])
    assert "\n" not in str(error.value)


def test_a_warm_start_takes_a_models_weights_and_counts_its_images(tmp_path):
    earlier = network()
    save_model(tmp_path / "model.pt", earlier, {"images": 1234, "seen_classes": ["wolf"]})
    shape = {"resnet_stem": 4, "resnet_widths": [4, 8, 16], "resnet_blocks": [1, 1, 1], "resnet_first_stride": 1}
    params = tiny_params(pretrained_weights=str(tmp_path / "model.pt"), embedding_norm=False, **shape)
    warm = new_network(params, earlier.config["mean"], earlier.config["std"])
    for ours, theirs in zip(warm.state_dict().values(), earlier.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    assert (warm.images_before, earlier.images_before) == (1234, 0)
    assert warm.classes_before == ["wolf"]  # which a split that holds wolf out refuses
    with pytest.raises(UserError, match="a model of this project of the same shape"):
        new_network(params.model_copy(update={"resnet_widths": [4, 8, 32]}), [120.0], [60.0])


@pytest.mark.parametrize("views", [2, 10, 12])
def test_views_do_not_tell_an_image_from_its_mirror_image(views):
    net, batch = network(), images(4)
    vectors, mirrored = embed(net, batch, views), embed(net, batch.flip(3), views)
    torch.testing.assert_close(vectors, mirrored)
    assert not torch.allclose(embed(net, batch, 1), embed(net, batch.flip(3), 1))


def test_ten_views_are_the_image_and_four_shifted_ones_each_beside_its_mirror_image():
    net, batch = network(), images(3)
    expected = torch.zeros(3, 16)
    for down, right in [(0, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)]:  # a sixteenth of 16 pixels
        view = torch.zeros_like(batch)
        for y in range(16):
            for x in range(16):
                if 0 <= y + down < 16 and 0 <= x + right < 16:
                    view[:, :, y, x] = batch[:, :, y + down, x + right]
        expected += embed(net, view, 1) + embed(net, view.flip(3), 1)
    torch.testing.assert_close(embed(net, batch, 10), nn.functional.normalize(expected, dim=1))


def test_twelve_views_add_the_enlarged_image_beside_its_mirror_image():
    net, batch = network(), images(3)
    planes = [Image.fromarray(plane) for plane in batch.numpy().astype(np.float32).reshape(-1, 16, 16)]
    larger = [np.asarray(plane.resize((20, 20), Image.Resampling.BICUBIC)) for plane in planes]
    larger = torch.from_numpy(np.stack(larger).reshape(3, 3, 20, 20))
    ten = sum(net.eval()(view) for view in _views(batch, 10))
    expected = (ten + net(larger) + net(larger.flip(3))).detach()
    torch.testing.assert_close(embed(net, batch, 12), nn.functional.normalize(expected, dim=1), rtol=1e-3, atol=1e-4)


def test_embedding_in_pieces_changes_nothing():
    net, batch = network(), images(7)
    torch.testing.assert_close(embed(net, batch, 1, batch=3), embed(net, batch, 1, batch=100))


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
