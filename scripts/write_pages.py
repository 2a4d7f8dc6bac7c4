"""Write the generated parts of README.md and of the pages in docs/, and the pictures of the record.

python scripts/write_pages.py      (after `dvc repro`, a study, a benchmark, or a change of commands)
"""

from __future__ import annotations

from _project import ROOT

from oneshot.common.stage import run_stage
from oneshot.record.pages import write_pages


def main() -> None:
    changed = write_pages(ROOT)
    print(f"written: {', '.join(changed)}" if changed else "all pages are up to date")


if __name__ == "__main__":
    run_stage(main)
