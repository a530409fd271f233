# Every chore of the project, one word each. All of them work from a fresh checkout.
.PHONY: help demo test test-base compiled lint format docs bench model soak clean
PYTHON ?=
BIN = .venv/bin
# Whatever the shell says: tests start hundreds of processes, and what is compiled is compiled once.
export PYTHONDONTWRITEBYTECODE =

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo:  ## set up, then show the main job on a sample conversation
	@PYTHON="$(PYTHON)" sh scripts/environment.sh build
	@$(BIN)/palimp demo

# Temporary files, where there is room for them there.
IN_MEMORY = sh scripts/in_memory.sh
# Files of tests, three at a time: on two processors one waits while two work. The names of some tests
# hold sets, whose order has to be the same in each. What starts many processes that wait for each
# other, or counts what it gets done in a second, has only its own kind beside it.
XDIST = PYTHONHASHSEED=0 $(IN_MEMORY) $(BIN)/python -m pytest -q --dist loadfile \
    --no-loadscope-reorder
PARALLEL = $(XDIST) -n 3
# In this order: what takes minutes in few tests comes first, so that nobody waits for it at the end.
BESIDE = tests/simulation tests/cluster tests/crash tests/model tests/deploy tests/property \
    tests/power tests/acceptance tests/conformance tests/unit tests/dialects tests/docs \
    tests/formats tests/style

# What they start knows nothing of what is to be missing: it would be the same a second time.
IN_PROCESSES_OF_THEIR_OWN = test_mcp.py test_memtrace_cli.py test_serve.py test_setup_cli.py \
    test_wheel.py

test:  ## set up, then run all tests
	@PYTHON="$(PYTHON)" sh scripts/environment.sh test
	@sh scripts/services.sh
	@$(PARALLEL) --ignore=tests/crash/test_spool.py $(BESIDE)
	@$(XDIST) -n 2 tests/processes/test_workers.py tests/processes tests/crash/test_spool.py

test-base:  ## what a user without extras meets: the product as if none of them were installed
	@PYTHON="$(PYTHON)" sh scripts/environment.sh test
	@CI= BASE_INSTALL_ONLY=1 $(PARALLEL) $(IN_PROCESSES_OF_THEIR_OWN:%=--ignore=tests/acceptance/%) \
	    tests/acceptance tests/conformance/test_client.py

# What the processes of the tests would each compile at the same time, in a fresh checkout.
compiled:
	@sh scripts/environment.sh test
	@$(BIN)/python -m pytest -q --collect-only tests >/dev/null

lint:  ## ruff, mypy, import rules, generated files up to date
	@PYTHON="$(PYTHON)" sh scripts/environment.sh dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/unasync.py --check
	@$(BIN)/python scripts/reference.py --check
	@$(BIN)/python scripts/env_example.py --check

format:  ## rewrite the code in the project's form, and what is made from it
	@PYTHON="$(PYTHON)" sh scripts/environment.sh dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/python scripts/unasync.py
	@$(BIN)/python scripts/reference.py
	@$(BIN)/python scripts/env_example.py

docs:  ## write docs/reference and .env.example from the code
	@PYTHON="$(PYTHON)" sh scripts/environment.sh build
	@$(BIN)/python scripts/reference.py
	@$(BIN)/python scripts/env_example.py

bench:  ## measure every budget that exists; results in bench/results
	@PYTHON="$(PYTHON)" sh scripts/environment.sh test
	@$(BIN)/python bench/run.py

model:  ## check the Promela models of the branch protocol (needs spin and gcc)
	@PYTHON="$(PYTHON)" sh scripts/environment.sh test
	@$(BIN)/python tests/model/check.py

soak:  ## the long forms of the seeded tests: schedules, kills, power cuts, takeovers, fuzzing
	@PYTHON="$(PYTHON)" sh scripts/environment.sh test
	@SIMULATION_SCHEDULES=500000 SIMULATION_ERASING=20000 $(BIN)/python -m pytest tests/simulation
	@CRASH_KILLS=5000 CRASH_MERGING=300 SPOOL_KILLS=100 SPOOL_OUTAGE=60 $(BIN)/python -m pytest --timeout 0 tests/crash
	@POWER_SEEDS=200 $(BIN)/python -m pytest --timeout 0 tests/power
	@TAKEOVERS=1000 $(BIN)/python -m pytest --timeout 0 tests/processes/test_shared_folder.py
	@LONG=1 $(BIN)/python -m pytest -s --timeout 0 tests/cluster
	@SCHEMATHESIS_EXAMPLES=80 $(BIN)/python -m pytest --timeout 0 tests/acceptance/test_http_schema.py
	@SQL_FUZZ=30000 $(BIN)/python -m pytest --timeout 0 tests/property/test_sql_fuzz.py

clean:  ## remove what the targets above made
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
