# make quickstart | test | lint | bench | faults | install | clean
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: quickstart test lint bench faults install clean prerequisites
.DEFAULT_GOAL := quickstart

quickstart: install
	$(BIN)/rhythm train quickstart

test: install
	$(BIN)/pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/basedpyright

bench: install
	@for file in tests/benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

# What clusters do to runs: how many faults were injected, and how many a run survived.
faults: install
	$(BIN)/pytest tests/faults

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt | prerequisites
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

prerequisites:
	@PYTHON='$(PYTHON)' sh .ci/prerequisites

clean:
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
