# Everything runs in .venv, which the first target that needs it makes from the locked requirements.
# A fresh Debian 12 with python3, pip and make is enough; no python3-venv, no root (but for the test packages).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check --no-input --quiet --quiet install
PYTEST_ARGS ?=
# Tests that may run side by side. The others start servers and real peers, and run one after the other.
PURE_TESTS := tests/unit tests/architecture tests/contracts tests/fuzz
BENCH_ARGS ?=
export PYTHONDONTWRITEBYTECODE ?=

.DEFAULT_GOAL := help
.PHONY: help demo run test lint bench lock audit clean install install-dev install-test-packages docs

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 32

demo: $(VENV)/.runtime ## sends real messages through a server of its own and shows where each went and why
	@$(BIN)/python tools/demo.py

run: $(VENV)/.runtime ## runs the server with its embedded default on 127.0.0.1:2525 and :2587, data in ./run
	@XDG_STATE_HOME="$(CURDIR)/run" $(BIN)/bridgehead run

test: lint install-dev ## installs what the tests need, Debian packages included, and runs everything
	@$(BIN)/pytest --quiet --numprocesses 2 --dist loadfile $(PURE_TESTS) $(PYTEST_ARGS)
	@$(BIN)/pytest --quiet $(addprefix --ignore=,$(PURE_TESTS)) $(PYTEST_ARGS)

lint: $(VENV)/.dev ## style, format and types
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary

bench: $(VENV)/.dev ## runs Bridgehead beside Postfix and prints ratios (see bench/README.md)
	@tools/install-test-packages strace libssl-dev
	@$(BIN)/python bench/run.py $(BENCH_ARGS)

docs: $(VENV)/.runtime ## writes the generated pages of docs/reference
	@$(BIN)/python tools/settings_manual.py
	@$(BIN)/python tools/permissions_manual.py
	@$(BIN)/python tools/openapi_manual.py
	@$(BIN)/python tools/metrics_manual.py

install: $(VENV)/.runtime ## what the server needs, in .venv

install-dev: $(VENV)/.dev install-test-packages ## what developers and all tests need, Debian packages included

install-test-packages: $(VENV)/.runtime ## Debian packages of the programs that the tests talk to (root or sudo)
	@tools/install-test-packages
	@PYTHON="$(PYTHON)" tools/install-sslyze
	@PYTHON="$(PYTHON)" tools/install-gssapi $(BIN)/python

lock: $(VENV)/.dev ## resolves requirements anew into the three lock files (needs uv)
	@tools/lock

audit: $(VENV)/.dev ## known vulnerabilities in the locked requirements
	@$(BIN)/pip-audit --require-hashes --disable-pip -r requirements.lock

clean: ## removes .venv, caches and the data of demo and run
	@rm -rf $(VENV) build dist run demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Debian's python3 has no ensurepip without python3-venv: then the system's pip installs into the environment.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed" >&2; exit 1; }
	@$(PYTHON) -m pip --version >/dev/null || { echo "pip is needed: apt-get install python3-pip" >&2; exit 1; }
	@echo "Making $(VENV)"
	@$(PYTHON) -m venv --without-pip --clear $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.created requirements.lock requirements-build.lock pyproject.toml
	@echo "Installing Bridgehead and what it needs into $(VENV)"
	@$(PIP) --require-hashes -r requirements.lock -r requirements-build.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q src
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	@echo "Installing development tools into $(VENV)"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@
