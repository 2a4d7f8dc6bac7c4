"""True Reptile: how all weights adapt to a support set, and what is measured on the way."""

import numpy as np
import pytest
import torch
import true_reptile
import yaml
from helpers import tiny_params

from oneshot.data.dataset import save_dataset
from oneshot.data.split import make_split, save_split
from oneshot.evaluation.episodes import draw_supports, episode_accuracy, prototype
from oneshot.model.embedding import embed
from oneshot.model.model_file import save_model
from oneshot.model.network import new_network


@pytest.fixture
def tested(tmp_path, small):
    """A random network beside digits that are unseen."""
    params = tiny_params()
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.model_dump()))
    save_dataset(tmp_path / "data/dataset", small)
    save_split(tmp_path / "data/split.json", make_split(small, params), small)
    torch.manual_seed(0)
    save_model(tmp_path / "results/trained/meta/model.safetensors", new_network(params.network, [80.0], [90.0]), {})
    return true_reptile.Tested(tmp_path, "meta", "unseen")


def test_before_any_step_it_is_the_frozen_network(tested):
    network, images = tested.network, tested.images
    drawn = draw_supports([len(rows) for rows in tested.supports], 5, 3, tested.params.seed)
    rows = [of_class[places] for of_class, places in zip(tested.supports, drawn, strict=True)]
    prototypes = torch.stack([prototype(embed(network, images.batch(of_class))) for of_class in rows])
    expected = episode_accuracy(
        prototypes[None], embed(network, tested.test_images.batch(tested.queries)), np.repeat(range(3), 10)
    )
    after, before = tested.accuracies(3, 5, "sgd", 3.0, (4, 0))
    assert before == expected[0] and after != before
    assert tested.accuracies(3, 5, "sgd", 3.0, (4, 0)) == [after, before]  # the network stayed as it was


@pytest.mark.parametrize("shots", [1, 5])
def test_steps_of_all_weights_lower_the_loss_of_the_support_set(tested, shots):
    tested.images.augmentation = "none"  # so that losses compare
    chosen = np.stack([rows[:shots] for rows in tested.supports])
    learner = tested.learner(chosen)
    optimizer = learner.optimizer("sgd", 0.05, momentum=0.0)
    rng, classes, losses = np.random.default_rng(0), np.arange(3), []
    for batch in learner.batches(rng, classes, 30):
        assert sorted(batch.images) == sorted(chosen.reshape(-1))
        losses.append(true_reptile.OptimizerStep(learner, optimizer)(learner.inputs(batch, classes, rng), 0.05).item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(not torch.equal(a, b) for a, b in zip(learner.parameters(), tested.network.parameters(), strict=False))
