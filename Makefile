# Needs make and Python 3.11 or newer; everything else is set up here, in .venv.

.DEFAULT_GOAL := help
SHELL := /bin/sh
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PYTHON_OK := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

help: ## say what the targets do
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## train TensorFlow on four replicas, from nothing
	@$(BIN)/homeport demo

test: $(VENV)/.tools ## everything that CI checks: style, types, layers, all tests: about 20 minutes
	@.ci/run

quick: $(VENV)/.tools ## lint and the fast tests: a few minutes
	@.ci/run quick

lint: $(VENV)/.tools ## style, types, layers
	@.ci/run lint

format: $(VENV)/.tools ## put code into the house style
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: $(VENV)/.installed ## measure every figure that the README quotes
	@$(BIN)/python benchmarks/run.py

clean: ## remove what was built (state of platforms lies elsewhere)
	rm -rf $(VENV) .cache build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment. `make PYTHON=/path/to/python3.12 ...` chooses the interpreter.

$(BIN)/python:
	@chosen=; \
	for python in $(PYTHON) python3.14 python3.13 python3.12 python3.11 python3 python; do \
	  if "$$python" -c '$(PYTHON_OK)' 2>/dev/null; then chosen=$$python; break; fi; \
	done; \
	if [ -z "$$chosen" ]; then \
	  echo "make: no Python 3.11 or newer with its venv module was found."; \
	  found=$$(python3 --version 2>/dev/null) && echo "      python3 is $$found."; \
	  echo "      Debian, Ubuntu: apt install python3 python3-venv.  Fedora: dnf install python3."; \
	  echo "      Elsewhere: https://www.python.org/downloads/, then: make PYTHON=/path/to/python3 $(MAKECMDGOALS)"; \
	  exit 1; \
	fi >&2; \
	echo "Setting up $(VENV) with $$("$$chosen" --version)"; \
	"$$chosen" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.pip: | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.pip
	@echo "Installing homeport"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.tools: $(VENV)/.installed
	@echo "Installing the tools that check it"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev
	@touch $@

.PHONY: help demo test quick lint format bench clean
