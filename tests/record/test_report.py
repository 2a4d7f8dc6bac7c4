"""The report is one file with every picture and table of a run, and needs nothing else."""

import re
import subprocess
import sys

import pytest
import write_report
import yaml
from helpers import ROOT
from made_up import make_project
from PIL import Image

from oneshot.common.files import write_text
from oneshot.common.stage import run_stage
from oneshot.record.report import CAPTIONS, page
from oneshot.record.studies import NotRun, Record
from oneshot.report.comparison import METHODS


@pytest.fixture
def run(tmp_path):
    """The folder of a run with figures and pictures."""
    folder = make_project(tmp_path / "demo")
    for method in METHODS:
        for pattern in CAPTIONS:
            path = folder / "plots" / pattern.format(method=method)
            write_text(path, "<svg/>")
            if path.suffix == ".png":
                Image.new("L", (1, 1)).save(path)
    return folder


def test_everything_is_inside(run):
    with pytest.raises(NotRun, match="dvc repro"):
        page(Record(run / "plots"))
    text = page(Record(run))
    assert re.findall('<img src="([^;]+);', text) == ["data:image/svg+xml"] * 6 + ["data:image/png"] * 6
    assert {"90.00", "-2.50", "60.00 ± 1.23"} <= set(re.findall("<t[dh][^>]*>([^<]*)</t", text))
    assert "http" not in text


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("metrics/details/meta.json", "{", "metrics/details/meta.json: not valid JSON"),
        ("metrics/details/meta.json", '{"threshold": 0.5}', "has damaged figures (KeyError"),
        ("metrics/details/meta.json", '{"unseen": 1, "threshold": "x"}', "has damaged figures ("),
        ("plots/comparison/classes.csv", "class,x\nworm,1\n", "classes.csv: row 1: must have the columns class, "),
        ("plots/comparison/classes.csv", "", "classes.csv: row 1: must have the columns class, "),
        ("plots/meta/map.png", None, "plots/meta/map.png: not found; run `dvc repro`"),
        ("plots/meta/map.png", "", "plots/meta/map.png: not a picture that can be read ("),
        ("plots/comparison/roc.svg", "<svg>", "plots/comparison/roc.svg: not a picture that can be read ("),
    ],
)
def test_what_is_damaged_or_missing_is_refused_in_one_line(run, monkeypatch, capsys, name, content, words):
    (run / name).unlink()
    if content is not None:
        (run / name).write_text(content)
    monkeypatch.setattr(sys, "argv", ["write_report.py", str(run)])
    with pytest.raises(SystemExit) as ended:
        run_stage(write_report.main)
    told = capsys.readouterr()
    assert ended.value.code == 1 and not told.out
    assert told.err.startswith("error: ") and words in told.err and told.err.count("\n") == 1
    assert not list(run.glob("*report*"))


def test_captions_cover_every_picture_of_the_pipeline():
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
    pictures = {plot.removeprefix("plots/") for plot in plots if isinstance(plot, str)}
    assert pictures == {name.format(method=method) for name in CAPTIONS for method in METHODS}


def test_the_run_is_named_and_what_is_not_as_committed(run):
    assert "The run in the folder <code>demo</code>, in no Git repository." in page(Record(run))
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message=results"]):
        people = ["-c", "user.name=test", "-c", "user.email=test@test"]
        subprocess.run(["git", *people, *command], cwd=run, check=True)
    assert "The run in the folder <code>demo</code>, as committed." in page(Record(run))
    with open(run / "params.yaml", "a") as file:
        file.write("# edited")
    assert "changed since the commit: <code>params.yaml</code>." in page(Record(run))
