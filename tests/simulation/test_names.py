"""Profiles that are made, written, deleted and made again by several nodes at once."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from world import Violation, World, pack

from palimp.engine.protocol import (
    Fenced,
    Piece,
    delete_profile,
    find_profile,
    ship,
    take_ownership,
)
from palimp.engine.protocol import names as names_module
from palimp.engine.protocol.records import Name, decode, name_key
from palimp.engine.protocol.requests import Sleep
from palimp.errors import NotFound

SCHEDULES = 4_000
MUTANT_SCHEDULES = 3_000


def write(world: World, node: str, durable: list[tuple[str, str]]) -> Any:
    """Find or make the profile and write one word to it, durably."""
    for _ in range(world.random.randrange(1, 4)):
        found = yield from find_profile("ns", "p", create=True)
        try:
            taken = yield from take_ownership(found.db_id, "main", node)
            world.nonces += 1
            word = f"w{world.nonces}"
            txid = taken.first_txid
            data = pack([(txid, word)])
            yield from ship(taken.lane, Piece(txid, 1, 1, "", word, data, 0))
        except Fenced as fenced:
            if any(ref.sha256 == word for ref in fenced.manifest.chain()):
                durable.append((found.db_id, word))
        except NotFound:
            pass
        else:
            durable.append((found.db_id, word))
        yield Sleep(0.05)


def delete(world: World, deleted: list[int]) -> Any:
    for _ in range(4):
        yield Sleep(world.random.random() / 2)
        try:
            yield from delete_profile("ns", "p")
        except NotFound:
            continue
        deleted.append(1)


def run_schedule(seed: int) -> tuple[int, int]:
    chooser = random.Random(seed)
    world = World(seed, faults=chooser.choice((0.0, 0.05, 0.15)))
    durable: list[tuple[str, str]] = []
    deleted: list[int] = []
    for number in range(chooser.randrange(2, 5)):
        world.spawn(f"node{number}", write(world, f"node{number}", durable))
    for number in range(chooser.randrange(1, 3)):
        world.spawn(f"deleter{number}", delete(world, deleted))
    revoked = 0
    for _ in range(250):
        if not world.step():
            break
        if chooser.random() < 0.01 and world.tasks:
            world.crash(chooser.choice(world.tasks).node)
        stored = world.objects.get(name_key("ns", "p"))
        if stored:
            now = decode(stored[0], Name, "name").revoked_before
            if now < revoked:
                raise Violation("revoked_before ran backwards")
            revoked = now
    world.settle()
    check(world, durable)
    return len(durable), len(deleted)


def check(world: World, durable: list[tuple[str, str]]) -> None:
    found = world.run_alone(find_profile("ns", "p", create=False))
    live = {
        key.split("/")[2] for key, manifest in world.manifests.items() if manifest.state == "live"
    }
    # Every database that lives is the one its name leads to: nothing acknowledged is unreachable.
    if live - ({found.db_id} if found else set()):
        raise Violation(f"{live} live, the name leads to {found}")
    for db_id, word in durable:
        key = f"v1/db/{db_id}/main/manifest.json"
        manifest = world.manifests[key]
        if manifest.state == "live" and not any(r.sha256 == word for r in manifest.chain()):
            raise Violation(f"{word} of {db_id} was acknowledged and is not there")


def test_nothing_acknowledged_becomes_unreachable() -> None:
    writes = deletes = 0
    for seed in range(SCHEDULES):
        try:
            more = run_schedule(seed)
        except Exception as error:  # the seed has to be said whatever happened
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
        writes, deletes = writes + more[0], deletes + more[1]
    assert writes > SCHEDULES // 2
    assert deletes > SCHEDULES // 2


def test_without_a_tombstone_first_a_write_becomes_unreachable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Take the database off its name without fencing its writer."""

    def careless(namespace: str, profile: str) -> Any:
        key = name_key(namespace, profile)
        stored = yield from names_module.read(key)
        name = decode(stored.data, Name, key) if stored else None
        if name is None or name.db_id is None:
            raise NotFound("none", code="database_not_found")
        yield from names_module._take_off(namespace, profile, stored, name)

    monkeypatch.setattr(sys.modules[__name__], "delete_profile", careless)

    def fails(seed: int) -> bool:
        try:
            run_schedule(seed)
        except Violation:
            return True
        return False

    assert any(fails(seed) for seed in range(MUTANT_SCHEDULES))
