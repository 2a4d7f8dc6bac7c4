"""The objective that both trainings share, put together by hand."""

import numpy as np
import pytest
import torch
from helpers import tiny_learner, tiny_params

from oneshot.data.sampling import Batch

CLASSES = np.array([3, 0, 2])
BATCH = Batch(np.array([36, 37, 0, 1, 24, 25]), np.array([3, 3, 0, 0, 2, 2]))


@pytest.mark.parametrize(("triplet", "softmax"), [(1.0, 0.0), (0.0, 1.0), (0.5, 2.0)])
def test_loss_is_the_sum_of_the_losses(triplet, softmax):
    changes = {"loss.triplet_weight": triplet, "loss.softmax_weight": softmax, "batch.augmentation": "none"}
    learner = tiny_learner(tiny_params(changes))
    found = learner.loss(learner.inputs(BATCH, CLASSES, np.random.default_rng(0)))
    vectors = learner.network(learner.store.batch(BATCH.images))
    targets = torch.tensor([0, 0, 1, 1, 2, 2]), torch.from_numpy(CLASSES), 3
    expected = sum(loss(vectors, *targets) for loss in learner.losses)
    assert len(learner.losses) == (triplet > 0) + (softmax > 0)
    assert len(learner.weights()) == len(list(learner.network.parameters())) + (softmax > 0)  # its proxies learn, too
    torch.testing.assert_close(found, expected)


def test_images_of_rotated_classes_are_turned():
    learner = tiny_learner(tiny_params({"batch.augmentation": "crop_flip_cutout_rotate"}))
    batch, classes = Batch(BATCH.images, np.array([18, 18, 0, 0, 7, 7])), np.array([18, 0, 7])
    inputs, seen = learner.inputs(batch, classes, np.random.default_rng(0)), []
    learner.network.register_forward_pre_hook(lambda _, images: seen.append(images[0]))
    learner.loss(inputs)
    turns = [3, 3, 0, 0, 1, 1]  # labels over the number of classes, 5
    upright = learner.store.augment(inputs.draws)
    turned = [image.rot90(number, (1, 2)) for image, number in zip(upright, turns, strict=True)]
    assert torch.equal(seen[0], torch.stack(turned))
    assert len(learner.losses[-1].proxies) == 20


def test_images_for_statistics_are_turned_as_those_of_training():
    learner = tiny_learner(tiny_params({"batch.augmentation": "crop_flip_cutout_rotate"}))
    found, rng = learner.mixed_images(np.random.default_rng(1)), np.random.default_rng(1)
    batch = learner.pool.random_batch(rng, len(found))
    turns, upright = batch.labels // 5, learner.store.augmented(batch.images, rng)
    expected = [image.rot90(number, (1, 2)) for image, number in zip(upright, turns, strict=True)]
    assert torch.equal(found, torch.stack(expected)) and set(turns) == {0, 1, 2, 3}
