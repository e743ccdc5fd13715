# `make` lists the targets. Requires only make and Python 3.11 or newer.

.DEFAULT_GOAL := help
.PHONY: help run setup docs test test-quick lint format compat compat-lowest compat-newest compat-library soak table bench messages \
	screenshots cli bench-scale lock audit wheels clean

# python3 if it is new enough, else the newest interpreter found.
SUITABLE = -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p $(SUITABLE) && echo $$p && break; done)

# A newer Python for one peer of the benchmark; also looks into pyenv.
NEWER = -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1
NEWER_PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 ~/.pyenv/versions/3.*/bin/python3; do \
	$$p $(NEWER) && echo $$p && break; done)

# Some images disable byte code: each of the servers that the tests start would then compile the application again.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST := $(BIN)/python -m pytest
QUICK_TESTS = $(PYTEST) --quick -n 3 --dist loadfile --max-worker-restart=0

UV := .venv/uv/bin/uv
RESOLVE = $(UV) pip compile --python $(BIN)/python --all-extras --no-header --no-annotate --quiet --upgrade

# Install a lock file, then the project itself without any download.
define install
@echo "Installing the packages of $(1) into .venv"
@$(PIP) install --require-hashes -r $(1)
@$(PIP) install --no-deps --no-build-isolation --editable .
@touch $@
endef

# Install a resolved set of packages and a project into an environment of its own, and run quick tests there.
define quick_tests_with
@$(BIN)/python -m venv $(1)
@$(UV) pip sync --quiet --python $(1)/bin/python $(1).txt
@$(UV) pip install --quiet --python $(1)/bin/python --no-deps --no-build-isolation --editable $(2)
$(QUICK_TESTS:$(BIN)/%=$(1)/bin/%) $(3)
endef

help: # list the targets
	@awk -F ':.*## ' '/^##@/ { printf "%s%s\n", sep, substr($$0, 5); sep = "\n" } \
		/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Use

run: .venv/run.stamp ## set up and run the application on http://127.0.0.1:7147 (ARGS="--port 8000")
	@$(BIN)/cart serve $(ARGS)

##@ Check

setup: .venv/dev.stamp ## create .venv with everything for development

lint: .venv/dev.stamp ## run ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/dev.stamp ## format the code and fix what ruff can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

test-quick: lint ## lint, and the quick part of the tests: one to two minutes, with one Redis
	$(QUICK_TESTS)

# By file in a few processes, since many tests wait for a server; then the tests that a busy machine would disturb.
# With TWICE=1 a failed test runs once more, with no other test at the same time; a second failure counts.
OR_TWICE = $(if $(TWICE),|| $(PYTEST) --last-failed --last-failed-no-failures none)
test: lint ## lint, and all tests except the soak tests; prints the ten slowest
	$(PYTEST) -m "not soak and not alone" -n 4 --dist loadfile --no-loadscope-reorder --max-worker-restart=0 \
		--durations=10 $(OR_TWICE)
	$(PYTEST) -m "alone and not soak" $(OR_TWICE)

soak: .venv/dev.stamp ## the soak tests (long)
	$(PYTEST) -m soak -o timeout=0

# The tools are the newest in all environments; the application and its drivers differ.
compat: compat-lowest compat-newest compat-library ## the quick tests with the lowest and with the newest versions of all dependencies

compat-lowest: .venv/uv/bin/uv
	$(RESOLVE) pyproject.toml --resolution lowest-direct --output-file .venv/compat-lowest-direct.txt
	$(RESOLVE) pyproject.toml --group dev --constraints .venv/compat-lowest-direct.txt --output-file .venv/compat-lowest.txt
	$(call quick_tests_with,.venv/compat-lowest,.)

compat-newest: .venv/uv/bin/uv
	$(RESOLVE) pyproject.toml --group dev --output-file .venv/compat-newest.txt
	$(call quick_tests_with,.venv/compat-newest,.)

# The library has lower bounds than the shop. Its environment has no package of the shop, so the files of tests that
# import the shop are left out.
LIBRARY := packages/session/pyproject.toml
SHOP := cartapp\.(accounts|bootstrap|catalogue|database|settings)|tests\.support\.(accounts|commands|environment|outages|schema|shop)
TESTS_OF_SHOP = $(shell grep -rlE "^from ($(SHOP))" tests/session --include="test_*.py")
compat-library: .venv/uv/bin/uv
	$(RESOLVE) $(LIBRARY) --resolution lowest-direct --output-file .venv/compat-library-direct.txt
	$(RESOLVE) $(LIBRARY) --group library --constraints .venv/compat-library-direct.txt --output-file .venv/compat-library.txt
	$(call quick_tests_with,.venv/compat-library,packages/session,tests/session $(TESTS_OF_SHOP:%=--ignore=%) \
		-W "ignore:The anyio.abc.BlockingPortal:DeprecationWarning")

##@ Measure

bench: .venv/bench.stamp .venv/tina4/stamp benchmarks/peers/node_modules/.package-lock.json ## compare with other frameworks, into docs/performance.md (ARGS="--quick": a first look)
	$(BIN)/python -m benchmarks $(ARGS)

bench-scale: .venv/dev.stamp ## measure commands at a million sessions, into docs/performance.md (ARGS="--sessions 10000")
	$(BIN)/python -m benchmarks.scale $(ARGS)

table: .venv/dev.stamp ## run the tests of every promise and write the tables of docs/backends.md
	$(PYTEST) -n 2 --dist loadfile --write-table=docs/backends.md
	$(PYTEST) --write-faults=docs/backends.md

##@ Maintain

# Templates and code mark the translatable texts; locales/ holds the translations, as .po and compiled.
LOCALES := cartapp/web/i18n/locales
BABEL := $(BIN)/pybabel --quiet
messages: .venv/dev.stamp ## update the translation catalogues from templates and code
	$(BABEL) extract --mapping pyproject.toml --add-location file --sort-by-file --project cartapp \
		--version "" --output-file .venv/messages.pot .
	$(BABEL) update --input-file .venv/messages.pot --output-dir $(LOCALES) --no-fuzzy-matching --ignore-obsolete \
		--ignore-pot-creation-date --no-wrap
	$(BABEL) compile --directory $(LOCALES)

docs: .venv/dev.stamp ## serve the documentation on http://127.0.0.1:8000
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

cli: .venv/dev.stamp ## write docs/cli.md from the help of the commands
	$(BIN)/python -m typer cartapp.commands utils docs --name cart --output docs/cli.md

screenshots: .venv/dev.stamp ## retake the screenshots of docs/pages.md with Chromium
	$(BIN)/python -m tests.browser.screenshots

# The smaller sets use the versions of dev.txt, so that one environment can hold all of them.
COMPILE_ALONE = $(UV) pip compile --universal --generate-hashes --no-header --no-annotate --quiet \
	$(if $(UPGRADE),--upgrade)
COMPILE = $(COMPILE_ALONE) pyproject.toml --python-version 3.11
lock: .venv/uv/bin/uv ## rewrite lock/ from pyproject.toml (UPGRADE=1: with the newest versions)
	$(COMPILE) --all-extras --group dev -o lock/dev.txt
	$(COMPILE) --group build -c lock/dev.txt -o lock/run.txt
	$(COMPILE) --extra postgresql --group build -c lock/dev.txt -o lock/deploy.txt
	$(COMPILE) --all-extras --group dev --group bench -c lock/dev.txt -o lock/bench.txt
	$(COMPILE_ALONE) --python-version 3.12 --group tina4 -c lock/bench.txt -o lock/tina4.txt

audit: .venv/bin/python ## check the packages in lock/ for known vulnerabilities; requires pypi.org
	@$(BIN)/python -m venv .venv/audit && .venv/audit/bin/pip --disable-pip-version-check --quiet install pip-audit
	for file in run dev bench; do .venv/audit/bin/pip-audit --disable-pip --require-hashes -r lock/$$file.txt || exit 1; done

wheels: .venv/dev.stamp ## build the wheels of the application and of the library, with sdists, into dist/
	$(BIN)/python -m hatchling build --directory $(CURDIR)/dist
	cd packages/session && $(CURDIR)/$(BIN)/python -m hatchling build --directory $(CURDIR)/dist

clean: ## remove everything that the targets created, except data/ and .env.local
	rm -rf .venv benchmarks/peers/node_modules dist .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/bin/python:
	@test -n "$(PYTHON)" && $(PYTHON) $(SUITABLE) || { \
		echo "Python 3.11 or newer with the venv module is required$(if $(PYTHON),; $(PYTHON) is not suitable)." \
			"On Debian: apt-get install python3-venv; elsewhere: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Creating .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear .venv

.venv/uv/bin/uv: | .venv/bin/python
	@$(BIN)/python -m venv .venv/uv && .venv/uv/bin/pip --disable-pip-version-check --quiet install uv

.venv/run.stamp: lock/run.txt pyproject.toml | .venv/bin/python
	$(call install,lock/run.txt)

.venv/dev.stamp: lock/dev.txt pyproject.toml | .venv/bin/python
	$(call install,lock/dev.txt)
	@touch .venv/run.stamp

.venv/bench.stamp: lock/bench.txt pyproject.toml | .venv/bin/python
	$(call install,lock/bench.txt)
	@touch .venv/run.stamp .venv/dev.stamp

# Some peers of the benchmark require a newer Python or Node. Without it they are skipped, and the report lists them.
.venv/tina4/stamp: lock/tina4.txt | .venv/bin/python
	@if test -n "$(NEWER_PYTHON)"; then \
		echo "Creating .venv/tina4 with $$($(NEWER_PYTHON) --version)" && \
		$(NEWER_PYTHON) -m venv --clear .venv/tina4 && \
		.venv/tina4/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r $< && \
		touch $@; \
	else echo "tina4-python requires Python 3.12 (make bench NEWER_PYTHON=/path/to/python3.12)."; fi

benchmarks/peers/node_modules/.package-lock.json: benchmarks/peers/package-lock.json
	@if command -v npm >/dev/null; then \
		echo "Installing the Node peers into benchmarks/peers/node_modules" && \
		npm --prefix benchmarks/peers ci --ignore-scripts --no-audit --no-fund --loglevel error && touch $@; \
	else echo "The Node peers require npm (on Debian: apt-get install npm); it installs a Node of their own."; fi
