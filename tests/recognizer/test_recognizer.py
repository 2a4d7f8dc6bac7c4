"""Networks at work on pictures, from Python and from the command line, by the numbers of a plain calculation."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from helpers import ANY_JSON, ROOT, damaged, fuzz, raising, refusal, taken_or_named, unit_vectors
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from oneshot.common.files import write_text
from oneshot.model.embedding import embed
from oneshot.model.model_file import load_model, save_model
from oneshot.recognizer import Gallery, Recognizer
from oneshot.recognizer.recognizer import NAMES, model_path
from oneshot.sources.pictures import read_picture


def gallery_of_two(path):
    Gallery(["a", "b"], np.eye(2, 16, dtype=np.float32), np.array([1, 2]), "0").save(path)
    return path


def test_embeddings_are_the_networks(model, recognizer, pictures, monkeypatch):
    monkeypatch.setattr("oneshot.recognizer.recognizer.CHUNK", 4)  # more than a chunk: every row is its picture's
    paths = sorted(pictures.rglob("*.*"))
    network, _ = load_model(model)
    images = np.stack([read_picture(path, 16) for path in paths]).transpose(0, 3, 1, 2)
    expected = embed(network, torch.from_numpy(images.copy()), tta="flip").numpy()
    found = recognizer.embed(paths)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32 and np.allclose(np.linalg.norm(found, axis=1), 1)


def test_a_verdict_is_the_cosine_beside_the_threshold(recognizer, pictures):
    one, two, other = (pictures / name for name in ("red/0.png", "red/1.jpg", "stripes/0.png"))
    vectors = recognizer.embed([one, two, other])
    same, different = recognizer.verify(one, two), recognizer.verify(one, other)
    assert same.same and same.similarity == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-6)
    assert not different.same and different.similarity == pytest.approx(float(vectors[0] @ vectors[2]), abs=1e-6)
    assert (same.threshold, same.false_positive_rate) == (0.97, pytest.approx(0.2))
    for cosine, rate in ((0.97, 0.2), (0.98, 0.15), (0.735, 0.4), (-1, 1.0), (0.995, 0.1)):  # from the ROC curve
        assert recognizer.false_positive_rate(cosine) == pytest.approx(rate)


def test_a_class_is_the_mean_of_its_pictures(recognizer, pictures, tmp_path):
    gallery = recognizer.enroll(pictures)
    assert gallery.names == ["noise", "red", "stripes"] and gallery.counts.tolist() == [3, 3, 3]
    query = recognizer.embed([pictures / "red/0.png"])[0]
    cosines = [float(query @ vector) for vector in recognizer.embed(sorted((pictures / "red").iterdir()))]
    (match,) = recognizer.classify([pictures / "red/0.png"], gallery)
    assert match.name == match.nearest == "red" and match.score == pytest.approx(np.mean(cosines), abs=1e-6)
    for name in ("a", "b"):
        gallery.save(tmp_path / name)
        gallery = Gallery.load(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_many_pictures_of_many_classes_are_matched_as_one_by_one(monkeypatch):
    monkeypatch.setattr("oneshot.recognizer.gallery.BLOCK", 100)  # a few pictures at a time
    vectors = unit_vectors(200).numpy()
    gallery = Gallery.of([str(row % 30) for row in range(150)], vectors[:150], "0")
    for query, match in zip(vectors[150:], gallery.match(vectors[150:], 0.4), strict=True):
        cosines = {name: [float(query @ vectors[row]) for row in range(int(name), 150, 30)] for name in gallery.names}
        nearest = max(
            cosines, key=lambda name: np.mean(cosines[name]) / np.linalg.norm(vectors[int(name) : 150 : 30].mean(0))
        )
        assert match.nearest == nearest and match.score == pytest.approx(np.mean(cosines[nearest]), abs=1e-6)
        assert match.name == (nearest if match.score >= 0.4 else None)


def test_a_gallery_that_grew_is_the_one_of_all_pictures():
    vectors, names = unit_vectors(40).numpy(), [str(row % 7) for row in range(40)]
    whole, grown = Gallery.of(names, vectors, "0"), Gallery.of(names[:5], vectors[:5], "0")
    for rows in (slice(5, 12), slice(12, 40)):
        grown = grown.joined(Gallery.of(names[rows], vectors[rows], "0"))
    other = Gallery.of(["odd", *names], vectors[[0, *range(40)]], "0").without("odd").renamed("6", "x")
    for gallery in (grown, other.renamed("x", "6")):
        assert gallery.names == whole.names and gallery.counts.tolist() == whole.counts.tolist()
        np.testing.assert_allclose(gallery.means, whole.means, atol=1e-6)
    assert "different networks" in refusal(whole.joined, Gallery.of(names, vectors, "1"))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_pictures_in_memory_are_as_those_in_files(recognizer, tmp_path, mode):
    values = np.random.default_rng(0).integers(0, 256, (20, 30, len(mode)), dtype=np.uint8).squeeze()
    image, turned = Image.fromarray(values), Image.Exif()
    turned[0x0112] = 6
    image.save(tmp_path / "a.png", exif=turned)
    Image.fromarray(np.rot90(values, -1)).save(tmp_path / "b.png")
    opened = Image.open(tmp_path / "a.png")
    vectors = recognizer.embed([tmp_path / "a.png", opened, np.rot90(values, -1), str(tmp_path / "b.png")])
    assert (vectors == vectors[0]).all() and (recognizer.embed(image) != vectors[0]).any()
    assert opened.size == (30, 20) and np.allclose(recognizer.embed(opened), vectors[:1], atol=1e-6)  # not changed
    classes = {"a": opened, "b\u00a0c": [values, tmp_path / "b.png"]}
    gallery = recognizer.enroll(classes)
    assert gallery.names == ["a", r"b\xa0c"] and gallery.counts.tolist() == [1, 2]
    np.testing.assert_allclose(gallery.means[1], recognizer.embed(classes["b\u00a0c"]).mean(axis=0), atol=1e-6)
    assert recognizer.verify(values, image).similarity == pytest.approx(1)
    assert refusal(recognizer.enroll, {}) == "classes: has no pictures"
    assert refusal(recognizer.enroll, {"a": []}) == "a: has no pictures"


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (np.zeros((4, 4)), "found float64 of shape (4, 4); must be uint8"),
        (np.zeros((4, 4, 2), np.uint8), "found uint8 of shape (4, 4, 2)"),
        (np.zeros((0, 4), np.uint8), "of shape (0, 4)"),
        (np.zeros((1, 9), np.uint8)[0], "of shape (9,)"),
        ([None], "found None; must be a path, a PIL image or an array"),
    ],
)
def test_what_is_no_picture_in_memory_is_named(recognizer, odd, why):
    assert why in refusal(recognizer.embed, odd)


def test_single_pictures_are_classes_named_as_they_are_and_what_is_like_none_is_unknown(recognizer, pictures, tmp_path):
    for source, name in (("red/0.png", "cup.png"), ("red/1.jpg", "cup.jpg"), ("red/2.webp", "tin.webp")):
        shutil.copy(pictures / source, tmp_path / name)
    gallery = recognizer.enroll(tmp_path)
    assert gallery.names == ["cup", "tin"] and gallery.counts.tolist() == [2, 1]
    (match,) = recognizer.classify([pictures / "stripes/0.png"], gallery)
    assert match.name is None and match.nearest in gallery.names and match.score < recognizer.threshold


@fuzz(200, data=st.data())
def test_damaged_models_and_galleries_and_any_value_in_them_are_taken_or_named(model, tmp_path, data):
    for source, load in ((gallery_of_two(tmp_path / "good"), Gallery.load), (model, Recognizer)):
        if data.draw(st.booleans()):
            content = damaged(data, source.read_bytes())
        else:
            with safe_open(source, "pt") as file:
                about = json.loads(file.metadata()["oneshot"])
            home = data.draw(st.sampled_from([about, *(value for value in about.values() if isinstance(value, dict))]))
            home[data.draw(st.sampled_from(sorted(home)))] = data.draw(ANY_JSON)
            content = safetensors.torch.save(load_file(source), {"oneshot": json.dumps(about)})
        (tmp_path / "odd").write_bytes(content)
        taken_or_named("odd: ", load, tmp_path / "odd")


def test_verify_prints_and_exits_for_scripts(run, pictures):
    code, out, _ = run("verify", pictures / "red/0.png", pictures / "red/2.webp")
    assert code == 0 and out.startswith("same class: similarity ") and "threshold 0.970" in out
    assert "20 % reach the threshold" in out
    code, out, _ = run("verify", pictures / "red/0.png", pictures / "noise/0.png", "--json")
    assert code == 1 and json.loads(out)["same"] is False
    code, _, err = run("verify", pictures / "red/0.png", pictures / "gone.png")
    assert code == 2 and err == f"error: {pictures / 'gone.png'}: not found; name a picture\n"


def test_enroll_and_classify(run, pictures, tmp_path):
    gallery = ("--gallery", tmp_path / "known")
    run("enroll", pictures, *gallery)
    for more, count in (((), 6), (("--new",), 3)):  # it grows, or is replaced
        code, out, _ = run("enroll", pictures, *gallery, *more)
        assert code == 0 and "3 classes" in out and "red (3)" in out
        code, out, _ = run("gallery", *gallery, "--json", model=None)
        assert code == 0 and json.loads(out) == dict.fromkeys(["noise", "red", "stripes"], count)
    code, out, _ = run("gallery", *gallery, "--remove", "noise", "stripes", "--rename", "red", "rot", model=None)
    assert code == 0 and out.split() == ["3", "rot"]
    run("enroll", pictures, *gallery, "--new")
    code, out, err = run("classify", pictures / "red", f"{pictures}/str*/*.png", f"{pictures}/noi*", *gallery)
    assert code == 0 and [line.split()[-1] for line in out.splitlines()] == ["red"] * 3 + ["stripes"] + ["noise"] * 3
    assert "unknown below 0.970" in err
    code, out, _ = run("classify", pictures / "red/0.png", *gallery, "--json")
    (row,) = json.loads(out)
    assert row["picture"].endswith("red/0.png") and row["name"] == "red" and 0.9 < row["score"] <= 1


def test_broken_pictures_are_named_skipped_and_counted(run, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "all")
    (tmp_path / "all/red/9.png").write_bytes(b"no picture")
    gallery, output = ("--gallery", tmp_path / "g"), ("--output", tmp_path / "v.npy")
    for command, lines in ((("enroll", *gallery), None), (("classify", *gallery), 9), (("embed", *output), None)):
        code, out, err = run(*command, tmp_path / "all")
        assert code == 2 and "9.png: not a picture" in err and ("red (3)" in out or command[0] != "enroll")
        assert lines in (None, len(out.splitlines()))
    assert np.load(tmp_path / "v.npy").shape == (9, 16) and len((tmp_path / "v.txt").read_text().splitlines()) == 9


def test_mistakes_end_in_one_line(run, recognizer, pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("file", "notes.txt", "mine.npy"):
        (tmp_path / name).write_text("mine")
    gallery_of_two(tmp_path / "other")
    Gallery.of(["a"], recognizer.embed(pictures / "red/0.png"), recognizer.name).save(tmp_path / "mine")
    threshold = {"network": "0", "threshold": 0.5, "roc": {"threshold": [0.5], "fpr": [0.1], "tpr": [0.5]}}
    (tmp_path / "other.json").write_text(json.dumps(threshold))
    mine, verify = ("--gallery", tmp_path / "mine"), ("verify", *[pictures / "red/0.png"] * 2, "--threshold")
    for arguments, why in (
        (("enroll", tmp_path / "gone"), "no such folder"),
        (("enroll", tmp_path / "empty"), "holds no pictures"),
        (("classify", pictures, "--gallery", tmp_path / "gone"), "not found; `oneshot enroll FOLDER --gallery"),
        (("classify", pictures, "--gallery", tmp_path / "other"), "another network"),
        (("enroll", pictures, "--gallery", tmp_path / "other"), "another network"),
        (("gallery", *mine, "--remove", "b"), "b: no such class; there are a"),
        (("gallery", *mine, "--remove", "a"), "a: is the only class"),
        (("gallery", *mine, "--rename", "a", "a"), "new name: found 'a'; must be one that no class has"),
        (("gallery", "--gallery", tmp_path / "notes.txt"), "not a gallery"),
        ((*verify, "nan"), "threshold: found nan; must be in -1..1"),
        ((*verify, "1.5"), "threshold: found 1.5; must be in -1..1"),
        ((*verify, tmp_path / "gone.json"), "gone.json: not found; make it by `oneshot calibrate FOLDER`"),
        ((*verify, tmp_path / "other.json"), "other.json: of another network"),
        ((*verify, tmp_path / "notes.txt"), "notes.txt: not valid JSON"),
        (("classify", pictures, *mine, "--false-alarms", 2), "false alarms: found 2.0; must be above 0 and below 1"),
        (("classify", pictures, *mine, "--false-alarms", 0.1, "--threshold", 0), "must be a file, or absent"),
        (("evaluate", pictures / "red"), "red: found 0 classes of two or more pictures"),
        (("evaluate", tmp_path / "empty"), "holds no pictures"),
        (("calibrate", pictures, "--fpr", 0), "--fpr: found 0.0; must be above 0 and below 1"),
        (("calibrate", pictures, "--output", tmp_path / "notes.txt"), "notes.txt: not valid JSON"),
        (("calibrate", pictures, "--plot", tmp_path / "file"), "must end in .svg or .png"),
        (("embed", f"{tmp_path}/*.none"), "no pictures there"),
        (("embed", tmp_path / "empty"), "no pictures there"),
        (("embed", pictures, "--output", ""), "--output: found ''; must end in .npy"),
        (("embed", pictures, "--output", tmp_path / "file/v.npy"), "file"),
        (("enroll", pictures, "--gallery", tmp_path / "empty"), "not a file"),
        # Files of others are not overwritten.
        (("embed", pictures, "--output", tmp_path / "notes.npy"), "notes.txt: "),
        (("embed", pictures, "--output", tmp_path / "mine.npy"), "mine.npy: "),
        (("enroll", pictures, "--gallery", tmp_path / "notes.txt"), "notes.txt: "),
        (("embed", pictures, "--model", tmp_path / "gone"), "gone: not found; take a file from models/"),
    ):
        model = {"model": arguments[-1] if "--model" in arguments else None}
        code, out, err = run(*arguments, **(model if {"--model", "gallery"} & {*arguments} else {}))
        assert code == 2 and why in err and err.count("\n") == 1 and not out, arguments
    assert {(tmp_path / name).read_text() for name in ("notes.txt", "mine.npy")} == {"mine"}


def test_help_teaches(run):
    for command in ((), ("verify",), ("enroll",), ("classify",), ("embed",)):
        code, out, _ = run(*command, "--help")
        assert code == 0 and "exit codes" in out
        assert command or all(f"oneshot {name} " in out for name in ("verify", "enroll", "classify", "embed"))


@pytest.mark.parametrize(
    ("odd", "where"),
    [
        ({"threshold": 10**400}, "threshold: found 1000"),
        ({"threshold": 1.5}, "threshold: found 1.5; must be at most 1.01"),
        ({"image_size": 10000}, "image_size: found 10000; must be at most 512"),
        ({"roc": {}}, "roc.threshold: missing; take a file from models/"),
        ({"roc": {"threshold": [0.1], "fpr": [2.0], "tpr": [1.0]}}, r"roc.fpr\[0\]: found 2.0; must be at most 1"),
        ({"roc": {"threshold": [0.1, 0.2, 0.3], "fpr": [0.9, 0.7, 0.5], "tpr": [0.5]}}, "roc: has 1 rates; must be 3"),
    ],
)
def test_a_model_that_was_not_exported_is_named(model, tmp_path, odd, where):
    network, about = load_model(model)
    save_model(tmp_path / "odd.safetensors", network, about | odd)
    told = refusal(Recognizer, tmp_path / "odd.safetensors")
    assert re.search(rf"odd\.safetensors: (not a model of this project: )?{where}", told)


def test_a_model_that_gives_no_numbers_makes_no_verdict(run, model, pictures, tmp_path):
    network, about = load_model(model)
    network.backbone.norm.weight.data.fill_(1e38)  # finite, but what it is multiplied with is not
    save_model(tmp_path / "odd.safetensors", network, about)
    code, out, err = run("verify", *[pictures / "red/0.png"] * 2, model=tmp_path / "odd.safetensors")
    assert code == 2 and not out and "odd.safetensors: gives no finite numbers" in err and err.count("\n") == 1


@pytest.mark.parametrize("error", [TypeError("odd"), RuntimeError("std::bad_alloc"), MemoryError(), BrokenPipeError()])
def test_whatever_goes_wrong_is_no_verdict(run, pictures, monkeypatch, error):
    monkeypatch.setattr(Recognizer, "verify", raising(error))
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    monkeypatch.setattr(sys.stdout, "fileno", lambda: 1)
    code, out, err = run("verify", pictures / "red/0.png", pictures / "red/1.jpg")
    assert code == 2 and not out and err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of memory")
@pytest.mark.parametrize("kib", [60_000, 100_000, 600_000])  # errors of Python, the end by a C library, by torch
def test_too_little_memory_to_load_what_it_needs_is_no_verdict(kib):
    command = [sys.executable, "-m", "oneshot", "verify", *[ROOT / "examples/new/wolf.png"] * 2]
    limited = ["sh", "-c", f'ulimit -v {kib}; exec "$@"', "sh", *command]
    done = subprocess.run(limited, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and not done.stdout, done.stderr


def test_a_name_is_a_model_of_the_current_folder_or_else_of_this_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text("models/meta.safetensors", "")
    assert model_path("meta") == Path("models/meta.safetensors")
    assert model_path("classic") == ROOT / "models/classic.safetensors"


def test_an_installed_name_is_found_where_pip_put_it_for_one_user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("oneshot.recognizer.recognizer.__file__", str(tmp_path / "site/oneshot/recognizer/module.py"))
    monkeypatch.setattr(sysconfig, "get_path", lambda name, scheme: str(tmp_path / scheme / name))
    file = tmp_path / f"{os.name}_user/data/share/oneshot/models/meta.safetensors"
    write_text(file, "")
    assert model_path("meta") == file and model_path("classic") == Path("models/classic.safetensors")


def test_a_class_without_a_picture_that_can_be_read_stops_enroll(run, pictures, tmp_path):
    shutil.copytree(pictures / "red", tmp_path / "all/red")
    (tmp_path / "all/cup").mkdir()
    for content, why in ((b"", "all/cup: holds no pictures"), (b"odd", "all: class cup has no picture that can")):
        if content:
            (tmp_path / "all/cup/1.png").write_bytes(content)
        code, out, err = run("enroll", tmp_path / "all", "--gallery", tmp_path / "g")
        assert code == 2 and why in err.splitlines()[-1] and not out and not (tmp_path / "g").exists()


def test_rows_match_names_and_terminals_are_safe(run, recognizer, pictures, tmp_path):
    name = "two\nlines\x1b[2J.png"
    (tmp_path / name).write_bytes((pictures / "red/0.png").read_bytes())
    (tmp_path / "\x1b[2Jbroken.png").touch()
    code, out, err = run("embed", tmp_path, "--output", tmp_path / "v.npy")
    assert code == 2 and (tmp_path / "v.txt").read_text() == f"{tmp_path}/two\\nlines\\x1b[2J.png\n"
    assert "\x1b" not in out + err
    Gallery.of(["\x1b[2Jred"], recognizer.embed([tmp_path / name]), recognizer.name).save(tmp_path / "g")
    assert "arguments: \\x1b[2J" in run("verify", "a", "b", "\x1b[2J")[2]
    code, out, err = run("classify", tmp_path, "--gallery", tmp_path / "g")
    assert "\x1b" not in out + err and "two\\nlines\\x1b[2J.png   1.000  \\x1b[2Jred\n" in out


def test_no_flipped_bit_of_a_gallery_goes_unnoticed(tmp_path):
    path = gallery_of_two(tmp_path / "odd")
    content = path.read_bytes()
    for bit in range(8 * len(content)):
        odd = bytearray(content)
        odd[bit // 8] ^= 1 << bit % 8
        path.write_bytes(odd)
        assert "odd: not a gallery of this project" in refusal(Gallery.load, path)


def test_odd_galleries_are_refused_before_they_take_memory(recognizer, tmp_path):
    one = np.ones((1, 16), np.float32)
    for means, names in ((one, ["a", "b"]), (one[0], ["a"]), (one[:, None], ["a"]), (one.astype(int), ["a"])):
        Gallery(names, means, np.ones(len(names), int), "0").save(tmp_path / "odd")
        assert "odd: not a gallery of this project" in refusal(Gallery.load, tmp_path / "odd")
    os.truncate(tmp_path / "odd", 2**36)  # takes no room on the disk
    assert "odd: has more than 8,589,934,592 bytes" in refusal(Gallery.load, tmp_path / "odd")
    narrow = Gallery(["a"], one[:, :4], np.array([1]), recognizer.name)
    assert "another network" in refusal(recognizer.classify, [], narrow)


def test_names_that_are_no_text_are_shown_and_a_reader_that_has_seen_enough_is_no_mistake(model, pictures, tmp_path):
    (tmp_path / "all").mkdir()
    shutil.copy(pictures / "red/0.png", os.fsencode(tmp_path) + b"/all/caf\xe9.png")
    command = [sys.executable, "-m", "oneshot", "enroll", tmp_path / "all", "--model", model]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    reader, unread = os.pipe()
    os.close(reader)
    shown, closed = (
        subprocess.run([*command, "--gallery", tmp_path / "g"], stdout=out, stderr=subprocess.PIPE, env=environment)
        for out in (subprocess.PIPE, unread)
    )
    os.close(unread)
    assert shown.returncode == 0 and b"caf\\udce9 (1)" in shown.stdout, shown.stderr
    assert closed.returncode == 0 and not closed.stderr


def test_installed_as_a_package_it_has_its_networks(tmp_path):
    """Not editable, from any folder; what it needs comes from here."""
    venv.create(tmp_path / "venv", with_pip=False)
    for name in ("src", "models"):
        shutil.copytree(ROOT / name, tmp_path / "source" / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "source")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(tmp_path / "source")]
    subprocess.run([*pip, "wheel", *options], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([*pip, "--python", tmp_path / "venv/bin/python", "install", "--no-deps", wheel], check=True)
    assert list((tmp_path / "venv").rglob("recognizer/page.html"))
    environment = os.environ | {"PYTHONPATH": sysconfig.get_path("purelib")}
    pair = [ROOT / f"examples/{part}/wolf.png" for part in ("known", "new")]
    for model in NAMES:
        command = [tmp_path / "venv/bin/oneshot", "verify", *pair, "--model", model]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.startswith("same class"), done.stderr
