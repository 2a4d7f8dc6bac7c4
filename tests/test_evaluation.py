"""Calibration and evaluation of a trained network: what is measured, on which images."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers import make_subject

from oneshot.comparison import flat
from oneshot.episodes import episode_accuracy, prototype
from oneshot.errors import UserError
from oneshot.evaluation import evaluate
from oneshot.thresholds import calibrate_thresholds

STILL = {"adapt_classic_steps": [0, 0, 0]}


@pytest.fixture(scope="module")
def measured(tmp_path_factory, small):
    subject = make_subject(tmp_path_factory.mktemp("subject"), small, **STILL, adapt_negatives=10)
    thresholds, roc = calibrate_thresholds(subject)
    return subject, thresholds, roc, evaluate(subject, thresholds)


def test_every_promised_key_is_there(measured):
    _, _, _, (metrics, _, _) = measured
    keys = set(flat(metrics))
    figures = ("triplet_accuracy", "binary_accuracy", "binary_accuracy_best", "roc_auc", "equal_error_rate")
    for group in ("seen", "unseen", "unseen_reference", "adapted_seen_all"):
        assert {f"{group}.{figure}" for figure in (*figures, "binary_accuracy_fixed")} <= keys
    for adapted in ("adapted_1", "adapted_5", "adapted_all"):
        assert f"{adapted}.threshold" in keys
        for group in ("unseen", "unseen_reference"):
            assert {f"{adapted}.{group}.{figure}" for figure in figures} <= keys
        assert {f"{adapted}.unseen.{figure}" for figure in ("gain", "gain_ci95", "prototype_accuracy_frozen")} <= keys
    for shots in ("one_shot", "five_shot", "sampled_episodes.one_shot", "adapted_1.one_shot", "adapted_5.five_shot"):
        assert {f"{shots}.accuracy", f"{shots}.ci95"} <= keys
    assert all(np.isfinite(value) for value in flat(metrics).values())


def test_a_clone_that_takes_no_step_scores_as_the_frozen_network(measured):
    """Clones, groups and negatives are then all the same images: so are the exact figures."""
    _, _, _, (metrics, table, _) = measured
    for adapted in ("adapted_1", "adapted_5", "adapted_all"):
        for group in ("unseen", "unseen_reference"):
            assert metrics[adapted][group]["triplet_accuracy"] == pytest.approx(metrics[group]["triplet_accuracy"])
            assert metrics[adapted][group]["roc_auc"] == pytest.approx(metrics[group]["roc_auc"], abs=1e-12)
    frozen = np.mean([row["triplet_accuracy"] for row in table])
    reference = np.mean([row["adapted_all_reference_triplet_accuracy"] for row in table])
    assert frozen == pytest.approx(metrics["unseen"]["triplet_accuracy"], abs=1e-6)
    assert reference == pytest.approx(metrics["unseen_reference"]["triplet_accuracy"], abs=1e-6)
    assert all(metrics[f"adapted_{shots}"]["unseen"]["gain"] == 0 for shots in (1, 5, "all"))
    assert [row["adapted_all_triplet_accuracy"] for row in table] == [row["triplet_accuracy"] for row in table]
    assert [row["class"] for row in table] == ["seven", "eight", "nine"]


def test_unseen_figures_by_a_slow_count(measured):
    subject, thresholds, _, (metrics, _, _) = measured
    rows = subject.test_rows(subject.split.unseen)
    vectors, labels = subject.embed_test(rows).double().numpy(), subject.test_labels[rows]
    cosines, wins = vectors @ vectors.T, []
    for a in range(len(rows)):
        positives = cosines[a][(labels == labels[a]) & (np.arange(len(rows)) != a)]
        negatives = cosines[a][labels != labels[a]]
        wins.append(np.mean(positives[:, None] > negatives) + np.mean(positives[:, None] == negatives) / 2)
    assert metrics["unseen"]["triplet_accuracy"] == pytest.approx(np.mean(wins), abs=1e-4)
    above = cosines >= thresholds["frozen"]["threshold"]
    same = (labels[:, None] == labels) & ~np.eye(len(rows), dtype=bool)
    expected = (above[same].mean() + 1 - above[labels[:, None] != labels].mean()) / 2
    assert metrics["unseen"]["binary_accuracy"] == pytest.approx(expected, abs=1e-4)


def test_thresholds_and_roc(measured):
    _, thresholds, roc, (metrics, _, unseen_roc) = measured
    assert set(thresholds) == {"frozen", "adapted_1", "adapted_5", "adapted_all"}
    assert metrics["threshold"] == thresholds["frozen"]["threshold"]
    assert metrics["adapted_5"]["threshold"] == thresholds["adapted_5"]["threshold"]
    for curve in (roc, unseen_roc):
        assert sum(row["chosen"] for row in curve) == 1
        assert (curve[0]["fpr"], curve[-1]["tpr"]) == (0, 1)


def test_thresholds_see_neither_unseen_classes_nor_test_images(tmp_path, small):
    expected, _ = calibrate_thresholds(make_subject(tmp_path / "a", small))
    unseen = small.train_labels >= 7
    blackened = dataclasses.replace(
        small,
        train_images=np.where(unseen[:, None, None, None], 255 - small.train_images, small.train_images),
        test_images=255 - small.test_images,
    )
    found, _ = calibrate_thresholds(make_subject(tmp_path / "b", blackened))
    assert found == expected


def test_a_search_measures_validation_classes_and_no_unseen_one(tmp_path, small):
    subject = make_subject(
        tmp_path, small, validation_classes=2, evaluate_unseen=False, task_classes=2, classic_batch_classes=2
    )
    thresholds, _ = calibrate_thresholds(subject)
    metrics, table, _ = evaluate(subject, thresholds)
    assert not [key for key in flat(metrics) if "unseen" in key]
    assert {"triplet_accuracy", "one_shot", "five_shot"} <= set(metrics["validation"])
    assert "one_shot" in metrics["adapted_1"]["validation"]
    assert [row["class"] for row in table] == ["five", "six"]


def test_both_trainings_get_the_same_supports(measured, tmp_path, small):
    subject, *_ = measured
    rival = make_subject(tmp_path, small, weights_seed=1, **STILL)
    rows = subject.test_rows([0])
    assert not torch.allclose(subject.embed_test(rows), rival.embed_test(rows))
    unseen = subject.split.unseen
    draws = [each.adapted_to_episode(unseen, 5, draw)[1] for each, draw in ((subject, 1), (rival, 1), (rival, 2))]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[1], draws[2])


def test_frozen_and_adapted_networks_get_the_same_episodes(measured):
    subject, _, _, (metrics, _, _) = measured
    unseen, figures = subject.split.unseen, []
    rows = subject.test_rows(unseen)
    targets = np.searchsorted(unseen, subject.test_labels[rows])
    for draw in range(subject.params.episode_draws):
        _, supports = subject.adapted_to_episode(unseen, 5, draw)
        prototypes = torch.stack([prototype(subject.embed_train(each)) for each in supports])
        figures += episode_accuracy(prototypes[None], subject.embed_test(rows), targets).tolist()
    assert metrics["five_shot"]["accuracy"] == pytest.approx(np.mean(figures))


def test_more_shots_than_images_name_the_parameter_and_the_class(tmp_path, small):
    with pytest.raises(
        UserError, match=r"adapt_shots: found \[1, 30\]; must be at most 25, the images that class zero"
    ):
        make_subject(tmp_path, small, adapt_shots=[1, 30])


def test_a_lone_support_is_augmented_even_where_training_was_not(tmp_path, small):
    assert make_subject(tmp_path, small, augmentation="none").train_images.augmentation == "crop"
