"""Whole-batch augmentation against one image at a time."""

import numpy as np
import pytest
import torch

from oneshot.data.images import ImageStore, rotated

NAMES = ("crop_flip_cutout", "crop_flip_cutout_rotate")


def store(augmentation, side=16):
    images = np.random.default_rng(0).integers(1, 256, (10, side, side, 3), dtype=np.uint8)
    return images, ImageStore(images, torch.device("cpu"), augmentation)


def test_batch_is_channels_first_and_unchanged_and_alone_a_copy():
    images, kept = store("none")
    assert np.shares_memory(kept.images.numpy(), images)
    rows = np.array([3, 3, 7])
    assert (kept.batch(rows).numpy() == images[rows].transpose(0, 3, 1, 2)).all()
    assert torch.equal(kept.augmented(rows, np.random.default_rng(0)), kept.batch(rows))


@pytest.mark.parametrize(("augmentation", "flips"), [("crop", {False}), ("crop_flip", {False, True})])
def test_every_augmented_image_is_a_shifted_perhaps_mirrored_original(augmentation, flips):
    images, kept = store(augmentation)
    rows = np.arange(10).repeat(20)
    found, again = (kept.augmented(rows, np.random.default_rng(1)).numpy() for _ in range(2))
    assert (found == again).all() and (found != kept.augmented(rows, np.random.default_rng(2)).numpy()).any()
    seen_shifts, seen_flips = set(), set()
    for row, image in zip(rows, found, strict=True):
        padded = np.pad(images[row].transpose(2, 0, 1), ((0, 0), (2, 2), (2, 2)))
        ((y, x, flip),) = (
            (y, x, flip)
            for y in range(5)
            for x in range(5)
            for flip in (False, True)
            if np.array_equal(image[:, :, ::-1] if flip else image, padded[:, y : y + 16, x : x + 16])
        )
        seen_shifts.add((y, x))
        seen_flips.add(flip)
    assert len(seen_shifts) == 25 and seen_flips == flips


def test_cutout_blackens_one_square_of_a_third_of_the_side():
    _, kept = store("crop_flip_cutout", side=18)
    _, without = store("crop_flip", side=18)
    rows = np.arange(10).repeat(60)
    found = kept.augmented(rows, np.random.default_rng(3)).numpy()
    whole = without.augmented(rows, np.random.default_rng(3)).numpy()  # the same shifts and mirror images
    sides = set()
    for image, plain in zip(found, whole, strict=True):
        changed = np.argwhere((image != plain).any(0))  # all is equal outside their bounds
        if len(changed):
            (top, left), (bottom, right) = changed.min(0), changed.max(0) + 1
            assert (image[:, top:bottom, left:right] == 0).all()
            sides |= {bottom - top, right - left}
    assert sides == {1, 2, 3, 4, 5, 6}  # the square may begin or end outside


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((0, 0, 0, 0, 0, 0), (5, 12)),
        ((0, 0, 100, 0, 0, 0), (5, 10)),  # all the way: an eighth of the side to the left
        ((0, 0, 0, 0, 0, -100), (7, 12)),  # and down
        ((0, 100, 0, 0, 0, 0), (5, 12.5)),  # slanted: what lies 2.5 above the middle moves right by a fifth of that
        ((0, 100, 0, -100, 0, 0), (5.96, 12.31)),  # turned by a fifth, and smaller by a fiftieth
        ((-100, 0, 0, 0, 0, 0), (5, 13.125)),  # stretched to 5 / 4: 4.5 from the middle are 5.6
    ],
)
def test_elastic_moves_a_point_to_where_its_map_says(numbers, expected):
    images = np.zeros((1, 16, 16, 3), dtype=np.uint8)
    images[0, 5, 12] = 250
    kept = ImageStore(images, torch.device("cpu"), "elastic")
    (image,) = kept.augment(torch.tensor([0, *numbers, *[0] * 50])[:, None]).numpy()
    weights = image[0] / image.sum() * 3
    where = [(weights.sum(axis) * np.arange(16)).sum() for axis in (1, 0)]
    assert np.allclose(where, expected, atol=0.05)
    draws = kept.draw(np.zeros(3000, dtype=np.int64), np.random.default_rng(0))
    assert (draws[1:].min(1) == -100).all() and (draws[1:].max(1) == 100).all()


@pytest.mark.parametrize(("direction", "expected"), [(0, 10 * 1.275), (1, 4 * 1.275)])
def test_elastic_bends_at_one_point_of_its_grid(direction, expected):
    rows, columns = np.mgrid[:17, :17]
    images = np.repeat((10 * columns + 4 * rows).astype(np.uint8)[None, :, :, None], 3, axis=3)
    bends = np.zeros((2, 5, 5), dtype=int)
    bends[direction, 2, 1] = 100  # the whole way: 0.15 of half a side
    (image,) = ImageStore(images, torch.device("cpu"), "elastic").augment(
        torch.tensor([0, *[0] * 6, *bends.flat])[:, None]
    )
    change = image[0, ::4, ::4].numpy() - images[0, ::4, ::4, 0].astype(float)
    assert change[2, 1] == pytest.approx(expected, abs=0.5) and np.count_nonzero(change) == 1


def test_elastic_is_the_same_where_layers_compute_in_bfloat16():
    _, kept = store("elastic")
    draws = torch.from_numpy(kept.draw(np.arange(10), np.random.default_rng(0)))
    with torch.autocast("cpu", torch.bfloat16):
        inside = kept.augment(draws)
    assert torch.equal(inside, kept.augment(draws))


def test_without_classes_none_is_turned():
    plain, rotating = (store(name)[1].augmented(np.arange(10), np.random.default_rng(3)) for name in NAMES)
    assert torch.equal(plain, rotating)


def test_each_image_is_turned_by_its_own_number_of_right_angles():
    images, turns = torch.from_numpy(store("none")[0]).permute(0, 3, 1, 2), torch.arange(10) % 4
    for image, turn, found in zip(images.numpy(), turns, rotated(images, turns).numpy(), strict=True):
        assert (found == np.rot90(image, turn, axes=(1, 2))).all()
