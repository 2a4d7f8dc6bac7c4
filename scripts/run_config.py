"""Run the pipeline with other parameters in a folder of its own, beside the project's results: runs/<config>/.

    python scripts/run_config.py configs/demo.yaml [--set NAME=VALUE ...]

Run again, it goes on where it was; what the project has computed already, it takes from the project's DVC cache.
"""

from __future__ import annotations

import os
from pathlib import Path

from _project import ROOT

from oneshot.common.stage import Parser, run_stage
from oneshot.record.runs import read_overrides, run_pipeline


def main() -> None:
    parser = Parser(description="Run the pipeline with other parameters, in runs/<config>/.")
    parser.add_argument("config", type=Path, help="a file of the form of params.yaml, such as configs/demo.yaml")
    more = "one more parameter, such as reptile.inner_steps=10; may be repeated"
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help=more)
    arguments = parser.parse_args()
    folder = run_pipeline(ROOT, arguments.config.stem, read_overrides(arguments.config, arguments.set))
    run = os.path.relpath(folder)
    print(f"\nPictures: {run}/plots/. Figures: {run}/metrics/.")
    about = arguments.config.read_text(encoding="utf-8").partition("\n")[0]
    if about.startswith("# "):
        print(f"What this run is: {about[2:]}")


if __name__ == "__main__":
    run_stage(main)
