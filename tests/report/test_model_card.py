"""The card says what the files say."""

import pytest
import yaml
from helpers import tiny_params

from oneshot.model.network import new_network
from oneshot.report.model_card import model_card

ABOUT = {
    "method": "meta", "image_size": 32, "images": 1234567, "threshold": 0.51234,
    "seen_classes": ["sweet_pepper", "wolf"],
}  # fmt: skip
CLASSES = [{"class": "oak_tree", "triplet_accuracy": 0.9}, {"class": "7", "triplet_accuracy": 0.7}]


def test_numbers_and_names_are_those_given():
    network = new_network(tiny_params().network, [100.0], [50.0])
    weights = sum(weight.numel() for weight in network.parameters())
    metrics = {"triplet": 0.91234, "one_shot": 0.5, "threshold": 0.51234}
    card = model_card("cifar100", ABOUT, network, metrics, CLASSES, "unseen")
    for words in (
        "# Model card: meta", "32 x 32", "16 dimensions", "Reptile", "1,234,567 images", "of 2 classes",
        f"{weights:,} weights", "cosine 0.5123", "stem 4, widths [4, 8, 16], blocks 1, first_stride 1",
        "| `triplet` | triplet accuracy, unseen classes | 91.23 |",
        "| `one_shot` | one-shot accuracy, all unseen classes | 50.00 |",
        "accuracy on the 2 unseen classes is 91.23 ± 127.06 %: a 95 % interval",  # Student's, of 90 and 70 %
        "hardest is 7 (70.0 %", "easiest oak tree (90.0 %", "sweet pepper, wolf.", "models/meta.safetensors",
    ):  # fmt: skip
        assert words in " ".join(card.split()), words
    assert "{" not in card and "adapted" not in card and "| `threshold`" not in card
    classic = model_card("mnist", ABOUT | {"method": "classic"}, network, metrics, CLASSES, "validation")
    assert "classic training" in classic


@pytest.mark.parametrize("method", ["classic", "meta"])
def test_a_hub_reads_the_card(method):
    """All keys stand in https://github.com/huggingface/hub-docs/blob/main/modelcard.md; the required ones are here."""
    network = new_network(tiny_params().network, [100.0], [50.0])
    card = model_card("cifar100", ABOUT | {"method": method}, network, {"triplet": 0.91234}, CLASSES, "unseen")
    start, front, text = card.split("---\n", 2)
    read = yaml.safe_load(front)
    assert start == "" and text.startswith(f"\n# Model card: {method}\n")
    known = {"license", "library_name", "pipeline_tag", "tags", "datasets", "metrics", "model-index"}
    assert set(read) == known and read["license"] == "mit" and read["datasets"] == ["cifar100"]
    assert ("meta-learning" in read["tags"]) == (method == "meta")
    ((name, (result,)),) = (model.values() for model in read["model-index"])
    assert name == f"oneshot-{method}" and set(result) == {"task", "dataset", "metrics"}
    assert result["task"]["type"] == read["pipeline_tag"] and result["dataset"]["type"] == "cifar100"
    (metric,) = result["metrics"]
    assert metric["type"] in read["metrics"] and metric["value"] == 0.9123
    assert metric["name"] == "triplet accuracy, unseen classes (± 1.2706, 95 % interval over classes)"
