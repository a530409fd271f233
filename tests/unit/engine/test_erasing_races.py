"""Erasing while another node does something else on the same branch, at every moment of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from palimp.clock import ManualClock
from palimp.engine.options import Cleanse
from palimp.errors import Conflict, Invalid, NotFound, Unavailable
from palimp.points import Point
from palimp.store import VolatileStore

from .engines import Engines, P, fill, key_of, put, recovered, using, words, words_at
from .test_erasing import SECRET, TRIAL, files, pages, remove

MOMENTS = ("before", "marked", "removed", "rewritten", "collected")
BRANCH = P._replace(branch="other")


def known(_db_id: str, erasures: tuple[str, ...] | None) -> Cleanse | None:
    """Every erasure is of the secret, and there is one from the start."""
    return remove if erasures is None or erasures else None


class Race:
    """Two nodes on a store: one erases, the other does one thing at one moment."""

    def __init__(self, engines: Engines) -> None:
        self.store = VolatileStore(weak_versions=True)
        self.clock = ManualClock()
        self.engines = engines
        self.a, self.b = (
            engines(self.store, name, clock=self.clock, erasures=known) for name in "ab"
        )
        fill(self.a, 2)
        self.with_it = put(self.a, SECRET, durable=True)
        self.a.checkpoint(P, "with")
        put(self.a, f"{SECRET} again", durable=True)
        self.a.fork(P, "trial")
        fill(self.a, 1)
        self.db_id = key_of(self.a)[0]

    def erase(self, moment: str, act: Callable[[], object]) -> None:
        """Do all steps; between two of them the other node acts."""
        erasing = self.a.erasing
        steps: list[Callable[[], object]] = [
            lambda: None,
            lambda: erasing.mark(P, self.db_id, "e1"),
            self._remove,
            self._coarsen,
            lambda: erasing.collect(P, self.db_id),
        ]
        for name, step in zip(MOMENTS, steps, strict=True):
            self._patiently(step)
            if name == moment:
                # What one node takes the other leaves alone for a minute.
                self.clock.advance(61)
                act()
                self.clock.advance(61)
        if erasing.uncleansed(self.db_id, "e1"):
            # As the operation does: it is tried again.
            self._patiently(lambda: erasing.collect(P, self.db_id))
        assert erasing.uncleansed(self.db_id, "e1") == []

    def _patiently(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Unavailable:
            self.clock.advance(61)
            step()

    def _remove(self) -> None:
        for address in self.a.erasing.branches(P, self.db_id):
            with suppress(NotFound), using(self.a, address) as branch:
                branch.write(remove)
                self.a.erasing.divide(branch, "e1")

    def _coarsen(self) -> None:
        for address in self.a.erasing.branches(P, self.db_id):
            self.a.erasing.coarsen(address, self.db_id, ["e1"])

    def check(self) -> None:
        """Nothing of it is in any object, in any state, and once both looked, in any file."""
        assert SECRET.encode() not in pages(self.store, self.db_id)
        self.clock.advance(61)
        for engine in (self.a, self.b):
            # As the timer of a node does when it sees that an erasure went on.
            engine.erasing.look_again(P, self.db_id)
        for engine in (self.a, self.b):
            for info in engine.branches(P):
                there = P._replace(branch=info.name)
                assert SECRET not in str(words(engine, there))
                for boundary in engine.boundaries(there):
                    assert SECRET not in str(words_at(engine, boundary.txid, there))
            assert not engine.verify(P).findings
        assert SECRET.encode() not in files(self.engines.root)


@pytest.fixture
def race(engines: Engines) -> Race:
    return Race(engines)


def fork_head(race: Race) -> None:
    race.b.fork(P, "other")


def fork_old(race: Race) -> None:
    with suppress(Invalid):
        race.b.fork(P, "other", Point.txid(race.with_it))


def fork_named(race: Race) -> None:
    race.b.fork(P, "other", Point.checkpoint("with"))
    put(race.b, "there", BRANCH, durable=True)


def fork_of_fork(race: Race) -> None:
    race.b.fork(TRIAL, "other")


def rewind(race: Race) -> None:
    race.b.rewind(P, Point.checkpoint("with"))


def rewind_and_write(race: Race) -> None:
    race.b.rewind(P, Point.checkpoint("with"))
    put(race.b, "after it", durable=True)


def checkpoint(race: Race) -> None:
    race.b.checkpoint(P, "mine")


def write_unshipped(race: Race) -> None:
    put(race.b, "of the other")


def write_durable(race: Race) -> None:
    put(race.b, "of the other", durable=True)


def fold(race: Race) -> None:
    put(race.b, "of the other", durable=True)
    with using(race.b) as branch:
        branch.in_lane(branch.fold, "folding")


def upkeep(race: Race) -> None:
    put(race.b, "of the other", durable=True)
    race.b.maintain(P)


def read_the_past(race: Race) -> None:
    found = words_at(race.b, "with")
    assert found[:2] == ["w0", "w1"]


def export(race: Race) -> None:
    data = race.b.export(P, Point.checkpoint("with")).data
    race.b.import_(P._replace(profile="copy"), data)


def delete_a_branch(race: Race) -> None:
    race.b.delete_branch(TRIAL)


ACTIONS = (
    fork_head, fork_old, fork_named, fork_of_fork, rewind, rewind_and_write, checkpoint,
    write_unshipped, write_durable, fold, upkeep, read_the_past, delete_a_branch,
)  # fmt: skip


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
def test_whatever_another_node_does_nothing_of_it_is_left(
    race: Race, action: Callable[[Race], None], moment: str
) -> None:
    race.erase(moment, partial(action, race))
    race.check()


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_is_exported_shows_it_only_before(race: Race, moment: str) -> None:
    race.erase(moment, partial(export, race))
    copied = str(words(race.b, P._replace(profile="copy")))
    # A file that was handed out, and what was made of it, is another database.
    assert (SECRET in copied) == (moment == "before")


@pytest.mark.parametrize("moment", MOMENTS)
def test_commits_with_it_that_nobody_shipped_come_back_without_it(
    engines: Engines, race: Race, moment: str
) -> None:
    def lose() -> None:
        # The node ends with commits that are only here, and comes back when somebody else has it.
        engines.copy("b", "late")
        race.clock.advance(61)
        race._patiently(lambda: put(race.a, "elsewhere", durable=True))

    put(race.b, f"{SECRET} unshipped")
    put(race.b, "unshipped too")
    race.erase(moment, lose)
    late = engines(race.store, "late", node="b", clock=race.clock, erasures=known)
    race.clock.advance(61)
    assert SECRET not in str(words(late))
    kept = recovered(late)
    assert any("unshipped too" in (texts or ()) for texts in kept.values()), kept
    assert SECRET not in str(kept)
    assert SECRET.encode() not in pages(race.store, race.db_id)


def test_a_fork_that_was_begun_before_the_mark_does_not_come_to_live(race: Race) -> None:
    steps = race_fork(race)
    # The child is written, and its parent was read once.
    race.a.erasing.mark(P, race.db_id, "e1")
    with pytest.raises(Conflict, match="an erasure began meanwhile"):
        steps()
    assert {info.name for info in race.a.branches(P)} == {"main", "trial"}
    race.b.fork(P, "other", Point.txid(race.with_it))
    assert words(race.b, BRANCH) == ["w0", "w1"]


def race_fork(race: Race) -> Callable[[], object]:
    """Begin a fork, and return what goes on with it from where its child is written."""
    from palimp.engine import protocol
    from palimp.engine.driver import drive
    from palimp.engine.protocol.requests import Create

    outside = race.b._parts.outside
    wanted = protocol.Wanted("main", "other", race.with_it)
    steps = protocol.fork(race.db_id, wanted, race.b.erasing.freed(P, (race.db_id, "main")))
    request = next(steps)
    while True:

        def one(request: object = request) -> object:
            return (yield request)

        written = isinstance(request, Create) and request.key.endswith("/manifest.json")
        answer = drive(one(), outside)  # type: ignore[arg-type]
        if written:
            break
        request = steps.send(answer)

    def rest() -> object:
        def on() -> object:
            value = answer
            while True:
                try:
                    value = yield steps.send(value)
                except StopIteration as end:
                    return end.value

        return drive(on(), outside)  # type: ignore[arg-type]

    return rest
