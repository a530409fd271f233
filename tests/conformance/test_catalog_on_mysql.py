"""What a catalog on MySQL's protocol promises that the others need not: on a MariaDB.

MatrixOne, which speaks it too, is not here and was not run.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest

from palimp.catalog import Batch, Counts, open_catalog, start_catalog
from palimp.clock import Clock, ManualClock
from palimp.errors import Internal, Invalid, Unavailable
from palimp.node import Node, load_settings
from palimp.store import VolatileStore

from .catalog_backends import MariaDB, mariadb

__all__ = ["mariadb"]

pytest.importorskip(
    "sqlalchemy", reason="sqlalchemy is not installed (pip install 'palimp[server]')"
)

from sqlalchemy import event, inspect, select, text

from palimp.catalog.binding_tables import SqlBindings
from palimp.catalog.journal import Journal
from palimp.catalog.key_rows import CredentialRow
from palimp.catalog.key_tables import SqlCredentials, bring_credentials


def batch(number: int, writes: int) -> Batch:
    counts = (Counts("2026-03-02", "acme", "a", writes, 0, 0),)
    return Batch("one", number, 1_772_409_600_000, counts, (), ())


def counted(catalog: Any) -> Any:
    span = catalog.usage("acme", "a", "2026-03-01", "2026-03-02")
    return span.counts["2026-03-02"]


def test_every_spelling_of_its_url_is_taken(mariadb: MariaDB) -> None:
    place = mariadb.database()
    for scheme in ("mysql", "mariadb", "mysql+pymysql", "mariadb+pymysql"):
        catalog = open_catalog(f"{scheme}://{place.partition('://')[2]}", Clock())
        assert catalog.name.startswith("mysql://127.0.0.1:")
        catalog.prepare()
        catalog.close()


def test_a_database_that_is_not_there_is_made_if_that_may_be(mariadb: MariaDB) -> None:
    place = mariadb.database()
    catalog = start_catalog(place + "-Further", Clock())
    catalog.record(batch(1, 2))
    assert counted(catalog) == (2, 0, 0)
    assert catalog.name.endswith("-Further")
    catalog.close()


def test_a_server_that_is_killed_comes_back(mariadb: MariaDB) -> None:
    catalog = start_catalog(mariadb.database(), Clock())
    bindings = SqlBindings(catalog, Journal(VolatileStore()))
    catalog.record(batch(1, 2))
    assert bindings.put("memoria", "", "k", "1") == 1
    mariadb.kill()
    try:
        for call in (lambda: catalog.record(batch(2, 3)), lambda: bindings.get("memoria", "", "k")):
            with pytest.raises(Unavailable, match="without it") as caught:
                call()
            assert caught.value.details["reason"] == "catalog"
            assert caught.value.retry_after
    finally:
        mariadb.start()
    catalog.record(batch(2, 3))
    catalog.record(batch(2, 3))
    assert counted(catalog) == (5, 0, 0)
    assert bindings.put("memoria", "", "k", "2") == 2
    catalog.close()


def test_a_login_that_is_refused_says_why_and_no_password(mariadb: MariaDB) -> None:
    place = mariadb.database("palimp_one")
    for wrong, said in (
        (place.replace(":s3cret@", ":t0psecret@"), "Access denied for user 'palimp_one'"),
        (place + "_not", "Access denied for user 'palimp_one'"),
        (mariadb.database("palimp_two", "SELECT"), "CREATE command denied to user 'palimp_two'"),
    ):
        catalog = open_catalog(wrong, Clock())
        with pytest.raises(Unavailable, match=said) as caught:
            catalog.prepare()
        assert "secret" not in f"{caught.value} {caught.value.details} {catalog.name}"
        assert "s3cret" not in f"{caught.value} {caught.value.details} {catalog.name}"
        catalog.close()


def test_whoever_migrates_for_too_long_is_told_of(mariadb: MariaDB) -> None:
    from palimp.catalog.schema import _LOCK, _LOCKS

    place = mariadb.database()
    holder = open_catalog(place, Clock())
    with holder.engine.connect() as connection:
        assert connection.scalar(text(_LOCKS["mysql"]), {"key": _LOCK}) == 1
        catalog = open_catalog(place, ManualClock())
        with pytest.raises(Unavailable, match="migrated by another process for 60 s"):
            catalog.prepare()
        # Of another database of that server nobody has to wait.
        other = open_catalog(mariadb.database(), ManualClock())
        other.prepare()
        other.close()
    holder.close()
    catalog.prepare()
    catalog.close()


def test_a_migration_that_was_cut_short_anywhere_is_gone_on_with(mariadb: MariaDB) -> None:
    """It commits with every table it makes: here it ends at every place of every revision."""
    from palimp.catalog.schema import _revision

    place, attempts, reached, allowed = mariadb.database(), 0, None, 0
    while True:
        catalog = open_catalog(place, Clock())
        left = iter(range(allowed))

        def cut(
            _connection: Any, _cursor: Any, statement: str, *_more: Any, left: Any = left
        ) -> None:
            changes = statement.lstrip().startswith(("CREATE", "ALTER", "UPDATE", "INSERT"))
            if changes and next(left, None) is None:
                raise RuntimeError("killed")

        event.listen(catalog.engine, "before_cursor_execute", cut)
        try:
            catalog.prepare()
            break
        except RuntimeError:
            attempts += 1
            event.remove(catalog.engine, "before_cursor_execute", cut)
            with catalog.engine.connect() as connection:
                found = _revision(connection, "it")
            reached, allowed = found, allowed + 1 if found == reached else 1
        finally:
            catalog.close()
    assert attempts > 20
    whole = start_catalog(mariadb.database(), Clock())
    catalog = open_catalog(place, Clock())
    assert shape(catalog) == shape(whole)
    catalog.record(batch(1, 2))
    assert catalog.begin_rebuild() == 2
    for one in (catalog, whole):
        one.close()


def shape(catalog: Any) -> dict[str, Any]:
    found = inspect(catalog.engine)
    return {
        table: (
            [(one["name"], str(one["type"]), one["nullable"]) for one in found.get_columns(table)],
            found.get_pk_constraint(table)["constrained_columns"],
            sorted((one["name"], one["unique"]) for one in found.get_indexes(table)),
        )
        for table in found.get_table_names()
    }


def test_names_are_compared_by_their_letters_and_kept_whole(mariadb: MariaDB) -> None:
    catalog = start_catalog(mariadb.database(), Clock())
    kept = SqlCredentials(catalog, Journal(VolatileStore()))
    for number, name in enumerate(("a", "A", "\u00e4")):
        row = CredentialRow(name, "memoria", "bob", "n", "sk-", f"h{number}", "{}", 1)
        with catalog.changing() as connection:
            bring_credentials(catalog, connection, [row])
        assert kept.get(name) == row
    with pytest.raises(Unavailable, match="Data too long"):
        kept.add(CredentialRow("b", "memoria", "x" * 300, "n", "sk-", "h9", "{}", 1))
    with pytest.raises(Internal, match="the hash of key c is that of another"):
        kept.add(CredentialRow("c", "memoria", "bob", "n", "sk-", "h0", "{}", 1))
    catalog.close()


def test_the_clock_of_the_database_is_in_utc_whatever_its_zone(mariadb: MariaDB) -> None:
    place = mariadb.database()
    catalog = start_catalog(place, Clock())
    from palimp.catalog.coordination import now_of

    with catalog.engine.begin() as connection:
        connection.exec_driver_sql("SET GLOBAL time_zone = '+09:00'")
    try:
        other = open_catalog(place, Clock())
        with other.changing() as connection:
            now = connection.scalar(select(now_of(other)))
        assert abs(now - Clock().now_ms()) < 60_000
        other.close()
    finally:
        with catalog.engine.begin() as connection:
            connection.exec_driver_sql("SET GLOBAL time_zone = 'SYSTEM'")
    catalog.close()


def test_a_deadlock_is_said_and_what_it_ended_may_be_sent_again(mariadb: MariaDB) -> None:
    catalog = start_catalog(mariadb.database(), Clock())
    bindings = SqlBindings(catalog, Journal(VolatileStore()))
    for key in ("a", "b"):
        bindings.put("memoria", "", key, "1")
    barrier, failed = threading.Barrier(2), list[Unavailable]()

    def change(first: str, second: str) -> None:
        lock = text("UPDATE palimp_bindings SET version = version + 1 WHERE `key` = :key")
        try:
            with catalog.changing() as connection:
                connection.execute(lock, {"key": first.encode()})
                barrier.wait(30)
                connection.execute(lock, {"key": second.encode()})
        except Unavailable as error:
            failed.append(error)

    threads = [threading.Thread(target=change, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [error] = failed
    assert "Deadlock found" in str(error)
    assert error.retry_after
    assert bindings.put("memoria", "", "a", "2") == 3
    catalog.close()


def test_leases_are_not_kept_there(mariadb: MariaDB, tmp_path: Any) -> None:
    settings = {
        "data_dir": str(tmp_path / "m"),
        "catalog_url": mariadb.database(),
        "leases": "sql",
        "cluster_key": "c" * 20,
        "embed_provider": "none",
    }
    with pytest.raises(Invalid, match=r"LEASES=sql is for PostgreSQL.*set PALIMP_ETCD"):
        Node(load_settings(settings, {}), serving=True)
