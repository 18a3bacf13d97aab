# Each target stands alone on a bare Debian or Ubuntu with root; `make setup` is called where needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made

.PHONY: setup demo check test real failures crash mutants sweep bench fmt docs picture clean

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
	$(BIN)/pytest -q -n auto tests/unit tests/recorded

test: check real

real: setup
	$(BIN)/pytest -q -n 2 -m "not long" tests/real tests/crash

# Twenty to thirty minutes on two cores. CRASH_SEED=… repeats what a seed chose.
crash: setup
	$(BIN)/pytest -q -n 2 tests/crash/test_borders.py
	$(BIN)/pytest -q --ignore tests/crash/test_borders.py tests/crash
	$(BIN)/python -m tests.crash

# Each failure id: provoked for real, or by which recording. The last line counts them.
failures: setup
	$(BIN)/pytest -q --failures-table tests/recorded tests/real/test_docker.py \
		tests/real/test_failures_*.py

# Two minutes: each guard is taken out once, and a test must notice.
mutants: setup
	$(BIN)/python -m tests.crash.mutants

# A quarter to half an hour: a run is killed, and its writes fail, at each system call.
sweep: setup
	$(BIN)/python -m tests.crash.sweep

# The image path and whole deploys against the shell pipeline, taking turns; writes
# bench/results.json, a page and a graph.
bench: setup
	$(BIN)/python bench/image_path.py
	$(BIN)/python bench/whole_deploy.py
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
