"""The file in ONNX gives what the network gives, to whoever has onnxruntime alone."""

import json
import subprocess
import sys
from argparse import Namespace

import numpy as np
import onnxruntime
import pytest
import torch
from helpers import ROOT, random_images, refusal, tiny_network

from oneshot.model.embedding import embed
from oneshot.model.model_file import save_model
from oneshot.recognizer import Recognizer
from oneshot.recognizer.onnx_file import onnx_file, run_export
from oneshot.report.model_card import about_model
from oneshot.sources.pictures import read_pictures

TOLERANCE = 1e-5  # of each number of a unit vector; the two libraries add in another order


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """meta, by the command; a second run leaves it alone."""
    path = tmp_path_factory.mktemp("onnx") / "meta.onnx"
    command = [sys.executable, "-m", "oneshot", "export", "--onnx", path, "--model", "meta"]
    first, second = (subprocess.run(command, cwd=path.parent, capture_output=True, text=True) for _ in range(2))
    assert (first.returncode, first.stderr) == (0, "")  # no warning either
    assert first.stdout == f"{path}: images (N, 3, 32, 32) uint8 to vectors (N, 384) float32\n"
    assert (second.returncode, second.stdout) == (2, "") and "is there already; remove it" in second.stderr
    assert list(path.parent.iterdir()) == [path]
    return path


def test_it_holds_the_network_and_what_its_use_needs(exported):
    recognizer, session = Recognizer(ROOT / "models/meta.safetensors"), onnxruntime.InferenceSession(exported)
    assert exported.read_bytes() == onnx_file(recognizer, license="MIT")  # the same in another process
    assert str(ROOT).encode() not in exported.read_bytes()  # nor where it was made
    for count in (1, 7, 64):
        images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
        vectors = session.run(None, {"images": images.numpy()})[0]
        np.testing.assert_allclose(vectors, embed(recognizer.network, images, recognizer.tta), atol=TOLERANCE, rtol=0)

    about = session.get_modelmeta().custom_metadata_map
    assert (about["name"], about["license"], json.loads(about["image_size"])) == ("meta", "MIT", 32)
    assert (
        json.loads(about["threshold"]) == recognizer.threshold and json.loads(about["roc"]) == recognizer.about["roc"]
    )

    folders = [sorted((ROOT / "examples" / name).iterdir()) for name in ("known", "new")]
    ours = [recognizer.embed(paths) for paths in folders]
    read = [np.stack(list(read_pictures(paths, 32))).transpose(0, 3, 1, 2) for paths in folders]
    theirs = [session.run(None, {"images": images})[0] for images in read]
    verdicts = [known @ new.T >= recognizer.threshold for known, new in (ours, theirs)]
    assert verdicts[0].shape == (10, 10) and (verdicts[0] == verdicts[1]).all() and 0 < verdicts[0].mean() < 1


def test_without_views_too_and_mistakes_are_named(tmp_path, monkeypatch):
    path, roc = tmp_path / "tiny.safetensors", [{"threshold": 0.5, "fpr": 0.5, "tpr": 0.9}]
    save_model(path, tiny_network(), about_model({"image_size": 16}, 0.5, roc, tta="none"))
    recognizer, images = Recognizer(path), random_images(3)
    session = onnxruntime.InferenceSession(onnx_file(recognizer))
    vectors = session.run(None, {"images": images.numpy()})[0]
    np.testing.assert_allclose(vectors, embed(recognizer.network, images), atol=TOLERANCE, rtol=0)
    monkeypatch.setitem(sys.modules, "onnx_ir.passes.common", None)
    assert "needs the extra `onnx`" in refusal(onnx_file, recognizer)
    assert refusal(run_export, Namespace(onnx="", model=path)) == "--onnx: found ''; must end in .onnx"
