"""Profiles as a whole: made, deleted with all their branches, made again, listed."""

from __future__ import annotations

import pytest

from palimp.engine import Engine
from palimp.errors import Conflict, NotFound, Unavailable
from palimp.store import VolatileStore
from palimp.store.counting import CountingStore

from .engines import Engines, P, fill, put, words

TRIAL = P._replace(branch="trial")


@pytest.fixture
def store() -> VolatileStore:
    return VolatileStore()


@pytest.fixture
def a(engines: Engines, store: VolatileStore) -> Engine:
    return engines(store)


def keys(store: VolatileStore, prefix: str = "") -> list[str]:
    return [entry.key for entry in store.list(prefix, None, 10_000).entries]


def test_a_profile_is_made_once(a: Engine) -> None:
    made = a.create_profile(P)
    assert a.names() == ([("ns", "p")], False)
    with pytest.raises(Conflict, match="'p' exists already in 'ns'") as caught:
        a.create_profile(P)
    assert caught.value.code == "already_exists"
    put(a, "one")
    name = a.name(P)
    assert name is not None
    assert (name.db_id, name.created_at, name.revoked_before) == (made.db_id, made.created_at, 0)
    assert made.created_at > 0
    with pytest.raises(Conflict):
        a.create_profile(P)


def test_deleting_takes_every_branch_and_every_file(a: Engine, store: VolatileStore) -> None:
    fill(a, 3)
    a.fork(P, "trial")
    put(a, "there", TRIAL)
    put(a, "not shipped")
    db_id = a.name(P).db_id  # type: ignore[union-attr]
    a.delete_profile(P)
    assert words(a) is None
    assert a.names() == ([], False)
    assert not (a._root / str(db_id)).exists()
    # What stays says that nobody may write there, and that the name was used.
    assert [key for key in keys(store, f"v1/db/{db_id}/") if key.endswith(".ltx")] == []
    with pytest.raises(NotFound):
        a.delete_profile(P)
    with pytest.raises(NotFound):
        put(a, "x", TRIAL)
    name = a.name(P)
    assert name is not None
    assert (name.db_id, name.gen) == (None, 2)
    assert name.revoked_before > 0


def test_what_is_made_again_is_another_one(a: Engine) -> None:
    fill(a, 2)
    before = a.name(P)
    a.delete_profile(P)
    put(a, "new")
    assert words(a) == ["new"]
    after = a.name(P)
    assert before is not None
    assert after is not None
    assert after.db_id != before.db_id
    assert after.revoked_before > 0
    assert a.names() == ([("ns", "p")], False)
    a.delete_profile(P)
    a.create_profile(P)
    assert a.names() == ([("ns", "p")], False)


def test_another_node_that_writes_there_is_fenced(engines: Engines, store: VolatileStore) -> None:
    a, b = engines(store), engines(store)
    put(a, "one", durable=True)
    a.fork(P, "trial")
    put(a, "two", TRIAL, durable=True)
    b.delete_profile(P)
    for address in (P, TRIAL):
        with pytest.raises((NotFound, Unavailable)):
            put(a, "late", address, durable=True)
    assert b.names() == ([], False)


def test_a_listing_passes_over_the_deleted_and_costs_what_it_says(engines: Engines) -> None:
    store = CountingStore(VolatileStore())
    a = engines(store)
    for number in range(9):
        a.create_profile(P._replace(profile=f"p{number}"))
    for number in (0, 3, 4, 8):
        a.delete_profile(P._replace(profile=f"p{number}"))
    a.create_profile(P._replace(profile="p4"))
    left = [("ns", f"p{number}") for number in (1, 2, 4, 5, 6, 7)]
    assert a.names() == (left, False)
    for limit in range(1, 8):
        found: list[tuple[str, str]] = []
        more = True
        while more:
            page, more = a.names(after=found[-1] if found else None, limit=limit)
            assert len(page) <= limit
            assert page or not more
            found += page
        assert found == left
    fresh = engines(VolatileStore())
    assert fresh.names() == ([], False)
