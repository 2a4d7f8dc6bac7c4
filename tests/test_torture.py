"""What tests/torture.py makes of what others print and write."""

import pytest
from helpers import ROOT
from torture import examples_tried, is_whole

from oneshot.common.errors import UserError

PRINTED = """
tests/common/test_params.py::test_any_file_is_taken:

  - during reuse phase (0.01 seconds):
    - 3 passing, 0 failing, and 0 invalid test cases
  - during generate phase (3.37 seconds):
    - Typical runtimes: ~ 0-7 ms
    - 300 passing, 0 failing, and 96 invalid test cases

  - Stopped because settings.max_examples=300


tests/data/test_split.py::test_a_damaged_split:

  - during generate phase (0.42 seconds):
    - 150 passing examples, 0 failing examples, 12 invalid examples
"""


def test_examples_are_counted_in_the_words_of_any_version():
    assert examples_tried(PRINTED) == {"any file is taken": 303, "a damaged split": 150}
    for printed in ("", PRINTED.replace("passing", "good")):
        with pytest.raises(UserError, match="no count of examples"):
            examples_tried(printed)


def test_a_file_of_dvc_that_was_cut_short_is_told_from_a_whole_one(tmp_path):
    whole = (ROOT / "dvc.lock").read_bytes()
    kept = {"dvc.lock": (0, whole.index(b"cmd"), whole.index(b"md5: ") + 3), "rwlock": (0, 1)}
    for name, content in (("dvc.lock", whole), ("rwlock", b"{}")):
        file = tmp_path / name
        file.write_bytes(content)
        assert is_whole(file)
        for length in kept[name]:
            file.write_bytes(content[:length])
            assert not is_whole(file)
