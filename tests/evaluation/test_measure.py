"""Calibration and evaluation of a trained network: what is measured, on which images."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers import make_context

from oneshot.evaluation import adapted, episodes
from oneshot.evaluation.calibration import calibrate
from oneshot.evaluation.episodes import episode_accuracy, prototype
from oneshot.evaluation.measure import evaluate
from oneshot.evaluation.metrics import Verification, measure, pair_similarities, triplet_accuracy
from oneshot.evaluation.thresholds import calibrate_thresholds, seen_calibration_images
from oneshot.report.comparison import flat

STILL = {"adaptation.steps": 0}


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    with pytest.MonkeyPatch.context() as patch:
        for module, draws, sets in ((adapted, 2, 3), (episodes, 20, 20)):
            patch.setattr(module, "DRAWS", draws)
            patch.setattr(module, "EPISODES", sets)
        yield


@pytest.fixture(scope="module")
def measured(few_draws, tmp_path_factory, small):
    context = make_context(tmp_path_factory.mktemp("context"), small, STILL)
    thresholds, roc = calibrate_thresholds(context)
    return context, thresholds, roc, evaluate(context, thresholds)


def test_every_promised_key_is_there(measured):
    _, _, _, (metrics, _, _) = measured
    figures = ("triplet_accuracy", "binary_accuracy", "binary_accuracy_best", "roc_auc", "equal_error_rate")
    states = ("adapted_1", "adapted_5", "adapted_all")
    few_shot = ("unseen.one_shot", "unseen.five_shot", "unseen.sampled_episodes.one_shot")
    few_shot += ("adapted_1.unseen.one_shot", "adapted_5.unseen.five_shot")
    groups = ("seen", "unseen", "unseen_reference", "adapted_seen_all")
    keys = {f"{group}.{figure}" for group in groups for figure in (*figures, "binary_accuracy_fixed")}
    keys |= {f"{state}.{group}.{f}" for state in states for group in ("unseen", "unseen_reference") for f in figures}
    keys |= {f"{s}.unseen.{figure}" for s in states for figure in ("gain", "gain_ci95", "prototype_accuracy_frozen")}
    keys |= {f"{state}.threshold" for state in states}
    keys |= {f"{shots}.{figure}" for shots in few_shot for figure in ("accuracy", "ci95")}
    assert keys <= set(flat(metrics)) and all(np.isfinite(value) for value in flat(metrics).values())


def test_a_clone_that_takes_no_step_scores_as_the_frozen_network(measured):
    """Clones, groups and negatives are then all the same images: so are the exact figures."""
    _, _, _, (metrics, table, _) = measured
    for state in ("adapted_1", "adapted_5", "adapted_all"):
        found = metrics[state]["unseen"]
        assert found["gain"] == found["gain_ci95"] == 0
        assert found["prototype_accuracy"] == found["prototype_accuracy_frozen"]
        for group in ("unseen", "unseen_reference"):
            assert metrics[state][group]["triplet_accuracy"] == pytest.approx(metrics[group]["triplet_accuracy"])
            assert metrics[state][group]["roc_auc"] == pytest.approx(metrics[group]["roc_auc"], abs=1e-12)
    assert metrics["adapted_seen_all"]["triplet_accuracy"] == pytest.approx(metrics["seen"]["triplet_accuracy"])
    frozen = np.mean([row["triplet_accuracy"] for row in table])
    reference = np.mean([row["adapted_all_reference_triplet_accuracy"] for row in table])
    assert frozen == pytest.approx(metrics["unseen"]["triplet_accuracy"], abs=1e-6)
    assert reference == pytest.approx(metrics["unseen_reference"]["triplet_accuracy"], abs=1e-6)
    assert [row["adapted_all_triplet_accuracy"] for row in table] == [row["triplet_accuracy"] for row in table]
    assert [row["class"] for row in table] == ["seven", "eight", "nine"]


def test_unseen_figures_are_of_all_test_images_of_unseen_classes(measured):
    context, thresholds, _, (metrics, _, _) = measured
    rows = np.flatnonzero(context.test_labels >= 7)
    expected = measure(context.embed_test(rows), context.test_labels[rows], thresholds["frozen"]["threshold"])
    assert {name: metrics["unseen"][name] for name in expected} == expected


def test_adapted_figures_are_of_what_adapted_to_each_class_against_the_others(tmp_path, small):
    context, found = make_context(tmp_path, small), []
    group = context.classes("unseen", context.split.unseen)
    figures, table = adapted.measure_adapted(context, group, None, 0.5)
    for label, row in zip(group.labels_once, table, strict=True):
        embed, supports = context.adapted_to_class(label, None, 0)
        assert np.array_equal(supports, context.supports(label))
        sides = group.labels == label, group.labels != label
        own, others = (context.embed_test(group.rows[side], embed) for side in sides)
        found += triplet_accuracy(own, np.zeros(len(own), int), others).values()
        assert row["triplet_accuracy"] == found[-1]
    assert figures["unseen"]["triplet_accuracy"] == pytest.approx(np.mean(found)) and figures["unseen"]["gain"] != 0


def test_thresholds_and_roc(measured):
    context, thresholds, roc, (metrics, _, unseen_roc) = measured
    assert set(thresholds) == {"frozen", "adapted_1", "adapted_5", "adapted_all"}
    rows, labels = seen_calibration_images(context.split)
    pairs = Verification(*pair_similarities(context.embed_train(rows), labels))
    assert thresholds["frozen"] == calibrate(pairs, "fpr", 0.14)._asdict()
    for name in ("adapted_1", "adapted_5", "adapted_all"):  # without a step: the same pairs, the different ones twice
        assert thresholds[name] == calibrate(pairs, "balanced")._asdict()
    assert metrics["threshold"] == thresholds["frozen"]["threshold"]
    assert metrics["adapted_5"]["threshold"] == thresholds["adapted_5"]["threshold"]
    for curve in (roc, unseen_roc):
        assert sum(row["chosen"] for row in curve) == 1
        assert (curve[0]["fpr"], curve[-1]["tpr"]) == (0, 1)


def test_thresholds_see_neither_unseen_classes_nor_test_images(tmp_path, small):
    expected, _ = calibrate_thresholds(make_context(tmp_path / "a", small))
    unseen = small.train_labels >= 7
    blackened = dataclasses.replace(
        small,
        train_images=np.where(unseen[:, None, None, None], 255 - small.train_images, small.train_images),
        test_images=255 - small.test_images,
    )
    found, _ = calibrate_thresholds(make_context(tmp_path / "b", blackened))
    assert found == expected


def test_a_search_measures_validation_classes_and_no_unseen_one(tmp_path, small):
    context = make_context(tmp_path, small, {"split.validation_classes": 2, "evaluation.unseen": False})
    thresholds, _ = calibrate_thresholds(context)
    metrics, table, _ = evaluate(context, thresholds)
    assert not [key for key in flat(metrics) if "unseen" in key]
    assert {"triplet_accuracy", "one_shot", "five_shot", "sampled_episodes"} <= set(metrics["validation"])
    assert "one_shot" in metrics["adapted_1"]["validation"]
    assert [row["class"] for row in table] == ["five", "six"]


def test_without_shots_nothing_is_adapted(tmp_path, small):
    context = make_context(tmp_path, small, {"adaptation.shots": []})
    thresholds, _ = calibrate_thresholds(context)
    metrics, table, _ = evaluate(context, thresholds)
    assert set(thresholds) == {"frozen"} and {"one_shot", "five_shot"} <= set(metrics["unseen"])
    assert not [key for key in (*flat(metrics), *table[0]) if "adapted" in key]


def test_both_trainings_get_the_same_supports(measured, tmp_path, small):
    context, *_ = measured
    rival = make_context(tmp_path, small, STILL, weights_seed=1)
    rows = context.test_rows([0])
    assert not torch.allclose(context.embed_test(rows), rival.embed_test(rows))
    unseen = context.split.unseen
    draws = [each.adapted_to_episode(unseen, 5, draw)[1] for each, draw in ((context, 1), (rival, 1), (rival, 2))]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[1], draws[2])


def test_frozen_and_adapted_networks_get_the_same_episodes(measured):
    context, _, _, (metrics, _, _) = measured
    unseen, figures = context.split.unseen, []
    rows = context.test_rows(unseen)
    targets = np.searchsorted(unseen, context.test_labels[rows])
    for draw in range(episodes.DRAWS):
        _, supports = context.adapted_to_episode(unseen, 5, draw)
        prototypes = torch.stack([prototype(context.embed_train(each)) for each in supports])
        figures += episode_accuracy(prototypes[None], context.embed_test(rows), targets)
    assert metrics["unseen"]["five_shot"]["accuracy"] == pytest.approx(np.mean(figures))
