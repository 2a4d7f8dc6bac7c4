"""Omniglot: who is in the pictures to train on, and how errors are counted in the official test and on validation."""

import io
import zipfile

import numpy as np
import omniglot
import pytest
import torch
from helpers import tiny_network
from PIL import Image

from oneshot.model.model_file import save_model
from oneshot.sources.image_folder import folder_size, read_folder


def drawing(rng):
    return Image.fromarray(rng.random((9, 9)) < 0.5)


def test_characters_are_classes_in_each_turn_and_validation_comes_last_unturned(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("0001", "0864", "0865"):
        (tmp_path / "background" / name).mkdir(parents=True)
        for person in range(1, 13):
            drawing(rng).save(tmp_path / f"background/{name}/{name}_{person:02}.png")
    omniglot.prepare(tmp_path / "background", tmp_path / "out")
    found = read_folder(tmp_path / "out", 9, seed=1)
    turned = [f"{name}_{turn}" for name in ("0001", "0864") for turn in ("000", "090", "180", "270")]
    assert found.class_names == [*turned, "validation_0865"]
    assert folder_size(tmp_path / "out") == (9, 10)  # two of twelve are to test on
    upright = np.asarray(omniglot.centred(tmp_path / "background/0001/0001_12.png"))
    last = [found.train_images[found.train_labels == label][-1, :, :, 0] for label in range(4)]
    assert all((np.rot90(last[turn], -turn) == upright).all() for turn in range(4))


def test_a_drawing_comes_to_the_middle_white_on_black(tmp_path):
    paper = np.ones((9, 11), dtype=bool)
    paper[1:4, 2] = False
    Image.fromarray(paper).save(tmp_path / "drawing.png")
    expected = np.zeros((9, 11))
    expected[3:6, 5] = 255
    assert (np.asarray(omniglot.centred(tmp_path / "drawing.png")) == expected).all()


def test_a_drawing_is_named_by_the_nearest_of_its_run(tmp_path):
    rng, archive = np.random.default_rng(1), tmp_path / "all_runs.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for run, wrong in (("run01", 0), ("run02", 2)):
            pictures = [drawing(rng) for _ in range(4)]
            lines = []
            for number, picture in enumerate(pictures):
                content = io.BytesIO()
                picture.save(content, "png")
                for name in (f"{run}/test/item{number}.png", f"{run}/training/class{number}.png"):
                    file.writestr(name, content.getvalue())
                answer = (number + 1) % 2 if number < wrong else number  # two are exchanged
                lines.append(f"{run}/test/item{number}.png {run}/training/class{answer}.png")
            file.writestr(f"{run}/class_labels.txt", "\n".join(lines))
    save_model(tmp_path / "model.safetensors", tiny_network(), {"image_size": 9})
    assert omniglot.official_errors(tmp_path, archive, 0) == omniglot.official_errors(tmp_path, archive, 1) == [0, 0.5]


def test_where_a_drawing_lies_on_its_paper_does_not_matter(tmp_path):
    save_model(tmp_path / "model.safetensors", tiny_network(), {"image_size": 16})
    ink = np.random.default_rng(2).random((6, 6)) < 0.5
    for name, (top, left) in {"a": (1, 2), "b": (7, 4)}.items():
        paper = np.ones((16, 16), dtype=bool)
        paper[top : top + 6, left : left + 6] = ~ink
        Image.fromarray(paper).save(tmp_path / f"{name}.png")
    one, other = omniglot.embedded(tmp_path, [tmp_path / "a.png", tmp_path / "b.png"], 0)
    assert torch.allclose(one, other, atol=0.01)


def test_all_pairs_of_persons_are_asked_and_missing_drawings_left_out(monkeypatch):
    monkeypatch.setattr(omniglot, "WAYS", 2)
    east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    drawings = {"0901_01": east, "0902_01": north, "0901_02": north, "0902_02": north, "0902_03": north}
    # (1, 2): of two one wrong; (1, 3): one right; (2, 1), (2, 3): a tie goes to the first, so of three two wrong;
    # (3, 1), (3, 2): a single support is right.
    assert omniglot.person_to_person(drawings) == pytest.approx(3 / 8)
