"""What a catalog promises, on SQLite and on PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from palimp.catalog import (
    Batch,
    Counts,
    DatabaseRow,
    Indexed,
    Levels,
    open_catalog,
    rebuild,
    start_catalog,
)
from palimp.catalog.schema import REVISIONS
from palimp.clock import Clock, ManualClock, parse_ms
from palimp.errors import Unavailable

from .catalog_backends import PostgreSQL, mariadb, postgres, url

__all__ = ["mariadb", "postgres", "url"]

LATEST = REVISIONS[-1]
NOON = "2026-03-02T12:00:00Z"
DAY = 86_400_000


@pytest.fixture
def catalog(url: str) -> Iterator[Any]:
    found = open_catalog(url, Clock())
    yield found
    found.close()


def at(text: str) -> int:
    return parse_ms(text, "at")


def row(profile: str, levels: Levels | None, when: str = NOON, db_id: str = "") -> DatabaseRow:
    named = Indexed("acme", profile, db_id or f"id-{profile}", 1_000)
    return DatabaseRow(named, levels, at(when))


def batch(
    number: int,
    *counts: Counts,
    databases: tuple[DatabaseRow, ...] = (),
    gone: tuple[tuple[str, str], ...] = (),
    source: str = "one",
    when: str = NOON,
) -> Batch:
    return Batch(source, number, at(when), counts, databases, gone)


def writes(profile: str, amount: int, day: str = "2026-03-02", recalls: int = 0) -> Counts:
    return Counts(day, "acme", profile, amount, recalls, 0)


def counted(
    catalog: Any, profile: str | None = None, first: str = "2026-03-01", last: str = "2026-03-31"
) -> Any:
    found = catalog.usage("acme", profile, first, last)
    return None if found is None else found.counts


def test_counts_of_a_day_add_up(catalog: Any) -> None:
    catalog.record(batch(1, writes("a", 2), writes("b", 5, recalls=1)))
    catalog.record(batch(2, writes("a", 3, recalls=4), writes("a", 7, "2026-03-03")))
    catalog.record(batch(1, writes("a", 100), source="another node"))
    assert counted(catalog, "a") == {"2026-03-02": (105, 4, 0), "2026-03-03": (7, 0, 0)}
    assert counted(catalog) == {"2026-03-02": (110, 5, 0), "2026-03-03": (7, 0, 0)}
    assert counted(catalog, first="2026-03-03") == {"2026-03-03": (7, 0, 0)}


def test_a_batch_that_is_sent_again_counts_once(catalog: Any) -> None:
    catalog.record(batch(1, writes("a", 2)))
    catalog.record(batch(1, writes("a", 2)))
    catalog.record(batch(2, writes("a", 1)))
    catalog.record(batch(1, writes("a", 2)))
    assert counted(catalog, "a") == {"2026-03-02": (3, 0, 0)}


def test_a_sibling_namespace_is_another(catalog: Any) -> None:
    catalog.record(batch(1, writes("a", 2), Counts("2026-03-02", "acme-x", "a", 40, 0, 0)))
    assert counted(catalog) == {"2026-03-02": (2, 0, 0)}


def test_what_was_never_heard_of_is_told_apart_from_what_was_not_used(catalog: Any) -> None:
    assert counted(catalog, "a") is None
    catalog.record(batch(1, databases=(row("a", None),)))
    assert counted(catalog, "a") == {}
    assert counted(catalog, "b") is None
    found = catalog.usage("acme", None, "2026-03-01", "2026-03-31")
    assert found.databases == 1


def test_a_level_holds_until_there_is_another(catalog: Any) -> None:
    catalog.record(batch(1, databases=(row("a", Levels(100, 10, 1)),)))
    catalog.record(batch(2, databases=(row("b", Levels(7, 1, 1), "2026-03-04T01:00:00Z"),)))
    catalog.record(batch(3, databases=(row("a", Levels(90, 9, 2), "2026-03-05T01:00:00Z"),)))
    found = catalog.usage("acme", None, "2026-03-01", "2026-03-31")
    assert found.opening == Levels(0, 0, 0)
    assert found.changes == {
        "2026-03-02": Levels(100, 10, 1),
        "2026-03-04": Levels(7, 1, 1),
        "2026-03-05": Levels(-10, -1, 1),
    }
    later = catalog.usage("acme", None, "2026-03-05", "2026-03-06")
    assert later.opening == Levels(107, 11, 2)
    assert later.changes == {"2026-03-05": Levels(-10, -1, 1)}
    assert catalog.usage("acme", "a", "2026-03-06", "2026-03-06").opening == Levels(90, 9, 2)


def test_an_older_look_changes_nothing(catalog: Any) -> None:
    """A node that was cut off reports when others have looked since."""
    catalog.record(batch(1, databases=(row("a", Levels(100, 10, 1)),)))
    late = row("a", Levels(5, 5, 5), "2026-03-02T11:00:00Z")
    catalog.record(batch(1, databases=(late,), source="late"))
    assert catalog.usage("acme", "a", "2026-03-02", "2026-03-02").changes == {
        "2026-03-02": Levels(100, 10, 1)
    }


def test_a_deleted_database_takes_no_room_and_keeps_its_counts(catalog: Any) -> None:
    catalog.record(batch(1, writes("a", 2), databases=(row("a", Levels(100, 10, 1)),)))
    catalog.record(batch(2, gone=(("acme", "a"),), when="2026-03-04T10:00:00Z"))
    found = catalog.usage("acme", "a", "2026-03-01", "2026-03-31")
    assert found.databases == 0
    assert found.counts == {"2026-03-02": (2, 0, 0)}
    assert found.changes["2026-03-04"] == Levels(-100, -10, -1)
    assert catalog.profiles("acme") == []
    catalog.record(batch(3, databases=(row("a", Levels(1, 1, 1), "2026-03-04T11:00:00Z"),)))
    assert catalog.usage("acme", "a", "2026-03-05", "2026-03-05").opening == Levels(1, 1, 1)


def test_processes_that_report_at_once_lose_nothing(url: str) -> None:
    catalogs = [open_catalog(url, Clock()) for _ in range(4)]
    names = [f"p{number}" for number in range(20)]
    errors: list[BaseException] = []

    def work(mine: Any, source: str, order: list[str]) -> None:
        try:
            for number in range(1, 6):
                counts = [writes(name, 1) for name in order]
                found = tuple(row(name, Levels(number, 1, 1)) for name in order)
                mine.record(batch(number, *counts, databases=found, source=source))
        except BaseException as error:
            errors.append(error)

    threads = [
        # Each in an order of its own, in which they would wait for each other.
        threading.Thread(target=work, args=(one, f"s{i}", names[i:] + names[:i]))
        for i, one in enumerate(catalogs)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert counted(catalogs[0]) == {"2026-03-02": (4 * 5 * len(names), 0, 0)}
    for one in catalogs:
        one.close()


def waiting(
    number: int, *rows: tuple[str, int | None], node: str = "n1", when: str = NOON, source: str = ""
) -> Batch:
    """Return a batch that says how many rows of databases wait for a vector."""
    levels = Levels(100, 10, 1)
    found = tuple(row(name, levels, when)._replace(unembedded=count) for name, count in rows)
    made = batch(number, databases=found, source=source or node, when=when)
    return made._replace(node=node)


def pending(catalog: Any, node: str = "n1", before: str = NOON, limit: int = 10) -> list[str]:
    return [profile for _, profile in catalog.pending(node, at(before), limit)]


def test_what_waits_is_known_until_it_was_done(catalog: Any) -> None:
    catalog.record(waiting(1, ("a", 7), ("b", 0), ("c", None)))
    assert pending(catalog) == ["a"]
    # Nobody looked at how many wait.
    catalog.record(waiting(2, ("a", None), when="2026-03-02T12:01:00Z"))
    assert pending(catalog) == ["a"]
    catalog.record(waiting(3, ("a", 0), ("b", 2), when="2026-03-02T12:02:00Z"))
    assert pending(catalog) == ["b"]
    catalog.record(batch(4, gone=(("acme", "b"),), source="n1", when="2026-03-02T12:03:00Z"))
    assert pending(catalog) == []


def test_who_waits_longest_comes_first(catalog: Any) -> None:
    catalog.record(waiting(1, ("late", 1), ("early", 1), when="2026-03-02T12:05:00Z"))
    catalog.record(waiting(1, ("early", 2), source="another process of n1"))
    catalog.record(waiting(2, ("first", 1), source="another process of n1", when=NOON))
    catalog.record(waiting(2, ("first", 9), when="2026-03-02T12:06:00Z"))
    assert pending(catalog) == ["first", "early", "late"]
    assert pending(catalog, limit=2) == ["first", "early"]


def test_another_node_takes_what_nobody_looked_at_for_long(catalog: Any) -> None:
    catalog.record(waiting(1, ("a", 7)))
    assert pending(catalog, "n2", NOON) == []
    assert pending(catalog, "n2", "2026-03-02T12:10:00Z") == ["a"]
    catalog.record(waiting(1, ("a", 6), node="n3", when="2026-03-02T12:20:00Z"))
    assert pending(catalog, "n2", "2026-03-02T12:20:00Z") == []
    assert pending(catalog, "n3", "2026-03-02T12:20:00Z") == ["a"]


def test_an_older_look_does_not_say_that_it_is_done(catalog: Any) -> None:
    catalog.record(waiting(1, ("a", 7), when="2026-03-02T12:20:00Z"))
    catalog.record(waiting(1, ("a", 0), node="n2"))
    assert pending(catalog) == ["a"]


def test_of_an_index_made_again_nobody_knows_what_waits(catalog: Any) -> None:
    catalog.record(waiting(1, ("a", 7), ("ghost", 3)))
    there = [Indexed("acme", name, f"id-{name}", 1_000) for name in ("a", "b", "c")]
    rebuild(catalog, [there], lambda _: None)
    assert pending(catalog) == ["a", "b", "c"]
    assert pending(catalog, limit=2) == ["a", "b"]
    catalog.record(waiting(2, ("b", 0), when="2026-03-02T12:20:00Z"))
    assert pending(catalog) == ["a", "c"]


def test_a_catalog_of_an_earlier_release_is_migrated(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic import command

    from palimp.catalog import schema

    def upgrade_to_first(config: Any, _revision: str) -> None:
        upgrade(config, "0001")

    upgrade = command.upgrade
    monkeypatch.setattr(command, "upgrade", upgrade_to_first)
    monkeypatch.setattr(schema, "REVISIONS", ("0001",))
    older = open_catalog(url, Clock())
    older.prepare()
    with older.engine.begin() as connection:
        insert = "INSERT INTO palimp_databases VALUES ('acme', 'a', 'id-a', 1, 1, 1, 1, 1, 1)"
        connection.exec_driver_sql(insert)
    older.close()
    monkeypatch.undo()
    catalog = start_catalog(url, Clock())
    assert catalog.profiles("acme") == ["a"]
    assert pending(catalog) == []
    catalog.record(waiting(1, ("a", 7)))
    assert pending(catalog) == ["a"]
    catalog.close()


def test_rebuild_makes_the_index_again_and_keeps_usage(catalog: Any) -> None:
    known = (row("a", Levels(100, 10, 1)), row("ghost", None), row("again", Levels(3, 3, 1)))
    catalog.record(batch(1, writes("a", 2), databases=known))
    there = [
        Indexed("acme", "a", "id-a", 1_000),
        Indexed("acme", "again", "another id", 2_000),
        Indexed("acme", "new", "id-new", 3_000),
    ]
    told: list[int] = []
    for removed in (1, 0):
        made = rebuild(catalog, [there[:2], there[2:]], told.append)
        assert made == (3, removed)
        assert catalog.profiles("acme") == ["a", "again", "new"]
    assert told == [2, 3, 2, 3]
    assert counted(catalog, "a") == {"2026-03-02": (2, 0, 0)}


def test_what_is_made_during_a_rebuild_stays(catalog: Any) -> None:
    catalog.record(batch(1, databases=(row("old", None),)))

    def pages() -> Iterator[list[Indexed]]:
        yield [Indexed("acme", "a", "id-a", 1_000)]
        # After its place in the list was passed.
        catalog.record(batch(2, databases=(row("aa", None),)))
        yield [Indexed("acme", "z", "id-z", 1_000)]

    assert rebuild(catalog, pages(), lambda _: None).removed == 1
    assert catalog.profiles("acme") == ["a", "aa", "z"]


def test_an_interrupted_rebuild_removes_nothing(catalog: Any) -> None:
    catalog.record(batch(1, databases=(row("a", None), row("b", None))))

    def pages() -> Iterator[list[Indexed]]:
        yield [Indexed("acme", "a", "id-a", 1_000)]
        raise Unavailable("the object store is away")

    with pytest.raises(Unavailable, match="store is away"):
        rebuild(catalog, pages(), lambda _: None)
    assert catalog.profiles("acme") == ["a", "b"]


def test_two_rebuilds_at_once_agree(catalog: Any) -> None:
    catalog.record(batch(1, databases=(row("ghost", None),)))
    page = [Indexed("acme", "a", "id-a", 1_000)]
    first, second = catalog.begin_rebuild(), catalog.begin_rebuild()
    catalog.index(page, second)
    catalog.index(page, first)
    assert catalog.end_rebuild(second) == 1
    assert catalog.end_rebuild(first) == 0
    assert catalog.profiles("acme") == ["a"]


MIGRATE = """
import sys
from palimp.catalog import start_catalog
from palimp.clock import Clock
sys.stdin.read(1)
catalog = start_catalog(sys.argv[1], Clock())
assert catalog.profiles("acme") == []
catalog.close()
"""


def test_ten_processes_at_once_make_it_once(url: str) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", MIGRATE, url],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(10)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write(b"x")
        process.stdin.flush()
    said = [process.communicate(timeout=100)[1] for process in started]
    assert said == [b""] * 10
    catalog = open_catalog(url, Clock())
    # Made twice it would have the rows of a new catalog twice.
    assert catalog.begin_rebuild() == 2
    catalog.close()


def test_a_newer_schema_is_refused_and_left_alone(url: str) -> None:
    catalog = start_catalog(url, Clock())
    catalog.record(batch(1, writes("a", 2)))
    set_version(catalog, "9999")
    with pytest.raises(Unavailable, match=f"9999, this release knows up to {LATEST}") as caught:
        start_catalog(url, Clock())
    assert caught.value.details["reason"] == "format"
    set_version(catalog, LATEST)
    assert counted(catalog, "a") == {"2026-03-02": (2, 0, 0)}
    catalog.close()


def test_tables_that_vanish_are_made_again(catalog: Any) -> None:
    """A database restored from before the catalog, for instance."""
    from sqlalchemy import inspect

    catalog.record(batch(1, writes("a", 2)))
    with catalog.engine.begin() as connection:
        for name in inspect(connection).get_table_names():
            connection.exec_driver_sql(f"DROP TABLE {name}")
    with pytest.raises(Unavailable):
        catalog.record(batch(2, writes("a", 3)))
    catalog.record(batch(2, writes("a", 3)))
    assert counted(catalog, "a") == {"2026-03-02": (3, 0, 0)}


def test_a_migration_that_fails_leaves_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from palimp.catalog import schema

    made = schema._upgrade

    def fails(connection: Any) -> None:
        made(connection)
        raise Unavailable("killed before the end")

    monkeypatch.setattr(schema, "_upgrade", fails)
    catalog = open_catalog(url, Clock())
    with pytest.raises(Unavailable, match="killed"):
        catalog.prepare()
    monkeypatch.undo()
    catalog.prepare()
    assert catalog.begin_rebuild() == 2
    catalog.close()


def test_old_processes_are_forgotten(catalog: Any) -> None:
    catalog.record(batch(1, source="old", when="2026-01-01T00:00:00Z"))
    catalog.record(batch(1, source="new"))
    with catalog.engine.begin() as connection:
        query = "SELECT source FROM palimp_sources"
        assert list(connection.exec_driver_sql(query).scalars()) == ["new"]


def test_postgresql_that_is_killed_comes_back(postgres: PostgreSQL) -> None:
    catalog = start_catalog(postgres.database(), Clock())
    catalog.record(batch(1, writes("a", 2)))
    postgres.kill()
    try:
        for call in calls(catalog):
            with pytest.raises(Unavailable, match="without it") as caught:
                call()
            assert caught.value.code == "unavailable"
            assert caught.value.details["reason"] == "catalog"
            assert caught.value.retry_after
    finally:
        postgres.start()
    # In doubt all the while, and sent again.
    catalog.record(batch(2, writes("a", 3)))
    catalog.record(batch(2, writes("a", 3)))
    assert counted(catalog, "a") == {"2026-03-02": (5, 0, 0)}
    catalog.close()


def calls(catalog: Any) -> list[Callable[[], Any]]:
    return [
        lambda: catalog.record(batch(2, writes("a", 3))),
        lambda: catalog.usage("acme", "a", "2026-03-01", "2026-03-02"),
        lambda: catalog.profiles("acme"),
        lambda: catalog.pending("n1", 0, 10),
        catalog.begin_rebuild,
        lambda: catalog.index([Indexed("acme", "a", "x", 1)], 2),
        lambda: catalog.end_rebuild(2),
    ]


def test_a_catalog_that_is_down_at_the_start_is_used_when_it_is_back(
    postgres: PostgreSQL, caplog: pytest.LogCaptureFixture
) -> None:
    place = postgres.database()
    postgres.kill()
    try:
        catalog = start_catalog(place, Clock())
        assert "starting without a catalog" in caplog.text
        with pytest.raises(Unavailable):
            catalog.record(batch(1, writes("a", 2)))
    finally:
        postgres.start()
    catalog.record(batch(1, writes("a", 2)))
    assert counted(catalog, "a") == {"2026-03-02": (2, 0, 0)}
    catalog.close()


def test_whoever_migrates_for_too_long_is_told_of(postgres: PostgreSQL) -> None:
    import psycopg

    from palimp.catalog.schema import _LOCK

    place = postgres.database()
    with psycopg.connect(place) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        catalog = open_catalog(place, ManualClock())
        with pytest.raises(Unavailable, match="migrated by another process for 60 s"):
            catalog.prepare()
    catalog.prepare()
    catalog.close()


def test_who_may_not_make_tables_is_told_why(postgres: PostgreSQL) -> None:
    import psycopg
    from sqlalchemy import make_url

    place = postgres.database()
    with psycopg.connect(place, autocommit=True) as admin:
        admin.execute("DROP ROLE IF EXISTS palimp_reader")
        admin.execute("CREATE ROLE palimp_reader LOGIN PASSWORD 's3cret-word'")
    parsed = make_url(place).set(username="palimp_reader", password="s3cret-word")
    catalog = open_catalog(parsed.render_as_string(hide_password=False), Clock())
    with pytest.raises(Unavailable, match="permission denied") as caught:
        catalog.prepare()
    assert "s3cret" not in str(caught.value) + catalog.name
    catalog.close()


def set_version(catalog: Any, version: str) -> None:
    with catalog.engine.begin() as connection:
        change = f"UPDATE palimp_catalog_version SET version_num = '{version}'"
        connection.exec_driver_sql(change)
