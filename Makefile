# Everything runs in .venv, which `make setup` builds; a fresh machine needs Python 3.11 and make, nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PARTS := api billing bench cli ingestion integrations ledger pipelines settings warehouse_sql

# A dozen processes import the same packages: compiled files are kept even where the caller's environment forbids it.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-all chaos grown soak browser check lint types imports format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.complete ## Build the environment in .venv (the other targets do it by themselves)

# uv is fetched from PyPI into the new environment: it installs in seconds what pip does in minutes.
# A machine on which uv cannot reach the package index still has pip.
.venv/.complete: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; say where: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[dev]' || $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: setup ## Turn a real trace into paid invoices, each total proven; options: make demo ARGS="--keep"
	@$(BIN)/tally demo $(ARGS)

up: setup ## Start warehouse, API, Dagster and the Stripe sandbox; Ctrl-C stops all
	@$(BIN)/tally up $(ARGS)

# A whole stack fills two cores and takes the usual ports: the tests in tests/e2e run one after the other.
test: setup check ## Lint, types, import rules, and all tests but the slow ones
	@$(BIN)/python -m pytest -q -m "not slow" -n 2 --dist loadgroup --ignore tests/e2e $(ARGS)
	@$(BIN)/python -m pytest -q -m "not slow" tests/e2e $(ARGS)

test-all: setup check ## All tests, the slow ones too
	@$(BIN)/python -m pytest -q -n 2 --dist loadgroup --ignore tests/e2e $(ARGS)
	@$(BIN)/python -m pytest -q tests/e2e $(ARGS)

chaos: setup ## Kill API and warehouse at random under load and count every event; make chaos ROUNDS=20 SEED=…
	@CHAOS_ROUNDS=$(ROUNDS) CHAOS_SEED=$(SEED) $(BIN)/python -m pytest -q -s -m slow tests/integration/ingestion/test_chaos.py $(ARGS)

grown: setup ## The services of docker-compose.yml as processes, killed while they work; make grown ROUNDS=3 SEED=…
	@KILL_ROUNDS=$(ROUNDS) KILL_SEED=$(SEED) $(BIN)/python -m pytest -q -s -m slow tests/e2e/test_grown_form.py $(ARGS)

soak: setup ## Steady load, and a table of memory and CPU; make soak SECONDS=300
	@SOAK_SECONDS=$(or $(SECONDS),300) $(BIN)/python -m pytest -q -s -m slow tests/integration/ingestion/test_soak.py $(ARGS)

browser: setup ## Chromium buys on the sandbox's pages; BROWSER_PICTURES=DIR keeps screenshots
	@$(BIN)/python -m pytest -q -m slow tests/integration/stripe/gateway/test_browser.py $(ARGS)

check: lint types imports ## Lint, types and import rules

lint: setup ## ruff: rules and format
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .

types: setup ## mypy --strict over the product
	@$(BIN)/mypy $(PARTS)

imports: setup ## Who may import whom
	@$(BIN)/lint-imports

format: setup ## Let ruff format and fix what it can
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

clean: ## Remove the environment and all local state
	rm -rf .venv .tally
