"""Is this project's Reptile the paper's? Nichol, Achiam & Schulman 2018 (arXiv 1803.02999) on Omniglot, 5-way.

    python regimes/omniglot_reptile.py OMNIGLOT    # a folder of drawings for each character; two hours on one core

The outer step is `ReptileTraining.step`; network, data and numbers are those of github.com/openai/supervised-reptile.
What differs: 800 characters to train and 164 to test, not 1,200 and 423, of 12 to 20 drawings; Adam's state is averaged
over an outer step's tasks, theirs goes from one to the next; no biases before batch norm, which undoes them; even
padding. Nothing was chosen on test classes.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from _question import ROOT
from PIL import Image
from torch import Tensor, nn

from oneshot.common.files import write_json
from oneshot.common.stage import Parser, run_stage
from oneshot.data.sampling import ClassPool, _cycle, random_stream
from oneshot.evaluation.episodes import estimate
from oneshot.hardware.device import HardwareParams, describe, keep_freed_memory, set_up
from oneshot.sources.pictures import find_classes
from oneshot.training.checkpoint import Checkpoint
from oneshot.training.learner import Inputs
from oneshot.training.reptile import ReptileParams, ReptileTraining
from oneshot.training.weights import assign, clone, optimizer_state, set_optimizer_state

SEED, OUTER_STEPS, WAYS, TRAINING_CHARACTERS, PAPER = 0, 100_000, 5, 800, {"1": 95.39, "5": 98.90}  # percent
TRAIN_SHOTS, BATCH, TEST_BATCH, TEST_STEPS, EPISODES = 10, 10, 5, 50, 2000
REPTILE = ReptileParams(task_classes=WAYS, meta_batch_size=5, inner_steps=5, inner_optimizer="adam", inner_momentum=0.0,
    inner_learning_rate=1e-3, inner_state="keep", schedule="linear", batch_norm="reestimate")  # fmt: skip


def read_characters(folder: Path) -> tuple[Tensor, list[np.ndarray]]:
    """All drawings (N, 1, 28, 28), ink False, and the rows of each character, in order of its name."""
    characters = find_classes(folder)  # drawings are of one bit: resized by the nearest pixels
    drawings = [np.asarray(Image.open(path).resize((28, 28))) for paths in characters.values() for path in paths]
    ends = np.cumsum([len(paths) for paths in characters.values()])
    return torch.from_numpy(np.stack(drawings))[:, None], np.split(np.arange(len(drawings)), ends[:-1])


def new_network() -> nn.Sequential:
    """Four convolutions and a linear head; batch norm goes by the batch, at test too."""
    layers: list[Any] = []
    for channels in (1, 64, 64, 64):
        norm = nn.BatchNorm2d(64, eps=1e-3, track_running_stats=False)
        layers += [nn.Conv2d(channels, 64, 3, stride=2, padding=1, bias=False), norm, nn.ReLU()]
    layers += [nn.Flatten(), head := nn.Linear(64 * 2 * 2, WAYS)]
    for layer in (*layers[:-2:3], head):
        nn.init.xavier_uniform_(layer.weight)  # as TensorFlow does
    nn.init.zeros_(head.bias)
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


class OmniglotLearner:
    """What `ReptileTraining` asks of a learner: a classifier of a task's classes. Quarter turns are further classes."""

    def __init__(self, drawings: Tensor, characters: list[np.ndarray]) -> None:
        self.images = torch.cat([torch.rot90(drawings, turns, (2, 3)) for turns in range(4)]).float()
        self.pool = ClassPool([rows + turns * len(drawings) for turns in range(4) for rows in characters])
        self.store, self.shares_batches, self.network = self, False, new_network()

    def weights(self) -> list[Tensor]:
        return [weight.data for weight in self.network.parameters()]

    def optimizer(self, kind: str, learning_rate: float, momentum: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters(), learning_rate, betas=(momentum, 0.999), fused=True)

    def batches(self, rng: np.random.Generator, classes: np.ndarray, steps: int) -> list[Inputs]:
        return mini_batches(rng, draw(rng, self.pool, classes, TRAIN_SHOTS), BATCH, steps)

    def inputs(self, batch: Inputs, classes: np.ndarray, rng: np.random.Generator) -> Inputs:
        return batch

    def loss(self, inputs: Inputs) -> Tensor:
        return nn.functional.cross_entropy(self.network(self.images[inputs.draws]), inputs.labels)


def draw(rng: np.random.Generator, pool: ClassPool, classes: np.ndarray, count: int) -> Tensor:
    """`count` different drawings of each class (N, count)."""
    return torch.from_numpy(np.stack([rng.choice(pool.images[c], count, replace=False) for c in classes]))


def mini_batches(rng: np.random.Generator, rows: Tensor, size: int, steps: int) -> list[Inputs]:
    """Drawings of a task (N, K), `size` at a time, in random order, none again before all came once."""
    order = torch.from_numpy(_cycle(rng, np.arange(rows.numel()), steps * size)).split(size)
    return [Inputs(rows.flatten()[part], part // rows.shape[1], part, WAYS) for part in order]


def reptile(learner: Any, outer_steps: int) -> ReptileTraining:
    """The project's Reptile with the paper's numbers."""
    params: Any = SimpleNamespace(seed=SEED, meta_step=1.0, batch=SimpleNamespace(size=BATCH), reptile=REPTILE)
    params.image_budget = outer_steps * REPTILE.meta_batch_size * REPTILE.inner_steps * BATCH
    return ReptileTraining(params, learner)


def episode_accuracy(training: Any, pool: ClassPool, shots: int, episode: int) -> float:
    """Share of WAYS queries recognised, each in a batch with the supports alone, after training on these. Undone."""
    learner, rng = training.learner, random_stream(SEED, "episodes", 0, WAYS, shots, episode)
    start, before = clone(learner.weights()), clone(optimizer_state(training.optimizer))
    supports, queries = draw(rng, pool, pool.draw_classes(rng, WAYS), shots + 1).split([shots, 1], dim=1)
    for inputs in mini_batches(rng, supports, TEST_BATCH, TEST_STEPS):
        training.take(inputs, REPTILE.inner_learning_rate)
    with torch.no_grad():
        batches = (learner.images[torch.cat([supports.flatten(), query])] for query in queries)
        right = [learner.network(batch)[-1].argmax().item() == label for label, batch in enumerate(batches)]
    assign(learner.weights(), start)
    set_optimizer_state(training.optimizer, before)
    return sum(right) / WAYS


def main() -> None:
    parser = Parser(description="The paper's Reptile on Omniglot.")
    parser.add_argument("characters", type=Path, help="a folder with a folder of drawings for each character")
    compute = set_up(HardwareParams(device="cpu", precision="fp32", threads=1))
    keep_freed_memory()
    torch.manual_seed(SEED)
    drawings, characters = read_characters(parser.parse_args().characters)
    order = random_stream(SEED, "classes").permutation(len(characters))
    seen, unseen = ([characters[c] for c in part] for part in np.split(order, [TRAINING_CHARACTERS]))
    training = reptile(learner := OmniglotLearner(drawings, seen), OUTER_STEPS)
    checkpoint = Checkpoint("", "")
    checkpoint.path = ROOT / f"runs/omniglot_reptile/after_{OUTER_STEPS}.pt"
    if saved := checkpoint.load() or {}:
        learner.network.load_state_dict(saved["network"])
        training.optimizer.load_state_dict(saved["optimizer"])
    for step in range(saved.get("steps", 0), OUTER_STEPS):
        loss = training.step(step)
        if (step + 1) % 250 == 0:
            print(f"outer step {step + 1}, loss {loss:.4f}", flush=True)
            saved |= {"steps": step + 1, "network": learner.network.state_dict()}
            saved["optimizer"] = training.optimizer.state_dict()
            checkpoint.save(saved)
    for shots in PAPER.keys() - saved.keys():
        found = [100 * episode_accuracy(training, ClassPool(unseen), int(shots), e) for e in range(EPISODES)]
        saved[shots] = estimate(found).accuracy()
        checkpoint.save(saved)
    about = {"unit": "percent", "characters": {"training": len(seen), "test": len(unseen)}, "outer_steps": OUTER_STEPS}
    figures = {"episodes": EPISODES, "five_way": {shots: saved[shots] for shots in PAPER}, "paper": PAPER}
    write_json(ROOT / "studies/omniglot_reptile.json", about | figures | {"machine": describe(compute)})


if __name__ == "__main__":
    run_stage(main)
