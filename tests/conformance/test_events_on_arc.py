"""Events in an Arc keep the promises of every event store: over the double, not a real Arc."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from palimp.arc import ArcBinding, ArcOptions, ArcPool
from palimp.clock import Clock
from palimp.observe import Metrics
from palimp.operations.events import EventStore

from ..arc_double import ArcDouble
from .event_cases import EventCases, OfStore, Store, an, texts


@pytest.fixture
def arc(tmp_path: Path) -> Iterator[ArcDouble]:
    with ArcDouble(tmp_path / "arc.duckdb", token="token-of-arc") as double:
        yield double


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[ArcPool]:
    made = ArcPool(tmp_path, ArcOptions(flush_interval_ms=10), Clock(), Metrics())
    made.start()
    yield made
    made.close()


def store_of(pool: ArcPool, arc: ArcDouble, org: str, **place: str) -> OfStore:
    binding = ArcBinding(org, arc.url, arc.token, place.get("database", "db"))
    pool.bind(binding._replace(measurement=place.get("measurement", "events")))
    found: EventStore | None = pool.of(org)
    assert found is not None
    clock = Clock()
    return OfStore(found, clock.now_ms, clock.sleep)


@pytest.fixture
def store(arc: ArcDouble, pool: ArcPool) -> Store:
    return store_of(pool, arc, "org_a")


class TestEventsOnArc(EventCases):
    """The promises, kept by `ArcEvents`."""

    def test_by_the_key_it_came_with(self, store: Store) -> None:
        # Otherwise than there: a row in Arc does not tell whether its key came with a window, so
        # one that came without counts too.
        keys = ["K", "k\\'\"%_", "kk", None]
        store.append([an(f"plain {key}", dedup_key=key) for key in keys])
        for key, status in (("k", "created"), ("kk", "duplicate")):
            (done,) = store.append([an(f"in a window {key}", dedup_key=key)], dedup_window=3600)
            assert done.status == status
        store.append([an("plain k", dedup_key="k")])
        assert texts(store.list(dedup_key="k", order="asc")) == ["in a window k", "plain k"]
        assert texts(store.list(dedup_key=keys[1])) == [f"plain {keys[1]}"]
        assert texts(store.list(dedup_key="other")) == []


def test_organisations_in_one_database_are_apart(arc: ArcDouble, pool: ArcPool) -> None:
    ours, theirs = store_of(pool, arc, "org_a"), store_of(pool, arc, "org_b")
    ours.append([an("ours", dedup_key="k")], dedup_window=3600)
    (done,) = theirs.append([an("theirs", dedup_key="k")], dedup_window=3600)
    assert done.status == "created"
    assert texts(ours.list()) == ["ours"]
    assert texts(theirs.list()) == ["theirs"]
    assert ours.stats().count == theirs.stats().count == 1


@pytest.mark.parametrize("measurement", ["my-events", "order", "Memories_2"])
def test_any_measurement_is_read_as_it_is_written(
    arc: ArcDouble, pool: ArcPool, measurement: str
) -> None:
    store = store_of(pool, arc, "org_a", measurement=measurement)
    store.append([an("one", dedup_key="k")], dedup_window=3600)
    assert texts(store.list()) == ["one"]
    assert store.stats().count == 1
    assert len(arc.rows("db", measurement)) == 1
