# quant_dagster: `make run` trades twenty real sessions on paper, `make test` tests everything.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export QUANT_HOME ?= $(CURDIR)/.quant

.DEFAULT_GOAL := help
.PHONY: help run test shuffled lint check coverage format ui lock clean chaos ib-async mutation benchmark

help: ## What there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# The environment, from the lock; byte-code is compiled once, so that every later start is fast.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "quant_dagster needs Python 3.11 to 3.13, this is " + sys.version.split()[0] + "; set PYTHON=/path/to/python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing $$(grep -c == requirements.lock) packages from requirements.lock (a few minutes, once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@

run: $(READY) ## Trade the last 20 packaged sessions on paper and write a report
	@$(BIN)/quant replay --sessions 20
	@echo "Look around: 'make ui' opens Dagster; '$(BIN)/quant status', 'positions', 'pnl', 'lineage FILL_ID' tell the rest."

test: $(READY) ## Run every test
	@$(BIN)/pytest -n auto --dist worksteal -m "not soak"

shuffled: $(READY) ## Run every test in an order of chance, which is printed
	@seed=$$(date +%s); echo "-p randomly --randomly-seed=$$seed"; \
		$(BIN)/pytest -n auto --dist worksteal -m "not soak" -p randomly --randomly-seed=$$seed

lint: $(READY) ## Lint, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

check: lint ## The same and the fast tests
	@$(BIN)/pytest tests/unit -n auto --dist worksteal -m "not slow and not soak"

format: $(READY) ## Format and fix what can be fixed
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

ui: $(READY) ## Open Dagster on http://127.0.0.1:3000
	@mkdir -p $(QUANT_HOME)/dagster
	@test -f $(QUANT_HOME)/dagster/dagster.yaml || cp config/dagster/sqlite.yaml $(QUANT_HOME)/dagster/dagster.yaml
	@DAGSTER_HOME=$(QUANT_HOME)/dagster $(BIN)/dagster dev -w workspace.yaml

lock: $(READY) ## Write requirements.lock from pyproject.toml
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-annotate --no-header \
		--no-emit-index-url --no-emit-find-links --quiet --output-file requirements.lock

# The gate's compiled functions are measured interpreted, in a second run that adds to the first; the report reads no
# configuration, so that they are not left out of it.
coverage: export COVERAGE_FILE := $(QUANT_HOME)/coverage/data
coverage: $(READY) ## Branch coverage of what handles money: at least 95 %
	@mkdir -p $(QUANT_HOME)/coverage
	@$(BIN)/pytest -n auto --cov --cov-report= tests/unit/accounting tests/unit/risk tests/unit/execution tests/unit/cycle \
		tests/conformance tests/integration/test_trading_daemon.py tests/integration/ibkr \
		tests/integration/test_execution_assets.py
	@NUMBA_DISABLE_JIT=1 $(BIN)/pytest -n auto --cov --cov-append --cov-report= tests/unit/risk/gate
	@$(BIN)/coverage json --rcfile=/dev/null --quiet -o $(QUANT_HOME)/coverage/report.json
	@$(BIN)/python -m tests.support.branch_coverage $(QUANT_HOME)/coverage/report.json

chaos: $(READY) ## Kill replays, backfills and the trading daemon at random moments and compare what they left
	@$(BIN)/pytest -m soak

ib-async: $(READY) ## The Interactive Brokers tests with ib_async, in an environment of its own
	@test -x $(VENV)-ib-async/bin/python || $(PYTHON) -m venv $(VENV)-ib-async
	@grep -v -e '^ib-insync==' -e '^eventkit==' requirements.lock > $(VENV)-ib-async/requirements.txt
	@$(VENV)-ib-async/bin/python -m pip install --quiet --disable-pip-version-check -r $(VENV)-ib-async/requirements.txt "ib_async==2.1.0"
	@PYTHONPATH=$(CURDIR) $(VENV)-ib-async/bin/python -m pytest -p no:cacheprovider \
		tests/integration/ibkr tests/integration/test_trading_daemon.py tests/conformance -k "not paper and not binance"

mutation: $(READY) ## Change lines of quant_dagster/risk and see whether a test notices
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "mutmut>=3.8"
	@$(BIN)/python -m tests.mutation

benchmark: $(READY) ## Measure the ratios of benchmarks/README.md
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean: ## Remove the environment, caches and everything the program wrote
	@rm -rf $(VENV) $(VENV)-ib-async .quant .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
