"""Batches hold what they promise: classes, counts, anchors, positives and negatives."""

import numpy as np
import pytest

from oneshot.data.sampling import STREAMS, ClassPool, random_stream


@pytest.fixture
def pool():
    return ClassPool([np.arange(100 * c, 100 * c + 7 + c) for c in range(6)])


def class_of(images):
    return images // 100


def test_pk_batches_lie_class_after_class(pool):
    rng = random_stream(1, "classic", 0)
    classes = pool.draw_classes(rng, 3)
    for batch in pool.pk_batches(rng, classes, size=12, steps=4):
        assert (batch.labels == np.repeat(classes, 4)).all()
        assert (class_of(batch.images) == batch.labels).all()


def test_rotated_classes_are_further_ones_and_half_of_those_drawn_first(pool):
    rotating, rng = ClassPool(pool.images, rotate=True), random_stream(1, "classic", 0)
    assert (len(rotating), rotating.upright) == (24, 6)
    drawn = np.concatenate([rotating.draw_classes(rng, 1) for _ in range(4000)])
    upright, *rotated = np.bincount(drawn // 6) / 4000
    assert upright == pytest.approx(1 / 2, abs=0.03) and rotated == pytest.approx([1 / 6] * 3, abs=0.03)
    assert len(set(rotating.draw_classes(rng, 24))) == 24
    (batch,) = rotating.pk_batches(rng, np.array([2, 20, 8]), size=12, steps=1)
    assert (batch.labels == np.repeat([2, 20, 8], 4)).all() and set(class_of(batch.images)) == {2}


def test_random_images_are_turned_as_often_as_their_classes_are_drawn(pool):
    for rotate, expected in ((False, [1, 0, 0, 0]), (True, [1 / 2, 1 / 6, 1 / 6, 1 / 6])):
        batch = ClassPool(pool.images, rotate).random_batch(random_stream(1, "batch_norm", 1), 6000)
        assert np.bincount(batch.labels // 6, minlength=4) / 6000 == pytest.approx(expected, abs=0.03)
        assert set(batch.images) == set(np.concatenate(pool.images))
        assert (class_of(batch.images) == batch.labels % 6).all()


def test_no_image_comes_again_before_all_of_its_class_came(pool):
    batches = pool.pk_batches(random_stream(1, "classic", 0), np.array([0, 1]), size=4, steps=4)
    drawn = np.concatenate([batch.images for batch in batches])
    zero, one = drawn[class_of(drawn) == 0], drawn[class_of(drawn) == 1]
    assert len(set(zero[:7])) == 7 and len(set(one)) == 8  # 7 and 8 images; 8 drawn of each


@pytest.mark.parametrize("classes", [[2], [0, 4], list(range(6))])
def test_triplets(pool, classes):
    (batch,) = pool.triplet_batches(random_stream(3, "meta", 0), np.array(classes), size=300, steps=1)
    (of_anchors, of_positives, of_negatives), (anchors, positives, _) = (
        np.split(values, 3) for values in (class_of(batch.images), batch.images)
    )
    assert set(of_anchors) == set(classes) and (anchors != positives).all()
    assert (of_anchors == of_positives).all() and (of_anchors != of_negatives).all()
    # One class stands against all others; several against each other.
    assert set(of_negatives) == (set(range(6)) - {2} if classes == [2] else set(classes))
    assert (class_of(batch.images) == batch.labels).all()


def test_a_lone_image_is_its_own_positive():
    pool = ClassPool([np.array([5]), np.array([1, 2, 3])])
    (batch,) = pool.triplet_batches(random_stream(1, "supports", 0), np.array([0]), size=9, steps=1)
    assert (batch.images[:6] == 5).all()


def test_draws_depend_on_seed_purpose_and_place_alone():
    def draw(*place):
        return random_stream(*place).integers(0, 2**40)

    same = draw(1, "meta", 5, 2)
    assert draw(1, "meta", 5, 2) == same
    assert len({same, draw(2, "meta", 5, 2), draw(1, "classic", 5, 2), draw(1, "meta", 6, 2), draw(1, "meta", 5)}) == 5
    assert len(set(STREAMS.values())) == len(STREAMS)
