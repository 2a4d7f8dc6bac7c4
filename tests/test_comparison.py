"""Classic beside meta."""

from oneshot.comparison import difference, flat, headline_table, over_shots, side_by_side

CLASSIC = {"threshold": 0.5, "unseen": {"triplet_accuracy": 0.8, "binary_accuracy": 0.75}}
META = {"threshold": 0.625, "unseen": {"triplet_accuracy": 0.9, "binary_accuracy": 0.5}}


def test_difference_is_meta_minus_classic_with_the_same_keys():
    found = difference(META, CLASSIC)
    assert found == {"threshold": 0.125, "unseen": {"triplet_accuracy": 0.1, "binary_accuracy": -0.25}}


def test_flat_keys_are_dvcs():
    assert flat(META)["unseen.binary_accuracy"] == 0.5


def test_headlines_are_percent_and_only_what_was_measured():
    table = headline_table(CLASSIC, META)
    assert "80.00%" in table and "90.00%" in table and "+10.00" in table and "-25.00" in table
    assert "one-shot" not in table


def test_side_by_side_names_the_methods():
    (row,) = side_by_side([{"class": "wolf", "x": 1}], [{"class": "wolf", "x": 2}])
    assert row == {"class": "wolf", "classic_x": 1, "meta_x": 2}


def test_accuracies_over_shots():
    def metrics(shift):
        triplet = {"triplet_accuracy": 0.8 + shift}
        adapted = {"unseen": {"triplet_accuracy": 0.9 + shift}}
        return {
            "unseen": triplet, "2_shot": {"accuracy": 0.5 + shift}, "one_shot": {"accuracy": 0.4 + shift},
            "adapted_2": adapted | {"2_shot": {"accuracy": 0.6 + shift}},
            "adapted_1": adapted | {"one_shot": {"accuracy": 0.45 + shift}}, "adapted_all": adapted,
            "adapted_seen_all": triplet,
        }  # fmt: skip

    one, two, every = over_shots({"classic": metrics(0), "meta": metrics(0.01)})
    assert [row["shots"] for row in (one, two, every)] == [1, 2, 0]
    assert (one["classic_frozen_few_shot"], one["meta_adapted_few_shot"]) == (0.4, 0.46)
    assert (two["meta_frozen_few_shot"], two["classic_adapted_few_shot"]) == (0.51, 0.6)
    assert (every["meta_adapted_triplet"], every["classic_frozen_triplet"]) == (0.91, 0.8)
    assert every["meta_frozen_few_shot"] == ""
