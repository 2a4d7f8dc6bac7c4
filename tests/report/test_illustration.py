"""What is drawn is what the network does: every number beside a plain calculation."""

import numpy as np
import pytest
from helpers import make_context

from oneshot.report import illustration


@pytest.fixture(scope="module")
def context(tmp_path_factory, small):
    return make_context(tmp_path_factory.mktemp("context"), small)


def unit_vectors(context, rows):
    return context.embed_test(np.array(rows)).double().numpy()


def test_histogram_counts_every_pair_once(context):
    rows = context.test_rows([7, 8, 9])
    vectors, labels = unit_vectors(context, rows), context.test_labels[rows]
    cosines = np.clip(vectors @ vectors.T, -1, 1)
    upper = np.triu_indices(len(rows), 1)
    same = labels[upper[0]] == labels[upper[1]]
    table = illustration.similarity_histogram(context)
    for kind, pairs in (("same", cosines[upper][same]), ("different", cosines[upper][~same])):
        assert sum(row[kind] for row in table) == pytest.approx(1, abs=1e-4)
        assert sum(row["cosine"] * row[kind] for row in table) == pytest.approx(pairs.mean(), abs=0.02)


def test_map_places_each_test_image_once(context):
    places = illustration.embedding_map(context)
    assert sorted(place["row"] for place in places) == sorted(context.test_rows([7, 8, 9]).tolist())
    assert all(place["class"] == context.names[context.test_labels[place["row"]]] for place in places)
    assert {min(place[axis] for place in places) for axis in "xy"} == {0}
    assert {max(place[axis] for place in places) for axis in "xy"} == {1}
    assert places == illustration.embedding_map(context)


def test_episode_predicts_the_nearest_support_from_the_threshold_on(context):
    threshold = sorted(query["similarity"] for query in illustration.example_episode(context, -1.0)["queries"])[5]
    example = illustration.example_episode(context, threshold + 0.001)
    supports = context.embed_train(np.array([support["row"] for support in example["supports"]])).numpy()
    assert [support["class"] for support in example["supports"]] == ["seven", "eight", "nine"]
    assert len(example["queries"]) == 15 and len({query["row"] for query in example["queries"]}) == 15
    for query in example["queries"]:
        cosines = supports @ context.embed_test(np.array([query["row"]])).numpy()[0]
        assert query["predicted"] == example["supports"][int(cosines.argmax())]["class"]
        assert query["similarity"] == pytest.approx(cosines.max(), abs=1e-3)
        assert query["class"] == context.names[context.test_labels[query["row"]]]
        named = "right" if query["class"] == query["predicted"] else "wrong"
        assert query["answer"] == (named if query["similarity"] > threshold + 0.001 else "unknown")
    assert 6 <= sum(query["answer"] == "unknown" for query in example["queries"]) < 15


def test_hardest_triplets_are_the_worst_there_are(context):
    found = illustration.hardest_triplets(context)
    rows = context.test_rows([7, 8, 9])
    vectors, labels = unit_vectors(context, rows), context.test_labels[rows]
    worst = max(
        vectors[a] @ vectors[n] - vectors[a] @ vectors[p]
        for a in range(len(rows))
        for p in np.flatnonzero((labels == labels[a]) & (np.arange(len(rows)) != a))
        for n in np.flatnonzero(labels != labels[a])
    )
    assert found[0]["negative_cosine"] - found[0]["positive_cosine"] == pytest.approx(worst, abs=1e-3)
    gaps = [row["negative_cosine"] - row["positive_cosine"] for row in found]
    assert gaps == sorted(gaps, reverse=True) and 1 <= len(found) <= 6  # pairs of three classes
    images = [row[name] for row in found for name in ("anchor", "positive", "negative")]
    assert len(set(images)) == len(images)
    for row in found:
        trio = [context.names[context.test_labels[row[name]]] for name in ("anchor", "positive", "negative")]
        assert trio == [row["class"], row["class"], row["negative_class"]] and trio[0] != trio[2]
