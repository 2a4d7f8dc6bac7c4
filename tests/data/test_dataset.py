from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oneshot.common.errors import UserError
from oneshot.data.dataset import Dataset, channel_statistics, load_dataset, save_dataset

ARRAYS = ["train_images", "train_labels", "test_images", "test_labels"]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_what_is_saved_is_loaded_and_the_same_data_gives_the_same_bytes(tmp_path, tiny):
    save_dataset(tmp_path / "data" / "a", tiny)
    loaded = load_dataset(tmp_path / "data" / "a")
    for name in ARRAYS:
        saved = getattr(tiny, name)
        assert getattr(loaded, name).dtype == saved.dtype
        assert np.array_equal(getattr(loaded, name), saved)
        assert isinstance(getattr(loaded, name).base, np.memmap)
    assert loaded.class_names == tiny.class_names
    views = {name: np.asfortranarray(getattr(tiny, name)) for name in ARRAYS}  # another layout in memory
    save_dataset(tmp_path / "data" / "b", Dataset(**views, class_names=list(tiny.class_names)))
    assert content(tmp_path / "data" / "a") == content(tmp_path / "data" / "b")


def test_saving_replaces_the_folder_as_a_whole(tmp_path, tiny):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "old.npy").write_text("old")
    (tmp_path / ".dataset.99999999.unfinished").mkdir()  # what a killed run leaves
    save_dataset(tmp_path / "dataset", tiny)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]
    assert "old.npy" not in content(tmp_path / "dataset")
    assert os.stat(tmp_path / "dataset").st_mode & 0o055 == 0o055


@pytest.mark.parametrize("failing", range(4))
def test_a_full_disk_leaves_what_was_there(tmp_path, tiny, monkeypatch, failing):
    save_dataset(tmp_path / "dataset", tiny)
    before = content(tmp_path / "dataset")
    written = []

    def full_disk(path: Path, *rest: Any, **options: Any) -> None:
        written.append(path)
        if len(written) > failing:
            raise OSError(28, "No space left on device")
        save(path, *rest, **options)

    save = np.save
    monkeypatch.setattr(np, "save", full_disk)
    with pytest.raises(OSError, match="No space left") as error:
        save_dataset(tmp_path / "dataset", dataclasses.replace(tiny, class_names=list("abcdef")))
    assert error.value.filename == str(tmp_path / "dataset")
    assert content(tmp_path / "dataset") == before
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]


WHOLE = "not a whole npy file"
WRONG = {
    "missing": ("train_images.npy", lambda path: path.unlink(), "not found"),
    "empty": ("train_images.npy", lambda path: path.write_bytes(b""), WHOLE),
    "text": ("test_labels.npy", lambda path: path.write_text("hello world, this is no array"), WHOLE),
    "truncated": ("test_images.npy", lambda path: path.write_bytes(path.read_bytes()[:-1]), WHOLE),
    "pickled": ("test_labels.npy", lambda path: np.save(path, np.array([print] * 18), allow_pickle=True), WHOLE),
    "a number": ("classes.json", lambda path: path.write_text('["ant", 2]'), r"\[1\]: found 2; must be a word"),
}


@pytest.mark.parametrize("case", WRONG)
def test_damage_is_named(tmp_path, tiny, case):
    save_dataset(tmp_path / "dataset", tiny)
    name, damage, words = WRONG[case]
    damage(tmp_path / "dataset" / name)
    with pytest.raises(UserError, match=words) as error:
        load_dataset(tmp_path / "dataset")
    assert name in one_line(error)


def test_channel_statistics():
    values = np.random.default_rng(0).integers(0, 256, (2500, 4, 4, 3), dtype=np.uint8)
    values[..., 2] = 7  # no contrast
    rows = np.arange(2, 2500, 2)  # more than a part
    mean, std = channel_statistics(values, rows)
    np.testing.assert_allclose(mean, values[rows].reshape(-1, 3).mean(0))
    np.testing.assert_allclose(std, [*values[rows].reshape(-1, 3).std(0)[:2], 1], rtol=1e-6)


def test_download_and_split_need_neither_torch_nor_torchvision():
    code = "import sys, oneshot.data.split, oneshot.sources.datasets; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert ran.stdout.strip() == b"False", ran.stderr
