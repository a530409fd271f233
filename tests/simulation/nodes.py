"""What nodes do with the protocol: own, write, ship, rewind, compact, collect, fork, stop, crash."""

from __future__ import annotations

import hashlib
from typing import Any

from world import Disk, Violation, World, pack, unpack

from palimp.engine.protocol import (
    Fenced,
    Lane,
    Piece,
    add_checkpoint,
    collect,
    compact,
    delete_branch,
    fork,
    ship,
    stop_cleanly,
    take_ownership,
)
from palimp.engine.protocol.branches import Wanted
from palimp.engine.protocol.lane import read
from palimp.engine.protocol.records import Manifest, branch_prefix, manifest_key
from palimp.engine.protocol.requests import Sleep
from palimp.errors import Conflict, NotFound

DB = "d1"
Log = list[tuple[int, str]]


class History:
    """What was acknowledged to clients, per branch."""

    def __init__(self) -> None:
        self.local: dict[str, Log] = {}
        self.durable: dict[str, Log] = {}
        self.recovered: dict[str, Log] = {}
        self.checkpoints: dict[str, dict[str, int]] = {}
        self.forks: list[tuple[str, str, Log]] = []
        self.named: dict[str, str] = {}
        self.deleted: set[str] = set()
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
                current = self.world.manifests[lane.key]
                if current.names(ref.key):
                    raise Violation(f"{ref.key} is named and missing")
                # Compacted away by a newer owner meanwhile.
                raise Fenced(current)
            shipped += unpack(stored.data)
        mine = before is not None and before.owner is not None
        mine = mine and before.owner.nonce in self.disk.nonces
        if mine and self.log[: len(shipped)] == shipped:
            return
        lost = [entry for entry in self.log if entry not in shipped]
        self.history.recovered.setdefault(self.branch, []).extend(lost)
        self.disk.logs[self.branch] = shipped

    def _act(self, lane: Lane) -> Any:
        random = self.world.random
        action = random.choices(
            (
                "write",
                "durable",
                "ship",
                "rewind",
                "checkpoint",
                "compact",
                "collect",
                "fork",
                "delete",
            ),
            (5, 4, 3, 1, 1, 3, 3, 1, 0.1 if self.branch != "main" else 0),
        )[0]
        if action == "write":
            if self.next_txid > lane.manifest.limit:
                yield from self._ship(lane)
            if self.next_txid <= lane.manifest.limit:
                yield from self._write(self.history.word())
        elif action == "durable":
            yield from self._durable(lane, self.history.word())
        elif action == "rewind" and lane.manifest.boundaries():
            to = random.choice(lane.manifest.boundaries())
            yield from self._durable(lane, f"rewind to {to} {self.history.word()}")
        elif action == "ship":
            yield from self._ship(lane)
        elif action == "checkpoint" and lane.manifest.txid:
            name = f"c{random.randrange(4)}"
            try:
                yield from add_checkpoint(lane, name, lane.manifest.txid)
            except Conflict:
                return
            self.history.checkpoints.setdefault(self.branch, {})[name] = lane.manifest.txid
        elif action == "compact":
            kept = {b for b in lane.manifest.boundaries() if random.random() < 0.3}
            yield from compact(lane, kept)
        elif action == "collect":
            yield from collect(lane)
        elif action == "fork" and lane.manifest.txid:
            yield from forking(self.world, self.history, self.branch, random.randrange(40))
        elif action == "delete":
            yield from delete_branch(lane)
            self.history.deleted.add(self.branch)
            raise Fenced(lane.manifest)

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
            yield from self._ship(lane)
        except Fenced as fenced:
            if entry[0] <= fenced.manifest.txid and entry in self.world.log_of(fenced.manifest):
                # It landed before the other owner came: still part of the history.
                self.history.durable.setdefault(self.branch, []).append(entry)
            raise
        self.history.durable.setdefault(self.branch, []).append(entry)

    def _ship(self, lane: Lane) -> Any:
        fresh = [entry for entry in self.log if entry[0] > lane.manifest.txid]
        if not fresh:
            return
        data = pack(fresh)
        digest = hashlib.sha256(data).hexdigest()
        piece = Piece(fresh[-1][0], len(fresh), len(self.log), digest[:16], digest, data)
        yield from ship(lane, piece)


def forking(world: World, history: History, parent: str, number: int) -> Any:
    """Fork a branch from a random boundary, as anybody may who does not own it."""
    manifest = world.manifests.get(manifest_key(DB, parent))
    if manifest is None or not manifest.boundaries():
        return
    at = world.random.choice((None, *manifest.boundaries()))
    try:
        child = yield from fork(DB, Wanted(parent, f"f{number}", at))
    except (Conflict, NotFound, ValueError):
        return
    made = world.manifests[manifest_key(DB, child.branch_id)]
    log = [entry for entry in world.log_of(made) if entry[0] <= child.txid]
    history.forks.append((parent, child.branch_id, log))
    history.named[child.branch_id] = f"f{number}"
    world._count("forks")


def branches(world: World) -> list[str]:
    """Return the ids of all branches that live."""
    prefix = branch_prefix(DB, "")[:-1]
    return sorted(
        key.removeprefix(prefix).split("/")[0]
        for key, manifest in world.manifests.items()
        if manifest.state == "live"
    )
