"""How scripts/run_config.py ends."""

import contextlib
import os
import signal
import subprocess
import sys
import time

from helpers import ROOT
from torture import DVC_CONFIG, running_in

from oneshot.files import write_text

# A stage that lasts, in a project of its own.
PIPELINE = "stages:\n  long:\n    cmd: python -c \"import time; open('began', 'w'); time.sleep(600)\"\n"
PROGRAM = "import sys; from pathlib import Path; from run_config import repro; sys.exit(repro(Path(sys.argv[1])))"


def wait_until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_dvc_does_not_go_on_when_the_command_that_started_it_is_told_to_stop(tmp_path):
    write_text(tmp_path / "dvc.yaml", PIPELINE)
    write_text(tmp_path / ".dvc/config", DVC_CONFIG.partition("[cache]")[0])
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT / "scripts", stdout=subprocess.DEVNULL, start_new_session=True) as process:
        wait_until((tmp_path / "began").exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) != 0
    wait_until(lambda: not any("dvc" in line for line in running_in(tmp_path)))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # the stage, whose end is its own affair
