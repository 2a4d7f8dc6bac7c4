"""The model card of a trained network: what it learnt from, what it can do, and what it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from oneshot.common.params import StageParams
from oneshot.evaluation.embedded import EvaluationParams
from oneshot.evaluation.episodes import estimate
from oneshot.model.network import SiameseNetwork
from oneshot.report.comparison import Rows, meaning

TRAININGS = {
    "classic": "classic training: one optimizer over batches of all seen classes",
    "meta": "Reptile meta-training (Nichol, Achiam and Schulman 2018): inner loops on tasks of seen classes",
}

ALL_CLASSES = """\
Few classes say little of others: the project's README has the figures over all hundred classes, each unseen once.
"""


class ExportStage(StageParams):
    """What the stage `export` reads."""

    dataset: str
    evaluation: EvaluationParams


def about_model(trained: dict[str, Any], threshold: float, roc: Rows, tta: str) -> dict[str, Any]:
    """What a model file says of itself, so that it can be used without the pipeline.

    Args:
        trained: what training wrote into its file.
        roc: rows with `threshold`, `fpr` and `tpr`, on pairs of classes that training never saw.
        tta: the test-time augmentation that the threshold is for.
    """
    points = {key: [float(row[key]) for row in roc] for key in ("threshold", "fpr", "tpr")}
    return trained | {"threshold": threshold, "roc": points, "tta": tta}


def model_card(
    dataset: str, about: dict[str, Any], network: SiameseNetwork, metrics: dict[str, Any], classes: Rows, group: str
) -> str:
    """The card as Markdown, with what a hub of models reads of it in front.

    Args:
        dataset: its name, or the folder that it was read from.
        about: what the model file says of itself: method, images, image_size, seen_classes, threshold.
        metrics: the figures in front, fractions of 1.
        classes: rows of the held-out classes, with `class` and `triplet_accuracy`.
        group: what these are, unseen or validation.
    """
    method, size, name = about["method"], about["image_size"], Path(dataset).name
    dimensions, count = network.dimensions, len(classes)
    own = Path(dataset).expanduser().is_dir()
    triplet, ci95 = metrics["triplet"], estimate([row["triplet_accuracy"] for row in classes]).ci95
    front = _front(method, name, own, group, triplet, ci95)
    elsewhere = ALL_CLASSES if dataset == "cifar100" else ""
    figures = [f"| `{k}` | {meaning(k, group)} | {100 * v:.2f} |" for k, v in metrics.items() if k != "threshold"]
    rows = "\n".join(figures)
    shape = ", ".join(f"{key} {getattr(network.config, key)}" for key in ("stem", "widths", "blocks", "first_stride"))
    layers = f"ResNet ({shape}), {sum(weight.numel() for weight in network.parameters()):,} weights"
    if (members := network.config.members) > 1:
        layers = f"{members} side by side, each on all images: {layers} in all"
    seen = ", ".join(about["seen_classes"]).replace("_", " ") + "."
    return f"""\
---
{front}---

# Model card: {method}

A Siamese network that turns a picture of {size} x {size} pixels into a direction of {dimensions} dimensions. Pictures
of one class point in like directions, also for classes that training never saw. The pipeline's stage `export` wrote it.

| | |
| --- | --- |
| file | `models/{method}.safetensors`: numbers of 16 bits, read with 32; loading runs no code |
| use | `oneshot verify a.png b.png --model {method}`, or `Recognizer("{method}")` from `oneshot.recognizer` |
| training | {TRAININGS[method]} |
| data | {name}, {about["images"]:,} images through the network, of {len(about["seen_classes"])} classes |
| network | {layers} |
| threshold | cosine {about["threshold"]:.4f}, calibrated on images of seen classes that training did not see |
| parameters | `params.yaml` of the commit that this file stands in |

## What it reaches

Measured on test images. *Unseen* classes took no part in training or calibration. Triplet accuracy on the {count}
{group} classes is {100 * triplet:.2f} ± {100 * ci95:.2f} %: a 95 % interval of the mean over classes like these.
{elsewhere}
| key in `metrics/{method}.json` | what | in % |
| --- | --- | --- |
{rows}

{_limits(name, group, classes)}

## Classes it has seen

{seen}
"""


def _limits(dataset: str, group: str, classes: Rows) -> str:
    by_accuracy = sorted((row["triplet_accuracy"], row["class"].replace("_", " ")) for row in classes)
    (lowest, hardest), (highest, easiest) = by_accuracy[0], by_accuracy[-1]
    return f"""\
## Limits

- It knows pictures like those of {dataset}: one thing that fills the picture. Scenes, text, faces of certain people,
  medical or safety-critical pictures are out of its reach.
- It errs often: see the table. A score is a similarity, not a probability.
- The threshold suits pictures like the test images. For others, `oneshot calibrate FOLDER` finds another.
- It takes the biases of its data: which classes were photographed, where, and how.
- Among the {group} classes, the hardest is {hardest} ({100 * lowest:.1f} % of triplets right), the easiest {easiest}
  ({100 * highest:.1f} %)."""


def _front(method: str, dataset: str, own: bool, group: str, triplet: float, ci95: float) -> str:
    """What a hub of models reads of a card, in YAML: https://huggingface.co/docs/hub/model-cards says how."""
    task, metric = "image-feature-extraction", "accuracy"
    name = f"{meaning('triplet', group)} (± {ci95:.4f}, 95 % interval over classes)"
    result = {
        "task": {"type": task},
        "dataset": {"type": dataset, "name": f"{dataset}, {group} classes", "split": "test"},
        "metrics": [{"type": metric, "name": name, "value": round(triplet, 4)}],
    }
    front = {
        **({} if own else {"license": "mit"}),  # people's own pictures have terms of their own
        "library_name": "oneshot",
        "pipeline_tag": task,
        "tags": ["few-shot-learning", "one-shot-learning", "siamese-network"] + ["meta-learning"] * (method == "meta"),
        "datasets": [dataset],
        "metrics": [metric],
        "model-index": [{"name": f"oneshot-{method}", "results": [result]}],
    }
    return yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=120)
