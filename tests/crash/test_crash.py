"""Real kills: what was acknowledged is there after a SIGKILL anywhere, and nothing half.

CRASH_KILLS=5000 python -m pytest tests/crash       more of them
CRASH_SEED=4711 python -m pytest tests/crash        other ones
A failure prints the command that replays it; `main.py` says how it works.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

KILLS = int(os.environ.get("CRASH_KILLS", "300"))
SEED = int(os.environ.get("CRASH_SEED", "1"))
MAIN = Path(__file__).parent / "main.py"
MUTANT_KILLS = 600
# From so many on, nearly every line that changes a file has to be hit.
KILLS_FOR_ALL = 300
# 300 take about one minute where nobody else is at work, and three where many are.
SECONDS = max(400, KILLS)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one."""
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(dir=memory)) if os.access(memory, os.W_OK) else tmp_path
    yield made
    shutil.rmtree(made)


def run(place: Path, seconds: float, *arguments: object) -> tuple[int, str]:
    """Run the kills in a process of their own: theirs forks, and has no other threads."""
    command = [sys.executable, str(MAIN), "--folder", str(place), *map(str, arguments)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    print(output)
    return process.returncode, output


@pytest.mark.timeout(SECONDS + 20)
def test_what_was_acknowledged_survives_kills(place: Path, tmp_path: Path) -> None:
    keep = tmp_path / "failed"
    how = ("--kills", KILLS, "--seed", SEED, "--seconds", SECONDS, "--keep", keep)
    code, output = run(place, SECONDS, *how)
    assert code == 0, output
    assert f"{KILLS} kills" in output
    if KILLS >= KILLS_FOR_ALL:
        assert output.count("never hit:") <= 8, output


# What is said of each where it is found: it is found by what it does, not because it cannot run.
MUTANTS = {
    "acknowledge before commit": r"the file is at \d+, not \d+",
    "remove before switch": r"AssertionError: no \S+/main\.db",
    "ship after switch": r"rewind.*: stored False, at \d+",
}


# The others take a minute each.
IN_CI = ("acknowledge before commit",)


@pytest.fixture
def mutant(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name not in IN_CI and KILLS <= KILLS_FOR_ALL:
        pytest.skip("takes longer than there is in CI: CRASH_KILLS=5000")
    return name


@pytest.mark.parametrize("mutant", MUTANTS, indirect=True)
def test_a_defect_is_found(mutant: str, place: Path) -> None:
    code, output = run(place, 220, "--kills", MUTANT_KILLS, "--seed", SEED, "--mutant", mutant)
    assert code == 1, f"{MUTANT_KILLS} kills do not find it"
    assert re.search(MUTANTS[mutant], output), output


@pytest.mark.parametrize("mutant", MUTANTS, indirect=True)
def test_a_defect_that_needs_a_kill_is_not_found_without(mutant: str, place: Path) -> None:
    # Two lives that end when their work is done.
    ends = ("--sequence", 0, "--replay", "[null, null]")
    code, output = run(place, 220, "--seed", SEED, "--mutant", mutant, *ends)
    assert code == 0, output
