"""Whole or not at all, and the same bytes each time."""

import errno
import os

import pytest

from oneshot.common.errors import UserError
from oneshot.common.files import read_json, read_table, write_bytes, write_json, write_table


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as caught:
        write_bytes(path, b"new")
    assert caught.value.filename == str(path)
    assert read_json(path) == {"old": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_folders_are_made(tmp_path):
    write_bytes(tmp_path / "a" / "b" / "c", b"x")
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"x"


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_table_round_trip(tmp_path, name):
    rows = [{"class": 'lawn, "mower"', "n": 3, "x": 0.1}, {"class": "7", "n": -1, "x": 1e-9}]
    write_table(tmp_path / name, rows)
    assert read_table(tmp_path / name) == rows


@pytest.mark.parametrize("content", ["{", "\udcff", ""])
def test_broken_json_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"a\.json"):
        read_json(tmp_path / "a.json")
    with pytest.raises(UserError, match="missing.json: not found"):
        read_json(tmp_path / "missing.json")


def test_nan_is_refused(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"x": float("nan")})
