"""Figures and thresholds of pictures of one's own, by plain counting."""

import json
from itertools import product

import numpy as np
import pytest
from helpers import ANY_JSON, fuzz, taken_or_named
from hypothesis import strategies as st

from oneshot.recognizer import Gallery, Recognizer, measured
from oneshot.recognizer.measured import OwnClasses, figures, own_threshold

SIZES = (2, 5, 3, 2, 4, 3)


def some_classes(sizes=SIZES, spread=0.6, dimensions=16, seed=0):
    """Embeddings of pictures around the centres of classes, and their classes' names."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    centres = random.standard_normal((len(sizes), dimensions))
    vectors = centres[labels] + spread * random.standard_normal((len(labels), dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), [str(x) for x in labels]


def plainly(classes, threshold):
    """TPR, FPR, binary and triplet accuracy, by loops; classes are lists of vectors, equal ones are one class twice."""
    same, different, triplets = [], [], []
    for own in classes:
        cosines = [float(np.float64(a) @ np.float64(b)) for i, a in enumerate(own) for b in own[:i]]
        others = [vector for other in classes if other is not own for vector in other]
        same += cosines
        different += [float(np.float64(a) @ np.float64(b)) for a in own for b in others]
        won = [np.mean([a @ p > a @ n for n in others]) for a in own for p in own if p is not a] if others else [np.nan]
        triplets.append(np.mean(won))
    tpr = np.mean(np.array(same) >= threshold)
    fpr = np.mean(np.array(different) >= threshold) if different else np.nan
    return tpr, fpr, (tpr + 1 - fpr) / 2, np.mean(triplets)


def test_figures_and_their_intervals_are_those_of_plain_counting(monkeypatch):
    monkeypatch.setattr(measured, "DRAWS", 40)
    monkeypatch.setattr(measured, "BLOCK", 50)
    vectors, names = some_classes(spread=1.0)
    own, threshold = OwnClasses(vectors, names), 0.25
    classes = [list(vectors[[name == str(label) for name in names]]) for label in range(len(SIZES))]
    draws = np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), 40)
    # Student's 2.571 of five degrees of freedom, against 1.960 of the normal distribution, and n / (n - 1) under a root
    wider = 2.5706 / 1.95996 * (6 / 5) ** 0.5
    drawn = [[own for own, times in zip(classes, draw, strict=True) for _ in range(times)] for draw in draws]
    low, high = np.nanquantile([plainly(each, threshold) for each in drawn], [0.025, 0.975], axis=0)
    rates = own.rates(threshold)
    found = np.array([rates["tpr"], rates["fpr"], rates["binary"], own.triplets()])
    value = np.array(plainly(classes, threshold))
    low, high = (np.clip(value + wider * (end - value), 0, 1) for end in (low, high))
    np.testing.assert_allclose(found, np.transpose([value, low, high]), atol=1e-5)
    assert (low < high).all()


def test_classes_that_are_alike_but_not_perfect_have_an_interval_too():
    sizes = np.full(10, 4)
    figure = measured._figure(lambda times: times @ np.full(10, 0.95) / times.sum(axis=1), sizes)
    assert figure.low == pytest.approx(0.95 - 3 / 40) and figure.high == 1


def test_few_shots_name_what_all_choices_of_examples_name():
    vectors, names = some_classes((2, 2, 2, 1), spread=1.0)
    pairs = vectors[:6].reshape(3, 2, -1)
    right = []
    for chosen in product((0, 1), repeat=3):
        examples = pairs[range(3), chosen]
        queries = pairs[range(3), [1 - place for place in chosen]]
        right += list((queries @ examples.T).argmax(axis=1) == range(3))
    ways, figure = OwnClasses(vectors, names).few_shot(1)
    assert ways == 3 and 0.4 < np.mean(right) < 0.95 and figure.value == pytest.approx(np.mean(right), abs=0.07)
    assert OwnClasses(vectors, names).few_shot(2) is None


@pytest.mark.parametrize(
    ("sizes", "low"), [((2,) * 4, None), ((3,) * 5, 1 - 3 / 15)]
)  # too few; not one mistake, which 15 pictures cannot tell from one in five
def test_few_pictures_claim_little(sizes, low):
    found = figures(OwnClasses(*some_classes(sizes, spread=0.01)), 0.9)
    assert [figure.value for _, figure in found.values()] == [1.0] * 4
    assert {figure.low for _, figure in found.values()} == {low}
    assert {figure.high for _, figure in found.values()} <= {None, 1}


@pytest.mark.parametrize("fpr", [None, 0.1])
def test_a_threshold_is_the_best_that_its_criterion_allows_and_the_recognizer_takes_it(model, tmp_path, fpr):
    vectors, names = some_classes((6,) * 6)
    recognizer = Recognizer(model)
    calibration, rates, content = own_threshold(OwnClasses(vectors, names), recognizer.name, fpr)
    cosines, alike = vectors @ vectors.T, np.equal.outer(names, names)
    above = ~np.tri(len(names), dtype=bool)
    same, different = cosines[above & alike], cosines[above & ~alike]
    every = [(np.mean(same >= t), np.mean(different >= t)) for t in np.concatenate([same, different])]
    best = max((tpr - rate if fpr is None else tpr) for tpr, rate in every if fpr is None or rate <= fpr)
    tpr, rate = np.mean(same >= calibration.threshold), np.mean(different >= calibration.threshold)
    assert (tpr - rate if fpr is None else tpr) == pytest.approx(best) and (fpr is None or rate <= fpr)
    assert (rates["tpr"].value, rates["fpr"].value) == (pytest.approx(tpr), pytest.approx(rate))

    (tmp_path / "t.json").write_text(json.dumps(content))
    own = Recognizer(model, tmp_path / "t.json")
    assert own.threshold == calibration.threshold and own.false_positive_rate(own.threshold) == pytest.approx(rate)
    assert own.false_positive_rate(0.2) == pytest.approx(np.mean(different >= 0.2), abs=0.02)


@pytest.mark.parametrize(("classes", "wished"), [(5, 0.2), (50, 0.05)])
def test_of_strangers_about_the_wished_share_is_named_however_many_classes_there_are(model, tmp_path, classes, wished):
    random = np.random.default_rng(0)
    vectors = random.standard_normal((classes + 4000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    known, strangers = vectors[:classes], vectors[classes:]
    cosines = np.sort((strangers[:2000] @ strangers[2000:].T).ravel())[::-2000]  # of pairs, by falling rate
    roc = {"threshold": cosines.tolist()[::-1], "fpr": np.linspace(1, 0, len(cosines)).tolist()}
    roc["tpr"] = roc["fpr"]
    recognizer = Recognizer(model)
    content = {"network": recognizer.name, "threshold": 0.5, "roc": roc}
    (tmp_path / "t.json").write_text(json.dumps(content))
    recognizer = Recognizer(model, str(tmp_path / "t.json"))
    gallery = Gallery.of([str(place) for place in range(classes)], known, recognizer.name)
    matches = gallery.match(strangers, recognizer.strict_threshold(wished, classes))
    assert np.mean([match.name is not None for match in matches]) == pytest.approx(wished, rel=0.35)


@fuzz(200, data=st.data())
def test_any_value_in_the_file_of_a_threshold_is_taken_or_named(model, tmp_path, data):
    content = {
        "network": Recognizer(model).name,
        "threshold": 0.5,
        "roc": {"threshold": [0.1, 0.2], "fpr": [0.5, 0], "tpr": [1, 0]},
    }
    home = data.draw(st.sampled_from([content, content["roc"]]))
    home[data.draw(st.sampled_from(sorted(home)))] = data.draw(ANY_JSON)
    (tmp_path / "odd.json").write_text(json.dumps(content))
    taken_or_named("odd.json: ", Recognizer, model, tmp_path / "odd.json")


def test_evaluate_calibrate_and_what_takes_their_threshold(run, pictures, tmp_path):
    code, out, err = run("evaluate", pictures)
    assert code == 0 and out.splitlines()[0].split() == ["triplet", "accuracy", "100.0", "%"]
    assert "9 pictures of 3 classes" in err and "3-way 1-shot" in out and "5-shot" not in out
    code, out, _ = run("evaluate", pictures, "--json", "--threshold", "-1")
    assert code == 0 and json.loads(out)["figures"]["binary"]["value"] == 0.5  # all are called same

    files = ("--output", tmp_path / "t.json", "--plot", tmp_path / "roc.svg")
    code, out, _ = run("calibrate", pictures, "--fpr", 0.1, *files)
    assert code == 0 and "different pairs taken for same  0.0 %" in out
    assert (tmp_path / "roc.svg").read_text().startswith("<?xml")
    own = ("--threshold", tmp_path / "t.json")
    code, out, _ = run("verify", pictures / "red/0.png", pictures / "noise/0.png", *own)
    assert code == 1 and f"different classes in {tmp_path}/t.json are" in out
    gallery = ("--gallery", tmp_path / "g")
    run("enroll", pictures, *gallery)
    for more in (own, (*own, "--false-alarms", 0.05), ("--threshold", "0.5")):
        code, out, _ = run("classify", pictures / "red/0.png", *gallery, *more)
        assert code == 0 and out.split()[-1] == "red"
    code, out, _ = run("classify", pictures / "red/0.png", *gallery, "--false-alarms", 0.01)  # rarer than all its ROC
    assert code == 0 and "unknown" in out
