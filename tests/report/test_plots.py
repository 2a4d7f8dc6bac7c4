"""Pictures are written with the same bytes each time."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT

import compare
from oneshot.report import plots

COLUMNS = [f"{m}_{k}" for m in plots.COLOURS for k in ("triplet_accuracy", "adapted_all_triplet_accuracy")]
CLASSES = [{"class": name} | dict.fromkeys(COLUMNS, 0.8) for name in ("sweet_pepper", "wolf")]
SHOTS = [{"shots": shots} | dict.fromkeys(
    [f"{m}_{k}{of}" for m in plots.COLOURS for k in ("frozen_few_shot", "adapted_few_shot", "gain")
     for of in ("", "_ci95")], 0.1,
) for shots in (1, 5, 0)]  # fmt: skip
SHOTS[-1] |= {key: "" for key in SHOTS[-1] if "few_shot" in key}
FROZEN_SHOTS = [{key: "" if "adapted" in key or "gain" in key else value for key, value in row.items()}
                for row in SHOTS[:2]]  # fmt: skip
MEAN = {"difference": 0.01, "ci95": 0.02}
MAP = [{"row": i, "class": "wolf" if i % 2 else "sweet_pepper", "x": i / 9, "y": i / 9} for i in range(10)]
TRIPLET = {"class": "wolf", "negative_class": "worm", "positive_cosine": 0.1, "negative_cosine": 0.9}
EPISODE = {
    "threshold": 0.5,
    "supports": [{"class": "wolf"}, {"class": "worm"}],
    "queries": [
        {"class": "wolf", "predicted": "wolf", "similarity": 0.7, "answer": "right"},
        {"class": "worm", "predicted": "wolf", "similarity": 0.6, "answer": "wrong"},
        {"class": "worm", "predicted": "worm", "similarity": 0.4, "answer": "unknown"},
    ],
}


def test_the_same_figures_give_pictures_of_the_same_bytes(tmp_path, monkeypatch):
    """All that the stage `compare` makes of the committed ones."""
    for name in ("metrics", "plots"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    made = []
    for _ in range(2):
        shutil.rmtree("plots/comparison")
        compare.main()
        made.append({path.name: path.read_bytes() for path in Path("plots/comparison").iterdir()})
    drawn = [content.lower() for name, content in made[0].items() if name.endswith(".svg")]
    assert made[0] == made[1] and len(drawn) == 6
    assert all(b"#d55e00" in picture and b"dc:date" not in picture for picture in drawn)


@pytest.fixture
def figures(monkeypatch):
    """Those that are drawn, in place of files."""
    found = []
    monkeypatch.setattr(plots, "save", lambda figure, path: found.append(figure))
    return found


def test_shots_stand_in_the_panels_that_have_them_with_intervals(tmp_path, figures):
    plots.accuracy_over_shots(SHOTS, tmp_path / "a.svg")
    plots.accuracy_over_shots(FROZEN_SHOTS, tmp_path / "b.svg")
    ticks = [[[label.get_text() for label in axes.get_xticklabels()] for axes in figure.axes] for figure in figures]
    assert ticks == [[["1", "5"], ["1", "5", "all"]], [["1", "5"]]]
    assert [len(axes.containers) for axes in figures[0].axes] == [4, 2]
    (bars,) = figures[0].axes[1].containers[0].lines[2]
    assert bars.get_segments()[0][:, 1] == pytest.approx([0, 20])
    frozen = {"class": "wolf", "classic_triplet_accuracy": 0.8, "meta_triplet_accuracy": 0.8}
    plots.class_accuracies([frozen], MEAN, tmp_path / "c.svg")


LONG = "a_name_that_somebody_gave_to_a_folder"


@pytest.mark.parametrize(
    ("name", "one", "two"),
    [
        ("z $20_$50", "z $20 $50", "z $20 $50"),
        ("z$$$$", "z$$$$", "z$$$$"),
        ("\ue000\n\ue001", "U+E000 U+000A U+E001", "U+E000\nU+000A\u2026"),
        (LONG, "a name that somebody\u2026", "a name that\nsomebody\u2026"),
        ("x" * 30, "x" * 23 + "\u2026", "x" * 12 + "\n" + "x" * 11 + "\u2026"),
    ],
)
def test_names_are_drawn_as_they_are_as_far_as_there_is_room(tmp_path, figures, name, one, two):
    plots.class_accuracies([row | {"class": name} for row in CLASSES], MEAN, tmp_path / "a.svg")
    image, three = (np.zeros((count, 8, 8, 3), dtype=np.uint8) for count in (1, 3))
    query = EPISODE["queries"][0] | {"class": name, "predicted": name}
    plots.episode(EPISODE | {"supports": [{"class": name}], "queries": [query]}, image, image, "meta", tmp_path)
    plots.hardest_triplets([TRIPLET | {"class": name, "negative_class": name}], three, "classic", tmp_path)
    classes, episode, _ = figures
    assert classes.axes[0].get_yticklabels()[0].get_text() == one
    assert [axes.get_xlabel() for axes in episode.axes] == [two, f"{two}\n0.70"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as of a letter that is drawn as a box
        for figure in figures:
            figure.savefig(tmp_path / "a.png")
            box = figure.get_tightbbox()
            assert box.x0 > -0.02 and box.x1 < figure.get_figwidth() + 0.02  # inches: nothing is cut off


def test_pictures_of_images_have_the_same_bytes_and_grey_is_a_colour(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 1), dtype=np.uint8)
    for name, images in (("a", grey), ("b", grey.repeat(3, axis=-1))):
        plots.thumbnail_map(MAP, images, "meta", tmp_path / f"map-{name}.png")
        plots.episode(EPISODE, images[:2], images[2:5], "meta", tmp_path / f"episode-{name}.png")
        plots.hardest_triplets([TRIPLET] * 2, images[:6], "meta", tmp_path / f"mistakes-{name}.png")
    for kind in ("map", "episode", "mistakes"):
        first = (tmp_path / f"{kind}-a.png").read_bytes()
        assert first == (tmp_path / f"{kind}-b.png").read_bytes()
        assert first.startswith(b"\x89PNG") and b"Software" not in first
