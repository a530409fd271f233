"""Real kills of erasures: each goes on where it was, once, not before its time, and leaves nothing.

CRASH_ERASING=2000 python -m pytest tests/crash/test_erasing.py      more of them
A failure prints the command that replays it; `erasing.py` says how it works.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = int(os.environ.get("CRASH_ERASING", "100"))
SEED = int(os.environ.get("CRASH_SEED", "1"))
MAIN = Path(__file__).parent / "erasing.py"
MUTANT_KILLS = 40
SECONDS = max(220, 2 * KILLS)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def run(*arguments: object) -> tuple[int, str]:
    """Run the kills in a process of their own: theirs forks, and has no other threads."""
    command = [sys.executable, str(MAIN), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    print(done.stdout, done.stderr)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(SECONDS + 20)
def test_an_erasure_goes_on_after_kills() -> None:
    code, output = run("--kills", KILLS, "--seed", SEED)
    assert code == 0, output
    found = re.search(r"(\d+) kills", output)
    assert found is not None, output
    assert int(found[1]) >= KILLS, output


# What is said of each where it is found.
MUTANTS = {"noted first": r"AssertionError|NotFound"}


@pytest.mark.timeout(SECONDS + 20)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_defect_is_found(mutant: str) -> None:
    code, output = run("--kills", MUTANT_KILLS, "--seed", SEED, "--mutant", mutant)
    assert code == 1, f"{MUTANT_KILLS} kills do not find it"
    assert re.search(MUTANTS[mutant], output), output
    assert "killed at event" in output, output
