# agcnn-clinic: everything happens in .venv/, made here from requirements.lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TESTS ?= tests
UV ?= uv
MINUTES ?= 5
# One more than there are cores: many tests wait for a daemon, a lease or a disk.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(os.cpu_count() + 1, 8))')

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types imports unit test-postgresql tools fuzz bench format lock advisories clean

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

# Else each command compiles them anew where Python may not keep what it compiles (PYTHONDONTWRITEBYTECODE).
setup: $(STAMP) ## Make .venv/ with the locked dependencies and the project in it
	@$(BIN)/python -m compileall -q agcnn_clinic models training

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked dependencies into $(VENV)/ (about 6 GB with the CUDA libraries; once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: setup ## The main job on sample studies: a clinic in demo/, findings and PDF reports
	@$(BIN)/agcnn-clinic demo demo

test: setup lint types imports unit ## ruff, mypy --strict, import-linter, pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

unit: setup tools
	$(BIN)/python -m pytest -n $(WORKERS) $(TESTS)

test-postgresql: setup ## All tests on a PostgreSQL server that is started for them (Debian: apt install postgresql)
	$(BIN)/python -m pytest -n $(WORKERS) --database postgresql $(TESTS)

tools: ## strace, dicom3tools and openssl, where Debian's packages may be installed; without them the tests that need them skip
	@{ command -v strace && command -v dciodvfy && command -v openssl; } >/dev/null || ! command -v apt-get >/dev/null || \
	    [ "$$(id -u)" != 0 ] || .ci/debian strace dicom3tools openssl

fuzz: setup ## Read sound files with a few bytes changed, for MINUTES=5
	$(BIN)/python tests/hostile/fuzz.py --minutes $(MINUTES)

bench: setup ## Time every part and the whole, and training; writes bench/results/
	$(BIN)/python bench/bench.py

format: setup ## Format the code and sort its imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## Make requirements.lock anew from pyproject.toml (needs uv)
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    --group dev pyproject.toml -o requirements.lock

advisories: ## Known vulnerabilities of the locked dependencies (needs pip-audit or uvx, and a network)
	@.ci/advisories

clean: ## Remove what the targets above made
	rm -rf $(VENV) demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find agcnn_clinic models training -name __pycache__ -prune -exec rm -r {} +
