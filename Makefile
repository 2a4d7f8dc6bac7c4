# Everything a person types that is not `dvc ...`. Needs git, make and Python 3.11.4 to 3.14.
# Without make: see "Without make" in docs/how-to.md.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
RUN := $(BIN)/python scripts/run_config.py
export PATH := $(CURDIR)/$(BIN):$(PATH)

# The first Python on the PATH for which the pinned packages exist and that can make virtual environments.
# `make PYTHON=...` names another.
PYTHON = $(shell for python in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	"$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11, 4) <= sys.version_info < (3, 15))' \
	2>/dev/null && command -v "$$python" && break; done)

.PHONY: help setup demo test reference large seeds folds studies experiments pages figures report bench torture lint lock

help: ## list what there is (default)
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' Makefile

setup: $(INSTALLED) ## set up .venv with the packages pinned in requirements.txt, as all others do when need be

demo: $(INSTALLED) ## the whole pipeline on small pictures of digits, in two minutes, offline, in runs/demo/
	@$(RUN) configs/demo.yaml

test: $(INSTALLED) ## run all tests
	@$(BIN)/python -m pytest

reference: $(INSTALLED) ## the pipeline with the reference's own hyper-parameters, for a GPU, in runs/reference/
	@$(RUN) configs/reference.yaml

large: $(INSTALLED) ## CIFAR-FS by three wide networks side by side, for a GPU, in runs/large/
	@$(RUN) configs/large.yaml

seeds: $(INSTALLED) ## the default with two more seeds, about an hour each, and the pages that show them
	@$(BIN)/python scripts/run_studies.py seed_2 seed_3
	@$(BIN)/python scripts/write_pages.py

folds: $(INSTALLED) ## every class unseen once: two trainings of the default for each of ten folds, nine hours; goes on where it was
	@$(BIN)/python scripts/run_studies.py 'fold_*'
	@$(BIN)/python scripts/write_pages.py

studies: $(INSTALLED) ## all experiments of studies/runs.yaml that are not in studies/ yet and need only time: a day on two cores
	@$(BIN)/python scripts/run_studies.py
	@$(BIN)/python scripts/write_pages.py

experiments: $(INSTALLED) ## a table of the experiments that `dvc exp run` made: what differs and what it gave; OPTIONS="--sort-by meta_step"
	@$(BIN)/dvc exp show --only-changed --hide-workspace --drop ".*/|Created" \
	  --keep ".*evaluation.json:(triplet|one_shot)" $(OPTIONS)

pages: $(INSTALLED) ## write the tables in README.md and docs/ anew, after `dvc repro` or new figures
	@$(BIN)/python scripts/write_pages.py

figures: $(INSTALLED) ## draw the pictures anew that explain the method in docs/, and take those in examples/ from the data
	@$(BIN)/python scripts/draw_figures.py

report: $(INSTALLED) ## all pictures and tables of the last run in one file, report.html, that needs no network
	@$(BIN)/python scripts/write_report.py

bench: $(INSTALLED) ## measure speed and memory, after `dvc repro`, in twenty minutes on idle cores; PARTS=... for some of it
	@$(BIN)/python benchmarks/bench.py $(PARTS)
	@$(BIN)/python scripts/write_pages.py

torture: $(INSTALLED) ## kill the pipeline wherever it is, run two at once and compare all bytes; damage all it reads: an hour
	@$(BIN)/python tests/torture.py

lint: $(INSTALLED) ## check style, format and types
	@$(BIN)/python -m ruff check
	@$(BIN)/python -m ruff format --check
	@$(BIN)/python -m mypy

lock: $(INSTALLED) ## write requirements.txt anew, for all platforms and Pythons; OPTIONS=--upgrade takes newer versions
	@$(BIN)/python -m uv pip compile pyproject.toml --extra dev --universal --generate-hashes --python-version 3.11 \
	  --no-emit-index-url --no-emit-find-links --no-header --quiet $(OPTIONS) --output-file requirements.txt

$(INSTALLED): requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { \
	  echo "error: no Python 3.11.4 to 3.14 with venv found; install one (on Debian or Ubuntu also python3-venv)" \
	    "or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON): about 6 GB on Linux, where PyTorch brings CUDA."
	@echo "Takes a few minutes, mostly downloading, once."
	@"$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
