"""Leases in a database: its clock, rows that are cleared away, statements that wait for each other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from palimp.catalog import open_catalog
from palimp.clock import Clock
from palimp.errors import Unavailable
from palimp.lease.sql import SqlLeases
from palimp.observe import Metrics

from .catalog_backends import PostgreSQL, postgres
from .lease_backends import TTL, World, eventually, lease_database, make_world, peer

__all__ = ["lease_database", "postgres"]

NAME = "acme--alice"


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    world = make_world(request, request.param)
    yield world
    world.close()


@pytest.fixture
def file(request: pytest.FixtureRequest) -> Iterator[World]:
    """One that lets one transaction in at a time."""
    world = make_world(request, "sqlite")
    yield world
    world.close()


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[World]:
    world = make_world(request, "postgresql")
    yield world
    world.close()


def rows(leases: Any, query: str) -> list[Any]:
    with leases._store._rows.database._engine.begin() as connection:
        return list(connection.execute(text(query), {"cluster": leases._store._rows.cluster}))


def end_thread(leases: Any) -> None:
    """Let a node renew nothing from now on."""
    leases._goes_on = lambda pause: False
    leases._wake.set()
    leases._thread.join(10)


class Rebooted(Clock):
    """The clock of a machine that was started again."""

    up = 0.0

    def boottime(self) -> float:
        return super().boottime() - self.up


def test_a_file_of_before_a_reboot_has_no_leases(file: World) -> None:
    a = file.node("a")
    a.claim(NAME)
    end_thread(a)
    clock = Rebooted()
    clock.up = Clock().boottime() - 1
    b = file.node("b", clock=clock)
    assert b.claim(NAME) is None
    assert b.peers() == (peer("b"),)


def test_rows_nobody_needs_are_cleared_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    a: Any = world.node("a")
    b: Any = world.node("b")
    for name in ("acme--1", "acme--2"):
        a.claim(name)
    b.claim("acme--3")
    a.release(["acme--1"])
    end_thread(a)
    eventually(lambda: b.peers() == (peer("b"),))
    monkeypatch.setattr("palimp.lease.sql_placement._KEPT_MS", 0)
    b.claim("acme--4")
    b._placement._sweep()
    names = "SELECT name FROM palimp_lease_owners WHERE cluster = :cluster ORDER BY name"
    nodes = "SELECT node FROM palimp_lease_nodes WHERE cluster = :cluster"
    assert [row.name for row in rows(b, names)] == ["acme--3", "acme--4"]
    assert [row.node for row in rows(b, nodes)] == ["b"]
    # Changes after it are seen as before.
    b.release(["acme--4"])
    eventually(lambda: (b.held(), b.holder("acme--3")) == (1, peer("b")))
    # By itself, now and then.
    b._placement._sweep_at = 0.0
    b.claim("acme--5")
    eventually(lambda: len(rows(b, names)) == 2)


def test_who_did_not_look_for_long_reads_everything(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, other = world.node("a"), world.placement()
    a.claim(NAME)
    eventually(lambda: other.held() == 1)
    followed: Any = other
    followed.known.apply({}, {"acme--cleared-away": followed.known._holders[NAME]}, 1)
    assert other.held() == 2
    monkeypatch.setattr("palimp.lease.sql_placement._MISSED_SECONDS", 0.0)
    eventually(lambda: other.held() == 1)


def test_a_claim_waits_for_a_renewal_that_may_be_in_time(server: World) -> None:
    a, b = server.node("a"), server.node("b")
    assert a.claim(NAME) is None
    end_thread(a)
    engine = create_engine(server.engine().url)
    found: list[Any] = []
    claim = threading.Thread(target=lambda: found.append(b.claim(NAME)))
    with engine.connect() as connection:
        # In time, but its commit takes longer than the lease it renews.
        later = "UPDATE palimp_lease_nodes SET expires_at = expires_at + 60000 "
        connection.execute(text(later + "WHERE cluster = :c AND node = 'a'"), {"c": server.cluster})
        lasts = a.deadline + TTL
        eventually(lambda: Clock().boottime() > lasts)
        claim.start()
        claim.join(0.5)
        connection.commit()
    claim.join(30)
    engine.dispose()
    assert found == [peer("a")]


def test_a_claim_that_waited_for_another_sees_it(server: World) -> None:
    """Of a node that came into being, and claimed, while this one waited for the row."""
    a, b = server.node("a"), server.node("b")
    a.claim(NAME)
    a.release([NAME])
    engine = create_engine(server.engine().url)
    found: list[Any] = []
    claim = threading.Thread(target=lambda: found.append(b.claim(NAME)))
    given = {"c": server.cluster, "n": NAME}
    with engine.connect() as connection:
        taken = "UPDATE palimp_lease_owners SET lease = 'ls_c' WHERE cluster = :c AND name = :n"
        connection.execute(text(taken), given)
        claim.start()
        claim.join(0.5)
        made = "INSERT INTO palimp_lease_nodes SELECT cluster, 'c', 'ls_c', replace(record, "
        made += """'"node":"a"', '"node":"c"'), ttl_ms, expires_at + 60000 """
        made += "FROM palimp_lease_nodes WHERE cluster = :c AND node = 'a'"
        connection.execute(text(made), given)
        connection.commit()
    claim.join(30)
    engine.dispose()
    assert [one.node for one in found] == ["c"]


def test_a_node_that_stops_in_a_transaction_keeps_no_locks(server: World) -> None:
    a: Any = server.node("a")
    b = server.node("b")
    a.claim(NAME)
    a.release([NAME])
    with pytest.raises(Unavailable), a._store._rows.database.transaction() as connection:  # noqa: PT012
        query = "SELECT 1 FROM palimp_lease_owners WHERE name = :n AND cluster = :c FOR UPDATE"
        connection.execute(text(query), {"n": NAME, "c": server.cluster})
        eventually(lambda: _claims(b))
        connection.execute(text(query), {"n": NAME, "c": server.cluster})


def _claims(leases: Any) -> bool:
    try:
        return leases.claim(NAME) is None
    except Unavailable:
        return False


def test_a_database_without_the_tables_is_named_without_its_password(
    postgres: PostgreSQL,
) -> None:
    url = make_url(postgres.database()).set(password="sesame")
    catalog = open_catalog(url.render_as_string(hide_password=False), Clock())
    leases = SqlLeases(catalog.engine, "st", "a", TTL, Clock(), Metrics())
    with pytest.raises(Unavailable, match="palimp_lease_nodes") as caught:
        leases.start(peer("a"))
    assert caught.value.details["reason"] == "lease"
    assert "sesame" not in str(caught.value)
    leases.close()
    catalog.close()


def test_a_record_that_cannot_be_read_is_passed_over(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    a: Any = world.node("a")
    other = world.placement()
    end = "(SELECT max(expires_at) FROM palimp_lease_nodes) + 60000"
    if world.kind == "sqlite":
        end = "(SELECT max(expires_at) FROM palimp_lease_nodes)"
    with a._store._rows.database._engine.begin() as connection:
        row = f"(:c, 'newer', 'ls_n', '{{\"format\": 2}}', 2000, {end})"
        given = {"c": world.cluster}
        connection.execute(text(f"INSERT INTO palimp_lease_nodes VALUES {row}"), given)
        owner = "(:c, 'acme--new', 'ls_n', 0, 0)"
        connection.execute(text(f"INSERT INTO palimp_lease_owners VALUES {owner}"), given)
    holder = a.claim("acme--new")
    assert (holder.node, holder.address) == ("newer", "")
    eventually(lambda: "record of node newer that this release cannot read" in caplog.text)
    assert other.holder("acme--new") is None
