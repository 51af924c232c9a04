# Every target works on a fresh machine: it needs Python >= 3.11 and make, nothing else.
#   make test PYTHON=/usr/bin/python3.12     another interpreter
#   make test VENV=/tmp/venv                 another place for the environment
PYTHON ?= python3
VENV ?= .venv
TESTS ?= -n auto --maxprocesses 4
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install -qq --no-input --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install demo test lint types format clean

help:
	@echo "make demo     the whole job on a synthetic city, in minutes"
	@echo "make test     the test suite"
	@echo "make lint     ruff: rules and formatting"
	@echo "make types    mypy, strict"
	@echo "make format   let ruff repair what it can"
	@echo "make clean    remove the environment and the caches"

install: $(STAMP)

# torch comes first and by itself, so that no other package gets to choose which build of it is installed
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "lidistill needs Python >= 3.11, '$(PYTHON)' is `$(PYTHON) --version 2>&1`; try: make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing torch (a minute or more)"
	@$(PIP) torch
	@echo "installing lidistill and what it needs"
	@$(PIP) -e '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/lidistill demo

# one thread per worker: the workers share the cores, and sums come out in one order everywhere
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(TESTS)

lint: $(STAMP)
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --no-cache --check .

types: $(STAMP)
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache build src/*.egg-info
