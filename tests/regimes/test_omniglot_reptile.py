"""Reptile on Omniglot as its authors had it: the outer step, the tasks, and a test without transduction."""

import copy

import numpy as np
import omniglot_reptile as script
import pytest
import torch

from oneshot.data.sampling import ClassPool, random_stream


@pytest.fixture
def training():
    torch.manual_seed(0)
    drawings, characters = torch.rand(36, 1, 28, 28) > 0.1, np.arange(36).reshape(3, 12)
    return script.reptile(script.OmniglotLearner(drawings, list(characters)), outer_steps=4)


def test_an_outer_step_is_the_papers(training):
    learner = training.learner
    learner.images = learner.images.double()  # in float32, Adam's first steps make rounding visible
    start = copy.deepcopy(learner.network.double())
    squares = [torch.zeros_like(weight) for weight in start.parameters()]  # Adam's second moment
    for step in range(2):  # the second goes on from the first's state of Adam
        ends = []
        for task in range(5):
            network, moments = copy.deepcopy(start), [square.clone() for square in squares]
            weights, rng = list(network.parameters()), random_stream(0, "meta", step, task)
            batches = learner.batches(rng, rng.choice(12, 5, replace=False), 5)
            for count, (rows, labels, *_) in enumerate(batches, start=5 * step + 1):
                loss = torch.nn.functional.cross_entropy(network(learner.images[rows]), labels)
                for weight, moment, slope in zip(weights, moments, torch.autograd.grad(loss, weights), strict=True):
                    moment.mul_(0.999).add_(slope**2, alpha=0.001)
                    weight.data -= 0.001 * slope / ((moment / (1 - 0.999**count)).sqrt() + 1e-8)
            ends.append([(weight.data, moment) for weight, moment in zip(weights, moments, strict=True)])
        for place, weight in enumerate(start.parameters()):
            weight.data += (1 - step / 4) * (sum(end[place][0] for end in ends) / 5 - weight.data)
            squares[place] = sum(end[place][1] for end in ends) / 5
        training.step(step)
        expected = [weight.data for weight in start.parameters()]
        torch.testing.assert_close(learner.weights(), expected, rtol=0, atol=1e-12)


def test_a_task_has_ten_drawings_of_five_classes_each_seen_once(training):
    classes = np.array([11, 0, 3, 7, 5])
    batches = training.learner.batches(random_stream(0, "meta"), classes, 5)
    rows, labels = torch.cat([batch.draws for batch in batches]), torch.cat([batch.labels for batch in batches])
    assert len(rows.unique()) == 50 and labels.bincount().tolist() == [10] * 5
    assert (torch.tensor(classes)[labels] == rows // 36 * 3 + rows % 36 // 12).all()


def test_an_episode_leaves_everything_as_it_was_and_asks_for_one_query_at_a_time(training):
    training.step(0)
    before, sizes = copy.deepcopy((training.learner.weights(), training.optimizer.state_dict())), []
    training.learner.network.register_forward_hook(lambda network, inputs, output: sizes.append(len(output)))
    pool = ClassPool(training.learner.pool.images[:5])
    assert script.episode_accuracy(training, pool, 5, 0) == script.episode_accuracy(training, pool, 5, 0)
    assert sizes == ([5] * 50 + [26] * 5) * 2
    torch.testing.assert_close((training.learner.weights(), training.optimizer.state_dict()), before, rtol=0, atol=0)
