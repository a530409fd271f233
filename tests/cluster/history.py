"""What clients saw, and what the cluster holds in the end: the two things the checker compares."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, Literal

import msgspec

Outcome = Literal["ok", "maybe", "refused"]
WRITES = ("append", "remember")
CACHED = "cached"


def now() -> float:
    """Return the seconds that all records of a run are in: also what a suspended machine counts."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Attempt(msgspec.Struct):
    """One request of a call: where it went, when, and what was answered (status 0: nothing).

    In `doubt` a write may have been carried out all the same.
    """

    node: str
    begin: float
    end: float
    status: int
    reason: str = ""
    doubt: bool = False


class Call(msgspec.Struct, kw_only=True):
    """One thing a client wanted, with all its attempts.

    `refused`: every attempt was answered with an error that says nothing was done. `maybe`: at
    least one was not. Of a write `text` is unique in the run. Of a read `floor` is its
    `min_txid`, `asked` the texts it was about (None: all), `low` the least turn it could show.
    """

    client: str
    what: str
    profile: str
    begin: float
    end: float = 0.0
    outcome: Outcome = "maybe"
    request_id: str = ""
    text: str = ""
    durable: bool = False
    txid: int = 0
    seq: int = 0
    floor: int = 0
    consistency: str = ""
    asked: tuple[str, ...] | None = None
    found: tuple[str, ...] = ()
    low: int = 0
    attempts: list[Attempt] = []


class Disturbance(msgspec.Struct, kw_only=True):
    """Something that was done to a node: while it lasted, local writes may have been cut off."""

    what: str
    node: str
    begin: float
    end: float = float("inf")


class BranchState(msgspec.Struct, kw_only=True):
    """The content of a branch: turns by number, memories, and the txids of its request ids."""

    turns: list[tuple[int, str]] = []
    memories: list[str] = []
    requests: dict[str, int] = {}
    manifest: dict[str, Any] = {}


class ProfileState(msgspec.Struct, kw_only=True):
    """All branches of a profile, and what `verify` found."""

    branches: dict[str, BranchState]
    findings: list[str] = []


class Run(msgspec.Struct, kw_only=True):
    """A whole run: it can be written down and checked again.

    `unlinked` says which versions of manifests did not follow each other.
    """

    calls: list[Call] = []
    disturbances: list[Disturbance] = []
    final: dict[str, ProfileState] = {}
    unlinked: list[str] = []

    def save(self, path: Path) -> None:
        path.write_bytes(msgspec.json.encode(self))

    @classmethod
    def load(cls, path: Path) -> Run:
        return msgspec.json.decode(path.read_bytes(), type=cls)


class Recorder:
    """Takes calls and disturbances down, from any thread."""

    def __init__(self) -> None:
        self.run = Run()
        self._lock = threading.Lock()

    def call(self, call: Call) -> None:
        with self._lock:
            self.run.calls.append(call)

    def disturb(self, what: str, node: str) -> Disturbance:
        """Note that something begins; whoever began it sets its end."""
        found = Disturbance(what=what, node=node, begin=now())
        with self._lock:
            self.run.disturbances.append(found)
        return found

    def acknowledged(self) -> int:
        """Return how many writes were acknowledged so far."""
        with self._lock:
            calls = list(self.run.calls)
        return sum(call.what in WRITES and call.outcome == "ok" for call in calls)
