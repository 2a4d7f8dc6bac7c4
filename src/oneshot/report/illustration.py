"""What there is to look at in a trained network: similarities, a map of classes, an episode, its worst mistakes.

All of it from test images of held-out classes; supports are training images of theirs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from oneshot.data.sampling import random_stream
from oneshot.evaluation.context import Context
from oneshot.evaluation.episodes import draw_supports
from oneshot.evaluation.metrics import pair_similarities
from oneshot.report.comparison import Rows

BINS = 80  # of the histogram of cosines
MAP_IMAGES = 60  # of each class on the map, at most
EPISODE_CLASSES, EPISODE_QUERIES = 10, 5  # at most; queries of each class
HARDEST = 8  # triplets shown


def similarity_histogram(context: Context) -> Rows:
    """Rows of cosine (the middle of a bin), same and different: the share of pairs in that bin, 0..1."""
    rows = context.test_rows(context.held_out)
    same, different = pair_similarities(context.embed_test(rows), context.test_labels[rows])
    edges = np.linspace(-1, 1, BINS + 1)
    shares = [np.histogram(np.clip(side, -1, 1), edges)[0] / len(side) for side in (same, different)]
    middles = (edges[:-1] + edges[1:]) / 2
    return [
        {"cosine": round(float(middle), 4), "same": round(float(s), 6), "different": round(float(d), 6)}
        for middle, s, d in zip(middles, *shares, strict=True)
    ]


def embedding_map(context: Context) -> Rows:
    """Places of test images in two dimensions where like embeddings lie together: row, class, x, y.

    t-SNE (van der Maaten and Hinton 2008) on cosine distances.
    """
    from sklearn.manifold import TSNE  # takes a second to import

    rows = context.test_rows(context.held_out, most=MAP_IMAGES)
    vectors = context.embed_test(rows).double().numpy()
    perplexity = min(30.0, (len(rows) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, metric="cosine", init="random", random_state=context.params.seed, n_jobs=1)
    places = tsne.fit_transform(vectors)
    places = (places - places.min(axis=0)) / np.ptp(places, axis=0)
    return [
        {"row": row, "class": context.names[context.test_labels[row]], "x": round(x, 4), "y": round(y, 4)}
        for row, (x, y) in zip(rows.tolist(), places.astype(np.float64).tolist(), strict=True)
    ]


def example_episode(context: Context, threshold: float) -> dict[str, Any]:
    """A one-shot episode: a support image of each of a few held-out classes, queries, and what was predicted.

    Returns:
        threshold; supports (class, row of a training image); queries (class, row of a test image, predicted,
        similarity to the support of the predicted class, answer: right, wrong, or unknown below the threshold).
    """
    rng = random_stream(context.params.seed, "episodes", 0, 1)
    held_out = context.held_out
    labels = np.sort(rng.choice(held_out, min(EPISODE_CLASSES, len(held_out)), replace=False)).tolist()
    pools = [context.supports(label) for label in labels]
    places = draw_supports([len(pool) for pool in pools], 1, 0, context.params.seed)
    supports = np.concatenate([pool[place] for pool, place in zip(pools, places, strict=True)])
    own = [np.flatnonzero(context.test_labels == label) for label in labels]
    queries = np.concatenate([rng.choice(rows, min(EPISODE_QUERIES, len(rows)), replace=False) for rows in own])
    cosines = context.embed_test(queries) @ context.embed_train(supports).T
    best = cosines.argmax(dim=1)
    return {
        "threshold": threshold,
        "supports": [{"class": context.names[c], "row": int(row)} for c, row in zip(labels, supports, strict=True)],
        "queries": [
            {
                "class": (actual := context.names[context.test_labels[row]]),
                "row": int(row),
                "predicted": (predicted := context.names[labels[place]]),
                "similarity": round(float(cosine[place]), 4),
                "answer": "unknown" if cosine[place] < threshold else "right" if actual == predicted else "wrong",
            }
            for row, place, cosine in zip(queries, best.tolist(), cosines, strict=True)
        ],
    }


def hardest_triplets(context: Context) -> Rows:
    """The triplets that the network gets most wrong: anchor, positive, negative, their classes, both cosines.

    Of each anchor its farthest positive and nearest negative, by falling cos(a, n) - cos(a, p); a pair of classes
    and an image occur once, so that there is something new in each.
    """
    rows = context.test_rows(context.held_out)
    labels = context.test_labels[rows]
    vectors = context.embed_test(rows)
    cosines = (vectors @ vectors.T).numpy()
    same = labels[:, None] == labels
    np.fill_diagonal(cosines, 2.0)  # an anchor is not its own positive
    positive = np.where(same, cosines, 3.0).argmin(axis=1)
    negative = np.where(same, -3.0, cosines).argmax(axis=1)
    every = np.arange(len(rows))
    gaps = cosines[every, negative] - cosines[every, positive]
    found: Rows = []
    used: set[Any] = set()
    for a in np.argsort(-gaps, kind="stable"):
        p, n = positive[a], negative[a]
        new = {a, p, n, (labels[a], labels[n])}
        if not used & new:
            used |= new
            found.append({
                "anchor": int(rows[a]), "positive": int(rows[p]), "negative": int(rows[n]),
                "class": context.names[labels[a]], "negative_class": context.names[labels[n]],
                "positive_cosine": round(float(cosines[a, p]), 4), "negative_cosine": round(float(cosines[a, n]), 4),
            })  # fmt: skip
    return found[:HARDEST]
