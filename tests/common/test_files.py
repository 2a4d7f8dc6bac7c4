"""Whole or not at all, and the same bytes each time."""

import os
import shutil
import signal
import subprocess
import sys
from itertools import pairwise

import pytest
import yaml
from helpers import fuzz, raising, refusal, taken_or_named
from hypothesis import strategies as st

from oneshot.common import files


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_json(path, {"old": 1})
    with pytest.raises(ValueError):
        files.write_json(path, {"x": float("nan")})
    with pytest.raises(IsADirectoryError):  # a file replaces no folder
        files.write_bytes(tmp_path, b"new")
    monkeypatch.setattr(os, "fsync", raising(OSError(28, "No space left on device")))
    with pytest.raises(OSError) as caught:
        files.write_bytes(path, b"new")
    assert caught.value.filename == str(path) and files.read_json(path) == {"old": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


KILLED = """
import os, signal, sys
from oneshot.common.files import write_bytes
os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)
write_bytes(sys.argv[1], b"half")
"""


def test_what_a_killed_process_left_is_removed_and_what_a_live_one_writes_stays(tmp_path):
    path, live = tmp_path / "a[1].old", tmp_path / f".a[1].old.{os.getppid()}.unfinished"
    live.touch()
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)]).returncode == -signal.SIGKILL
    files.write_bytes(tmp_path / "a[1]", b"another file")
    assert len(list(tmp_path.iterdir())) == 3 and not path.exists()
    files.write_bytes(path, b"new")
    (tmp_path / "a[1]").unlink()
    assert {each.name for each in tmp_path.iterdir()} == {path.name, live.name}


def test_a_folder_is_replaced_before_the_old_one_is_removed(tmp_path, monkeypatch):
    """Removing it takes time, in which a kill would leave half of it."""
    files.write_text(tmp_path / "a/gone", "old")
    for text, kill in (("new", lambda *_, **__: None), ("newer", shutil.rmtree)):
        monkeypatch.setattr(shutil, "rmtree", kill)
        with files.unfinished(tmp_path / "a") as work:
            files.write_text(work / "part", text)
        assert [each.read_text() for each in (tmp_path / "a").iterdir()] == [text]
    os.replace(tmp_path / "a", tmp_path / ".a.99999999.replaced")  # a kill before the new one came
    for renames in (0, 1):  # and renames that fail, at once and before the new one comes
        failing = iter([os.replace] * renames + [raising(PermissionError()), os.replace])
        with monkeypatch.context() as patch, pytest.raises(PermissionError), files.unfinished(tmp_path / "a") as work:
            files.write_text(work / "part", "never")
            patch.setattr(os, "replace", lambda *paths, failing=failing: next(failing)(*paths))
        assert (tmp_path / "a/part").read_text() == "newer"
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_table_round_trip(tmp_path, name):
    rows = [{"class": 'lawn, "mower"', "n": 3, "x": 0.1}, {"class": "7", "n": -1, "x": 1e-9}]
    files.write_table(tmp_path / name, rows)
    assert files.read_table(tmp_path / name) == rows


READERS = {"json": files.read_json, "yaml": files.read_yaml, "csv": files.read_table}


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
    files.write_text(tmp_path / "mine", "1")
    assert refusal(files.check_file, tmp_path / "mine") == f"{tmp_path / 'mine'}: cannot be read (Permission denied)"


BOMB = "a: &a [x]\n" + "".join(f"{b}: &{b} [{', '.join(9 * [f'*{a}'])}]\n" for a, b in pairwise("abcdefgh"))


@pytest.mark.parametrize(
    ("kind", "text", "message", "schema"),
    [
        ("json", "{", "not valid JSON", object),
        ("json", "[" * 100_000, "not valid JSON", object),
        ("json", "9" * 5000, "not valid JSON (Exceeds the limit", object),
        ("json", '{"a": [1, 2.5]}', "a[1]: found 2.5; must be a whole number", dict[str, list[int]]),
        ("json", '{"a": "0.5"}', "a: found '0.5'; must be a number", dict[str, float]),
        ("json", "[]", "found []; must be lines of `name: value`", dict[str, float]),
        ("csv", "a,b\n1\n", "row 1: ", ()),
        ("csv", "a,b\n1,2,3\n", "row 1: ", ()),
        ("csv", 'a,b\n"1,2\n', "row 1: ", ()),
        ("csv", "a,b\n1,2" + "0" * 200_000, "row 1: ", ()),
        ("yaml", BOMB, "line 2: found *a; aliases are not taken, write out what it stands for", object),
        ("yaml", "a: 1\nb: !!bool abc", "line 2: found the tag !!bool; tags are not taken", object),
        ("yaml", "!!timestamp abc", "line 1: found the tag !!timestamp", object),
        ("yaml", "!!python/object/apply:os.system [ls]", "line 1: found the tag !!python/object/apply:os", object),
        ("yaml", "seed: 017", "line 1: found '017', which YAML 1.1 and 1.2 read differently", object),
        ("yaml", "- 2024-99-99", "not valid YAML: ", object),
        ("yaml", "[" * 5000, "line 1: more than 20 lists or groups within each other", object),
        ("yaml", "a: " + "9" * 5000, "not valid YAML: Exceeds the limit", object),
        ("yaml", "a: 1\na: 2", "not valid YAML: ", object),
        ("yaml", "a: [1", "not valid YAML: ", object),
        ("yaml", "\x00", "not valid YAML: ", object),
        ("yaml", "#" * files.MOST_YAML + "\n", "has more than 131,072 bytes", object),
    ],
)
def test_what_is_not_what_it_should_be_costs_much_or_means_two_things_is_refused(tmp_path, kind, text, message, schema):
    path = tmp_path / f"a.{kind}"
    path.write_text(text)
    told = refusal(READERS[kind], path, schema)
    assert told.startswith(f"{path}: {message}") and "sys." not in told


@fuzz(300, st.text("0178_:.eE+-xobfynTrsu~ ", min_size=1, max_size=6) | st.from_regex(r"\d+-\d+-\d+", fullmatch=True))
def test_a_value_is_read_as_yaml_1_1_and_1_2_have_it_or_refused(text):
    """PyYAML reads YAML 1.1, where some numbers of YAML 1.2 are words: 1e-05, as DVC writes it, and -.0."""
    value = taken_or_named("text: ", files.parse_yaml, f"a: {text}", "text")
    assert value is None or repr(value) == repr(yaml.safe_load(f"a: {text}")) or float(text) == value["a"]
