"""Several processes on one folder: what a visitor's call costs more, how long a takeover takes."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import Row, environment, in_turn, quiet
from machine import folder

import palimp

_MORE_US_MAX = 600
_MEMORIES = 1_000
_K = 5
# Owns a folder until its input ends.
_OWNER = """
import sys, palimp
mem = palimp.open(sys.argv[1])
alice = mem.profile("alice")
alice.remember("the first")
assert mem._transport.node is not None
print("ready", flush=True)
sys.stdin.read()
mem.close()
"""
_WORDS = "seat flight hotel coffee window aisle train ticket music garden".split()


def measure(*, quick: bool) -> list[Row]:
    """Measure calls of an owner and a visitor in turn, then takeovers after kills."""
    with folder() as base:
        return [*_calls(base, 200 if quick else 2_000), _takeover(base, 5 if quick else 20)]


def _calls(base: Path, count: int) -> list[Row]:
    with (
        _owner(base / "theirs"),
        palimp.open(base / "theirs") as visitor,
        palimp.open(base / "mine") as owner,
    ):
        assert visitor._transport.node is None
        profiles = [client.profile("alice") for client in (owner, visitor)]
        for profile in profiles:
            profile.ingest({"text": _text(number)} for number in range(_MEMORIES))
            profile.recall("warm", k=_K)
        ids = [next(iter(profile.list())).id for profile in profiles]
        made: dict[str, list[Callable[[int], object]]] = {
            "get": [lambda _, p=p, i=i: p.get(i) for p, i in zip(profiles, ids, strict=True)],
            f"recall of {_K}": [lambda n, p=p: p.recall(_text(n), k=_K) for p in profiles],
            "remember": [lambda n, p=p: p.remember(f"{n} {_text(n)}") for p in profiles],
        }
        rows = []
        for what, calls in made.items():
            mine, theirs = in_turn(calls, count, warmup=50)
            rows.append(
                Row(
                    f"a visitor's {what}, over the owner's",
                    theirs.median - mine.median,
                    "us",
                    budget=_MORE_US_MAX,
                    note=f"visitor {theirs.median:,.0f} us, owner {mine.median:,.0f} us",
                    detail={"visitor": theirs.as_json(), "owner": mine.as_json()},
                )
            )
        return rows


def _takeover(base: Path, count: int) -> Row:
    """From the kill to the answer of a visitor that asks at once, and is the owner then."""
    found = []
    for number in range(count):
        path = base / f"takeover{number}"
        with _owner(path) as process, palimp.open(path) as visitor:
            alice = visitor.profile("alice")
            alice.ingest({"text": _text(number)} for number in range(_MEMORIES))
            with quiet():
                os.kill(process.pid, signal.SIGKILL)
                begun = time.perf_counter()
                alice.remember("after the kill")
                found.append((time.perf_counter() - begun) * 1_000)
            assert visitor._transport.node is not None
    return Row(
        f"takeover after a kill: a visitor's write ({_MEMORIES:,} memories)",
        statistics.median(found),
        "ms",
        note=f"the worst of {count} {max(found):,.0f} ms",
        detail={"all_ms": sorted(found)},
    )


@contextmanager
def _owner(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Let another process own a folder."""
    with subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the process that should own the folder does not")
        yield process


def _text(number: int) -> str:
    words = [_WORDS[number // 10**place % 10] for place in range(4)]
    return " ".join((*words, str(number)))
