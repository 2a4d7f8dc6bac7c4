"""Whole or not at all, and the same bytes each time."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from itertools import pairwise

import pytest
import yaml
from helpers import ROOT, fuzz, refusal, taken_or_named
from hypothesis import strategies as st

from oneshot.common.files import (
    MOST_YAML,
    check_file,
    parse_yaml,
    read_json,
    read_table,
    read_yaml,
    unfinished,
    write_bytes,
    write_json,
    write_table,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ValueError):
        write_json(path, {"x": float("nan")})
    with pytest.raises(IsADirectoryError):  # a file replaces no folder
        write_bytes(tmp_path, b"new")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as caught:
        write_bytes(path, b"new")
    assert caught.value.filename == str(path)
    assert read_json(path) == {"old": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


KILLED = """
import os, signal, sys
from oneshot.common.files import write_bytes
os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)
write_bytes(sys.argv[1], b"half")
"""


def test_what_a_killed_process_left_is_removed_and_what_a_live_one_writes_stays(tmp_path):
    path, live = tmp_path / "a[1].json", tmp_path / f".a[1].json.{os.getppid()}.unfinished"
    live.touch()
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], env=environment).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2 and not path.exists()
    write_bytes(path, b"new")
    assert {each.name for each in tmp_path.iterdir()} == {path.name, live.name}


def test_a_folder_is_replaced_before_the_old_one_is_removed(tmp_path, monkeypatch):
    """Removing it takes time, in which a kill would leave half of it."""
    write_text(tmp_path / "a/part", "old")
    for text, kill in (("new", lambda *_, **__: None), ("newer", shutil.rmtree)):
        monkeypatch.setattr(shutil, "rmtree", kill)
        with unfinished(tmp_path / "a") as work:
            write_text(work / "part", text)
        assert (tmp_path / "a/part").read_text() == text
    os.replace(tmp_path / "a", tmp_path / ".a.old.99999999.unfinished")  # a kill before the new one came
    for renames in (0, 1):  # and renames that fail, at once and before the new one comes
        failing = iter([os.replace] * renames + [fail, os.replace])
        with monkeypatch.context() as patch, pytest.raises(PermissionError), unfinished(tmp_path / "a") as work:
            write_text(work / "part", "never")
            patch.setattr(os, "replace", lambda *paths, failing=failing: next(failing)(*paths))
        assert (tmp_path / "a/part").read_text() == "newer"
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


def fail(*_):
    raise PermissionError


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_table_round_trip(tmp_path, name):
    rows = [{"class": 'lawn, "mower"', "n": 3, "x": 0.1}, {"class": "7", "n": -1, "x": 1e-9}]
    write_table(tmp_path / name, rows)
    assert read_table(tmp_path / name) == rows


READERS = {"json": read_json, "yaml": read_yaml, "csv": read_table}


@pytest.mark.parametrize("kind", READERS)
def test_what_is_no_file_of_text_is_named(tmp_path, kind):
    """A pipe would wait for its other end for ever."""
    os.mkfifo(tmp_path / f"pipe.{kind}")
    (tmp_path / f"folder.{kind}").mkdir()
    (tmp_path / f"loop.{kind}").symlink_to(f"loop.{kind}")
    (tmp_path / f"latin.{kind}").write_bytes(b"\xe4")
    for name in ("pipe", "folder", "loop", "latin", "missing", "a\0b"):
        path = tmp_path / f"{name}.{kind}"
        assert refusal(READERS[kind], path).startswith((f"{path}: not ", f"{path}: cannot be read"))


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # whoever runs the tests may read all
    write_text(tmp_path / "mine", "1")
    assert refusal(check_file, tmp_path / "mine") == f"{tmp_path / 'mine'}: cannot be read (Permission denied)"


@pytest.mark.parametrize(
    ("schema", "text", "message"),
    [
        (object, "{", "not valid JSON"),
        (object, "[" * 100_000, "not valid JSON"),
        (object, "9" * 5000, "not valid JSON (Exceeds the limit"),
        (dict[str, list[int]], '{"a": [1, 2.5]}', "a[1]: found 2.5; must be a whole number"),
        (dict[str, float], '{"a": "0.5"}', "a: found '0.5'; must be a number"),
        (dict[str, float], "[]", "found []; must be lines of `name: value`"),
    ],
)
def test_json_is_what_it_should_be_or_named(tmp_path, schema, text, message):
    (tmp_path / "a.json").write_text(text)
    told = refusal(read_json, tmp_path / "a.json", schema)
    assert told.startswith(f"{tmp_path}/a.json: {message}") and "sys." not in told


@pytest.mark.parametrize("text", ["a,b\n1\n", "a,b\n1,2,3\n", 'a,b\n"1,2\n', "a,b\n1,2" + "0" * 200_000])
def test_a_table_with_a_wrong_row_is_named(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    assert ".csv: row 1: " in refusal(read_table, tmp_path / "a.csv")


BOMB = "a: &a [x]\n" + "".join(f"{b}: &{b} [{', '.join(9 * [f'*{a}'])}]\n" for a, b in pairwise("abcdefgh"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "line 2: found *a; aliases are not taken, write out what it stands for"),
        ("a: 1\nb: !!bool abc", "line 2: found the tag !!bool; tags are not taken"),
        ("!!timestamp abc", "line 1: found the tag !!timestamp"),
        ("!!python/object/apply:os.system [ls]", "line 1: found the tag !!python/object/apply:os.system"),
        ("seed: 017", "line 1: found '017', which YAML 1.1 and 1.2 read differently"),
        ("- 2024-99-99", "not valid YAML: "),
        ("[" * 5000, "line 1: more than 20 lists or groups within each other"),
        ("a: " + "9" * 5000, "not valid YAML: Exceeds the limit"),
        ("a: 1\na: 2", "not valid YAML: "),
        ("a: [1", "not valid YAML: "),
        ("\x00", "not valid YAML: "),
        ("#" * MOST_YAML + "\n", "has more than 131,072 bytes"),
    ],
)
def test_yaml_that_costs_much_or_means_two_things_is_refused(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    told = refusal(read_yaml, tmp_path / "a.yaml")
    assert told.startswith(f"{tmp_path}/a.yaml: {message}") and "sys." not in told


@fuzz(300, st.text("0178_:.eE+-xobfynTrsu~ ", min_size=1, max_size=6) | st.from_regex(r"\d+-\d+-\d+", fullmatch=True))
def test_a_value_is_read_as_yaml_1_1_and_1_2_have_it_or_refused(text):
    """PyYAML reads YAML 1.1, where some numbers of YAML 1.2 are words: 1e-05, as DVC writes it, and -.0."""
    value = taken_or_named("text: ", parse_yaml, f"a: {text}", "text")
    assert value is None or repr(value) == repr(yaml.safe_load(f"a: {text}")) or float(text) == value["a"]
