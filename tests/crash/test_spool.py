"""Real kills of who spools events and of its Arc: what was acknowledged comes there exactly once.

SPOOL_KILLS=100 SPOOL_OUTAGE=60 python -m pytest tests/crash/test_spool.py     the long form
CRASH_SEED=4711 ...                                                            other ones
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from palimp.api.events import AppendEvents, EventInput
from palimp.arc import ArcBinding, ArcOptions, ArcPool
from palimp.clock import Clock
from palimp.errors import Unavailable
from palimp.observe import Metrics

from ..arc_double import ArcDouble, Store
from ..services import free_port

KILLS = int(os.environ.get("SPOOL_KILLS", "6"))
OUTAGE = float(os.environ.get("SPOOL_OUTAGE", "2"))
SEED = int(os.environ.get("CRASH_SEED", "1"))
HERE = Path(__file__).parent
DOUBLE = HERE.parent / "arc_double.py"
ORGS = ("o", "p")
TOKEN = "token-of-arc"
START_SECONDS = 60.0


class Arc:
    """A double in a process of its own, which can be killed."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, str(DOUBLE), str(self.file), "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, "--token", TOKEN, "--delay", "0.5"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == str(self.port).encode()
        self.told(poison="poison")

    def told(self, **given: Any) -> Any:
        answer = httpx.post(f"{self.url}/double", json=given, trust_env=False, timeout=30)
        return answer.json()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        self.process = None


class Checker:
    """What was acknowledged, and what became of it."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, list[tuple[str, int]]] = {org: [] for org in ORGS}
        self.parked: Counter[str] = Counter()

    def heard(self, output: bytes) -> dict[str, int]:
        """Take in what a process said; a last line that was cut short was not said."""
        said: dict[str, int] = {}
        for line in output.decode().splitlines(keepends=True):
            if not line.endswith("\n"):
                continue
            first, *rest = line.split()
            if first in ORGS:
                self.acknowledged[first].append((rest[0], int(rest[1])))
            elif first == "parked":
                self.parked[rest[0]] += 1
            else:
                said[first] = int(rest[0]) if rest else 1
        return said

    def check(self, stored: dict[str, list[dict[str, Any]]]) -> int:
        """Assert that all is there once; return how many were acknowledged."""
        for org, acknowledged in self.acknowledged.items():
            times = {row["content"]: row["at_us"] for row in stored[org]}
            counts = Counter(row["content"] for row in stored[org])
            twice = {text: count for text, count in counts.items() if count > 1}
            assert not twice, f"more than once: {twice}"
            assert not set(counts) & set(self.parked), "in Arc and parked"
            lost = [t for t, _ in acknowledged if t not in counts and t not in self.parked]
            assert not lost, f"{len(lost)} lost of {len(acknowledged)}: {lost[:5]}"
            assert all(times[text] == at for text, at in acknowledged if text in times)
            at_us = [at for _, at in acknowledged]
            assert at_us == sorted(set(at_us)), "times rise in the order of the appends"
            # The rows came in that order, too: a row number is the order of arrival.
            assert [row["at_us"] for row in stored[org]] == sorted(times.values())
        assert all(text.startswith("poison") for text in self.parked)
        assert set(self.parked.values()) <= {1}
        return sum(map(len, self.acknowledged.values()))


@pytest.fixture
def arc(tmp_path: Path) -> Iterator[Arc]:
    made = Arc(tmp_path / "arc.duckdb")
    made.start()
    yield made
    if made.process is not None:
        made.kill()


def worker(folder: Path, url: str, life: int, mode: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(HERE / "spooling.py"), str(folder), url, str(life), mode]
    with (folder / "stderr").open("ab") as errors:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)


# The write is carried out, and nobody hears of it.
APPLIED = {"on": "write", "cut": True, "after": True}


def some_fault(rng: random.Random) -> dict[str, Any]:
    return rng.choice(
        (
            APPLIED,
            {"on": "write", "cut": True, "times": rng.randint(1, 3)},
            {"on": "write", "status": 500, "after": True},
            {"on": "write", "status": 503, "times": 2},
            {"on": "write", "status": 429, "retry_after": "0"},
            {"on": "write", "status": 401},
            {"on": "write", "slow": 2.0, "after": True},
            {"on": "query", "status": 500, "times": 3},
        )
    )


def befall(process: subprocess.Popen[bytes], arc: Arc, rng: random.Random) -> str:
    """Kill the writer, its Arc, or both, at any moment; return who it was."""
    least = 0.0
    if rng.random() < 0.6:
        least = 0.4
        arc.told(faults=[APPLIED, *(some_fault(rng) for _ in range(rng.randint(0, 2)))])
    time.sleep(rng.uniform(least, 1.5))
    who = rng.choice(("writer", "writer", "arc", "both"))
    if who != "writer":
        arc.kill()
        time.sleep(rng.uniform(0.0, 0.3))
        if who == "arc":
            arc.start()
            time.sleep(rng.uniform(0.0, 0.5))
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    if who == "both":
        arc.start()
    return who


def stored(arc: Arc) -> dict[str, list[dict[str, Any]]]:
    if arc.process is not None:
        arc.kill()
    store = Store(arc.file)
    try:
        return {org: store.rows(f"db-{org}") for org in ORGS}
    finally:
        store.close()


@pytest.mark.timeout(200 + 10 * KILLS)
def test_kills_of_both_sides_lose_nothing_and_double_nothing(arc: Arc, tmp_path: Path) -> None:
    rng = random.Random(SEED)
    checker = Checker()
    folder = tmp_path / "node"
    folder.mkdir()
    killed: Counter[str] = Counter()
    for life in range(KILLS):
        process = worker(folder, arc.url, life, "append")
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", (folder / "stderr").read_text()
        killed[befall(process, arc, rng)] += 1
        checker.heard(process.stdout.read())
        process.stdout.close()
    arc.told(faults=[])
    process = worker(folder, arc.url, KILLS, "drain")
    output, _ = process.communicate(timeout=150 + 5 * KILLS)
    assert process.returncode == 0, (folder / "stderr").read_text()[-2_000:]
    assert checker.heard(output)["left"] == 0, (folder / "stderr").read_text()[-2_000:]
    count = checker.check(stored(arc))
    errors = (folder / "stderr").read_text()
    assert "Traceback" not in errors, errors
    print(
        f"{KILLS} kills ({dict(killed)}), {count} events acknowledged, each there once; "
        f"{len(checker.parked)} parked"
    )
    assert count > 20 * KILLS


@pytest.mark.timeout(200 + 3 * OUTAGE)
def test_an_outage_is_survived_in_order_and_with_a_restart(tmp_path: Path) -> None:
    options = ArcOptions(batch_size=50, flush_interval_ms=20, settle_seconds=0.5, connect_timeout=1)
    clock = Clock()
    acknowledged: list[tuple[str, int]] = []
    with ArcDouble(tmp_path / "arc.duckdb", token=TOKEN) as arc:
        binding = ArcBinding("o", arc.url, TOKEN, "db")
        pool = ArcPool(tmp_path, options, clock, Metrics())
        pool.start()
        pool.bind(binding)
        arc.stop()
        until = clock.monotonic() + OUTAGE
        while clock.monotonic() < until:
            store = pool.of("o")
            assert store is not None
            text = f"event {len(acknowledged)}"
            done = store.append(AppendEvents(events=(EventInput(agent="a", text=text),)))
            assert done[0].event is not None
            acknowledged.append((text, done[0].event.at_us))
            if len(acknowledged) == 20:
                # In the middle of it the node is started anew.
                pool.close(0.2)
                pool = ArcPool(tmp_path, options, clock, Metrics())
                pool.start()
                assert pool.pending() == {"o": 20}
                pool.bind(binding)
            time.sleep(0.01)
        assert pool.pending() == {"o": len(acknowledged)}
        assert pool.gauges()["arc_spool_seconds"] >= OUTAGE / 2
        arc.start()
        for _ in range(600):
            if not pool.pending():
                break
            time.sleep(0.05)
        pool.close()
        assert [(row["content"], row["at_us"]) for row in arc.rows()] == acknowledged
        assert pool.gauges()["arc_spool_events"] == 0
    print(f"{OUTAGE:g} s without Arc: {len(acknowledged)} events, each there once, in order")


def test_back_pressure_gives_way_when_arc_is_there_again(tmp_path: Path) -> None:
    options = ArcOptions(spool_bytes=20_000, flush_interval_ms=10, connect_timeout=0.5)
    accepted = refused = 0
    with ArcDouble(tmp_path / "arc.duckdb", token=TOKEN) as arc:
        pool = ArcPool(tmp_path, options, Clock(), Metrics())
        pool.start()
        pool.bind(ArcBinding("o", arc.url, TOKEN, "db"))
        store = pool.of("o")
        assert store is not None
        arc.stop()
        for _ in range(600):
            request = AppendEvents(events=(EventInput(agent="a", text=f"{accepted}"),))
            try:
                store.append(request)
                accepted += 1
            except Unavailable as error:
                refused += error.code == "overloaded"
                if refused == 3:
                    arc.start()
                time.sleep(0.02)
            if accepted >= 150 and refused >= 3:
                break
        assert refused >= 3
        assert pool.flush("o", 30)
        pool.close()
        assert [row["content"] for row in arc.rows()] == [str(n) for n in range(accepted)]
