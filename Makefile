# `make help` lists what there is to do.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUNS := runs/quickstart/compared
SOURCES := $(shell find lightning_gft -name '*.py' -o -name '*.safetensors')
# A thread that waits for another shall yield, not spin: on a shared machine spinning costs minutes.
export OMP_WAIT_POLICY := PASSIVE
# One thread for each of two test processes; quickstart lets torch use all cores. A process whose tests are done takes
# over half of those that are left to the other; tests of one file mostly stay together, and with them their fixtures.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations=25

.PHONY: help quickstart test test-slow test-all docs lint format clean
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

quickstart: $(RUNS)/base/.done $(RUNS)/sft/.done $(RUNS)/gft/.done ## Fine-tune a small model by SFT and by GFT and compare them (5 to 10 minutes; again: seconds)
	@echo "Logs: $(BIN)/tensorboard --logdir $(RUNS)"
	@echo "To train again: make clean quickstart"
	@$(BIN)/lightning-gft report base=$(RUNS)/base SFT=$(RUNS)/sft GFT=$(RUNS)/gft --output $(RUNS)/report.html

test: $(INSTALLED) ## Run the tests but for those marked slow
	$(PYTEST) -m "not slow"

test-slow: $(INSTALLED) ## Run the tests marked slow: long ones, and the rest of broad grids
	$(PYTEST) -m slow

test-all: $(INSTALLED) ## Run all tests
	$(PYTEST)

docs: $(INSTALLED) ## Build the documentation site in site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lint: $(INSTALLED) ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what the quickstart and the tests have written; other runs and the environment stay
	rm -rf $(RUNS) .pytest_cache .mypy_cache .ruff_cache build site ./*.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; choose one by: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# The base is only measured; the other two are trained and measured.
$(RUNS)/base/.done: configs/quickstart/gft.yaml $(SOURCES) | $(INSTALLED)
	$(BIN)/lightning-gft validate --config $< --trainer.default_root_dir $(@D)
	@touch $@

$(RUNS)/%/.done: configs/quickstart/%.yaml $(SOURCES) | $(INSTALLED)
	$(BIN)/lightning-gft fit --config $< --trainer.default_root_dir $(@D)
	@touch $@
