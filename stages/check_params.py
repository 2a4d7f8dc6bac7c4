"""Every mistake in params.yaml fails here, before anything is computed."""

import _checkout  # noqa: F401

from oneshot.common.files import write_text
from oneshot.common.stage import run_stage
from oneshot.params import check_params


def main() -> None:
    check_params()
    # A constant output: whatever changes in params.yaml, nothing below is invalidated by this stage.
    write_text("results/params-checked", "params.yaml is valid\n")


if __name__ == "__main__":
    run_stage(main)
