"""The file of a network: the same bytes each time, the network again, or one line on what is wrong with it."""

import math
import re

import pytest
import torch
from helpers import random_images, refusal, tiny_network, tiny_params

from oneshot.model.model_file import load_model, save_model, save_tensors, start_from
from oneshot.model.network import new_network


@pytest.mark.parametrize(("half", "members"), [(False, 1), (True, 1), (False, 3)])
def test_a_file_gives_the_network_again_and_has_the_same_bytes_each_time(tmp_path, half, members):
    network, about = tiny_network(members=members), {"method": "classic", "seen_classes": ["apple"]}
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        save_model(path, network, about, half)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    loaded, found = load_model(paths[0])
    assert found == about and loaded.config == network.config and not loaded.training
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32, torch.int64}
    tolerance = {"rtol": 0.01, "atol": 0.01} if half else {"rtol": 0, "atol": 1e-6}
    torch.testing.assert_close(loaded(random_images(2)), network.eval()(random_images(2)), **tolerance)


def test_a_broken_or_missing_model_is_named(tmp_path):
    (tmp_path / "broken").write_bytes(b"not a model")
    torch.save({"weight": torch.ones(2)}, tmp_path / "other")
    for name, words in (("broken", "not a model"), ("other", "not a model"), ("missing", "not found")):
        assert f"{name}: {words}" in refusal(load_model, tmp_path / name)


@pytest.mark.parametrize(
    ("odd", "where"),
    [
        ({"blocks": 10**6}, "network.blocks: found 1000000; must be at most 100"),
        ({"widths": [4, 8, 8000]}, r"network.widths\[2\]: found 8000; must be at most 2048"),
        ({"first_stride": "2"}, "network.first_stride: found '2'; must be a whole number"),
        ({"members": 17}, "network.members: found 17; must be at most 16"),
        ({"members": 16}, r".*its tensors are not those of its network"),
        ({"mean": []}, r"network.mean: found \[\]"),
        ({"std": [1.0]}, r".*network.mean and network.std: must be of 1 or 3 channels"),
        ({"blocks": 100, "widths": [2048] * 5, "stem": 2048}, r".*its tensors are not those of its network"),
    ],
)
def test_an_odd_network_is_refused_before_it_is_built(tmp_path, odd, where):
    network = tiny_network()
    save_tensors(tmp_path / "odd", network.state_dict(), {"network": network.config.model_dump() | odd})
    told = refusal(load_model, tmp_path / "odd")
    assert re.search(f"odd: not a model of this project(: | \\(ValueError: )?{where}", told)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    network = tiny_network()
    network.backbone.conv.weight.data[0, 0, 0, 0] = math.nan
    save_model(tmp_path / "odd", network, {})
    assert "a weight is no finite number" in refusal(load_model, tmp_path / "odd")


def test_a_warm_start_takes_a_models_weights_and_tells_what_it_has_seen(tmp_path):
    earlier, path = tiny_network(), tmp_path / "model"
    save_model(path, earlier, {"images": 1234, "seen_classes": ["wolf"]})
    params = tiny_params({"network.embedding_norm": False}).network
    warm = new_network(params, [0.0] * 3, [1.0] * 3)
    assert start_from(warm, path, []) == {"images": 1234, "seen_classes": ["wolf"]}
    for ours, theirs in zip(warm.state_dict().values(), earlier.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    other = new_network(params.model_copy(update={"widths": [4, 8, 32]}), [0.0] * 3, [1.0] * 3)
    assert "; must be one network of the same shape" in refusal(start_from, other, path, [])
