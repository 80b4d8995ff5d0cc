# blathy: `make run` and `make test` need only Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8
STAMPS := $(VENV)/.stamps
PORTAL := src/blathy/headend/api/static/index.html
PORTAL_SOURCES := $(shell find portal -type f -not -path '*/node_modules/*' -not -path '*/dist/*' 2>/dev/null)
RUN_ARGS ?=
ifndef BLATHY_CRASH_SEED
BLATHY_CRASH_SEED := $(shell date +%s)
endif

.PHONY: help setup run test lint types layers unit portal portal-check bench fuzz crash docs lock clean

help:
	@echo "make run      set up, build the portal and run the town (blathy up)"
	@echo "make test     set up and pass all checks: lint, types, layers, tests, browser"
	@echo "make setup    set up .venv and the portal, run nothing"
	@echo "make bench    benchmarks beside their peers, as a table"
	@echo "make fuzz     long fuzzing     make crash   kill -9 200 times     make docs   generated pages"

$(STAMPS)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "blathy needs Python 3.11 or newer; run: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) tools/make_venv.py $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/runtime: $(STAMPS)/uv requirements.lock pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMPS)/dev: $(STAMPS)/runtime requirements-dev.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@touch $@

$(PORTAL): $(STAMPS)/runtime $(PORTAL_SOURCES)
	$(BIN)/python tools/build_portal.py

setup: $(STAMPS)/runtime $(PORTAL)

run: setup
	$(BIN)/blathy up $(RUN_ARGS)

test: setup $(STAMPS)/dev lint types layers portal-check unit

lint: $(STAMPS)/dev
	$(BIN)/ruff check src tests bench tools
	$(BIN)/ruff format --check src tests bench tools

types: $(STAMPS)/dev
	$(BIN)/mypy

layers: $(STAMPS)/dev
	$(BIN)/lint-imports

portal-check: $(STAMPS)/dev $(PORTAL)
	$(BIN)/python tools/build_portal.py --check

unit: $(STAMPS)/dev $(PORTAL)
	$(BIN)/python tools/ensure_browser.py
	$(BIN)/pytest -q -n 2 --dist loadfile

bench: setup $(STAMPS)/dev
	$(BIN)/python -m bench

fuzz: setup $(STAMPS)/dev
	BLATHY_EXPLORE=1 $(BIN)/pytest -q -n 2 -m "fuzz or thorough" --timeout 7200 tests
	BLATHY_EXPLORE=1 $(BIN)/pytest -q -n 2 --dist loadfile

crash: setup $(STAMPS)/dev
	@echo "the kills follow from the seed; to repeat them: make crash BLATHY_CRASH_SEED=$(BLATHY_CRASH_SEED)"
	BLATHY_CRASH_SEED=$(BLATHY_CRASH_SEED) $(BIN)/pytest -v -n 2 -m crash --timeout 7200 tests

docs: setup $(STAMPS)/dev
	$(BIN)/python tools/make_docs.py

lock: $(STAMPS)/uv
	tools/lock.sh

clean:
	rm -rf build dist portal/dist src/blathy/headend/api/static
