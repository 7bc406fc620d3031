# Two commands for a fresh machine: `make quickstart` and `make test`.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test check docs clean

quickstart: .venv/user
	$(BIN)/attune quickstart

test: .venv/dev check
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -n 2 --dist loadfile

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Debian's python3 may lack ensurepip: then the machine's own pip fills the environment.
.venv/bin/python:
	$(PYTHON) -m venv .venv 2>/dev/null || $(PYTHON) -m venv --without-pip --clear .venv

.venv/user: .venv/bin/python pyproject.toml
	$(PYTHON) -m pip --version >/dev/null || (echo "pip is missing: apt install python3-pip" && false)
	($(BIN)/python -m pip install -q -e . 2>/dev/null) || $(PYTHON) -m pip --python $(BIN)/python install -q -e .
	touch $@

.venv/dev: .venv/bin/python pyproject.toml
	($(BIN)/python -m pip install -q -e ".[dev,parity]" 2>/dev/null) || $(PYTHON) -m pip --python $(BIN)/python install -q -e ".[dev,parity]"
	touch $@

docs: .venv/user
	$(BIN)/attune reference

clean:
	rm -rf .venv runs build dist *.egg-info
