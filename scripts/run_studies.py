"""Make the record of experiments: each line of studies/runs.yaml is a run of the pipeline and a file in studies/.

    python scripts/run_studies.py                  those that have no figures yet and need nothing special, in turn
    python scripts/run_studies.py seed_2 seed_3    these, again if need be
    python scripts/run_studies.py 'fold_*'         those of them that have no figures yet

Killed and run again, it goes on where it was. Two such commands, each with names of its own and `--threads 1`, share
two cores better than one with two threads uses them.
"""

from __future__ import annotations

import fnmatch

from _project import ROOT

from oneshot.common.errors import UserError
from oneshot.common.files import write_json
from oneshot.common.stage import Parser, run_stage
from oneshot.record.runs import run_pipeline
from oneshot.record.studies import Record, figures_of
from oneshot.report.comparison import METHODS


def main() -> None:
    parser = Parser(description="Run experiments, and record them in studies/.")
    parser.add_argument("names", nargs="*", help="which, or patterns; those without figures if none is named")
    parser.add_argument("--threads", type=int, help="CPU threads of each training")
    arguments = parser.parse_args()
    record = Record(ROOT)
    names = [] if arguments.names else record.due()
    for pattern in arguments.names:
        if not (found := fnmatch.filter(record.lines, pattern)):
            raise UserError(f"studies/runs.yaml: has no {pattern}; it has {', '.join(record.lines)}")
        names += [name for name in found if name == pattern or name not in record.done]
    print(f"studies/runs.yaml: {len(names)} of {len(record.lines)} lines to run", flush=True)
    for name in names:
        why = record.lines[name]["why"]
        overrides = record.changes(name) | ({"hardware.threads": arguments.threads} if arguments.threads else {})
        print(f"{name}: {why}", flush=True)
        # First: params.yaml may change while the run, in a folder of its own, is on.
        about = {"why": why, "default": record.digest(overrides), "parameters": overrides}
        folder = run_pipeline(ROOT, name, overrides, *(f"evaluate@{method}" for method in METHODS))
        write_json(ROOT / f"studies/{name}.json", about | figures_of(folder))


if __name__ == "__main__":
    run_stage(main)
