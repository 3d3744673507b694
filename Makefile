# The words of this project: setup, demo, test, check, coverage, docs, bench, clean. PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test check coverage docs bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: PYTHON must be 3.11 or newer, got $$($(PYTHON) --version). Run: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@echo 'Installing into $(VENV), about 1.6 GB: this may take minutes.'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@# Without its torchvision, which has no build for the small torch: the tests do without.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps timm
	@touch $(STAMP)

demo: setup
	@rm -rf demo
	$(BIN)/leukospike demo

test: setup
	@# By file, so that what the tests of one file share is made once.
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

coverage: setup
	$(BIN)/python -m pytest --cov --cov-report=term --cov-report=html

docs: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build/html
	@echo 'Documentation: docs/_build/html/index.html'

bench: setup
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) demo bench-results coverage .coverage docs/_build
