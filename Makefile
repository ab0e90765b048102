PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test campaign lint types format clean

demo: $(STAMP)
	$(BIN)/whyclass demo --store runs/demo

test: lint types
	$(BIN)/python -m pytest -n 2 --dist loadfile

# how many times as long as in every run of the tests; `make campaign LENGTH=30 SEED=7`
LENGTH ?= 10
SEED ?= 0

campaign: $(STAMP)
	WHYCLASS_CAMPAIGN=$(LENGTH) WHYCLASS_CAMPAIGN_SEED=$(SEED) $(BIN)/python -m pytest -s tests/campaign

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(STAMP)
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) runs .pytest_cache .ruff_cache .mypy_cache
