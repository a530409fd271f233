"""Erasing from history: what is gone is gone from every state, every file and every object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest

from palimp import ltx
from palimp.clock import ManualClock
from palimp.engine import Engine
from palimp.engine.options import Cleanse
from palimp.errors import Denied, Invalid
from palimp.points import Point
from palimp.store import ObjectStore, VolatileStore

from .engines import (
    Engines,
    P,
    fill,
    key_of,
    objects,
    put,
    recovered,
    stored,
    using,
    words,
    words_at,
)

SECRET = "xylophone-4711"
TRIAL = P._replace(branch="trial")


def remove(connection: apsw.Connection) -> None:
    connection.execute("DELETE FROM words WHERE word LIKE ?", (f"{SECRET}%",))


class Wanted:
    """Which erasures there are: all of them remove the secret."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...] | None] = []
        self.ever = False

    def __call__(self, _db_id: str, erasures: tuple[str, ...] | None) -> Cleanse | None:
        self.asked.append(erasures)
        return remove if erasures or self.ever else None


@pytest.fixture
def store() -> VolatileStore:
    return VolatileStore(weak_versions=True)


@pytest.fixture
def wanted() -> Wanted:
    return Wanted()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def a(engines: Engines, store: VolatileStore, clock: ManualClock, wanted: Wanted) -> Engine:
    return engines(store, clock=clock, erasures=wanted)


def pages(store: ObjectStore, db_id: str) -> bytes:
    """Return everything that the objects of a database hold, unpacked."""
    found = []
    for entry in store.list(f"v1/db/{db_id}/", None, 10_000).entries:
        stored = store.get(entry.key)
        assert stored is not None
        found.append(unpacked(entry.key, stored.data))
    return b"\n".join(found)


def unpacked(key: str, data: bytes) -> bytes:
    """Return an object, the pages of a segment as they are too."""
    if not key.endswith(".ltx"):
        return data
    return b"\n".join(
        (data, *(page for _, page in ltx.trusted_pages(data, ltx.Header.decode(data))))
    )


def files(root: Path) -> bytes:
    """Return everything that is in the files below a folder."""
    return b"\n".join(path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file())


def erase(engine: Engine, erasure: str = "e1") -> dict[str, Any]:
    """Do all steps, in order."""
    erasing = engine.erasing
    db_id = erasing.database(P)
    assert db_id is not None
    erasing.mark(P, db_id, erasure)
    cleansed = {}
    for address in erasing.branches(P, db_id):
        with using(engine, address) as branch:
            branch.write(remove)
    for address in erasing.branches(P, db_id):
        cleansed[address.branch] = erasing.coarsen(address, db_id, [erasure])
    erasing.collect(P, db_id)
    assert erasing.uncleansed(db_id, erasure) == []
    return cleansed


def test_nothing_of_it_is_left_anywhere(a: Engine, store: VolatileStore, engines: Engines) -> None:
    fill(a, 3)
    put(a, SECRET, durable=True)
    a.checkpoint(P, "with")
    put(a, f"{SECRET} again", durable=True)
    fill(a, 2)
    assert SECRET in words_at(a, "with")
    db_id = key_of(a)[0]
    assert SECRET.encode() in pages(store, db_id)
    assert SECRET.encode() in files(engines.root)
    cleansed = erase(a)["main"]
    assert cleansed.points == 1
    assert words(a) == ["w0", "w1", "w2", "w0", "w1"]
    assert words_at(a, "with") == ["w0", "w1", "w2"]
    assert SECRET.encode() not in pages(store, db_id)
    assert SECRET.encode() not in files(engines.root)


def test_between_kept_points_a_read_says_what_happened(a: Engine) -> None:
    given = fill(a, 3)
    a.checkpoint(P, "named")
    later = put(a, SECRET, durable=True)
    fill(a, 1)
    erase(a)
    with pytest.raises(Invalid, match=rf"txid {later} was given up by an erasure.*{given[-1]}"):
        words_at(a, later)
    with pytest.raises(Invalid, match="given up by an erasure"):
        a.rewind(P, Point.txid(given[0]))
    # What is written afterwards has every boundary again.
    again = fill(a, 2)
    assert words_at(a, again[0])[-1] == "w0"


def test_a_marked_state_is_never_shown_uncleansed(a: Engine, clock: ManualClock) -> None:
    fill(a, 1)
    with_it = put(a, SECRET, durable=True)
    assert SECRET in words_at(a, with_it)  # and is in the cache from here on
    put(a, "later", durable=True)
    a.erasing.mark(P, key_of(a)[0], "e1")
    assert words_at(a, with_it) == ["w0"]
    a.rewind(P, Point.txid(with_it))
    assert words(a) == ["w0"]
    a.fork(P, "trial", Point.txid(with_it))
    assert words(a, TRIAL) == ["w0"]


def test_a_fork_of_a_marked_branch_never_had_it(a: Engine, store: VolatileStore) -> None:
    fill(a, 1)
    with_it = put(a, SECRET, durable=True)
    fill(a, 1)
    db_id = key_of(a)[0]
    a.erasing.mark(P, db_id, "e1")
    a.fork(P, "trial", Point.txid(with_it))
    child = stored(store, key_of(a, TRIAL))
    assert child.erasing == ()
    (ref,) = child.chain()
    assert (ref.max, ref.redacted) == (with_it, True)
    found = store.get(ref.key)
    assert found is not None
    assert SECRET.encode() not in unpacked(ref.key, found.data)
    # Also nothing of it is shown by what only reads objects, as another node does.
    assert words(a, TRIAL) == words_at(a, with_it, TRIAL) == ["w0"]
    assert not a.verify(P).findings
    erase(a)
    assert words(a, TRIAL) == ["w0"]
    assert SECRET.encode() not in pages(store, db_id)


def test_branches_that_share_objects_are_all_cleansed(a: Engine, store: VolatileStore) -> None:
    fill(a, 2)
    put(a, SECRET, durable=True)
    a.fork(P, "trial")
    put(a, "there", TRIAL, durable=True)
    a.checkpoint(TRIAL, "mine")
    erase(a)
    assert words(a, TRIAL) == ["w0", "w1", "there"]
    # Where it was forked from stays: it is what the two are compared by.
    point = stored(store, key_of(a, TRIAL)).parent
    assert point is not None
    assert words_at(a, point.txid, TRIAL) == ["w0", "w1"]
    assert SECRET.encode() not in pages(store, key_of(a)[0])


def test_a_deleted_branch_keeps_nothing_of_it(a: Engine, store: VolatileStore) -> None:
    fill(a, 1)
    a.fork(P, "trial")
    put(a, SECRET, TRIAL, durable=True)
    a.fork(TRIAL, "other")
    a.delete_branch(TRIAL)
    assert SECRET.encode() in pages(store, key_of(a)[0])
    erase(a)
    assert SECRET.encode() not in pages(store, key_of(a)[0])
    assert words(a, P._replace(branch="other")) == ["w0"]


def test_called_off_everything_is_as_it_was(a: Engine, store: VolatileStore) -> None:
    fill(a, 1)
    with_it = put(a, SECRET, durable=True)
    before = objects(store, key_of(a))
    a.erasing.mark(P, key_of(a)[0], "e1")
    assert words_at(a, with_it) == ["w0"]
    a.erasing.unmark(P, key_of(a)[0], "e1")
    assert words_at(a, with_it) == ["w0", SECRET]
    assert objects(store, key_of(a)) == before


def test_each_step_may_be_repeated(a: Engine, store: VolatileStore) -> None:
    fill(a, 1)
    put(a, SECRET, durable=True)
    assert erase(a)["main"] is not None
    head = stored(store, key_of(a))
    assert a.erasing.coarsen(P, key_of(a)[0], ["e1"]) is None
    assert stored(store, key_of(a)) == head
    # Of another erasure that is under way nothing is forgotten.
    a.erasing.mark(P, key_of(a)[0], "e2")
    a.erasing.mark(P, key_of(a)[0], "e3")
    a.erasing.coarsen(P, key_of(a)[0], ["e2"])
    assert stored(store, key_of(a)).erasing == ("e3",)


class Cut:
    """Passes on so many requests and refuses every one after: as if the process had ended."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.left: int | None = None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found):
            return found

        def call(*given: Any) -> Any:
            if self.left is not None:
                if not self.left:
                    raise Denied("it ended here")
                self.left -= 1
            return found(*given)

        return call


def test_a_process_that_ends_between_any_two_requests_goes_on(
    engines: Engines, wanted: Wanted, clock: ManualClock
) -> None:
    after, ended = 0, False
    while not ended:
        inner = VolatileStore(weak_versions=True)
        cut: Any = Cut(inner)
        first = engines(cut, f"first{after}", erasures=wanted, clock=clock, node="a")
        fill(first, 1)
        put(first, SECRET, durable=True)
        first.checkpoint(P, "with")
        first.fork(P, "trial")
        fill(first, 1)
        db_id = key_of(first)[0]
        cut.left = after
        try:
            erase(first)
            ended = True
        except Denied:
            pass
        engines.copy(f"first{after}", f"second{after}")
        second = engines(inner, f"second{after}", erasures=wanted, clock=clock, node="a")
        erase(second)
        assert SECRET.encode() not in pages(inner, db_id), f"ended after {after} requests"
        assert words_at(second, "with") == ["w0"]
        assert words(second) == ["w0", "w0"]
        cut.left = None
        after += 3
    assert after > 20


def test_what_lay_aside_comes_back_without_it(
    engines: Engines, store: VolatileStore, wanted: Wanted, clock: ManualClock
) -> None:
    a = engines(store, erasures=wanted, clock=clock)
    fill(a, 1)
    put(a, f"{SECRET} unshipped")
    put(a, "unshipped too")
    engines.copy("a", "late")
    b = engines(store, "b", erasures=wanted, clock=clock)
    put(b, "elsewhere", durable=True)
    erase(b)
    wanted.ever = True
    late = engines(store, "late", node="a", erasures=wanted, clock=clock)
    assert words(late) == ["w0", "elsewhere"]
    assert list(recovered(late).values()) == [["w0", "unshipped too"]]
    assert SECRET.encode() not in pages(store, key_of(b)[0])


def test_an_unknown_erasure_is_no_reason_to_show_it(engines: Engines, store: VolatileStore) -> None:
    def unknown(_db_id: str, erasures: tuple[str, ...] | None) -> Cleanse | None:
        if erasures is None:
            return None
        raise Invalid(f"no erasure {erasures}")

    a = engines(store, erasures=unknown)
    with_it = put(a, SECRET, durable=True)
    fill(a, 1)
    a.erasing.mark(P, key_of(a)[0], "e1")
    with pytest.raises(Invalid, match="no erasure"):
        words_at(a, with_it)
