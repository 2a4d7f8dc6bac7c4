"""Write report.html: all pictures and tables of the last run in one file that needs no network.

python scripts/write_report.py                (after `dvc repro`)
python scripts/write_report.py runs/demo      (of another run)
"""

from __future__ import annotations

import os
from pathlib import Path

from _project import ROOT

from oneshot.common.errors import UserError
from oneshot.common.files import write_text
from oneshot.common.stage import Parser, run_stage
from oneshot.record.report import page
from oneshot.record.studies import NotRun, Record


def main() -> None:
    parser = Parser(description="Write all pictures and tables of a run into one HTML file.")
    parser.add_argument("folder", nargs="?", default=ROOT, type=Path, help="of the run (default: this project's own)")
    folder = parser.parse_args().folder
    try:
        write_text(path := folder / "report.html", page(Record(folder)))
    except NotRun as missing:
        raise UserError(f"{folder}: has no figures; run `{missing}` first") from None
    print(f"{os.path.relpath(path)}: written; open it in a browser")


if __name__ == "__main__":
    run_stage(main)
