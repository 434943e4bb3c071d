# Two commands do everything: `make demo`, then `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install install-dev install-bench demo up test test-spark test-warehouse check bench lock clean

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | column -t -s "$$(printf '\t')"

demo: install ## Ingest mock bars into an embedded database and lake, build every market asset, print what was built
	$(BIN)/ingestion-pipeline demo

up: install ## Start everything to stay; Ctrl-C stops it
	$(BIN)/ingestion-pipeline up

test: install-dev ## Every test
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-spark: ## The same answer on Spark as on DuckDB; an environment of its own (needs Java 17)
	$(PYTHON) -m venv $(VENV)-spark
	$(VENV)-spark/bin/pip install --quiet --require-hashes -r requirements-spark.lock
	$(VENV)-spark/bin/python -m pytest ingestion_pipeline_tests/spark

test-warehouse: ## Copies in BigQuery (emulator) and Redshift (S3 emulator); an environment of its own
	$(PYTHON) -m venv $(VENV)-warehouse
	$(VENV)-warehouse/bin/pip install --quiet --require-hashes -r requirements-warehouse.lock
	$(VENV)-warehouse/bin/python -m pytest -p no:bqemulator -n auto --dist loadfile ingestion_pipeline_tests/warehouse

check: install-dev ## What CI runs after the tests: format, lint, types, layers, SQL
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sqlfluff lint sql

bench: install-bench ## Every benchmark beside its peer or limit
	$(BIN)/python -m benchmarks

lock: ## Resolve pyproject.toml into the lock files (needs uv)
	uv pip compile pyproject.toml $(LOCK_OPTIONS) -o requirements.lock
	uv pip compile pyproject.toml --extra dev -c requirements.lock $(LOCK_OPTIONS) -o requirements-dev.lock
	uv pip compile pyproject.toml --extra dev --extra bench -c requirements-dev.lock $(LOCK_OPTIONS) -o requirements-bench.lock
	uv pip compile pyproject.toml --extra dev --extra spark -c requirements-dev.lock $(LOCK_OPTIONS) -o requirements-spark.lock
	uv pip compile pyproject.toml --extra dev --extra bigquery --extra redshift --extra warehouse -c requirements-dev.lock $(LOCK_OPTIONS) -o requirements-warehouse.lock
LOCK_OPTIONS := --quiet --python-version 3.11 --universal --generate-hashes --no-strip-extras --no-emit-index-url --no-header --no-annotate

clean: ## Remove the virtual environment and all local data
	rm -rf $(VENV) .data

install: $(VENV)/.installed ## The virtual environment with pinned dependencies
install-dev: $(VENV)/.installed-dev
install-bench: $(VENV)/.installed-bench

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml setup.py | $(VENV)/bin/python
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	$(BIN)/python -m compileall -q ingestion_pipeline
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(BIN)/pip install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.installed-bench: requirements-bench.lock $(VENV)/.installed-dev
	$(BIN)/pip install --quiet --require-hashes -r requirements-bench.lock
	@touch $@
