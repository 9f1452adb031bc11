# Everything runs in .venv, which is made on first use and brought up to date when pyproject.toml or constraints.txt change.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test check lint format clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "make %-9s%s\n", $$1, $$2 }'

install: $(INSTALLED)  ## make .venv with vaekit and its development tools

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("$(PYTHON) is Python %d.%d; vaekit needs 3.11 or newer. Name another: make PYTHON=python3.12" % v[:2])'
	@echo 'Installing into .venv (some minutes the first time) ...' >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(INSTALLED)  ## the whole story on embedded data: demo/ with a report
	@$(BIN)/vaekit demo --out demo

test: $(INSTALLED)  ## the tests, offline and on the CPU; some of them: make test ARGS="-k resume"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m 'not slow' $(ARGS)

check: lint test  ## all that must hold before a commit

lint: $(INSTALLED)  ## format, rules, types, import arrows
	@$(BIN)/ruff format --check --quiet || { $(BIN)/ruff format --diff --quiet; echo 'Format differs: make format' >&2; exit 1; }
	@$(BIN)/ruff check --quiet
	@$(BIN)/basedpyright
	@$(BIN)/lint-imports --no-cache --no-logo

format: $(INSTALLED)  ## put the source in order
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

clean:  ## remove .venv and everything that tools left behind; runs/ and demo/ stay
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache src/*.egg-info
	find src tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} +
