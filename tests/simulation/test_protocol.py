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
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mutations import MUTATIONS
from nodes import DB, HASTY, History, Node, branches, forking, freed, tidying
from world import Violation, World

from palimp.engine.protocol import history as history_module
from palimp.engine.protocol import list_branches, own, take_ownership
from palimp.engine.protocol.records import manifest_key
from palimp.errors import Internal

retain_module = sys.modules["palimp.engine.protocol.retain"]
segments_module = sys.modules["palimp.engine.protocol.segments"]
SCHEDULES = int(os.environ.get("SIMULATION_SCHEDULES", "5000"))
FIRST_SEED = int(os.environ.get("SIMULATION_FIRST_SEED", "0"))
CHUNK = 250
# Long ones get to history that is merged, thinned and collected.
STEPS = (250, 400, 400, 1_200)
MUTANT_SCHEDULES = 6_000
# What is caught late is tried first with a schedule that caught it; all others follow as ever.
CAUGHT_BY = {"newer_epochs": 693, "others_without_history": 1_024}
OFTEN = "in doubt|late landing|deleted|forks|durable|recovered|rebased|history objects".split("|")
SELDOM = (
    "condensed|retained|rewinds|forks of old points|removed|expired|collected of deleted".split("|")
)


def run_schedule(seed: int, eraser: Any = None) -> dict[str, int]:
    """Run one schedule and check every invariant; the seed decides everything."""
    with pytest.MonkeyPatch.context() as small:
        # So few that limits are met all the time. Taken back, because other tests run in this process.
        small.setattr(own, "LIMIT_STEP", 5)
        small.setattr(history_module, "REFS_MAX", 12)
        small.setattr(retain_module, "JOINS_MAX", 2)
        small.setattr(segments_module, "JOIN_BYTES_MAX", 300)
        small.setattr(retain_module, "_DAY_MS", 3_000)
        return _run_schedule(seed, eraser)


def _run_schedule(seed: int, make_eraser: Any) -> dict[str, int]:
    chooser = random.Random(seed)
    world, history = World(seed, faults=chooser.choice((0.0, 0.03, 0.08, 0.2))), History()
    world.fine_ms = chooser.choice((0, 1_000, 30_000))
    world.snapshots_ms = chooser.choice((0, 10_000, 10**9))
    world.page = chooser.choice((3, 20))
    forks = 0.01
    if chooser.random() < 0.4:
        # Nothing stays long: what a fork copies goes away while it is made.
        world.fine_ms = world.snapshots_ms = 0
        world.stalls["x"] = 0.3
        world.weights, forks = HASTY, 0.03
    nodes = ["a", "b", "c"][: chooser.choice((1, 1, 2, 3))]
    for name in nodes:
        world.spawn(name, Node(world, history, name, "main").live())
    eraser = None if make_eraser is None else make_eraser(world, history, seed)
    for _ in range(chooser.choice(STEPS)):
        if not world.step():
            break
        if eraser is not None:
            eraser()
        chance = chooser.random()
        if chance < 0.01:
            name = chooser.choice(nodes)
            world.crash(name)
            world.spawn(
                name, Node(world, history, name, chooser.choice(branches(world) or ["main"])).live()
            )
        elif chance < 0.01 + forks:
            world.spawn(
                "x",
                forking(
                    world,
                    history,
                    chooser.choice(branches(world) or ["main"]),
                    chooser.randrange(40),
                ),
            )
        elif chance < 0.015 + forks:
            world.now += 61_000
        elif chance < 0.023 + forks:
            world.spawn("y", tidying(world))
        elif chance < 0.033 + forks and all(task.node != "d" for task in world.tasks):
            # Somebody works on a fork, until it is deleted.
            branch = chooser.choice(branches(world) or ["main"])
            world.spawn("d", Node(world, history, "d", branch).live())
    world.settle()
    if eraser is not None:
        eraser.finish()
    check(world, history)
    world.counts["durable"] = sum(len(log) for log in history.durable.values())
    world.counts["rewinds"] = sum(len(log) for log in history.rewinds.values())
    world.counts["history objects"] = len(world.histories)
    return world.counts


def check(world: World, history: History) -> None:
    """The invariants of the end, by name."""
    for branch in branches(world):
        taken = world.run_alone(take_ownership(DB, branch, "checker"))
        log = world.log_of(taken.lane.manifest)
        no_acknowledged_durable_write_is_lost(branch, log, history, world)
        no_acknowledged_local_write_is_silently_gone(branch, log, history, world)
        txids_never_repeat(branch, log, history, taken.first_txid, world.erased_words())
        checkpoints_stay(branch, world, history)
        every_boundary_reads_what_was_there(branch, log, world)
        an_acknowledged_rewind_stays(branch, log, history)
    forks_begin_where_their_parent_was(world, history)
    acknowledged_forks_are_found_under_their_names(world, history)
    if not set(names_of(world).values()) - {"main"} <= set(branches(world)):
        raise Violation("a name leads to a branch that does not live")


def names_of(world: World) -> dict[str, str]:
    return {name: branch for name, branch, _ in world.run_alone(list_branches(DB))}


def no_acknowledged_durable_write_is_lost(
    branch: str, log: Any, history: History, world: World
) -> None:
    words = world.erased_words()
    kept, durable = freed(log, words), freed(history.durable.get(branch, []), words)
    missing = [entry for entry in durable if entry not in kept]
    if missing:
        raise Violation(f"{branch}: durable writes {missing} are not in the history")


def no_acknowledged_local_write_is_silently_gone(
    branch: str, log: Any, history: History, world: World
) -> None:
    kept = set(log)
    for recovered in history.recovered.get(branch, []):
        kept.update(world.log_of(world.manifests[manifest_key(DB, recovered)]))
    for disk in world.disks.values():
        kept.update(disk.logs.get(branch, []))
    words = world.erased_words()
    kept = set(freed(kept, words))
    local = freed(history.local.get(branch, []), words)
    missing = [entry for entry in local if entry not in kept]
    if missing:
        raise Violation(f"{branch}: local writes {missing} are nowhere")


def txids_never_repeat(
    branch: str, log: Any, history: History, first_free: int, words: frozenset[str]
) -> None:
    seen: dict[int, str] = {}
    said = (*log, *history.local.get(branch, []), *history.durable.get(branch, []))
    for txid, word in freed(said, words):
        if seen.setdefault(txid, word) != word:
            raise Violation(f"{branch}: txid {txid} is {word} and {seen[txid]}")
        if txid >= first_free:
            raise Violation(f"{branch}: txid {txid} may be given out again, from {first_free} on")
    txids = [txid for txid, _ in log]
    if txids != sorted(set(txids)):
        raise Violation(f"{branch}: the history is out of order")


def checkpoints_stay(branch: str, world: World, history: History) -> None:
    timeline = world.timeline(world.manifests[manifest_key(DB, branch)])
    for name, (txid, log) in history.checkpoints.get(branch, {}).items():
        held = timeline.manifest.checkpoints.get(name)
        if held != txid:
            raise Violation(f"{branch}: checkpoint {name} is {held}, not {txid}")
        if not _same(world, world.log_along(timeline.path(txid)), log):
            raise Violation(f"{branch}: checkpoint {name} does not read what was there")


def _same(world: World, found: Any, expected: Any) -> bool:
    """Whether two logs are the same but for what is erased."""
    words = world.erased_words()
    return freed(found, words) == freed(expected, words)


def every_boundary_reads_what_was_there(branch: str, log: Any, world: World) -> None:
    timeline = world.timeline(world.manifests[manifest_key(DB, branch)])
    for txid in timeline.boundaries():
        before = [entry for entry in log if entry[0] <= txid]
        if not _same(world, world.log_along(timeline.path(txid)), before):
            raise Violation(f"{branch}: the path to txid {txid} does not read what was there")


def an_acknowledged_rewind_stays(branch: str, log: Any, history: History) -> None:
    gone = [entry for entry in history.rewinds.get(branch, []) if entry not in log]
    if gone:
        raise Violation(f"{branch}: rewinds {gone} are undone")


def forks_begin_where_their_parent_was(world: World, history: History) -> None:
    for parent, child, begun in history.forks:
        manifest = world.manifests[manifest_key(DB, child)]
        if manifest.state != "live":
            continue
        words = world.erased_words()
        begun = freed(begun, words)
        if freed(world.log_of(manifest), words)[: len(begun)] != begun:
            raise Violation(f"{child} no longer begins as it was forked")
        origin = world.manifests[manifest_key(DB, parent)]
        origins = world.log_of(origin) if origin.state == "live" else begun
        if freed(origins, words)[: len(begun)] != begun:
            raise Violation(f"{child} does not begin as its parent {parent} did")


def acknowledged_forks_are_found_under_their_names(world: World, history: History) -> None:
    names = names_of(world)
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
    # Not forked: what other tests left in this process would be in every schedule.
    fresh = get_context("spawn")
    with ProcessPoolExecutor(max_workers=os.cpu_count(), mp_context=fresh) as pool:
        for counts, failure in pool.map(run_chunk, starts, sizes):
            assert failure is None, failure
            for name, number in counts.items():
                totals[name] = totals.get(name, 0) + number
    print(totals)
    # A simulation in which nothing goes wrong would prove nothing.
    if count >= 1_000:
        for what in OFTEN:
            assert totals.get(what, 0) > count // 20, f"too little happened: {what} {totals}"
        for what in SELDOM:
            assert totals.get(what, 0) > count // 200, f"too little happened: {what} {totals}"


def test_a_schedule_leaves_the_limits_of_the_product() -> None:
    def limits() -> tuple[int, ...]:
        return own.LIMIT_STEP, history_module.REFS_MAX, segments_module.JOIN_BYTES_MAX

    run_schedule(12)
    assert limits() == (1 << 20, 10_000, 16 << 20)


def test_a_seed_decides_everything() -> None:
    assert run_schedule(12) == run_schedule(12)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_broken_protocol_is_caught(monkeypatch: pytest.MonkeyPatch, mutation: str) -> None:
    """Each rule that looks too long closes a hole: without it some schedule fails."""
    MUTATIONS[mutation](monkeypatch)
    seeds = CAUGHT_BY.get(mutation, 0), *range(MUTANT_SCHEDULES)
    caught = any(_fails(seed) for seed in seeds)
    assert caught, f"{mutation} went unnoticed in {MUTANT_SCHEDULES} schedules"


def _fails(seed: int) -> bool:
    try:
        run_schedule(seed)
    except (Violation, Internal, AssertionError):
        return True
    return False
