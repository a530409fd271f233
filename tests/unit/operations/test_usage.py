"""Usage is counted whatever happens to the catalog, and reported by day."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp.api import OPERATIONS, CreateDatabase, Target, Verify
from palimp.api.usage import ReadUsage
from palimp.catalog import Batch, Span, open_catalog, start_catalog
from palimp.client.transports.embedded import Embedded
from palimp.clock import ManualClock, parse_ms
from palimp.engine import Address
from palimp.errors import Internal, Invalid, NotFound, Unavailable
from palimp.node import Node, load_settings
from palimp.observe import Metrics
from palimp.operations import usage as usage_module
from palimp.operations.usage import BRANCHING, RECALLS, Usage, look_into

pytest.importorskip("alembic", reason="alembic is not installed (pip install 'palimp[server]')")

DAY = 86_400
ANY = Verify()


class Switch:
    """A catalog that can be taken away, or made to lose its answers."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.down = False
        self.answers = threading.Event()
        self.answers.set()
        self.silent = 0
        self.batches: list[Batch] = []
        self.listed: list[str] = []

    def record(self, batch: Batch) -> None:
        self.answers.wait()
        self.check()
        self.inner.record(batch)
        self.batches.append(batch)
        if self.silent:
            self.silent -= 1
            raise Unavailable("the answer was lost")

    def profiles(self, namespace: str) -> list[str]:
        self.check()
        self.listed.append(namespace)
        found: list[str] = self.inner.profiles(namespace)
        return found

    def usage(self, *asked: Any) -> Span | None:
        self.check()
        found: Span | None = self.inner.usage(*asked)
        return found

    def check(self) -> None:
        if self.down:
            raise Unavailable("the catalog is down")

    def close(self) -> None:
        self.inner.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog with its tables, which take a while to make."""
    path = tmp_path_factory.mktemp("catalog") / "catalog.db"
    start_catalog(f"sqlite:///{path}", ManualClock()).close()
    return path


class House:
    """A folder, a catalog, and what counts between them."""

    def __init__(self, path: Path, made: Path) -> None:
        self.clock = ManualClock(parse_ms("2026-03-02T12:00:00Z", "now"))
        settings = load_settings({"data_dir": path / "m", "embed_provider": "none"}, {})
        self.node = Node(settings, clock=self.clock)
        self.mem = palimp.Client(Embedded(self.node))
        self.engine = self.node.context.engine
        shutil.copy(made, path / "catalog.db")
        self.catalog = Switch(open_catalog(f"sqlite:///{path / 'catalog.db'}", self.clock))
        self.metrics = Metrics()
        self.looks: list[str] = []
        self.blind: BaseException | None = None
        self.look = look_into(self.engine, self.clock)
        self.usage = Usage(self.catalog, self.looking, self.clock, self.metrics)
        self.others: list[Usage] = []

    def another(self) -> Usage:
        """Return what counts in another process on the same folder and catalog."""
        self.others.append(Usage(self.catalog, self.look, self.clock, self.metrics))
        return self.others[-1]

    def close(self) -> None:
        self.catalog.down = False
        for one in (self.usage, *self.others):
            one.close()
        self.mem.close()
        assert not [one for one in threading.enumerate() if one.name == "palimp-usage"]

    def looking(self, namespace: str, profile: str, *rest: Any) -> Any:
        if self.blind is not None:
            raise self.blind
        self.looks.append(profile)
        return self.look(namespace, profile, *rest)

    def write(self, name: str, *texts: str) -> None:
        for text in texts or ("a memory",):
            self.mem.profile(name).remember(text)
            self.count("memories.ingest", name)

    def count(self, operation: str, spec: str, namespace: str = "default") -> None:
        name, _, branch = spec.partition("@")
        target = Target(namespace, name, branch or "main")
        self.usage.count(OPERATIONS[operation], target, ANY)

    def days(self, profile: str | None, first: str | None = "2026-03-02", **rest: Any) -> Any:
        """Return the days by name, without those on which there was nothing at all."""
        request = ReadUsage(from_=first, **rest)
        _, days = self.usage.report("default", profile, request)
        return {one.day: one for one in days}

    def today(self, profile: str | None) -> Any:
        return list(self.days(profile, None).values())[-1]


@pytest.fixture
def house(tmp_path: Path, made: Path) -> Iterator[House]:
    house = House(tmp_path, made)
    yield house
    house.close()


def test_what_is_done_and_how_large_it_is(house: House) -> None:
    house.write("alice", "one", "two", "three")
    house.count("recall", "alice")
    house.count("sessions.search", "alice")
    house.count("memories.get", "alice")
    today = house.today("alice")
    assert (today.writes, today.recalls, today.model_tokens) == (3, 2, 0)
    assert (today.memories, today.branches) == (3, 1)
    exported = house.engine.export(Address("default", "alice")).data
    assert today.bytes >= len(exported) > 0


def test_tokens_count_whoever_they_were_spent_for(house: House) -> None:
    house.write("alice")
    house.usage.spend("default", "alice", 120)
    house.usage.spend("default", "alice", 30)
    # A dry run of an extraction makes no database; it was paid all the same.
    house.usage.spend("default", "nobody", 7)
    house.usage.spend("default", "bob", 0)
    assert house.today("alice").model_tokens == 150
    assert house.today("nobody").model_tokens == 7
    assert house.today(None).model_tokens == 157
    with pytest.raises(NotFound):
        house.today("bob")


def test_superseded_memories_are_kept_and_count(house: House) -> None:
    house.mem.profile("alice").remember("aisle", topic="seat")
    house.mem.profile("alice").remember("window", topic="seat")
    house.count("memories.ingest", "alice")
    assert house.today("alice").memories == 2


def test_a_namespace_is_the_sum_of_its_databases(house: House) -> None:
    house.write("alice", "one", "two")
    house.write("bob", "three")
    house.count("memories.ingest", "carol", namespace="default-x")
    databases, days = house.usage.report("default", None, ReadUsage())
    assert databases == 2
    assert (days[-1].writes, days[-1].memories, days[-1].branches) == (3, 3, 2)
    assert days[-1].bytes == house.today("alice").bytes + house.today("bob").bytes


def test_branches_are_counted_again_when_one_comes_or_goes(house: House) -> None:
    house.write("alice")
    assert house.today("alice").branches == 1
    house.mem.profile("alice").fork("trial")
    house.count("branches.fork", "alice")
    assert house.today("alice").branches == 2
    house.mem.profile("alice").delete_branch("trial")
    house.count("branches.delete", "alice@trial")
    assert house.today("alice").branches == 1


def test_a_write_to_another_branch_does_not_open_main(house: House) -> None:
    house.write("alice")
    house.mem.profile("alice").fork("trial")
    house.usage.flush()
    fresh = house.another()
    used: list[Address] = []
    use = house.engine.use

    def watched(address: Address, **rest: Any) -> Any:
        used.append(address)
        return use(address, **rest)

    house.engine.use = watched  # type: ignore[method-assign]
    fresh.count(OPERATIONS["memories.ingest"], Target("default", "alice", "trial"), ANY)
    fresh.flush()
    assert used == []
    assert house.today("alice").writes == 2


def test_midnight_is_that_of_utc(house: House) -> None:
    house.clock.advance(11 * 3600 + 3599.5)
    house.write("alice")
    house.clock.advance(1)
    house.write("alice", "one", "two")
    found = house.days("alice")
    assert [(one.day, one.writes) for one in found.values()] == [
        ("2026-03-02", 1),
        ("2026-03-03", 2),
    ]


def test_a_clock_that_is_set_back_over_midnight(house: House) -> None:
    house.clock.advance(12 * 3600)
    house.write("alice", "one", "two")
    house.usage.flush()
    house.clock.advance(-3600)
    house.write("alice")
    house.clock.advance(3600)
    assert {day: one.writes for day, one in house.days("alice").items()} == {
        "2026-03-02": 1,
        "2026-03-03": 2,
    }


def test_days_without_use_keep_the_size(house: House) -> None:
    house.write("alice")
    house.usage.flush()
    house.clock.advance(3 * DAY)
    found = list(house.days("alice", "2026-03-01").values())
    assert [one.memories for one in found] == [0, 1, 1, 1, 1]
    assert [one.writes for one in found] == [0, 1, 0, 0, 0]
    assert len(house.days("alice", None)) == 30
    assert list(house.days("alice", "2026-03-05", to="2026-03-09")) == ["2026-03-05"]


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        ("2026-3-2", None, "from is '2026-3-2', which is no day"),
        ("2026-02-30", None, "no day; give one as 2026-03-02"),
        ("20260302", None, "no day"),
        ("٢٠٢٦-03-02", None, "no day"),
        ("2026-03-02", "2026-03-01", "are 0 days"),
        ("2024-01-01", None, "are 792 days; ask for 1 to 400"),
    ],
)
def test_days_that_are_none(house: House, first: str, last: str | None, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        house.days("alice", first, to=last)


def test_what_was_never_used_is_said_to_be_unknown(house: House) -> None:
    with pytest.raises(NotFound, match=r"nothing of default--nobody.*catalog rebuild"):
        house.days("nobody")
    with pytest.raises(NotFound, match="namespace 'default'"):
        house.days(None)


def test_recalls_from_names_that_never_were_leave_nothing(house: House) -> None:
    for number in range(50):
        house.count("recall", f"guess{number}")
    house.usage.flush()
    with pytest.raises(NotFound):
        house.days(None)
    # Unlike those from a database that exists and was not written here.
    house.mem.profile("alice").remember("one")
    house.count("recall", "alice")
    assert house.today("alice").recalls == 1


def test_a_catalog_that_is_down_keeps_nobody_from_their_data(house: House) -> None:
    house.catalog.down = True
    house.write("alice")
    with pytest.raises(Unavailable, match="down"):
        house.usage.flush()
    house.write("alice", "two")
    with pytest.raises(Unavailable, match="down"):
        house.days("alice")
    house.catalog.down = False
    house.clock.advance(60)
    assert (house.today("alice").writes, house.today("alice").memories) == (2, 2)
    house.catalog.down = True
    house.write("alice", "three")
    with pytest.raises(Unavailable):
        house.usage.flush()
    house.catalog.down = False
    assert house.today("alice").writes == 3


def test_a_lost_answer_counts_once(house: House) -> None:
    house.catalog.silent = 3
    house.write("alice")
    for _ in range(3):
        with pytest.raises(Unavailable, match="lost"):
            house.usage.flush()
        house.write("alice", "more")
    assert house.today("alice").writes == 4
    assert [one.number for one in house.catalog.batches] == [1, 1, 1, 1, 2]


def test_memory_is_bounded_while_the_catalog_is_down(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_module, "_PENDING_MAX", 3)
    house.catalog.down = True
    for name in ("a", "b", "c", "d", "e"):
        house.write(name)
        house.write(name, "again")
    assert house.metrics.snapshot()["usage_dropped"] == 4
    house.catalog.down = False
    assert house.today(None).writes == 6


def test_an_object_store_that_is_away_keeps_no_count(house: House) -> None:
    house.blind = Unavailable("the store is away")
    house.write("alice")
    assert (house.today("alice").writes, house.today("alice").memories) == (1, 0)
    house.blind = None
    # Nor does a count wait for it again and again.
    assert house.today("alice").memories == 0
    house.clock.advance(60)
    assert (house.today("alice").writes, house.today("alice").memories) == (1, 1)


def test_a_damaged_database_keeps_no_other_from_being_looked_at(house: House) -> None:
    house.blind = Internal("alice is damaged")
    house.write("alice")
    house.usage.flush()
    sees = house.look

    def damaged(namespace: str, profile: str, *rest: Any) -> Any:
        if profile == "alice":
            raise Internal("alice is damaged")
        return sees(namespace, profile, *rest)

    house.blind, house.look = None, damaged
    house.write("bob")
    assert house.today("bob").memories == 1
    house.look = sees
    assert house.today("alice").memories == 1


def test_a_defect_while_looking_loses_no_count(house: House) -> None:
    house.blind = ValueError("a defect")
    house.write("alice")
    for _ in range(2):
        with pytest.raises(ValueError, match="defect"):
            house.usage.flush()
    house.blind = None
    assert house.today("alice").writes == 1


def test_sizes_are_looked_up_once_a_minute(house: House) -> None:
    house.write("alice")
    house.usage.flush()
    for number in range(5):
        house.write("alice", f"more {number}")
        house.clock.advance(10)
        house.usage.flush()
    assert house.looks == ["alice"]
    assert house.today("alice").memories == 1
    house.clock.advance(10)
    assert house.today("alice").memories == 6
    assert house.looks == ["alice", "alice"]
    house.clock.advance(3_600)
    house.usage.flush()
    assert house.looks == ["alice", "alice"]


def test_what_is_written_while_it_is_looked_at_is_looked_at_again(house: House) -> None:
    sees = house.look

    def meanwhile(*asked: Any) -> Any:
        house.look = sees
        found = sees(*asked)
        house.write("alice", "two")
        return found

    house.look = meanwhile
    house.write("alice", "one")
    house.usage.flush()
    assert house.today("alice").memories == 1
    house.clock.advance(60)
    assert (house.today("alice").memories, house.today("alice").writes) == (2, 2)


def test_a_profile_that_came_to_be_again_is_another_database(house: House) -> None:
    house.write("alice", "one", "two")
    house.usage.flush()
    house.engine.delete_profile(Address("default", "alice"))
    house.clock.advance(60)
    house.write("alice", "three")
    assert house.today("alice").memories == 1
    first, second = (one.databases[0].database for one in house.catalog.batches)
    assert first.db_id != second.db_id
    assert second.created_at == first.created_at + 60_000


def test_closing_writes_what_there_is(house: House) -> None:
    house.write("alice")
    house.usage.flush()
    house.write("alice", "two")
    house.usage.close()
    found = house.catalog.inner.usage("default", "alice", "2026-03-02", "2026-03-02")
    assert found.counts == {"2026-03-02": (2, 0, 0)}
    assert found.changes["2026-03-02"].memories == 2


def test_closing_without_a_catalog_ends(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.catalog.down = True
    house.write("alice")
    house.usage.close()
    assert "usage of the last moments is lost" in caplog.text
    assert not [one for one in threading.enumerate() if one.name == "palimp-usage"]


def test_a_catalog_that_hangs_is_not_waited_for(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(usage_module, "_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(usage_module, "_FLUSH_SECONDS", 0.0)
    house.catalog.answers.clear()
    house.write("alice")
    until(house.usage._flushing.locked)
    house.write("alice", "two")
    with pytest.raises(Unavailable, match="has not answered"):
        house.days("alice")
    house.usage.close()
    assert "usage of the last moments is lost" in caplog.text
    house.catalog.answers.set()
    until(lambda: not house.usage._flushing.locked())


def test_a_deleted_profile_takes_no_room(house: House) -> None:
    house.write("alice")
    assert house.today("alice").memories == 1
    house.engine.delete_profile(Address("default", "alice"))
    house.count("databases.delete", "alice")
    today = house.today("alice")
    assert (today.writes, today.memories, today.bytes, today.branches) == (1, 0, 0, 0)
    assert house.usage.report("default", None, ReadUsage())[0] == 0
    house.clock.advance(60)
    house.write("alice", "again")
    assert (house.today("alice").writes, house.today("alice").memories) == (2, 1)


def test_a_profile_deleted_elsewhere_is_noticed(house: House) -> None:
    house.write("alice")
    house.usage.flush()
    house.count("memories.ingest", "alice")
    house.engine.delete_profile(Address("default", "alice"))
    house.clock.advance(61)
    assert house.today("alice").memories == 0


def test_a_namespace_that_was_deleted(house: House) -> None:
    house.write("alice")
    house.write("bob")
    house.usage.flush()
    for name in ("alice", "bob"):
        house.engine.delete_profile(Address("default", name))
    # Of another process: this one was never told of the two.
    fresh = house.another()
    house.catalog.down = True
    fresh.count(OPERATIONS["namespaces.delete"], Target("default"), ANY)
    with pytest.raises(Unavailable):
        fresh.flush()
    house.catalog.down = False
    fresh.flush()
    fresh.flush()
    assert house.catalog.listed == ["default"]
    databases, days = fresh.report("default", None, ReadUsage())
    assert (databases, days[-1].memories, days[-1].writes) == (0, 0, 2)


def test_a_database_that_was_made_and_not_written(house: House) -> None:
    house.engine.create_profile(Address("default", "alice"))
    request = CreateDatabase(name="default--alice")
    house.usage.count(OPERATIONS["databases.create"], Target(), request)
    assert house.usage.report("default", None, ReadUsage())[0] == 1
    today = house.today("alice")
    assert (today.writes, today.bytes, today.branches) == (0, 0, 0)


def test_the_thread_writes_by_itself_and_tries_again(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(usage_module, "_FLUSH_SECONDS", 0.01)
    house.catalog.down = True
    assert not [one for one in threading.enumerate() if one.name == "palimp-usage"]
    house.write("alice")
    until(lambda: house.metrics.snapshot().get("usage_failed", 0) >= 2)
    house.catalog.down = False
    until(lambda: bool(house.catalog.batches))
    assert len(house.catalog.batches) == 1
    assert caplog.text.count("usage waits in memory") == 1
    assert "Traceback" not in caplog.text


def test_nothing_is_lost_between_threads(house: House) -> None:
    for name in ("a", "b"):
        house.mem.profile(name).remember("one")

    def work() -> None:
        for number in range(2_000):
            house.count("memories.ingest", "ab"[number % 2])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        house.usage.flush()
    assert house.today(None).writes == 8_000
    assert house.today("a").writes == 4_000


def test_what_is_counted_by_name_exists() -> None:
    assert set(OPERATIONS) >= RECALLS | BRANCHING


def until(condition: Any) -> None:
    for _ in range(1_000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen")
