"""The report is one file with every picture and table of a run, and needs nothing else."""

import html.parser
import sys

import pytest
from helpers import ROOT
from test_readme import fake_project

sys.path.insert(0, str(ROOT / "scripts"))

import write_report


class Checked(html.parser.HTMLParser):
    """Counts pictures and table cells; fails on unbalanced tags."""

    def __init__(self):
        super().__init__()
        self.open, self.images, self.cells = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag in ("meta", "img", "!doctype"):
            self.images += [dict(attributes)["src"]] if tag == "img" else []
        else:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data)


@pytest.fixture
def page(tmp_path):
    folder = fake_project(tmp_path)
    (folder / "plots/roc.svg").write_text("<svg/>")
    (folder / "plots/map_meta.png").write_bytes(b"\x89PNG")
    return write_report.page(folder)


def test_everything_is_inside(page):
    checked = Checked()
    checked.feed(page)
    assert not checked.open
    assert [image.split(";")[0] for image in checked.images] == ["data:image/svg+xml", "data:image/png"]
    assert "90.00" in checked.cells and "-2.50" in checked.cells and "60.00 ± 1.23" in checked.cells
    assert "http" not in page.replace("http-equiv", "")


def test_captions_cover_every_picture_of_the_pipeline():
    text = (ROOT / "dvc.yaml").read_text().replace("${item.method}", "{method}")
    pictures = {line.split("plots/")[1].split(":")[0] for line in text.splitlines()
                if "      - plots/" in line and (".svg" in line or ".png" in line)}  # fmt: skip
    assert pictures == set(write_report.CAPTIONS)
