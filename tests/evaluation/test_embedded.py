"""The stage `embed`: one vector for each image, in its place."""

import numpy as np
import torch
from helpers import make_context, refusal

from oneshot.evaluation import embedded
from oneshot.evaluation.context import Context
from oneshot.model.embedding import embed


def test_each_image_has_its_own_vector_and_those_trained_on_one_view(tmp_path, small, monkeypatch):
    monkeypatch.setattr(embedded, "_CHUNK", 7)
    context = make_context(tmp_path, small, {"evaluation.tta": "flip"})
    trained_on = np.concatenate([context.split.training[label] for label in context.split.seen])
    network = context.adapter.trained.network
    for part, store in (("train", context.train_images), ("test", context.test_images)):
        vectors = np.load(tmp_path / f"{part}.npy")
        assert vectors.dtype == np.float32
        expected = embed(network, store.batch(np.arange(len(store.images))), "flip")
        if part == "train":
            expected[trained_on] = embed(network, store.batch(trained_on), "none")
        torch.testing.assert_close(torch.from_numpy(vectors), expected)
        assert torch.equal(context.frozen(store, np.array([5, 2, 5])), torch.from_numpy(vectors[[5, 2, 5]]))


def test_embeddings_of_another_data_set_or_network_are_refused(tmp_path, small):
    params = make_context(tmp_path, small).params
    np.save(tmp_path / "test.npy", np.zeros((99, 16), np.float32))
    files = tmp_path / "model.safetensors", tmp_path, tmp_path / "dataset", tmp_path / "split.json"
    assert "not of this network and data set (test.npy); run `dvc repro`" in refusal(Context, params, *files)
