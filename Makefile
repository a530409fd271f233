# Every chore of the project, one word each. All of them work from a fresh checkout.
.PHONY: help demo test test-base lint format docs bench model soak clean
PYTHON ?=
BIN = .venv/bin

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo:  ## set up, then show the main job on a sample conversation
	@PYTHON="$(PYTHON)" sh scripts/environment.sh build
	@$(BIN)/palimp demo

test:  ## set up, then run all tests
	@PYTHON="$(PYTHON)" sh scripts/environment.sh test
	@$(BIN)/python -m pytest

test-base:  ## the tests of the product as if no extra were installed
	@PYTHON="$(PYTHON)" sh scripts/environment.sh test
	@CI= BASE_INSTALL_ONLY=1 $(BIN)/python -m pytest tests/unit tests/acceptance tests/property \
	    tests/conformance/test_client.py tests/conformance/test_branches.py tests/formats

lint:  ## ruff, mypy, import rules, generated files up to date
	@PYTHON="$(PYTHON)" sh scripts/environment.sh dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/unasync.py --check
	@$(BIN)/python scripts/reference.py --check

format:  ## rewrite the code in the project's form, and what is made from it
	@PYTHON="$(PYTHON)" sh scripts/environment.sh dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/python scripts/unasync.py
	@$(BIN)/python scripts/reference.py

docs:  ## write docs/reference from the code
	@PYTHON="$(PYTHON)" sh scripts/environment.sh build
	@$(BIN)/python scripts/reference.py

bench:  ## measure every budget that exists; results in bench/results
	@PYTHON="$(PYTHON)" sh scripts/environment.sh test
	@$(BIN)/python bench/run.py

model:  ## check the Promela models of the branch protocol (needs spin and gcc)
	@PYTHON="$(PYTHON)" sh scripts/environment.sh test
	@$(BIN)/python tests/model/check.py

soak:  ## the long forms of the seeded tests: half a million schedules, 5,000 kills, 200 power cuts
	@PYTHON="$(PYTHON)" sh scripts/environment.sh test
	@SIMULATION_SCHEDULES=500000 $(BIN)/python -m pytest tests/simulation
	@CRASH_KILLS=5000 $(BIN)/python -m pytest --timeout 0 tests/crash
	@POWER_SEEDS=200 $(BIN)/python -m pytest --timeout 0 tests/power

clean:  ## remove what the targets above made
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
