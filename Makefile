PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test campaign lint types format docs wheel spelling test-oldest clean

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

# The site, strictly and without network: a warning is an error, and so is a link that leads nowhere. Tutorials
# that no test has run for this very code are run.
docs: $(STAMP)
	$(BIN)/python scripts/write_docs.py
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -b html docs build/site
	$(BIN)/python scripts/check_links.py
	@echo "build/site/index.html"

# Wheel and sdist, checked; the demonstration from the wheel in an environment that has nothing of this folder,
# unless WHEEL is --no-demo.
WHEEL ?=

wheel: $(STAMP)
	$(BIN)/python scripts/check_wheel.py $(WHEEL)

spelling: $(STAMP)
	$(BIN)/codespell README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md docs src tests scripts examples benchmarks

# The tests on the oldest versions that pyproject.toml allows: occasionally, since it downloads a second torch. What
# only development needs (docs, tests' own libraries) comes as new as it fits; an old matplotlib uses old names of it.
OLDEST := .venv-oldest

test-oldest: $(STAMP)
	$(PYTHON) -m venv $(OLDEST)
	$(BIN)/python scripts/oldest.py > $(OLDEST)/oldest.txt
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(OLDEST)/oldest.txt --editable '.[dev]'
	$(OLDEST)/bin/python -m pytest -n 2 --dist loadfile -W "ignore::pyparsing.warnings.PyparsingDeprecationWarning"

format: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) runs build dist .pytest_cache .ruff_cache .mypy_cache
