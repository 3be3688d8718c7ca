# Two commands: `make up` starts Shadowbook, `make test` proves it. `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
WORKERS ?= 2
WARM := import services.cli.__main__, services.ingest.app, services.simulator.app, services.ledger.app, services.pricer.app, \
  services.grouper.app, services.sandbox.app, services.ui.app, alembic.command, supervisor.supervisord

.PHONY: help up down test check guards bench chaos format lock clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/uv: requirements-uv.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Python 3.11 or newer is needed, this is %d.%d: set PYTHON=/path/to/python3.11" % v[:2])'
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && apt-get update -qq && \
	  apt-get install -y -qq --no-install-recommends python3-venv >/dev/null && $(PYTHON) -m venv $(VENV); } || \
	  { echo "$(PYTHON) cannot make a virtual environment: install python3-venv (apt-get install python3-venv)" >&2; exit 2; }
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@touch $@

$(VENV)/.runtime: $(BIN)/uv requirements.lock pyproject.toml
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@$(BIN)/python -c "$(WARM)" # compile once what all processes would else compile at the same time
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@touch $@

up: $(VENV)/.runtime ## Start everything; ARGS="--tape DIR --speed 8" passes options on; Ctrl-C stops all
	@exec $(BIN)/shadowbook up $(ARGS)

down: $(VENV)/.runtime ## Stop what `make up` started; ARGS="--data-dir DIR" names another stack
	@exec $(BIN)/shadowbook down $(ARGS)

test: $(VENV)/.dev ## Run every test; as root installs headless Chromium from Debian where it is absent
	@command -v chromium >/dev/null || [ "$$(id -u)" != 0 ] || \
	  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
	  echo "Chromium could not be installed: tests that need a browser will say that they skip" >&2
	@$(BIN)/pytest --numprocesses $(WORKERS) $(ARGS)

check: $(VENV)/.dev ## Format, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

guards: $(VENV)/.dev ## Take out every guard of the decision and move every bound by a micro, in turn: a test must notice
	@$(BIN)/python -m tests.guards $(ARGS)

bench: $(VENV)/.dev ## Measure throughput, latency and memory; ARGS="--json FILE" writes the figures
	@$(BIN)/python -m tests.bench.pipeline $(ARGS)

chaos: $(VENV)/.dev ## Play a tape under every disturbance; ARGS="--tape DIR --speed 8 --cases NAME..." chooses
	@$(BIN)/python -m tests.chaos $(ARGS)

format: $(VENV)/.dev ## Format the code and apply safe fixes
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: $(BIN)/uv ## Renew the hashed locks; they name no index
	@$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-header --extra dev \
	  -c requirements.lock pyproject.toml -o requirements-dev.lock

clean: ## Remove the virtual environment and caches; data directories stay
	@rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
