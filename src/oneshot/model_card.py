"""The model card of a trained network: what it learnt from, what it can do, and what it cannot."""

from __future__ import annotations

from typing import Any

from oneshot.comparison import HEADLINES, flat

TRAININGS = {
    "classic": "classic training: one optimizer over batches of all seen classes",
    "meta": "Reptile meta-training (Nichol, Achiam and Schulman 2018): inner loops on tasks of seen classes",
}

CARD = """\
# Model card: {method}

A Siamese network that turns a picture of {size} x {size} pixels into a direction of {dimensions} dimensions. Pictures
of one class point in like directions, also for classes that training never saw. The pipeline's stage `export` wrote it.

| | |
| --- | --- |
| file | `models/{method}.pt`: numbers of 16 bits, read with 32; loading runs no code in it |
| use | `oneshot verify a.png b.png --model {method}`, or `Recognizer("{method}")` from `oneshot.recognizer` |
| training | {training} |
| data | {dataset}, {images:,} images through the network, of {seen} classes |
| network | {network} |
| threshold | cosine {threshold:.4f}, calibrated on images of seen classes that training did not see |
| parameters | `params.yaml` of the commit that this file stands in |

## What it reaches

Measured on test images. *Unseen* classes took no part in training or calibration.

| in % | key in `metrics/{method}.json` | value |
| --- | --- | --- |
{metrics}

## Limits

- It knows pictures like those of {dataset}: one thing that fills the picture. Scenes, text, faces of certain people,
  medical or safety-critical pictures are out of its reach.
- It errs often: see the table. A score is a similarity, not a probability.
- The threshold suits pictures like the test images. For others, calibrate again: train on your own folder of pictures.
- It takes the biases of its data: which classes were photographed, where, and how.
- Among the new classes, the hardest is {hardest} ({lowest:.1f} % of triplets right), the easiest {easiest}
  ({highest:.1f} %).

## Classes it has seen

{classes}
"""


def model_card(
    dataset: str, about: dict[str, Any], config: dict[str, Any], weights: int, metrics: dict[str, Any],
    novel: list[dict[str, Any]],
) -> str:  # fmt: skip
    """The card as Markdown.

    Args:
        dataset: its name.
        about: what the model file says of itself: method, images, image_size, seen_classes, threshold.
        config: the network's own arguments, as its file holds them.
        weights: how many the network has.
        metrics: of the evaluation, nested; fractions of 1.
        novel: rows of the novel classes, with `class` and `triplet_accuracy`.
    """
    values = flat(metrics)
    rows = [f"| {words} | `{key}` | {100 * values[key]:.2f} |" for key, words in HEADLINES.items() if key in values]
    ranked = sorted(novel, key=lambda row: float(row["triplet_accuracy"]))
    shape = ", ".join(f"{key} {value}" for key, value in config["shape"].items())
    return CARD.format(
        method=about["method"],
        size=about["image_size"],
        dimensions=about["dimensions"],
        training=TRAININGS[about["method"]],
        dataset=dataset,
        images=about["images"],
        seen=len(about["seen_classes"]),
        network=f"ResNet ({config['backbone']}{': ' if shape else ''}{shape}), {weights:,} weights",
        threshold=about["threshold"],
        metrics="\n".join(rows),
        hardest=_spoken(ranked[0]),
        lowest=100 * float(ranked[0]["triplet_accuracy"]),
        easiest=_spoken(ranked[-1]),
        highest=100 * float(ranked[-1]["triplet_accuracy"]),
        classes=", ".join(name.replace("_", " ") for name in about["seen_classes"]) + ".",
    )


def _spoken(row: dict[str, Any]) -> str:
    return str(row["class"]).replace("_", " ")
