"""The protocol under seeded schedules with faults, against named invariants.

SIMULATION_SCHEDULES=200000 python -m pytest tests/simulation                  more of them
SIMULATION_FIRST_SEED=4711 SIMULATION_SCHEDULES=1 python -m pytest tests/simulation -k hold
                                                                               replay one
"""

from __future__ import annotations

import os
import random
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from nodes import DB, History, Node, branches, forking
from world import Violation, World

from palimp.engine import protocol
from palimp.engine.protocol import branches as branches_module
from palimp.engine.protocol import own, read_branches, take_ownership
from palimp.engine.protocol.records import manifest_key
from palimp.errors import Internal

SCHEDULES = int(os.environ.get("SIMULATION_SCHEDULES", "20000"))
FIRST_SEED = int(os.environ.get("SIMULATION_FIRST_SEED", "0"))
CHUNK = 250
STEPS = 400
MUTANT_SCHEDULES = 6_000


def run_schedule(seed: int) -> dict[str, int]:
    """Run one schedule and check every invariant; the seed decides everything."""
    # So few that limits are met all the time.
    own.LIMIT_STEP = 5
    chooser = random.Random(seed)
    world, history = World(seed, faults=chooser.choice((0.0, 0.03, 0.08, 0.2))), History()
    nodes = ["a", "b", "c"][: chooser.randrange(1, 4)]
    for name in nodes:
        world.spawn(name, Node(world, history, name, "main").live())
    for _ in range(STEPS):
        if not world.step():
            break
        chance = chooser.random()
        if chance < 0.01:
            name = chooser.choice(nodes)
            world.crash(name)
            world.spawn(
                name, Node(world, history, name, chooser.choice(branches(world) or ["main"])).live()
            )
        elif chance < 0.03:
            world.spawn(
                "x",
                forking(
                    world,
                    history,
                    chooser.choice(branches(world) or ["main"]),
                    chooser.randrange(40),
                ),
            )
        elif chance < 0.035:
            world.now += 61_000
    world.settle()
    check(world, history)
    world.counts["durable"] = sum(len(log) for log in history.durable.values())
    world.counts["recovered"] = sum(len(log) for log in history.recovered.values())
    return world.counts


def check(world: World, history: History) -> None:
    """The invariants of the end, by name."""
    for branch in branches(world):
        taken = world.run_alone(take_ownership(DB, branch, "checker"))
        log = world.log_of(taken.lane.manifest)
        no_acknowledged_durable_write_is_lost(branch, log, history)
        no_acknowledged_local_write_is_silently_gone(branch, log, history, world)
        txids_never_repeat(branch, log, history, taken.first_txid)
        checkpoints_stay(branch, taken.lane.manifest.checkpoints, history)
    forks_begin_where_their_parent_was(world, history)
    acknowledged_forks_are_found_under_their_names(world, history)
    names = world.run_alone(read_branches(DB))
    if not set(names.values()) - {"main"} <= set(branches(world)):
        raise Violation("a name leads to a branch that does not live")


def no_acknowledged_durable_write_is_lost(branch: str, log: Any, history: History) -> None:
    missing = [entry for entry in history.durable.get(branch, []) if entry not in log]
    if missing:
        raise Violation(f"{branch}: durable writes {missing} are not in the history")


def no_acknowledged_local_write_is_silently_gone(
    branch: str, log: Any, history: History, world: World
) -> None:
    kept = {*log, *history.recovered.get(branch, [])}
    for disk in world.disks.values():
        kept.update(disk.logs.get(branch, []))
    missing = [entry for entry in history.local.get(branch, []) if entry not in kept]
    if missing:
        raise Violation(f"{branch}: local writes {missing} are nowhere")


def txids_never_repeat(branch: str, log: Any, history: History, first_free: int) -> None:
    seen: dict[int, str] = {}
    for txid, word in (*log, *history.local.get(branch, []), *history.durable.get(branch, [])):
        if seen.setdefault(txid, word) != word:
            raise Violation(f"{branch}: txid {txid} is {word} and {seen[txid]}")
        if txid >= first_free:
            raise Violation(f"{branch}: txid {txid} may be given out again, from {first_free} on")
    txids = [txid for txid, _ in log]
    if txids != sorted(set(txids)):
        raise Violation(f"{branch}: the history is out of order")


def checkpoints_stay(branch: str, held: dict[str, int], history: History) -> None:
    for name, txid in history.checkpoints.get(branch, {}).items():
        if held.get(name) != txid:
            raise Violation(f"{branch}: checkpoint {name} is {held.get(name)}, not {txid}")


def forks_begin_where_their_parent_was(world: World, history: History) -> None:
    for parent, child, begun in history.forks:
        manifest = world.manifests[manifest_key(DB, child)]
        if manifest.state != "live":
            continue
        if world.log_of(manifest)[: len(begun)] != begun:
            raise Violation(f"{child} no longer begins as it was forked")
        origin = world.manifests[manifest_key(DB, parent)]
        if origin.state == "live" and world.log_of(origin)[: len(begun)] != begun:
            raise Violation(f"{child} does not begin as its parent {parent} did")


def acknowledged_forks_are_found_under_their_names(world: World, history: History) -> None:
    names = world.run_alone(read_branches(DB))
    for branch_id, name in history.named.items():
        manifest = world.manifests[manifest_key(DB, branch_id)]
        if manifest.state == "live" and names.get(name) != branch_id:
            raise Violation(f"fork {name} is {branch_id}, the name leads to {names.get(name)}")


def run_chunk(first: int, count: int) -> tuple[dict[str, int], str | None]:
    totals: dict[str, int] = {}
    for seed in range(first, first + count):
        try:
            counts = run_schedule(seed)
        except Exception as error:  # the seed has to be said whatever happened
            return totals, f"seed {seed}: {type(error).__name__}: {error}"
        for name, number in counts.items():
            totals[name] = totals.get(name, 0) + number
    return totals, None


@pytest.mark.timeout(0)
def test_invariants_hold_in_every_schedule() -> None:
    first, count = FIRST_SEED, SCHEDULES
    starts = range(first, first + count, CHUNK)
    sizes = [min(CHUNK, first + count - start) for start in starts]
    totals: dict[str, int] = {}
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        for counts, failure in pool.map(run_chunk, starts, sizes):
            assert failure is None, failure
            for name, number in counts.items():
                totals[name] = totals.get(name, 0) + number
    print(totals)
    # A simulation in which nothing goes wrong would prove nothing.
    if count >= 1_000:
        for what in ("in doubt", "late landing", "deleted", "forks", "durable", "recovered"):
            assert totals.get(what, 0) > count // 20, f"too little happened: {what} {totals}"


def test_a_seed_decides_everything() -> None:
    assert run_schedule(12) == run_schedule(12)


@pytest.mark.parametrize(
    "mutation",
    [
        "repeat_other_bytes",
        "no_second_look",
        "reuse_txids",
        "one_list",
        "free_the_unwritten",
        "newer_epochs",
        "low_limit",
    ],
)
def test_a_broken_protocol_is_caught(monkeypatch: pytest.MonkeyPatch, mutation: str) -> None:
    """Each rule that looks too long closes a hole: without it some schedule fails."""
    MUTATIONS[mutation](monkeypatch)
    caught = any(_fails(seed) for seed in range(MUTANT_SCHEDULES))
    assert caught, f"{mutation} went unnoticed in {MUTANT_SCHEDULES} schedules"


def _fails(seed: int) -> bool:
    try:
        run_schedule(seed)
    except (Violation, Internal, AssertionError):
        return True
    return False


def _repeat_other_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a lost answer for a failure, and go on."""
    from palimp.engine.protocol import lane
    from palimp.engine.protocol.records import encode
    from palimp.engine.protocol.requests import InDoubt, Refused, Replace

    def swap(lane_: Any, new: Any) -> Any:
        try:
            version = yield Replace(lane_.key, encode(new), lane_.version)
        except (InDoubt, Refused):
            return
        if version is None:
            raise lane.Fenced(new)
        lane_.manifest, lane_.version = new, version

    for module in (protocol.ship, protocol.compact):
        monkeypatch.setattr(sys.modules[module.__module__], "swap", swap)


def _no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a fork live whatever its parent names when it is read again."""
    monkeypatch.setattr(branches_module, "all", lambda _: True, raising=False)


def _reuse_txids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand out numbers from the head on, not from the limit on."""
    monkeypatch.setattr(
        own.Taken,
        "first_txid",
        property(lambda self: self.before.txid + 1 if self.before else 1),
    )


def _one_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collect by what this branch's manifest says, without asking the others."""

    def manifests(db_id: str) -> Any:
        return []
        yield db_id

    monkeypatch.setattr(sys.modules["palimp.engine.protocol.collect"], "_manifests", manifests)


def _free_the_unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a stale name without making sure that its unwritten child cannot live any more."""
    from palimp.engine.protocol.records import Manifest
    from palimp.errors import Conflict

    def free(db_id: str, name: str, held: Any, now: int) -> Any:
        key = manifest_key(db_id, held.branch_id)
        stored = yield from branches_module.read(key)
        stale = now - held.formed_at > branches_module.FORMING_MS_MAX
        if stored is None and stale:
            return
        manifest = branches_module.decode(stored.data, Manifest, key) if stored else None
        if manifest is None or manifest.state != "deleted":
            raise Conflict(f"branch {name!r} exists already", code="already_exists")

    monkeypatch.setattr(branches_module, "_free", free)


def _newer_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collect segments of newer owners as well."""
    monkeypatch.setattr(
        sys.modules["palimp.engine.protocol.collect"], "segment_epoch", lambda key: 0
    )


def _low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limit to the head at a clean stop, whoever owned the branch before."""
    monkeypatch.setattr(own, "max", lambda head, floor: head, raising=False)


MUTATIONS = {
    "repeat_other_bytes": _repeat_other_bytes,
    "no_second_look": _no_second_look,
    "reuse_txids": _reuse_txids,
    "one_list": _one_list,
    "free_the_unwritten": _free_the_unwritten,
    "newer_epochs": _newer_epochs,
    "low_limit": _low_limit,
}
