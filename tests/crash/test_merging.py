"""Real kills of merges and of governance: all or nothing, once, and nothing half in any index.

CRASH_MERGING=300 python -m pytest tests/crash/test_merging.py      more of them
A failure prints the command that replays it; `merging.py` says how it works.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = int(os.environ.get("CRASH_MERGING", "8"))
SEED = int(os.environ.get("CRASH_SEED", "1"))
MAIN = Path(__file__).parent / "merging.py"
MUTANT_KILLS = 60
SECONDS = max(220, 2 * KILLS)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def run(*arguments: object) -> tuple[int, str]:
    """Run the kills in a process of their own: theirs forks, and has no other threads."""
    command = [sys.executable, str(MAIN), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    print(done.stdout, done.stderr)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(SECONDS + 20)
def test_merges_and_governance_are_all_or_nothing() -> None:
    code, output = run("--kills", KILLS, "--seed", SEED)
    assert code == 0, output
    assert f"{KILLS} kills" in output


# With the steps that are killed, a seed that finds it soon, and what is said where it is found.
MUTANTS = {
    "pointers apart": ("pick", 2, r"is half done|its repeat answers|never was like this"),
    "answer apart": ("", 4, r"was done: its repeat answers"),
    "checkpoint after": ("", 1, r"no checkpoint 'pre_|AssertionError: checkpoint pre_"),
    "deeds apart": ("govern", 3, r"was not taken back"),
}


@pytest.mark.timeout(SECONDS + 20)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_defect_is_found(mutant: str) -> None:
    of, seed, said = MUTANTS[mutant]
    where = ("--near", "_commit", "--of", of)
    code, output = run("--kills", MUTANT_KILLS, "--seed", seed, "--mutant", mutant, *where)
    assert code == 1, f"{MUTANT_KILLS} kills do not find it"
    assert re.search(said, output), output


@pytest.mark.parametrize("mutant", ["deeds apart"])
def test_a_defect_that_needs_a_kill_is_not_found_without(mutant: str) -> None:
    # One life that ends when its work is done.
    code, output = run("--seed", MUTANTS[mutant][1], "--mutant", mutant, "--replay", "[null]")
    assert code == 0, output
