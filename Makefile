# `make` alone lists the targets. Needs only make and Python 3.11 or newer.

.DEFAULT_GOAL := help
.PHONY: help run setup test test-quick lint format messages table bench soak screenshots lock audit clean

# python3 where it will do, otherwise the newest other one that answers.
SUITABLE = -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p $(SUITABLE) && echo $$p && break; done)

# For a peer of the benchmark: a Python that is new enough for it, those of pyenv among them.
NEWER = -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1
NEWER_PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 ~/.pyenv/versions/3.*/bin/python3; do \
	$$p $(NEWER) && echo $$p && break; done)

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST := $(BIN)/python -m pytest

# A set of locked packages, then the project itself, which needs no download any more.
define install
@echo "Installing the packages of $(1) into .venv"
@$(PIP) install --require-hashes -r $(1)
@$(PIP) install --no-deps --no-build-isolation --editable .
@touch $@
endef

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r target text; do printf '%-20s%s\n' "$$target" "$$text"; done

run: .venv/run.stamp ## set up what the application needs and run it
	@$(BIN)/cart serve $(ARGS)

setup: .venv/dev.stamp ## make .venv with everything for development

# By file in a few processes, since many tests wait for a server; then those that a busy machine would disturb.
test: lint ## lint, types and every test but the long ones
	$(PYTEST) -m "not soak and not alone" -n 3 --dist loadfile --max-worker-restart=0
	$(PYTEST) -m "alone and not soak"

test-quick: lint ## lint, types and the quick part of the tests, in less than a minute
	$(PYTEST) --quick -n 2 --dist loadfile --max-worker-restart=0

lint: .venv/dev.stamp ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/dev.stamp ## let ruff format the code and mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The templates and the code mark what people read; the translations stand in locales/, as .po and compiled.
LOCALES := cartapp/web/locales
BABEL := $(BIN)/pybabel --quiet
messages: .venv/dev.stamp ## bring the translations up to date with the templates and the code
	$(BABEL) extract --mapping pyproject.toml --add-location file --sort-by-file --project cartapp \
		--version "" --output-file .venv/messages.pot .
	$(BABEL) update --input-file .venv/messages.pot --output-dir $(LOCALES) --no-fuzzy-matching --ignore-obsolete \
		--ignore-pot-creation-date --no-wrap
	$(BABEL) compile --directory $(LOCALES)

soak: .venv/dev.stamp ## the long tests
	$(PYTEST) -m soak -o timeout=0

table: .venv/dev.stamp ## run the tests of every promise, and write the table of docs/backends.md
	$(PYTEST) -n 2 --dist loadfile --write-table=docs/backends.md
	$(PYTEST) --write-faults=docs/backends.md

bench: .venv/bench.stamp .venv/tina4/stamp benchmarks/peers/node_modules/.package-lock.json ## measure beside other frameworks, into docs/performance.md (ARGS="--quick" for a glance)
	$(BIN)/python -m benchmarks $(ARGS)

screenshots: .venv/dev.stamp ## take the pictures of docs/pages.md anew, with Chromium
	$(BIN)/python -m tests.browser.screenshots

# The smaller sets are held to the versions of dev.txt, so that all of them can share one environment.
COMPILE_ALONE = .venv/uv/bin/uv pip compile --universal --generate-hashes --no-header --no-annotate --quiet \
	$(if $(UPGRADE),--upgrade)
COMPILE = $(COMPILE_ALONE) pyproject.toml --python-version 3.11
lock: .venv/bin/python ## write lock/ anew from pyproject.toml (UPGRADE=1: with the newest versions)
	@$(BIN)/python -m venv .venv/uv && .venv/uv/bin/pip --disable-pip-version-check --quiet install uv
	$(COMPILE) --all-extras --group dev -o lock/dev.txt
	$(COMPILE) --group build -c lock/dev.txt -o lock/run.txt
	$(COMPILE) --all-extras --group dev --group bench -c lock/dev.txt -o lock/bench.txt
	$(COMPILE_ALONE) --python-version 3.12 --group tina4 -c lock/bench.txt -o lock/tina4.txt

audit: .venv/bin/python ## look for known vulnerabilities in what lock/ names; needs pypi.org
	@$(BIN)/python -m venv .venv/audit && .venv/audit/bin/pip --disable-pip-version-check --quiet install pip-audit
	for file in run dev bench; do .venv/audit/bin/pip-audit --disable-pip --require-hashes -r lock/$$file.txt || exit 1; done

clean: ## remove what the targets above have made (data/ and .env.local stay)
	rm -rf .venv benchmarks/peers/node_modules dist .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/bin/python:
	@test -n "$(PYTHON)" && $(PYTHON) $(SUITABLE) || { \
		echo "Python 3.11 or newer with its venv module is needed$(if $(PYTHON),; $(PYTHON) will not do)." \
			"On Debian: apt-get install python3-venv; elsewhere: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear .venv

.venv/run.stamp: lock/run.txt pyproject.toml | .venv/bin/python
	$(call install,lock/run.txt)

.venv/dev.stamp: lock/dev.txt pyproject.toml | .venv/bin/python
	$(call install,lock/dev.txt)
	@touch .venv/run.stamp

.venv/bench.stamp: lock/bench.txt pyproject.toml | .venv/bin/python
	$(call install,lock/bench.txt)
	@touch .venv/run.stamp .venv/dev.stamp

# Two peers of the benchmark want what is not everywhere; without it they are left out, and the report says so.
.venv/tina4/stamp: lock/tina4.txt | .venv/bin/python
	@if test -n "$(NEWER_PYTHON)"; then \
		echo "Making .venv/tina4 with $$($(NEWER_PYTHON) --version)" && \
		$(NEWER_PYTHON) -m venv --clear .venv/tina4 && \
		.venv/tina4/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r $< && \
		touch $@; \
	else echo "There is no Python 3.12, which tina4-python needs (make bench NEWER_PYTHON=/path/to/python3.12)."; fi

benchmarks/peers/node_modules/.package-lock.json: benchmarks/peers/package-lock.json
	@if command -v npm >/dev/null; then \
		echo "Installing the peers on Node into benchmarks/peers/node_modules" && \
		npm --prefix benchmarks/peers ci --ignore-scripts --no-audit --no-fund --loglevel error && touch $@; \
	else echo "There is no npm, which the peers on Node need (on Debian: apt-get install npm)."; fi
