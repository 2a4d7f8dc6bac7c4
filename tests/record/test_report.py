"""The report is one file with every picture and table of a run, and needs nothing else."""

from __future__ import annotations

import html.parser
import subprocess
from pathlib import Path

import pytest
import yaml
from helpers import ROOT
from made_up import make_project

from oneshot.record.report import CAPTIONS, page
from oneshot.record.studies import NotRun, Record
from oneshot.report.comparison import METHODS


class Checked(html.parser.HTMLParser):
    """Collects pictures and table cells; fails on unbalanced tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.images.append(str(dict(attributes)["src"]).split(";")[0])
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data)


def test_everything_is_inside(tmp_path: Path) -> None:
    with pytest.raises(NotRun, match="dvc repro"):
        page(Record(tmp_path))
    folder = make_project(tmp_path)
    (folder / "plots/comparison/roc.svg").write_text("<svg/>")
    (folder / "plots/meta").mkdir()
    (folder / "plots/meta/map.png").write_bytes(b"\x89PNG")
    text = page(Record(folder))
    checked = Checked(text)
    assert checked.images == ["data:image/svg+xml", "data:image/png"]
    assert {"90.00", "-2.50", "60.00 ± 1.23"} <= set(checked.cells)
    assert "http" not in text


def test_captions_cover_every_picture_of_the_pipeline() -> None:
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
    pictures = {plot.removeprefix("plots/") for plot in plots if isinstance(plot, str)}
    assert pictures == {name.format(method=method) for name in CAPTIONS for method in METHODS}


def test_the_run_is_named_and_what_is_not_as_committed(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "demo")
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message=results"]):
        people = ["-c", "user.name=test", "-c", "user.email=test@test"]
        subprocess.run(["git", *people, *command], cwd=folder, check=True)
    assert "The run in the folder <code>demo</code>, as committed." in page(Record(folder))
    with open(folder / "params.yaml", "a") as file:
        file.write("# edited")
    assert "changed since the commit: <code>params.yaml</code>." in page(Record(folder))
