# Each target stands alone on a bare Debian or Ubuntu with root; `make setup` is called where needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made

.PHONY: setup demo check test real crash bench fmt docs picture clean

setup: $(STAMP)

$(STAMP): pyproject.toml scripts/setup
	PYTHON=$(PYTHON) sh scripts/setup $(VENV)
	touch $(STAMP)

demo: setup
	$(BIN)/deployer sandbox demo

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/unit tests/recorded

test: check real

real: setup
	$(BIN)/pytest -q tests/real tests/crash

# About twelve minutes on two cores. CRASH_SEED=… repeats a seed.
crash: setup
	$(BIN)/python -m tests.crash

bench: setup
	$(BIN)/python bench/image_path.py
	$(BIN)/python bench/report.py

fmt: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup
	$(BIN)/python scripts/generate_docs.py

picture: setup
	$(BIN)/python scripts/picture.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
