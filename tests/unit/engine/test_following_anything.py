"""Whatever a reader is told, in whatever order: it is where its owner was, to the byte."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from palimp.clock import ManualClock
from palimp.engine import Address, Branch, Engine
from palimp.engine.protocol import Manifest
from palimp.engine.restore import build
from palimp.points import Point
from palimp.store import ObjectStore, VolatileStore

from .engines import Engines, P, key_of, put, using, words
from .followers import ADDRESSES, Shipment, followed, take


def file_of(branch: Branch) -> bytes:
    path = branch.copy._provisional or branch.files.current()
    assert path is not None
    return path.read_bytes()


class World:
    """Two owners in turn, a reader that is told of things in any order, and what the branches were."""

    def __init__(self, engines: Engines, store: ObjectStore, seed: int, root: Path) -> None:
        self.random = random.Random(seed)
        self.root = root
        self.clock = ManualClock()
        options = {"fenced_pause": 0.0}
        self.owners = [engines(store, name, **options) for name in "ab"]
        self.reader = engines(store, "r", clock=self.clock, **options)
        self.store = store
        self.addresses = [P]
        self.states: dict[tuple[str, int], str] = {}
        self.seen: dict[Address, int] = {}
        self.mail: list[Shipment] = []
        self.refused: list[str] = []
        for owner in self.owners:
            owner.following.shipments.listener = self.hear
        put(self.owners[0], "first", durable=True)

    def hear(self, key: tuple[str, str], manifest: Manifest, data: bytes) -> None:
        """Note what the branch is now, and what the reader may hear of it."""
        path = self.root / "state"
        build(self.store, manifest.chain(), path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert self.states.setdefault((key[1], manifest.txid), digest) == digest
        self.mail.append(Shipment(key, manifest, data))

    def step(self) -> None:
        where = self.random.choice(self.addresses)
        name = self.random.choices(
            ["write", "delete", "rewind", "maintain", "fork", "look", "deliver", "read"],
            [6, 2, 1, 1, 0.5, 4, 6, 2],
        )[0]
        getattr(self, name)(where)
        self.check(self.random.choice(self.addresses))

    def owner(self) -> Engine:
        # Mostly the same one for a while.
        if self.random.random() < 0.1:
            self.owners.reverse()
            # Who had it finds out before it is asked for something.
            for address in self.addresses:
                with using(self.owners[0], address) as branch:
                    branch.copy.looked_at = float("-inf")
                    if branch.owned:
                        branch._drop_lane()
        return self.owners[0]

    def write(self, where: Address) -> None:
        owner = self.owner()
        for _ in range(self.random.randint(1, 3)):
            size = self.random.choice([3, 50, 9_000])
            put(owner, "".join(self.random.choices("abcdef", k=size)), where)
        owner.sync(where)

    def delete(self, where: Address) -> None:
        with using(self.owner(), where) as branch:
            branch.write(lambda c: c.execute("DELETE FROM words WHERE id % 3 = 1"), durable=True)

    def rewind(self, where: Address) -> None:
        owner = self.owner()
        txid = self.random.choice(owner.boundaries(where)).txid
        owner.rewind(where, Point("txid", txid))

    def maintain(self, where: Address) -> None:
        owner = self.owner()
        owner.sync(where)
        with using(owner, where) as branch:
            branch.own()
            branch.in_lane(branch.fold, "folding")
        owner.maintain(where._replace(branch="main"))

    def fork(self, where: Address) -> None:
        name = f"f{len(self.addresses)}"
        self.owner().fork(where, name)
        there = where._replace(branch=name)
        self.addresses.append(there)
        put(self.owner(), f"of {name}", there, durable=True)
        ADDRESSES[key_of(self.owners[0], there)] = there

    def look(self, where: Address) -> None:
        self.clock.advance(self.random.choice([1, 6]))
        words(self.reader, where)

    def read(self, where: Address) -> None:
        words(self.reader, where)

    def deliver(self, _where: Address) -> None:
        for _ in range(min(len(self.mail), self.random.randint(1, 4))):
            at = self.random.randrange(max(0, len(self.mail) - 5), len(self.mail))
            shipment = self.mail[at]
            chance = self.random.random()
            if chance < 0.6:
                del self.mail[at]
            if chance < 0.1:
                continue
            if chance > 0.8:
                # Without its segment, or with another one.
                shipment = shipment._replace(data=b"another" if chance > 0.9 else b"")
            refused = take(self.reader, shipment)
            self.refused.append(refused or "taken")

    def check(self, where: Address) -> None:
        """What is read is a state of the branch, to the byte, and not before one that was read."""
        with using(self.reader, where) as branch:
            state = branch.read(lambda c: c.execute("SELECT count(*) FROM words").get)
            manifest = branch.manifest
            assert manifest is not None
            assert state.txid == manifest.txid >= self.seen.get(where, 0)
            self.seen[where] = state.txid
            digest = hashlib.sha256(file_of(branch)).hexdigest()
            assert digest == self.states.get((branch.key[1], state.txid), digest)
            if (branch.key[1], state.txid) not in self.states:
                # A fork that was not written yet.
                assert manifest.parent is not None


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_told_or_not_a_reader_is_where_its_owner_was(
    engines: Engines, tmp_path: Path, seed: int
) -> None:
    ADDRESSES.clear()
    world = World(engines, VolatileStore(weak_versions=True), seed, tmp_path)
    for _ in range(60):
        world.step()
    world.clock.advance(6)
    for address in world.addresses:
        world.check(address)
        assert words(world.reader, address) == words(world.owners[0], address)
    assert followed(world.reader, "segments") > 0
    assert world.owners[0].verify(P).findings == ()
