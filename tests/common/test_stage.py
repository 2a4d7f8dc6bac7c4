"""A mishap ends in one line and a non-zero exit code, the same way for stages, scripts and `oneshot`."""

import errno
import os
import subprocess
import sys
import threading

import pytest
import yaml
from helpers import raising

from oneshot.common import stage
from oneshot.common.errors import UserError
from oneshot.common.stage import run_stage

MEND = "; free space or mend the permissions, then run again"
BATCH = "; close other programs, or lower batch.size"
MISHAPS = [
    (UserError("seed: found -1"), "error: seed: found -1", ""),
    (OSError(errno.ENOSPC, "No space left on device", "data/x"), "error: data/x: No space left on device", MEND),
    (FileNotFoundError(2, "?", "results/x"), "error: results/x: not found", "; run `dvc repro`, which makes it"),
    (FileNotFoundError(errno.ENOENT, "No usable folder found"), "error: No usable folder found", MEND),
    (OSError(), "error: OSError", MEND),
    (MemoryError(), "error: out of memory", BATCH),
    (RuntimeError("can't allocate memory"), "error: out of memory", BATCH),
    (ImportError("libx.so: failed to map segment from shared object"), "error: out of memory", BATCH),
    (KeyboardInterrupt(), "stopped", "; run the same command again to go on"),
]


def ended(main, **options):
    """The exit code of a program."""
    with pytest.raises(SystemExit) as stopped:
        run_stage(main, **options)
    return stopped.value.code


@pytest.mark.parametrize(("error", "words", "advice"), MISHAPS)
def test_a_mishap_is_told_in_one_line(capsys, error, words, advice):
    for options, code, told in (({}, 1, words + advice), ({"command": True}, 2, words)):
        assert ended(raising(error), **options) == (130 if isinstance(error, KeyboardInterrupt) else code)
        assert capsys.readouterr().err == f"{told}\n"


def test_what_goes_well_ends_with_its_own_code_and_a_mistake_in_the_program_is_not_hidden(capsys):
    assert ended(lambda: None) == 0
    assert ended(lambda: 1, command=True) == 1
    assert ended(raising(SystemExit(7))) == 7
    for error in (RuntimeError("shapes differ"), ValueError("memory")):
        with pytest.raises(type(error), match=str(error)):
            run_stage(raising(error))
    assert not capsys.readouterr().err


@pytest.mark.parametrize(("unread", "told"), [(1, "error: nobody reads the output any more\n"), (0, "")])
@pytest.mark.parametrize("lines", [1, 100_000])  # noticed at the end, or on the way
def test_output_that_nobody_reads(unread, told, lines):
    reader, writer = os.pipe()
    os.close(reader)
    main = f"lambda: print({lines} * 'line\\n')"
    program = f"from oneshot.common.stage import run_stage; run_stage({main}, unread={unread})"
    done = subprocess.run([sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr.decode()) == (unread, told)


STAGE = """
import signal, sys, time
from oneshot.common import stage
stage.LOOKS_AGAIN = 0.2
def main():
    if sys.argv[1] == "training":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended in good order"))
    print("began", flush=True)
    time.sleep(30)
    print("went on", flush=True)
stage.run_stage(main)
"""


@pytest.mark.parametrize("kind", ["training", "any other"])
@pytest.mark.parametrize(
    ("disturb", "told"),
    [
        (lambda dvc, params: dvc.kill(), "error: the program that started this stage has ended"),
        (lambda dvc, params: params.write_text("seed: 6"), "error: params.yaml: changed since the stage check_params"),
    ],
)
def test_a_stage_ends_with_dvc_and_with_its_parameters(tmp_path, kind, disturb, told):
    params = tmp_path / "params.yaml"
    params.write_text("seed: 5")
    environment = os.environ | {"DVC_STAGE": "calibrate@meta"}
    command = ["sh", "-c", '"$@" & wait', "DVC", sys.executable, "-c", STAGE, kind]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes) as dvc:
        assert dvc.stdout.readline() == "began\n"
        disturb(dvc, params)
        lines = dvc.stdout.read().splitlines()  # until the stage ends
    assert lines[0].startswith(told) and lines[1:] == ["ended in good order"] * (kind == "training")


@pytest.mark.parametrize("restored", [True, False])
def test_parameters_that_change_for_a_moment_are_no_reason_to_stop(tmp_path, monkeypatch, capsys, restored):
    """A change at the very end is one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "compare")
    monkeypatch.setattr(stage, "LOOKS_AGAIN", 0.2)
    params = tmp_path / "params.yaml"

    def main():
        params.write_text("seed: 6")
        if restored:
            threading.Timer(0.1, lambda: params.write_text("seed: 5")).start()

    params.write_text("seed: 5")
    told = "" if restored else "error: params.yaml: changed since the stage check_params; run again\n"
    assert (ended(main), capsys.readouterr().err) == (1 if told else 0, told)


@pytest.mark.parametrize(("name", "seed", "code"), [("compare", 5, 0), ("compare", 6, 1), ("check_params", 6, 0)])
def test_a_stage_takes_the_parameters_that_were_checked(tmp_path, monkeypatch, capsys, name, seed, code):
    """Between two stages nobody watches."""
    lock = {"check_params": {"params": {"params.yaml": {"seed": 5}}}, "download": {"params": {}}}
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": lock}))
    (tmp_path / "params.yaml").write_text(f"seed: {seed}  # of all that is random")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", name)
    assert ended(lambda: None) == code
    assert ("params.yaml: changed since the stage check_params" in capsys.readouterr().err) == (code == 1)
