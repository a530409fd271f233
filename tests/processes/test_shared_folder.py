"""Eight processes on one folder, whose owners are killed, closed, left and stopped all the time.

TAKEOVERS=1000 python -m pytest --timeout 0 tests/processes/test_shared_folder.py    the long form
PROCESSES_SEED=4711 python -m pytest tests/processes/test_shared_folder.py           other choices

`worker.py` checks what a process sees while it works; here is checked what is there at the end.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

import palimp

sys.path.insert(0, str(Path(__file__).parent))

from crew import Crew, wait
from worker import PROFILES, SESSION

TAKEOVERS = int(os.environ.get("TAKEOVERS", "50"))
SEED = int(os.environ.get("PROCESSES_SEED", "1"))
PROCESSES = 8
STOPPED_SECONDS = 11.0
# Of ten owners.
ENDINGS = ["kill"] * 6 + ["close"] * 2 + ["leave", "exit"]

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
    pytest.mark.timeout(180 + 3 * TAKEOVERS),
]


@pytest.fixture
def place() -> Iterator[Path]:
    memory = Path("/dev/shm")
    made = Path(
        tempfile.mkdtemp(prefix="processes-", dir=memory if os.access(memory, os.W_OK) else None)
    )
    yield made
    shutil.rmtree(made)


def test_processes_share_a_folder(place: Path) -> None:
    rng = random.Random(SEED)
    crew = Crew(place, SEED, PROCESSES)
    begun = time.monotonic()
    try:
        crew.fill()
        stop_at = TAKEOVERS // 2
        for number in range(TAKEOVERS):
            _some_work(crew)
            name, pid = crew.owner()
            if number == stop_at:
                os.kill(pid, signal.SIGSTOP)
                time.sleep(STOPPED_SECONDS)
                os.kill(pid, signal.SIGCONT)
            else:
                crew.end(name, rng.choice(ENDINGS))
                crew.takeovers += 1
                crew.fill()
        # The one that was stopped ended nobody.
        crew.end(crew.owner()[0], "kill")
        crew.takeovers += 1
        _some_work(crew)
        crew.finish()
        print(
            f"seed {SEED}: {crew.takeovers} takeovers in {time.monotonic() - begun:.0f} s, ", end=""
        )
        print(f"{crew.endings}, {sum(len(lines) for lines in _said(place).values()):,} writes")
    except AssertionError as error:
        error.add_note(crew.stacks())
        raise
    finally:
        crew.stop()
    assert crew.takeovers >= TAKEOVERS
    _check(place)


def _some_work(crew: Crew) -> None:
    """Wait until three processes did something: the owner, or its visitors."""
    before = _sizes(crew.place)

    def worked() -> bool:
        crew.check()
        return sum(size > before.get(name, 0) for name, size in _sizes(crew.place).items()) >= 3

    wait(worked, "nobody works")


def _sizes(place: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in (place / "said").iterdir()}


def _said(place: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        path.name: [json.loads(line) for line in path.read_bytes().splitlines()]
        for path in (place / "said").iterdir()
    }


def _check(place: Path) -> None:
    folder = place / "memory"
    with palimp.open(folder, embed_provider="none") as mem:
        assert mem._transport.node is not None, "somebody has the folder still"
        there = _there(mem, place)
        assert [v.findings for _, v in mem.verify()] == [()] * len(PROFILES)
    _sound(folder)
    alone = place / "alone"
    alone.mkdir()
    for name in ("palimp.json", "objects"):
        source = folder / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, alone / name)
    with palimp.open(alone, embed_provider="none") as mem:
        assert _there(mem, place) == there


def _there(mem: palimp.Client, place: Path) -> dict[str, Any]:
    """Return what the profiles hold: all that was acknowledged, and nothing twice."""
    said = [line for lines in _said(place).values() for line in lines]
    found: dict[str, Any] = {}
    for name in PROFILES:
        profile = mem.profile(name)
        memories = Counter(memory.text for memory in profile.list())
        turns = _turns(profile)
        assert sorted(turns) == list(range(1, len(turns) + 1))
        for kind, texts in (("memory", memories), ("turn", Counter(turns.values()))):
            assert max(texts.values()) == 1, f"twice in {name}: {texts.most_common(3)}"
            acknowledged = {
                one["text"] for one in said if (one["kind"], one["profile"]) == (kind, name)
            }
            assert acknowledged <= texts.keys(), f"lost: {acknowledged - texts.keys()}"
            # What a process wrote when it was killed is one write at most.
            more = Counter(text.split()[0] for text in texts.keys() - acknowledged)
            assert max(more.values(), default=0) <= 1, f"nobody said {more}"
        assert all(
            turns[one["seq"]] == one["text"]
            for one in said
            if "seq" in one and one["profile"] == name
        )
        assert not [branch for branch in profile.branches() if branch.recovered]
        found[name] = (memories, turns)
    return found


def _turns(profile: palimp.Profile) -> dict[int, Any]:
    found: dict[int, Any] = {}
    before = None
    while True:
        page = profile.session(SESSION).window(50, before=before)
        if not len(page):
            return found
        found |= {turn.seq: turn.content for turn in page}
        before = page[0].seq


def _sound(folder: Path) -> None:
    """SQLite finds nothing wrong with the files that count, nor with their full-text indexes."""
    checked = 0
    for current in (folder / "hot").glob("*/*/current"):
        path = current.parent / current.read_text("utf-8") / "main.db"
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        assert connection.execute("PRAGMA integrity_check").get == "ok", path
        indexes = "SELECT name FROM sqlite_schema WHERE sql LIKE '%USING fts5%'"
        for (table,) in connection.execute(indexes).fetchall():
            connection.execute(f"INSERT INTO {table}({table}) VALUES ('integrity-check')")
            checked += 1
        connection.close()
    assert checked >= 2 * len(PROFILES)
