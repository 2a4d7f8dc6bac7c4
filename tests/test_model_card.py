"""The card says what the files say."""

from oneshot.model_card import model_card

ABOUT = {
    "method": "meta", "image_size": 32, "dimensions": 64, "images": 1234567, "threshold": 0.51234,
    "seen_classes": ["sweet_pepper", "wolf"],
}  # fmt: skip


def test_numbers_and_names_are_those_given():
    metrics = {"unseen": {"triplet_accuracy": 0.91234}, "one_shot": {"accuracy": 0.5}}
    novel = [{"class": "oak_tree", "triplet_accuracy": 0.9}, {"class": "worm", "triplet_accuracy": "0.7"}]
    config = {"backbone": "small", "shape": {"stem": 16, "widths": [64, 128]}}
    card = model_card("cifar100", ABOUT, config, 98765, metrics, novel)
    for words in (
        "# Model card: meta", "32 x 32", "64 dimensions", "Reptile", "1,234,567 images", "of 2 classes",
        "98,765 weights", "cosine 0.5123", "stem 16, widths [64, 128]", "`unseen.triplet_accuracy` | 91.23 |",
        "`one_shot.accuracy` | 50.00 |",
        "hardest is worm (70.0 %", "easiest oak tree", "sweet pepper, wolf.", "models/meta.pt",
    ):  # fmt: skip
        assert words in " ".join(card.split()), words
    assert "{" not in card and "adapted" not in card


def test_a_network_without_a_shape_of_its_own():
    card = model_card("mnist", ABOUT | {"method": "classic"}, {"backbone": "resnet18", "shape": {}}, 1, {}, [
        {"class": "seven", "triplet_accuracy": 1.0}])  # fmt: skip
    assert "ResNet (resnet18), 1 weights" in card and "classic training" in card
