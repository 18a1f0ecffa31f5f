# `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed

.PHONY: help setup train test lint format dashboard
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv and install catdog into it, in the versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip  # old ones search for long
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[dev]'
	touch $@

train: $(STAMP) ## train the deep net for 100 epochs on drawn cats and dogs
	$(VENV)/bin/python train.py model=deep trainer.max_epochs=100

test: $(STAMP) ## run all tests, several at a time
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

lint: $(STAMP) ## check style and types
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

format: $(STAMP) ## put the code into its usual form
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

dashboard: $(STAMP) ## show all runs in TensorBoard
	$(VENV)/bin/tensorboard --logdir outputs
