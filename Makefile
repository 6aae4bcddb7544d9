# make demo   compress a real sentence encoder and show what it kept     (needs only Python 3.10+)
# make test   every check, then every test                               (needs only Python 3.10+)
# make docs   the guides and the API reference as pages, in site/
#
# Each creates .venv first when it is not there or the lock has changed. Variables:
#   PYTHON=python3.12      the interpreter the environment is made with
#   VENV=.venv             where it is made
#   PYTEST_ARGS="-k gptq"  what to hand to pytest

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=

LOCK := requirements/dev.lock
READY := $(VENV)/.ready
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq

.PHONY: help demo test check docs format lock clean
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

help:
	@sed -n 's/^# \{0,1\}//p; /^$$/q' Makefile

demo: $(READY)
	@$(BIN)/python examples/demo.py

test: check
	@echo "==> pytest"
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(READY)
	@echo "==> ruff"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || \
		{ echo "These files are not formatted ('make format' does it):"; \
		  $(BIN)/ruff format --check .; exit 1; }
	@echo "==> mypy"
	@$(BIN)/mypy
	@echo "==> import-linter"
	@out=$$($(BIN)/lint-imports 2>&1) || { echo "$$out"; exit 1; }

# Material announces its successor on every run unless it is told not to.
docs: $(READY)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(READY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# An environment without its stamp was interrupted while it was made, so it is made anew; one that
# has it is brought up to the lock.
$(READY): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "lissom needs Python 3.10 or newer as '$(PYTHON)'; name another: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "'$(PYTHON)' cannot make environments; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@test -f $(READY) || { echo "==> 1/4 environment in $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@rm -f $(READY)
	@echo "==> 2/4 torch (the largest download; a CPU build where pip is set to find one)"
	@$(PIP) install "$$(grep '^torch==' $(LOCK))" --constraint $(LOCK)
	@echo "==> 3/4 the other packages of $(LOCK) (a minute or two)"
	@$(PIP) install --requirement $(LOCK)
	@echo "==> 4/4 lissom itself"
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $(READY)

# Choose every release anew: make lock OLDEST=python3.10 NEWER=python3.11
OLDEST ?= python3.10
NEWER ?= python3.11
lock:
	$(PYTHON) requirements/lock.py $(OLDEST) $(NEWER)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist site
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
