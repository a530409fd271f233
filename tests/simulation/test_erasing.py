"""Erasures among everything else: nothing reachable shows what is gone, nothing needed is missing.

SIMULATION_ERASING=50000 python -m pytest tests/simulation/test_erasing.py     more schedules
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import nodes as nodes_module
from eraser import Eraser
from test_protocol import CHUNK, FIRST_SEED, run_schedule
from world import Violation

from palimp.engine.protocol import branches as branches_module
from palimp.engine.protocol.requests import Sleep
from palimp.errors import Internal

SCHEDULES = int(os.environ.get("SIMULATION_ERASING", "1200"))
MUTANT_SCHEDULES = 3_000
# What is caught late is tried first with a schedule that caught it; all others follow as ever.
CAUGHT_BY = {"asked_before_the_name": 646, "forming_are_left": 102, "removed_where_it_is": 224}
erase_module: Any = sys.modules["palimp.engine.protocol.erase"]
HAPPENED = "marked|removed|rewritten|collected|points cleansed|freed forks|in doubt|recovered"


def run_chunk(first: int, count: int) -> tuple[dict[str, int], str | None]:
    totals: dict[str, int] = {}
    for seed in range(first, first + count):
        try:
            counts = run_schedule(seed, Eraser)
        except Exception as error:  # the seed has to be said whatever happened
            return totals, f"seed {seed}: {type(error).__name__}: {error}"
        for name, number in counts.items():
            totals[name] = totals.get(name, 0) + number
    return totals, None


@pytest.mark.timeout(0)
def test_nothing_shows_what_is_erased_in_any_schedule() -> None:
    starts = range(FIRST_SEED, FIRST_SEED + SCHEDULES, CHUNK)
    sizes = [min(CHUNK, FIRST_SEED + SCHEDULES - start) for start in starts]
    totals: dict[str, int] = {}
    # Not forked: what other tests left in this process would be in every schedule.
    fresh = get_context("spawn")
    with ProcessPoolExecutor(max_workers=os.cpu_count(), mp_context=fresh) as pool:
        for counts, failure in pool.map(run_chunk, starts, sizes):
            assert failure is None, failure
            for name, number in counts.items():
                totals[name] = totals.get(name, 0) + number
    print(totals)
    if SCHEDULES >= 1_000:
        for what in HAPPENED.split("|"):
            assert totals.get(what, 0) > SCHEDULES // 50, f"too little happened: {what} {totals}"


def _forming_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mark what lives, and let go on what looked at its parent before the mark."""

    def nothing(_db_id: str) -> Any:
        return
        yield

    monkeypatch.setattr(erase_module, "stop_forming", nothing)


def _one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mark the branches of one listing, whatever came to live meanwhile."""
    listed = erase_module.unmarked

    def once(db_id: str, marked: set[str]) -> Any:
        return [] if marked else (yield from listed(db_id, marked))

    monkeypatch.setattr(sys.modules["eraser"], "unmarked_branches", once)


def _forks_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a fork of a marked branch of copied references, without its mark."""

    def copied(db_id: str, wanted: Any, _lane: Any, _cleansed: Any) -> Any:
        parent = yield from branches_module._live(db_id, wanted.parent_id)
        origin = yield from branches_module._origin(db_id, wanted, parent)
        return origin._replace(freed_of=frozenset(parent.erasing))

    monkeypatch.setattr(branches_module, "_freed", copied)


def _removed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove from the present before earlier states are marked."""
    monkeypatch.setattr(Eraser, "steps", ("removed", "marked", "rewritten", "collected"))


def _asked_before_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look what was erased before the name of a recovered branch is reserved."""
    recover = nodes_module.recover

    def early(db_id: str, name: str, parent: Any, make: Any, node: str) -> Any:
        piece = make()
        # The window, wide enough to be hit: it is as long as a snapshot takes to be made.
        yield Sleep(2.0)
        return (yield from recover(db_id, name, parent, lambda: piece, node))

    monkeypatch.setattr(nodes_module, "recover", early)


def _history_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coarsen without giving up what history objects name."""
    remember = erase_module.remember
    monkeypatch.setattr(
        erase_module,
        "remember",
        lambda lane, _history, points: remember(lane, lane.manifest.history, points),
    )


def _points_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Store kept points again without cleansing them."""
    monkeypatch.setattr(sys.modules["eraser"], "freed", lambda log, _words: log)


def _nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up named points too."""
    monkeypatch.setattr(sys.modules["eraser"], "kept_points", lambda _timeline: [])


def _removed_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit nothing to a branch in which nothing is to be removed."""
    remove = Eraser._remove

    def only_there(self: Any, lane: Any, branch: str, name: str) -> Any:
        words = self._world.erasures[name].words
        if any(word in words for _, word in self._world.log_of(lane.manifest)):
            yield from remove(self, lane, branch, name)

    monkeypatch.setattr(Eraser, "_remove", only_there)


MUTATIONS = {
    "forming_are_left": _forming_are_left,
    "one_look": _one_look,
    "forks_copy": _forks_copy,
    "removed_first": _removed_first,
    "asked_before_the_name": _asked_before_the_name,
    "history_stays": _history_stays,
    "points_as_they_are": _points_as_they_are,
    "removed_where_it_is": _removed_where_it_is,
    "nothing_is_kept": _nothing_is_kept,
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_broken_erasure_is_caught(monkeypatch: pytest.MonkeyPatch, mutation: str) -> None:
    MUTATIONS[mutation](monkeypatch)
    seeds = CAUGHT_BY.get(mutation, 0), *range(MUTANT_SCHEDULES)
    caught = any(_fails(seed) for seed in seeds)
    assert caught, f"{mutation} went unnoticed in {MUTANT_SCHEDULES} schedules"


def _fails(seed: int) -> bool:
    try:
        run_schedule(seed, Eraser)
    except (Violation, Internal, AssertionError):
        return True
    return False
