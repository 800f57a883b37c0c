# Everything happens in .venv, which the first target that needs it creates. `make` alone explains the targets.
#
#   PYTHON=python3.12   the interpreter .venv is made with (default: the first usable one; `make distclean` to change it)
#   PIP_FLAGS=...       more arguments for pip, such as --extra-index-url https://download.pytorch.org/whl/cpu
#   ARGS=...            more arguments for the target's command, such as ARGS="-k a3c" for `make test`
#   TEST_JOBS=2         processes `make test` uses

PYTHON ?=
PIP_FLAGS ?=
ARGS ?=
TEST_JOBS ?= 2
DEMO_DIR ?= runs/demo

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL = -m pip --disable-pip-version-check install --quiet $(PIP_FLAGS)
PIP := $(BIN)/python $(PIP_INSTALL) --constraint constraints.txt

IS_SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python)
FOUND = $(shell for python in $(CANDIDATES); do \
    if "$$python" -c '$(IS_SUPPORTED)' 2>/dev/null; then echo "$$python"; break; fi; done)
define NEED_PYTHON
$(if $(FOUND),,$(error actorzoo needs Python 3.11, 3.12 or 3.13, and these are not: $(CANDIDATES). \
Install one and name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)))
endef

.DEFAULT_GOAL := help
.PHONY: help demo test lint format type docs bench constraints clean distclean

help: ## this list
	@echo "make TARGET, where TARGET is one of"
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "Start with 'make demo'. The first call installs PyTorch and the rest into $(VENV); later calls start at once."
	@echo "The variables PYTHON, PIP_FLAGS, ARGS and TEST_JOBS are explained at the top of the Makefile."

demo: $(VENV)/.installed-package ## A3C and A2C learn CartPole, three seeds each: a table, curves, run folders (3 minutes)
	$(BIN)/actorzoo compare --algo a3c --algo a2c --env CartPole-v1 --seeds 3 --n-timesteps 200000 \
	    --hyperparams a3c.n_workers:2 --runs-dir $(DEMO_DIR) $(ARGS)

test: $(VENV)/.installed-dev ## all tests
	$(BIN)/python -m pytest -n $(TEST_JOBS) $(ARGS)

lint: $(VENV)/.installed-dev ## check style; changes nothing
	$(BIN)/ruff check $(ARGS)
	$(BIN)/ruff format --check $(ARGS)

format: $(VENV)/.installed-dev ## repair what `make lint` complains about, where that can be done mechanically
	$(BIN)/ruff check --fix $(ARGS)
	$(BIN)/ruff format $(ARGS)

type: $(VENV)/.installed-dev ## check the type annotations
	$(BIN)/mypy $(ARGS)

docs: $(VENV)/.installed-docs ## build the documentation into site/
	$(BIN)/sphinx-build --fail-on-warning --quiet docs site $(ARGS)
	@echo "Open site/index.html"

bench: $(VENV)/.installed-package ## measure speed beside the ceiling of random actions (keep the machine quiet)
	$(BIN)/python -m benchmarks.asynchronous $(ARGS)

constraints: ## renew constraints.txt with the newest versions that fit together
	$(NEED_PYTHON)
	rm -rf .make/newest
	$(FOUND) -m venv .make/newest
	.make/newest/bin/python $(PIP_INSTALL) editables hatchling
	.make/newest/bin/python $(PIP_INSTALL) --no-build-isolation --editable '.[dev,docs]'
	grep '^#' constraints.txt > .make/constraints.txt
	.make/newest/bin/python -m pip freeze --all --exclude-editable --exclude pip \
	    | grep -v -e '^nvidia' -e '^triton' | sed 's/+cpu$$//' >> .make/constraints.txt
	mv .make/constraints.txt constraints.txt
	rm -rf .make/newest

clean: ## remove caches and build outputs; environment and runs stay
	rm -rf build dist site .make .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find agents wrappers tuning tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## remove the environment, too; runs stay
	rm -rf $(VENV)

# One stamp an environment's layer: pip runs again only when what it reads has changed.

$(VENV)/.created:
	$(NEED_PYTHON)
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	    echo "Creating $(VENV)"; \
	    $(FOUND) -m venv $(VENV); \
	fi
	@touch $@

# The build backend comes first and from constraints.txt, not newest from the net as in pip's isolated builds.
$(VENV)/.installed-package: $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing into $(VENV); the first time this takes minutes"
	$(PIP) editables hatchling
	$(PIP) --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-package
	$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed-package
	$(PIP) --no-build-isolation --editable '.[docs]'
	@touch $@
