"""Runs with other parameters: what is read and written for them, and how `dvc repro` ends with its caller."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from helpers import ROOT, refusal
from torture import DVC_ALONE, running_in

from oneshot.common.files import write_text
from oneshot.common.lock import only_one
from oneshot.record.runs import LOCK, params_with, read_overrides, run_pipeline

# A stage that lasts, in a project of its own.
PIPELINE = "stages:\n  long:\n    cmd: python -c \"import time; open('began', 'w'); time.sleep(600)\"\n"
PROGRAM = """
import sys
from pathlib import Path
from oneshot.common.lock import only_one
from oneshot.record.runs import repro
with only_one(Path("run.lock")) as lock:
    sys.exit(repro(Path(), lock))
"""


def test_settings_come_after_the_config_and_paths_are_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cups", "digits", "none"):
        (tmp_path / name).mkdir()
    config = tmp_path / "one.yaml"
    config.write_text("seed: 3\nreptile:\n  inner_steps: 7\n  schedule: constant\n")
    found = read_overrides(config, ["reptile.inner_steps=10", "network.start_from=cups", "dataset=digits"])
    assert found == {
        "seed": 3, "reptile.inner_steps": 10, "reptile.schedule": "constant",
        "network.start_from": str(tmp_path / "cups"), "dataset": "digits",  # a known name stays one
    }  # fmt: skip
    assert read_overrides(config, ["network.start_from=none"])["network.start_from"] == "none"
    for value in ("[", "2024-99-99", "!!bool abc", "9" * 5000, "[" * 5000, "017", "1: 2: 3"):
        told = refusal(read_overrides, config, [f"seed={value}"])
        assert told.startswith("--set seed: ") and len(told) < 400
    assert "NAME=VALUE" in refusal(read_overrides, config, ["a"])


def test_changed_parameters_keep_their_comments_and_mistakes_are_named():
    before = (ROOT / "params.yaml").read_text().splitlines()
    changed = [line for line in params_with(ROOT, {"reptile.inner_steps": 10}).splitlines() if line not in before]
    assert [line.split("#")[0].strip() for line in changed] == ["inner_steps: 10"] and "# optimizer steps" in changed[0]
    unknown = "reptile.inner_step: unknown parameter; did you mean reptile.inner_steps?"
    assert refusal(params_with, ROOT, {"reptile.inner_step": 1}) == unknown
    told = refusal(params_with, ROOT, {"reptile.inner_steps": 0})
    assert "reptile.inner_steps: found 0; must be at least 1" in told


def wait_until(true):
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_refused_run_and_a_second_one_of_a_folder_write_nothing(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    assert "nonsense: unknown parameter" in refusal(run_pipeline, tmp_path, "demo", {"nonsense": 1})
    assert not (tmp_path / "runs").exists()
    lock = tmp_path / "runs/demo" / LOCK
    with only_one(lock):
        assert f"run.lock: held by process {os.getpid()}; wait" in refusal(run_pipeline, tmp_path, "demo", {})
    assert [path for path in (tmp_path / "runs").rglob("*") if path.is_file()] == [lock]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_dvc_ends_with_the_command_that_started_it_or_keeps_its_lock(tmp_path, name):
    write_text(tmp_path / "dvc.yaml", PIPELINE)
    write_text(tmp_path / ".dvc/config", DVC_ALONE)
    command, silent = [sys.executable, "-c", PROGRAM], subprocess.DEVNULL
    with subprocess.Popen(command, cwd=tmp_path, stdout=silent, start_new_session=True) as process:
        wait_until((tmp_path / "began").exists)
        process.send_signal(getattr(signal, name))
        assert process.wait(timeout=60) != 0
    try:
        if name == "SIGTERM":
            wait_until(lambda: not any("dvc" in line for line in running_in(tmp_path)))
        else:  # nothing can be done then: DVC goes on
            assert f"held by process {process.pid}, " in refusal(only_one(tmp_path / "run.lock").__enter__)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the stage, whose end is its own affair
    with only_one(tmp_path / "run.lock", waits=True):
        pass
