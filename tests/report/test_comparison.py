"""Classic beside meta."""

import pytest
from scipy.stats import t as student_t

from oneshot.report.comparison import HEADLINES, difference, flat, headline_table, headlines, over_classes, over_shots


def details(shift=0.0, group="unseen"):
    """Figures of a training, as far as they are laid beside each other."""
    few = {
        name: {"accuracy": accuracy + shift, "ci95": 0.02}
        for name, accuracy in (("one_shot", 0.4), ("2_shot", 0.55), ("five_shot", 0.6))
    }
    triplet, adapted = (
        {"triplet_accuracy": 0.8 + shift},
        {"triplet_accuracy": 0.9 + shift, "gain": 0.1, "gain_ci95": 0.03},
    )
    return {
        "threshold": 0.5 + shift,
        "seen": triplet,
        group: few | triplet | {"binary_accuracy": 0.75 - shift, "binary_accuracy_best": 0.76},
        f"{group}_reference": {"binary_accuracy": 0.7},
        "adapted_2": {group: adapted | {"2_shot": {"accuracy": 0.65 + shift}}},
        "adapted_1": {group: adapted | {"one_shot": {"accuracy": 0.45 + shift}}},
        "adapted_all": {group: adapted},
        "adapted_seen_all": triplet,
    }


@pytest.mark.parametrize("group", ["unseen", "validation"])
def test_headlines_are_those_of_the_held_out_classes_and_only_what_was_measured(group):
    found = headlines(details(group=group) | ({"validation": {}} if group == "unseen" else {}))
    assert list(found) == [key for key in HEADLINES if key != "adapted_5"]
    assert flat(details())["unseen.one_shot.accuracy"] == 0.4  # as DVC names it
    assert found["triplet"] == 0.8 and found["adapted_all"] == 0.9 and found["threshold"] == 0.5
    assert found["reference_binary"] == 0.7 and found["one_shot"] == 0.4


def test_difference_is_meta_minus_classic_with_the_same_keys():
    classic, meta = headlines(details()), headlines(details(0.125))
    found = difference(classic, meta)
    assert list(found) == list(classic)
    assert (found["triplet"], found["binary"], found["threshold"], found["binary_best"]) == (0.125, -0.125, 0.125, 0)


def test_an_interval_over_classes_is_of_paired_differences():
    def row(classic, gain):
        return {
            f"{method}_{key}": accuracy
            for method, accuracy in (("classic", classic), ("meta", classic + gain))
            for key in ("triplet_accuracy", "binary_accuracy")
        }

    found = over_classes([row(0.5, 0.1), row(0.7, 0.2)])
    expected = {"difference": pytest.approx(0.15), "ci95": pytest.approx(student_t.ppf(0.975, 1) * 0.05)}
    assert found == {"triplet_accuracy": expected, "binary_accuracy": expected}


def test_the_table_shows_percent_and_a_cosine():
    table = headline_table({"classic": headlines(details()), "meta": headlines(details(0.125))}, "unseen")
    for words in ("80.00%", "92.50%", "+12.50", "-12.50", "0.50 ", "0.62 ", "+0.12"):
        assert words in table
    assert "adapted on 1 image" in table and "adapted on 5 images" not in table


def test_accuracies_over_shots():
    one, two, five, every = over_shots({"classic": details(), "meta": details(0.01)})
    assert [row["shots"] for row in (one, two, five, every)] == [1, 2, 5, 0]
    assert (one["classic_frozen_few_shot"], one["meta_adapted_few_shot"]) == (0.4, 0.46)
    assert (two["meta_frozen_few_shot"], two["classic_adapted_few_shot"]) == (pytest.approx(0.56), 0.65)
    assert (five["classic_frozen_few_shot"], five["classic_adapted_few_shot"]) == (0.6, "")
    assert (every["meta_adapted_triplet"], every["classic_frozen_triplet"]) == (0.91, 0.8)
    assert every["meta_frozen_few_shot"] == "" == five["meta_gain"]
    assert (one["meta_frozen_few_shot_ci95"], one["meta_adapted_few_shot_ci95"]) == (0.02, "")
    assert (every["classic_gain"], every["classic_gain_ci95"]) == (0.1, 0.03)
