import numpy as np
import pytest
from helpers import refusal

from oneshot.data.dataset import Dataset, channel_statistics, load_dataset, save_dataset

ARRAYS = ["train_images", "train_labels", "test_images", "test_labels"]


def test_what_is_saved_is_loaded_and_the_same_data_gives_the_same_bytes(tmp_path, tiny):
    save_dataset(tmp_path / "data/a", tiny)
    loaded = load_dataset(tmp_path / "data/a")
    for name in ARRAYS:
        saved, found = getattr(tiny, name), getattr(loaded, name)
        assert found.dtype == saved.dtype and np.array_equal(found, saved) and isinstance(found.base, np.memmap)
    assert loaded.class_names == tiny.class_names
    views = {name: np.asfortranarray(getattr(tiny, name)) for name in ARRAYS}  # another layout in memory
    save_dataset(tmp_path / "data/b", Dataset(**views, class_names=list(tiny.class_names)))
    one, other = ({path.name: path.read_bytes() for path in (tmp_path / "data" / name).iterdir()} for name in "ab")
    assert one == other


WHOLE = "not a whole npy file"
WRONG = {
    "missing": ("train_images.npy", lambda path: path.unlink(), "not found"),
    "empty": ("train_images.npy", lambda path: path.write_bytes(b""), WHOLE),
    "text": ("test_labels.npy", lambda path: path.write_text("hello world, this is no array"), WHOLE),
    "truncated": ("test_images.npy", lambda path: path.write_bytes(path.read_bytes()[:-1]), WHOLE),
    "pickled": ("test_labels.npy", lambda path: np.save(path, np.array([print] * 18), allow_pickle=True), WHOLE),
    "a number": ("classes.json", lambda path: path.write_text('["ant", 2]'), "[1]: found 2; must be a word"),
}


@pytest.mark.parametrize("case", WRONG)
def test_damage_is_named(tmp_path, tiny, case):
    save_dataset(tmp_path / "dataset", tiny)
    name, damage, words = WRONG[case]
    damage(tmp_path / "dataset" / name)
    assert f"{name}: {words}" in refusal(load_dataset, tmp_path / "dataset")


def test_channel_statistics():
    values = np.random.default_rng(0).integers(0, 256, (2500, 4, 4, 3), dtype=np.uint8)
    values[..., 2] = 7  # no contrast
    rows = np.arange(2, 2500, 2)  # more than a part
    mean, std = channel_statistics(values, rows)
    np.testing.assert_allclose(mean, values[rows].reshape(-1, 3).mean(0))
    np.testing.assert_allclose(std, [*values[rows].reshape(-1, 3).std(0)[:2], 1], rtol=1e-6)
