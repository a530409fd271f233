"""What nodes do with the protocol: own, write, ship, rebase, rewind, keep, collect, fork, recover.

And what those do who own nothing: fork, remove, expire, collect what was deleted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Any

from world import Disk, Violation, World, pack, unpack

from palimp.engine import protocol
from palimp.engine.protocol import (
    Fenced,
    Keep,
    Lane,
    Manifest,
    Parent,
    Piece,
    Timeline,
    Wanted,
    add_checkpoint,
    collect_deleted,
    condense,
    delete_branch,
    drop_checkpoint,
    expire,
    fork,
    rebase,
    recover,
    remove_branch,
    ship,
    stop_cleanly,
    take_ownership,
)
from palimp.engine.protocol.lane import read
from palimp.engine.protocol.records import branch_prefix, manifest_key
from palimp.engine.protocol.requests import Now, Sleep
from palimp.errors import Conflict, Invalid, NotFound

DB = "d1"
Log = list[tuple[int, str]]


class History:
    """What was acknowledged to clients, per branch."""

    def __init__(self) -> None:
        self.local: dict[str, Log] = {}
        self.durable: dict[str, Log] = {}
        self.recovered: dict[str, list[str]] = {}
        self.checkpoints: dict[str, dict[str, tuple[int, Log]]] = {}
        self.rewinds: dict[str, list[tuple[int, str]]] = {}
        self.forks: list[tuple[str, str, Log]] = []
        self.named: dict[str, str] = {}
        self.words = 0

    def word(self) -> str:
        self.words += 1
        return f"w{self.words}"


class Node:
    """One node's life with one branch."""

    def __init__(self, world: World, history: History, name: str, branch: str) -> None:
        self.world = world
        self.history = history
        self.name = name
        self.branch = branch
        self.disk = world.disks.setdefault(name, Disk())
        self.next_txid = 0

    @property
    def log(self) -> Log:
        return self.disk.logs.setdefault(self.branch, [])

    def live(self) -> Any:
        """Own the branch again and again, and work with it until fenced or bored."""
        random = self.world.random
        while True:
            try:
                taken = yield from take_ownership(DB, self.branch, self.name)
            except NotFound:
                return
            lane = taken.lane
            try:
                yield from self._recover(lane, taken.before)
                self.next_txid = taken.first_txid
                for _ in range(random.randrange(1, 14)):
                    yield from self._act(lane)
                if random.random() < 0.5:
                    yield from self._ship(lane)
                    yield from stop_cleanly(lane)
            except Fenced:
                pass
            yield Sleep(random.randrange(1, 20) / 10)

    def _recover(self, lane: Lane, before: Manifest | None) -> Any:
        """Continue the local log if it may continue the branch; else it becomes a recovered one."""
        shipped: Log = []
        for ref in lane.manifest.chain():
            stored = yield from read(ref.key)
            if stored is None:
                if ref.key in self.world.needs.get(lane.key, ()):
                    raise Violation(f"{ref.key} is named and missing")
                # Dropped and collected by a newer owner meanwhile.
                raise Fenced(self.world.manifests[lane.key])
            shipped += unpack(stored.data)
        mine = before is not None and before.owner is not None
        mine = mine and before.owner.nonce in self.disk.nonces
        if mine and self.log[: len(shipped)] == shipped:
            if len(self.log) > len(shipped) and self.world.random.random() < 0.5:
                yield from self._rebase(lane)
            return
        if any(entry not in shipped for entry in self.log):
            yield from self._set_aside(lane)
        self.disk.logs[self.branch] = shipped

    def _set_aside(self, lane: Lane) -> Any:
        """Make a branch of a log that may not continue its own; only then may the log go."""
        parent = Parent(branch_id=self.branch, txid=0)
        name = f"recovered-{self.name}-{lane.manifest.epoch}"
        at = yield Now()

        def make() -> Piece:
            return piece_of(freed(self.log, self.world.erased_words()), self.log[-1][0], at)

        try:
            child = yield from recover(DB, name, parent, make, self.name)
        except Conflict:
            # It took over a minute, and somebody freed the name: again, under another epoch.
            raise Fenced(lane.manifest) from None
        self.history.recovered.setdefault(self.branch, []).append(child.branch_id)
        self.world._count("recovered")

    def _act(self, lane: Lane) -> Any:
        random = self.world.random
        weights = self.world.weights or EVENLY
        action = random.choices(tuple(weights), tuple(weights.values()))[0]
        if action == "write":
            if self.next_txid > lane.manifest.limit:
                yield from self._ship(lane)
            if self.next_txid <= lane.manifest.limit:
                yield from self._write(self.history.word())
        elif action == "durable":
            yield from self._durable(lane, self.history.word())
        elif action == "ship":
            yield from self._ship(lane)
        elif action == "rebase":
            yield from self._rebase(lane)
        elif action == "condense":
            self.world._count("condensed", (yield from condense(lane, random.randrange(3))))
        elif action == "retain":
            keep = Keep(self.world.fine_ms, self.world.snapshots_ms)
            gone = yield from protocol.retain(lane, keep, (yield Now()))
            self.world._count("retained", gone)
        elif action == "collect":
            yield from protocol.collect(lane)
        elif action == "delete" and lane.manifest.formed_at is not None:
            # A fork. What was recovered is the only copy, and stays.
            yield from delete_branch(lane)
            raise Fenced(lane.manifest)
        elif lane.manifest.txid:
            yield from self._act_on_a_point(lane, action)

    def _act_on_a_point(self, lane: Lane, action: str) -> Any:
        random = self.world.random
        to = random.choice((lane.manifest.txid, *boundaries(self.world, self.branch)))
        if action == "rewind":
            word = f"rewind to {to} {self.history.word()}"
            entry = yield from self._durable(lane, word)
            if entry is not None:
                self.history.rewinds.setdefault(self.branch, []).append(entry)
        elif action == "checkpoint":
            yield from self._checkpoint(lane, f"c{random.randrange(4)}", to)
        elif action == "drop":
            name = f"c{random.randrange(4)}"
            # From here on it may be gone, whatever the answer.
            self.history.checkpoints.get(self.branch, {}).pop(name, None)
            try:
                yield from drop_checkpoint(lane, name)
            except NotFound:
                return
        elif action == "fork":
            yield from forking(self.world, self.history, self.branch, random.randrange(40))

    def _checkpoint(self, lane: Lane, name: str, to: int) -> Any:
        try:
            yield from add_checkpoint(lane, name, to)
        except (Conflict, Invalid):
            return
        log = [entry for entry in self.log if entry[0] <= to]
        self.history.checkpoints.setdefault(self.branch, {})[name] = (to, log)

    def _write(self, word: str) -> Any:
        txid, self.next_txid = self.next_txid, self.next_txid + 1
        self.log.append((txid, word))
        # The client hears of it only after the commit: a crash may come in between.
        yield Sleep(0)
        self.history.local.setdefault(self.branch, []).append((txid, word))

    def _durable(self, lane: Lane, word: str) -> Any:
        if self.next_txid > lane.manifest.limit:
            yield from self._ship(lane)
        if self.next_txid > lane.manifest.limit:
            return
        entry = (self.next_txid, word)
        self.next_txid += 1
        self.log.append(entry)
        try:
            if self.world.random.random() < 0.1:
                yield from self._rebase(lane)
            else:
                yield from self._ship(lane)
        except Fenced as fenced:
            now = self.world.manifests[lane.key]
            landed = entry[0] <= fenced.manifest.txid and now.state == "live"
            if landed and entry in self.world.log_of(now):
                # It landed before the other owner came: still part of the history.
                self.history.durable.setdefault(self.branch, []).append(entry)
            raise
        self.history.durable.setdefault(self.branch, []).append(entry)
        return entry

    def _ship(self, lane: Lane) -> Any:
        fresh = [entry for entry in self.log if entry[0] > lane.manifest.txid]
        if fresh:
            yield from ship(lane, self._piece(fresh, (yield Now())))

    def _rebase(self, lane: Lane) -> Any:
        if self.log:
            yield from rebase(lane, self._piece(self.log, (yield Now())))
            self.world._count("rebased")

    def _piece(self, log: Log, at: int) -> Piece:
        data = pack(log)
        checksum = hashlib.sha256(pack(self.log)).hexdigest()[:16]
        digest = hashlib.sha256(data).hexdigest()
        return Piece(log[-1][0], len(log), len(self.log), checksum, digest, data, at)


# How often a node does what: of every kind something, or little else than moving references on.
EVENLY = {
    "write": 5,
    "durable": 4,
    "ship": 3,
    "rewind": 1,
    "checkpoint": 1.5,
    "drop": 0.3,
    "rebase": 1.5,
    "condense": 2,
    "retain": 2,
    "collect": 3,
    "fork": 1,
    "delete": 0.1,
}
HASTY = {"durable": 4, "rebase": 3, "retain": 4, "collect": 4, "checkpoint": 0.2, "drop": 0.2}


def piece_of(log: Log, txid: int, at: int) -> Piece:
    """Return a snapshot of a state."""
    data = pack(log)
    digest = hashlib.sha256(data).hexdigest()
    return Piece(txid, len(log), len(log), digest[:16], digest, data, at)


def freed(log: Iterable[tuple[int, str]], words: AbstractSet[str]) -> Log:
    """Return a log without words that are erased; that there was a commit stays."""
    return [(txid, "" if word in words else word) for txid, word in log]


def uncleansed(_timeline: Timeline, _txid: int) -> Piece | None:
    """Fork where nothing is being erased."""
    raise Violation("a fork was made as if something were being erased")


def forking(world: World, history: History, parent: str, number: int) -> Any:
    """Fork a branch from a random boundary, as anybody may who does not own it."""
    points = boundaries(world, parent)
    if not points:
        return
    at = world.random.choice((None, *points))
    ttl = world.random.choice((None, None, 2_000))

    def cleansed(timeline: Timeline, txid: int) -> Piece | None:
        path = timeline.path(txid)
        if any(ref.key not in world.objects for ref in path):
            return None
        world._count("freed forks")
        log = freed(world.log_along(path), world.erased_words(timeline.manifest.erasing))
        return piece_of(log, txid, timeline.at(txid))

    try:
        child = yield from fork(DB, Wanted(parent, f"f{number}", at, ttl), cleansed)
    except (Conflict, NotFound, Invalid):
        return
    made = world.manifests[manifest_key(DB, child.branch_id)]
    world._count("forks")
    if made.state != "live":
        # Deleted before its answer arrived.
        return
    if at is not None and at not in world.manifests[manifest_key(DB, parent)].boundaries():
        world._count("forks of old points")
    log = [entry for entry in world.log_of(made) if entry[0] <= child.txid]
    history.forks.append((parent, child.branch_id, log))
    history.named[child.branch_id] = f"f{number}"


def tidying(world: World) -> Any:
    """What anybody may do who owns nothing: remove a branch, expire, collect what was deleted."""
    action = world.random.choice(("remove", "expire", "collect"))
    if action == "remove":
        named = [
            key.split("/")[-1].removesuffix(".json") for key in world.objects if "/heads/f" in key
        ]
        name = world.random.choice(named or ["f0"])
        try:
            yield from remove_branch(DB, name)
        except NotFound:
            return
        world._count("removed")
    elif action == "expire":
        world._count("expired", len((yield from expire(DB, world.now))))
    else:
        dead = [key.split("/")[-2] for key, m in world.manifests.items() if m.state == "deleted"]
        dead = [one for one in dead if any(f"/{one}/" in k and ".ltx" in k for k in world.objects)]
        if dead:
            gone = yield from collect_deleted(DB, world.random.choice(dead))
            world._count("collected of deleted", gone)


def boundaries(world: World, branch: str) -> tuple[int, ...]:
    """Return the points of a branch that lives, the old ones too."""
    manifest = world.manifests.get(manifest_key(DB, branch))
    if manifest is None or manifest.state != "live":
        return ()
    return world.timeline(manifest).boundaries()


def branches(world: World) -> list[str]:
    """Return the ids of all branches that live."""
    prefix = branch_prefix(DB, "")[:-1]
    return sorted(
        key.removeprefix(prefix).split("/")[0]
        for key, manifest in world.manifests.items()
        if manifest.state == "live"
    )
