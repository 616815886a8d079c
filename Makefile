# Two commands matter: `make serve` and `make test`. Both need Python >= 3.11 and nothing else.

# The first Python that is new enough. PYTHON=... overrides: a virtual environment of another one is then made anew.
ASKED := $(PYTHON)
PYTHON ?= $(shell for candidate in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$candidate && break; done)
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help

# What installs into the virtual environment of a stamp, and what makes a stamp count for nothing: that its Python has
# gone, or is not the one that was asked for.
install = ASKED='$(ASKED)' sh infra/virtualenv.sh install $(@D) '$(PYTHON)'
unless-works = $(shell sh infra/virtualenv.sh works $(1) '$(ASKED)' || echo always)
.PHONY: always

include infra/build.mk

.PHONY: help serve psql test test-fast test-export test-snippets bench lint format openapi requirements clean

help:  ## Show this list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

serve: $(VENV)/serve.installed  ## Serve the API on http://127.0.0.1:3000, with a database of its own.
	@exec $(BIN)/python -m local

psql: $(VENV)/serve.installed  ## Open the ledger's database with psql; ARGS="-c 'SELECT ...'" runs a statement.
	@$(BIN)/python -m local psql $(ARGS)

test: $(VENV)/test.installed  ## Run the tests, against a real PostgreSQL and real ONNX files.
	@$(BIN)/python -m pytest -n 2 --ignore tests/export --ignore tests/artifacts $(ARGS)

test-fast: $(VENV)/test.installed  ## Run the tests that are not slow and start no server.
	@$(BIN)/python -m pytest -n 2 -m "not slow and not server" --ignore tests/export --ignore tests/artifacts $(ARGS)

test-export: .venv-train/train.installed  ## Run the tests of training and export, which need TensorFlow (1.7 GB).
	@.venv-train/bin/python -m pytest --confcutdir=tests/export tests/export $(ARGS)

test-snippets: $(VENV)/test.installed  ## Run the README's Python, each snippet in an environment with its library alone (3 GB).
	@FRESH_ENVIRONMENTS=1 $(BIN)/python -m pytest tests/e2e/test_snippets.py $(ARGS)

bench: $(VENV)/test.installed .venv-plain/plain_app.installed  ## Measure, as ratios within one run, and print a table.
	@PLAIN_PYTHON=.venv-plain/bin/python $(BIN)/python -m tests.benchmarks $(ARGS)

lint: $(VENV)/lint.installed  ## Check style, types, layers, the template and what is generated.
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy functions infra local model_artifacts tests
	@$(BIN)/lint-imports
	@$(BIN)/cfn-lint template.yaml infra/*.yaml
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/python -m infra.openapi --check

format: $(VENV)/lint.installed  ## Format the code.
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

openapi: $(VENV)/serve.installed  ## Write the OpenAPI document anew, from the code.
	@$(BIN)/python -m infra.openapi

requirements: $(VENV)/build.installed  ## Compile pyproject.toml's groups to hash-pinned files; UPGRADE=1 takes the newest versions.
	@$(BIN)/python -m infra.requirements $(if $(filter-out 0,$(UPGRADE)),--upgrade)

clean:  ## Remove what was installed and built; the data in .ledger/ stays.
	rm -rf .venv .venv-lambda .venv-train .venv-plain .venv-deploy .aws-sam .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# One virtual environment for everything but training: each set holds the one before, at the same versions.
$(VENV)/%.installed: requirements/%.txt $(call unless-works,$(VENV))
	@$(install) $<
	@touch $@

# TensorFlow stays out of it: what needs it has a virtual environment of its own. 1.7 GB installed.
.venv-train/train.installed: requirements/train.txt $(call unless-works,.venv-train)
.venv-plain/plain_app.installed: requirements/plain_app.txt $(call unless-works,.venv-plain)
.venv-train/train.installed .venv-plain/plain_app.installed:
	@$(install) $<
	@touch $@
