# Everything is installed into .venv, what is downloaded is kept in ~/.cache; root is only needed where a Debian
# package is missing, and for the tests of the image.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest

.PHONY: demo test test-pythons test-matrix test-live check bench soak lock clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { apt-get update -qq && apt-get install -qq -y --no-install-recommends python3-venv; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev --group demo
	touch $@

demo: $(VENV)/.installed ## real flights and planes into DuckDB, killed in the middle, gone on with, proven (DEMO_ROWS=20000: fewer)
	@PATH="$$PATH:/usr/sbin" command -v mariadbd >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& echo 'installing mariadb-server from Debian' && export DEBIAN_FRONTEND=noninteractive && apt-get update -qq \
		&& apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 mariadb-server >/dev/null; } \
		|| echo 'mariadb-server is not installed, and cannot be from here: the demo goes on without it'
	@$(BIN)/sluiceway demo .demo $(if $(DEMO_ROWS),--rows $(DEMO_ROWS))

check: $(VENV)/.installed ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(VENV)/.installed ## every test that this machine can run, real servers included
	@$(BIN)/python -m tests.servers.install
	$(PYTEST) -n 2 --dist worksteal

test-pythons: $(VENV)/.installed ## the unit tests on the other interpreters found (3.11-3.13), and which were not found
	@$(BIN)/python -m tests.pythons

test-matrix: $(VENV)/.installed ## the server tests with Elasticsearch 9 and OpenSearch 3 too, where a JDK >= 21 is found
	@SLUICEWAY_TEST_MATRIX=1 $(BIN)/python -m tests.servers.install
	SLUICEWAY_TEST_MATRIX=1 $(PYTEST) tests/integration tests/faults

test-live: $(VENV)/.installed ## the clauses about Snowflake on an account of yours (SLUICEWAY_TEST_SNOWFLAKE_*); says what it did not run
	@$(BIN)/python -m tests.live

soak: $(VENV)/.installed ## long: every crash point, kills at random moments under load, full sizes (SOAK_MINUTES=10)
	$(PYTEST) -q -s tests/soak/soak_*.py

bench: $(VENV)/.installed ## speeds and memory beside plain ways to do the same, in one run
	@for bench in decode extract load page mysql mysql_load; do echo "== $$bench"; $(BIN)/python -m bench.$$bench || exit 1; done

lock: $(VENV)/.installed ## renew the hash-locked dependencies of the image: deploy/requirements*.txt
	@$(BIN)/python -m tests.packaging.lock

clean: ## remove what was made here; the cache outside the repository stays
	rm -rf $(VENV) .venv-* .demo examples/out dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
