# `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CREATED := $(VENV)/.created
PACKAGE := $(VENV)/.package
INSTALLED := $(VENV)/.installed
# A thread that waits for another shall yield, not spin: on a shared machine spinning costs minutes.
export OMP_WAIT_POLICY := PASSIVE
# One thread for each of two test processes; quickstart lets torch use all cores. A process whose tests are done takes
# over half of those that are left to the other; tests of one file mostly stay together, and with them their fixtures.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations=25

.PHONY: help quickstart test test-slow test-all notebooks docs lint format clean
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Targets share one environment, into which pip must not install twice at once.
.NOTPARALLEL:

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

quickstart: $(PACKAGE) ## Fine-tune a small model by SFT and by GFT and compare them (about 5 minutes; again: seconds)
	@$(BIN)/lightning-gft quickstart

test: $(INSTALLED) ## Run the tests but for those marked slow
	$(PYTEST) -m "not slow"

test-slow: $(INSTALLED) ## Run the tests marked slow: long ones, and the rest of broad grids
	$(PYTEST) -m slow

test-all: $(INSTALLED) ## Run all tests
	$(PYTEST)

notebooks: $(INSTALLED) ## Execute the notebooks, shortened, and compare them with their text
	$(PYTEST) tests/notebooks

docs: $(INSTALLED) ## Build the documentation site in site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lint: $(INSTALLED) ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove files of the quickstart, the tests and the site; other runs and the environment stay
	rm -rf runs/quickstart/compared .pytest_cache .mypy_cache .ruff_cache dist site
	find . -name __pycache__ -not -path './$(VENV)/*' -exec rm -rf {} +

# Bytecode is written when a module is first imported: most of the libraries' modules never are.
# pip then prints nothing but warnings and errors.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
ANNOUNCE := @echo "Installing into $(VENV): one to three minutes on a fast network, without output; PyTorch for CUDA takes 5 GB, a build for CPUs less than half (docs/installing.md)"

# Both targets install everything in one step; `make test` thus installs the package once.
$(PACKAGE): pyproject.toml constraints.txt | $(CREATED)
	$(ANNOUNCE)
	@$(PIP) --editable .
	@touch $@

$(INSTALLED): pyproject.toml constraints.txt | $(CREATED)
	$(ANNOUNCE)
	@$(PIP) --editable '.[dev]'
	@touch $(PACKAGE) $@

$(CREATED):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; choose one by: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $(VENV)
	@touch $@
