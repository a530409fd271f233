"""A store, a clock and a scheduler from one seed: every answer may be late, lost, or come after a crash.

The world is omniscient: it checks the invariants whenever an object changes, not only at the end.
"""

from __future__ import annotations

import hashlib
import json
import random
from bisect import bisect_left, bisect_right, insort
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from palimp.engine.protocol.records import History, Manifest, SegmentRef, decode
from palimp.engine.protocol.requests import (
    Create,
    Delete,
    Get,
    InDoubt,
    Join,
    ListKeys,
    Nonce,
    Now,
    RecordEpoch,
    Refused,
    Replace,
    Sleep,
    Stored,
)
from palimp.engine.protocol.timeline import Timeline

STALLS = 0.05
HISTORY_OBJECTS_MAX = 20


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass(slots=True)
class Task:
    """A generator of a node, and what it waits for."""

    node: str
    steps: Generator[Any, Any, Any]
    wakes_at: int | None = None
    ready: Any = None
    waiting: Operation | None = None


@dataclass(slots=True)
class Operation:
    """A request on its way: not applied yet, or applied with its answer on the way back."""

    request: Any
    task: Task | None
    applied: bool = False
    answer: Any = None
    held_until: int = 0


@dataclass(slots=True)
class Erasure:
    """The record of an erasure: what it is of, and which steps are completed."""

    words: frozenset[str]
    steps: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Disk:
    """What a node keeps over a crash: the epochs it recorded and its local log per branch."""

    nonces: set[str] = field(default_factory=set)
    logs: dict[str, list[tuple[int, str]]] = field(default_factory=dict)


class Objects(dict[str, tuple[bytes, int]]):
    """What is stored, each with its version; its keys are kept in order, for they are listed often."""

    def __init__(self) -> None:
        super().__init__()
        self._order: list[str] = []

    def __setitem__(self, key: str, value: tuple[bytes, int]) -> None:
        if key not in self:
            insort(self._order, key)
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        del self._order[bisect_left(self._order, key)]

    def pop(self, key: str, *default: Any) -> Any:
        if key in self:
            del self._order[bisect_left(self._order, key)]
        return super().pop(key, *default)

    def listed(self, prefix: str, after: str, count: int) -> list[str]:
        """Return the first keys with a prefix that come after a key."""
        start = max(bisect_left(self._order, prefix), bisect_right(self._order, after))
        found = self._order[start : start + count]
        return [key for key in found if key.startswith(prefix)]


class World:
    """Everything outside the protocol."""

    def __init__(self, seed: int, *, faults: float = 0.06) -> None:
        self.random = random.Random(seed)
        self.faults = faults
        self.page = 3
        self.weights: dict[str, float] = {}
        self.stalls: dict[str, float] = {}
        self.now = 1_000_000
        self.objects = Objects()
        self.manifests: dict[str, Manifest] = {}
        self.tasks: list[Task] = []
        self.flying: list[Operation] = []
        self.disks: dict[str, Disk] = {}
        self.owners: dict[tuple[str, int], str] = {}
        self.dropped: dict[str, set[str]] = {}
        # Of every branch that lives or forms: the keys it needs, and of those that live all the
        # boundaries they ever had, each with its time.
        self.needs: dict[str, frozenset[str]] = {}
        self.boundaries: dict[str, dict[int, int]] = {}
        self.histories: dict[str, tuple[SegmentRef, ...]] = {}
        # Nodes keep every boundary that is as young as this; 0: none for its age.
        self.fine_ms = 0
        self.snapshots_ms = 0
        self.erasures: dict[str, Erasure] = {}
        self.versions = 0
        self.steps = 0
        self.nonces = 0
        self.counts: dict[str, int] = {}

    def erased_words(self, erasures: Iterable[str] | None = None) -> frozenset[str]:
        """Return what erasures are of; without any named, what all are of that were begun."""
        wanted = self.erasures if erasures is None else erasures
        return frozenset(word for name in wanted for word in self.erasures[name].words)

    # -- running --------------------------------------------------------------------------------

    def spawn(self, node: str, steps: Generator[Any, Any, Any]) -> Task:
        task = Task(node, steps)
        self.tasks.append(task)
        return task

    def step(self) -> bool:
        """Let one thing happen; False when nothing can."""
        self.steps += 1
        ready = [t for t in self.tasks if t.waiting is None and t.wakes_at is None]
        arriving = [one for one in self.flying if one.held_until <= self.steps]
        choices = len(ready) + len(arriving)
        if not choices and self.flying:
            return True
        if not choices:
            sleeping = [t for t in self.tasks if t.wakes_at is not None]
            if not sleeping:
                return False
            first = min(sleeping, key=lambda task: task.wakes_at or 0)
            self.now = max(self.now, first.wakes_at or 0)
            first.wakes_at = None
            return True
        chosen = self.random.randrange(choices)
        if chosen < len(ready):
            self._advance(ready[chosen])
        else:
            self._fly(arriving[chosen - len(ready)])
        if self.random.random() < 0.1:
            self._wake()
        return True

    def crash(self, node: str) -> None:
        """Drop everything a node was doing; what it sent may still land, its disk stays."""
        for task in self.tasks:
            if task.node == node:
                task.steps.close()
        self.tasks = [task for task in self.tasks if task.node != node]
        for operation in self.flying:
            if operation.task is not None and operation.task.node == node:
                operation.task = None

    def settle(self) -> None:
        """End all tasks; let what is under way land or not."""
        for node in {task.node for task in self.tasks}:
            self.crash(node)
        self.random.shuffle(self.flying)
        for operation in self.flying:
            if not operation.applied and self.random.random() < 0.5:
                self._apply(operation)
        self.flying = []

    def run_alone(self, steps: Generator[Any, Any, Any]) -> Any:
        """Run one generator to its end without faults, and return what it returns."""
        value: Any = None
        try:
            while True:
                request = steps.send(value)
                operation = Operation(request, None)
                value = self._local("checker", request)
                if value is self:
                    self._apply(operation)
                    value = operation.answer
        except StopIteration as end:
            return end.value

    def _wake(self) -> None:
        sleeping = [task for task in self.tasks if task.wakes_at is not None]
        if sleeping:
            task = self.random.choice(sleeping)
            self.now = max(self.now, task.wakes_at or 0)
            task.wakes_at = None

    def _advance(self, task: Task) -> None:
        value, task.ready = task.ready, None
        self._resume(task, lambda: task.steps.send(value))

    def _resume(self, task: Task, go: Any) -> None:
        try:
            request = go()
            # Nobody else can tell when these were answered, so it costs no step.
            while isinstance(request, Nonce | Now):
                request = task.steps.send(self._local(task.node, request))
        except StopIteration:
            self.tasks.remove(task)
            return
        if isinstance(request, Sleep):
            if request.seconds:
                task.wakes_at = self.now + int(request.seconds * 1000)
            return
        answer = self._local(task.node, request)
        if answer is not self:
            task.ready = answer
            return
        operation = Operation(request, task)
        if self.random.random() < self.stalls.get(task.node, STALLS):
            # Paused between decision and deed, while everybody else goes on.
            operation.held_until = self.steps + self.random.randrange(10, 300)
        task.waiting = operation
        self.flying.append(operation)

    def _local(self, node: str, request: Any) -> Any:
        """Answer what needs no store; return the world itself for what does."""
        if isinstance(request, Nonce):
            self.nonces += 1
            return f"n{self.nonces}"
        if isinstance(request, Now):
            return self.now
        if isinstance(request, Sleep):
            return None
        if isinstance(request, RecordEpoch):
            self.disks.setdefault(node, Disk()).nonces.add(request.nonce)
            return None
        return self

    def _fly(self, operation: Operation) -> None:
        """Apply a request, deliver its answer, lose the answer, refuse it, or drop it."""
        fate = self.random.random()
        task = operation.task
        if task is not None and fate < self.faults:
            self._count("in doubt")
            # It stays on its way: it may land much later.
            self._throw(operation, task, InDoubt())
        elif task is not None and not operation.applied and fate < self.faults * 1.5:
            self.flying.remove(operation)
            self._throw(operation, task, Refused())
        elif not operation.applied:
            if task is None and fate > 0.9:
                self.flying.remove(operation)
                return
            if task is None:
                self._count("late landing")
            self._apply(operation)
            if task is None:
                self.flying.remove(operation)
        else:
            self.flying.remove(operation)
            if task is not None:
                task.waiting = None
                answer = operation.answer
                if isinstance(answer, Exception):
                    self._resume(task, lambda: task.steps.throw(answer))
                else:
                    self._resume(task, lambda: task.steps.send(answer))

    def _throw(self, operation: Operation, task: Task, error: Exception) -> None:
        operation.task = None
        if operation.applied and operation in self.flying:
            self.flying.remove(operation)
        task.waiting = None
        self._resume(task, lambda: task.steps.throw(error))

    def _count(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    # -- the store ------------------------------------------------------------------------------

    def _apply(self, operation: Operation) -> None:
        operation.applied = True
        request = operation.request
        if isinstance(request, Get):
            found = self.objects.get(request.key)
            operation.answer = Stored(found[0], str(found[1])) if found else None
        elif isinstance(request, Create):
            operation.answer = None
            if request.key not in self.objects:
                operation.answer = self._write(request.key, request.data)
        elif isinstance(request, Replace):
            found = self.objects.get(request.key)
            operation.answer = None
            if found and str(found[1]) == request.version:
                operation.answer = self._write(request.key, request.data)
        elif isinstance(request, ListKeys):
            operation.answer = self.objects.listed(request.prefix, request.after, self.page)
        elif isinstance(request, Delete):
            self._delete(request.key)
        elif isinstance(request, Join):
            parts = [self.objects.get(key) for key, _ in request.parts]
            operation.answer = Refused() if None in parts else join([p[0] for p in parts if p])
        else:
            raise TypeError(request)

    def _write(self, key: str, data: bytes) -> str:
        self.versions += 1
        self.objects[key] = (data, self.versions)
        if key.endswith("/manifest.json"):
            self._check_manifest(key, decode(data, Manifest, key))
        return str(self.versions)

    def _delete(self, key: str) -> None:
        for name, manifest in self.manifests.items():
            if manifest.state == "live" and key in self.needs[name]:
                raise Violation(f"{key} was deleted while {name} needs it")
        if self.objects.pop(key, None) is not None:
            self._count("deleted")

    # -- invariants that hold at every moment ---------------------------------------------------

    def _check_manifest(self, key: str, new: Manifest) -> None:
        old = self.manifests.get(key)
        if old is not None:
            if new.version != old.version + 1:
                raise Violation(f"{key}: version {new.version} follows {old.version}")
            backwards = new.epoch < old.epoch or (new.state == "live" and new.txid < old.txid)
            if backwards and old.state != "forming":
                raise Violation(f"{key}: epoch or txid ran backwards")
            if old.state == "deleted":
                raise Violation(f"{key}: a tombstone was written over")
        if new.owner is not None and new.state == "live":
            holder = self.owners.setdefault((key, new.epoch), new.owner.nonce)
            if holder != new.owner.nonce:
                raise Violation(f"{key}: two owners linked under epoch {new.epoch}")
        if new.txid > new.limit:
            raise Violation(f"{key}: head {new.txid} is over the limit {new.limit}")
        self._check_chain(key, new)
        self.manifests[key] = new
        if new.state == "deleted":
            self.needs.pop(key, None)
        elif old is None or (old.chain(), old.history) != (new.chain(), new.history):
            if old is not None and new.erased > old.erased:
                # Given up by an erasure, whatever their age.
                self.boundaries.pop(key, None)
            self._check_timeline(key, old, self.timeline(new))
        if new.state == "live":
            self._nothing_needed_is_missing(key)
            if self.erasures:
                self.check_erased(key)

    def check_erased(self, key: str) -> None:
        """Nothing shows what is erased: from its removal on no head, and no unmarked state at all.

        A marked one is cleansed before anybody sees it.
        """
        manifest = self.manifests[key]
        for name, erasure in self.erasures.items():
            if "removed" in erasure.steps:
                self._shows_none(key, "head", manifest.chain(), erasure.words)
            if "marked" in erasure.steps and name not in manifest.erasing:
                timeline = self.timeline(manifest)
                for txid in timeline.boundaries():
                    self._shows_none(key, f"txid {txid}", timeline.path(txid), erasure.words)

    def _shows_none(
        self, key: str, where: str, path: tuple[SegmentRef, ...], words: frozenset[str]
    ) -> None:
        shown = sorted(word for _, word in self.log_along(path) if word in words)
        if shown:
            raise Violation(f"{key}: {where} shows {shown}, which were erased")

    def _check_chain(self, key: str, new: Manifest) -> None:
        chain = new.chain()
        if chain and (chain[0] is not new.snapshot or chain[0].min != 1):
            raise Violation(f"{key}: the chain does not begin with a snapshot")
        at = 0
        for ref in chain:
            if ref.min != at + 1:
                raise Violation(f"{key}: a gap before txid {ref.min}, the chain ends at {at}")
            at = ref.max
        if at != new.txid:
            raise Violation(f"{key}: the chain ends at {at}, the head is {new.txid}")
        if chain and (chain[-1].commit, chain[-1].checksum) != (new.commit_pages, new.checksum):
            raise Violation(f"{key}: the last reference is not of the head's pages and checksum")

    def _check_timeline(self, key: str, old: Manifest | None, timeline: Timeline) -> None:
        """No reference comes back, no boundary changes its time or goes before its time."""
        needs = frozenset(timeline.keys())
        if old is not None and old.state == "live":
            self.dropped.setdefault(key, set()).update(self.needs[key] - needs)
        self.needs[key] = needs
        back = self.dropped.get(key, set()) & needs
        if back:
            raise Violation(f"{key} regained {back}")
        if len(timeline.manifest.history) > HISTORY_OBJECTS_MAX:
            raise Violation(f"{key} names {len(timeline.manifest.history)} history objects")
        if timeline.manifest.state != "live":
            return
        times = timeline.times()
        if list(times.values()) != sorted(times.values()):
            raise Violation(f"{key}: the times of its boundaries run backwards: {times}")
        known = self.boundaries.setdefault(key, {})
        for txid, at in times.items():
            if known.setdefault(txid, at) != at:
                raise Violation(f"{key}: txid {txid} was of {known[txid]} and is of {at}")
        self._kept_points_stay(key, timeline.manifest, times)

    def _kept_points_stay(self, key: str, manifest: Manifest, times: dict[int, int]) -> None:
        for name, txid in manifest.checkpoints.items():
            if txid not in times:
                raise Violation(f"{key}: checkpoint {name} names {txid}, no way leads there")
        if self.fine_ms:
            early = [
                txid
                for txid, at in self.boundaries[key].items()
                if at >= self.now - self.fine_ms and txid not in times
            ]
            if early:
                raise Violation(f"{key}: boundaries {early} went before their time")

    def _nothing_needed_is_missing(self, key: str) -> None:
        missing = [name for name in self.needs[key] if name not in self.objects]
        if missing:
            raise Violation(f"{key} needs {missing}, which do not exist")

    def timeline(self, manifest: Manifest) -> Timeline:
        """Return what a manifest that lives or forms says, its history objects read."""
        older: list[SegmentRef] = []
        for part in manifest.history:
            if part.key not in self.histories:
                if part.key not in self.objects:
                    raise Violation(f"{part.key} is named and does not exist")
                data = self.objects[part.key][0]
                refs = decode(data, History, part.key).refs
                said = (len(refs), sum(ref.bytes for ref in refs), hashlib.sha256(data).hexdigest())
                if said != (part.refs, part.bytes, part.sha256):
                    raise Violation(f"{part.key} is not what its reference says")
                self.histories[part.key] = refs
            older += self.histories[part.key]
        return Timeline(manifest, tuple(older))

    def log_of(self, manifest: Manifest) -> list[tuple[int, str]]:
        """Return what a branch's chain says, in order."""
        return self.log_along(manifest.chain())

    def log_along(self, path: tuple[SegmentRef, ...]) -> list[tuple[int, str]]:
        """Return what the objects of a path say, in order."""
        log: list[tuple[int, str]] = []
        for ref in path:
            if ref.key not in self.objects:
                raise Violation(f"{ref.key} is named and missing")
            log += unpack(self.objects[ref.key][0])
        return log


def pack(log: list[tuple[int, str]]) -> bytes:
    return json.dumps(log).encode()


@lru_cache(maxsize=4_096)
def unpack(data: bytes) -> list[tuple[int, str]]:
    """Return the log of an object; read often, and changed by nobody."""
    return [(txid, word) for txid, word in json.loads(data)]


def join(parts: list[bytes]) -> bytes:
    return pack([entry for part in parts for entry in unpack(part)])
