# Every target makes its own environment when it is missing: `make quickstart` is all a new machine needs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: quickstart test test-all check format bench docs browser wheel clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Limbeck needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

quickstart: $(READY)  ## the whole pipeline in miniature on real handwriting
	$(BIN)/limbeck quickstart

test: $(READY)  ## the suite, under ten minutes on two cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal --durations 25

test-all: $(READY)  ## also the tests marked slow
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m 'slow or not slow'

check: $(READY)  ## format, lint, types, import order
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# left out: those that need to be told a folder or data, and go on in pieces
bench: $(READY)  ## ratios measured in one run each; nothing else should be running
	for script in $$(grep -LE 'required=True|add_argument\("[a-z]+", type=Path(\)|, help)' benchmarks/*.py); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

docs: $(READY)  ## writes the reference pages from the code, then holds every page to the code
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/check.py

wheel: $(READY)
	$(BIN)/python -m build --wheel

browser:  ## headless Chromium, for the test of the report page
	command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
