"""Keys of other systems' clients and what dialects keep: on every catalog, and for every client."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palimp.catalog import open_catalog
from palimp.clock import Clock, ManualClock
from palimp.errors import Invalid, NotFound, Unconfigured
from palimp.store import VolatileStore

from .catalog_backends import mariadb, postgres, url

__all__ = ["mariadb", "postgres", "url"]

pytest.importorskip(
    "sqlalchemy", reason="sqlalchemy is not installed (pip install 'palimp[server]')"
)

from palimp.catalog.binding_tables import SqlBindings, SqlNotes
from palimp.catalog.journal import Journal
from palimp.catalog.key_rows import CredentialRow
from palimp.catalog.key_tables import SqlCredentials
from palimp.operations.credentials import Credentials

# The second differs from the first by what many an order of letters passes over.
NAMES = ["bob", "bob ", "Bob", "b\u00f3b", "bo\u0301b", "b_b", "b%b", "\U0001f4be" * 60]


@pytest.fixture
def catalog(url: str) -> Iterator[Any]:
    found = open_catalog(url, Clock())
    yield found
    found.close()


@pytest.fixture
def table(catalog: Any) -> SqlCredentials:
    return SqlCredentials(catalog, Journal(VolatileStore()))


def row(identity: str, **more: Any) -> CredentialRow:
    fields = {"subject": "bob", "hash": f"hash of {identity}", "created_at": 5, "detail": "{}"}
    return CredentialRow(
        id=identity, dialect="memoria", name="laptop", prefix="sk-1", **{**fields, **more}
    )


# -- keys in the table --------------------------------------------------------------------------


def test_what_was_revoked_is_told_to_who_asks_for_it(table: SqlCredentials) -> None:
    table.add(row("a"))
    table.add(row("b", created_at=6))
    assert not table.was_revoked("memoria", ["hash of a"])
    assert table.revoke("a", 9)
    assert table.was_revoked("memoria", ["another", "hash of a"])
    assert not table.was_revoked("memtrace", ["hash of a"])
    assert not table.was_revoked("memoria", ["hash of b"])
    assert [one.id for one in table.page("memoria", "bob", None, 9)] == ["b"]
    found = table.page("memoria", "bob", None, 9, revoked=True)
    assert [(one.id, one.revoked_at) for one in found] == [("b", None), ("a", 9)]


def test_a_key_is_found_by_its_hash_alone_and_as_it_was_kept(table: SqlCredentials) -> None:
    kept = row("a", detail='{"group":"grp_1"}', expires_at=9, subject="Bob ")
    table.add(kept)
    assert table.get("a") == kept
    assert table.find("memoria", ["another", "hash of a"]) == kept
    assert table.find("memoria", ["another"]) is None
    assert table.find("memtrace", ["hash of a"]) is None
    table.rehash("a", "newer")
    assert table.find("memoria", ["hash of a"]) is None
    assert table.find("memoria", ["newer"]) == kept._replace(hash="newer")


def test_a_revoked_one_is_found_by_nothing_but_that_there_was_one(table: SqlCredentials) -> None:
    assert not table.any("memoria")
    table.add(row("a"))
    assert table.revoke("a", 7)
    assert not table.revoke("a", 8), "it is revoked once"
    assert not table.revoke("b", 8)
    assert table.get("a") is None
    assert table.find("memoria", ["hash of a"]) is None
    assert table.page(None, None, None, 10) == []
    assert table.any("memoria")
    assert not table.any("memtrace")


def test_one_is_replaced_by_one_of_those_that_come_at_once(url: str) -> None:
    catalogs = [open_catalog(url, Clock()) for _ in range(4)]
    journal = Journal(VolatileStore())
    tables = [SqlCredentials(catalog, journal) for catalog in catalogs]
    tables[0].add(row("a"))
    barrier, done = threading.Barrier(4), list[bool]()

    def race(number: int) -> None:
        tables[number].any("memoria")
        barrier.wait(30)
        done.append(tables[number].replace("a", row(f"b{number}", created_at=6)))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [False, False, False, True]
    [left] = tables[0].page("memoria", "bob", None, 10)
    assert left.id.startswith("b")
    for catalog in catalogs:
        catalog.close()


def test_pages_are_of_one_subject_the_newest_first(table: SqlCredentials) -> None:
    for number, name in enumerate(NAMES):
        table.add(row(f"k{number}", subject=name, created_at=number // 2))
    found: list[str] = []
    before = None
    while page := table.page("memoria", None, before, 3):
        found += [one.id for one in page]
        before = page[-1].created_at, page[-1].id
    assert found == [f"k{number}" for number in reversed(range(len(NAMES)))]
    for number, name in enumerate(NAMES):
        assert [one.id for one in table.page(None, name, None, 9)] == [f"k{number}"], name


def test_the_last_use_of_a_key_never_goes_back(table: SqlCredentials) -> None:
    table.add(row("a"))
    table.used({"a": 100, "gone": 5})
    table.used({"a": 90})
    kept = table.get("a")
    assert kept is not None
    assert kept.last_used_at == 100


# -- what a node knows of them ------------------------------------------------------------------


def known(table: SqlCredentials, clock: Any, *keys: bytes) -> Credentials:
    return Credentials(table, lambda: list(keys or (b"k" * 32,)), clock)


def shown(credentials: Credentials, number: int = 1, **more: Any) -> str:
    """Keep a key that a client could show."""
    secret = f"sk-{number:032x}"
    digest = credentials.hashes("memoria", secret)[0]
    credentials.table.add(row(f"id{number}", hash=digest, **more))
    credentials.changed("memoria")
    return secret


def test_a_node_goes_by_what_it_read_for_five_seconds(table: SqlCredentials) -> None:
    clock = ManualClock()
    credentials = known(table, clock)
    secret = shown(credentials)
    found = credentials.find("memoria", secret)
    assert found is not None
    assert (found.id, found.subject, found.secret) == ("id1", "bob", None)
    table.revoke("id1", 1)
    clock.advance(4.9)
    assert credentials.find("memoria", secret) is not None
    clock.advance(0.2)
    assert credentials.find("memoria", secret) is None
    assert credentials.any("memoria"), "nobody is let in by taking the last key away"


def test_what_expires_is_not_found_also_where_it_was_read_before(table: SqlCredentials) -> None:
    clock = ManualClock()
    credentials = known(table, clock)
    secret = shown(credentials, expires_at=clock.now_ms() + 1_000)
    assert credentials.find("memoria", secret) is not None
    clock.advance(1.0)
    assert credentials.find("memoria", secret) is None


@pytest.mark.parametrize("wrong", ["", "sk-", f"sk-{2:032x}", f"{1:035x}", f"sk-{1:033x}"])
def test_what_is_no_key_is_not_found(catalog: Any, wrong: str) -> None:
    credentials = known(SqlCredentials(catalog, Journal(VolatileStore())), Clock())
    assert not credentials.any("memoria")
    assert shown(credentials) != wrong
    assert credentials.any("memoria")
    assert credentials.find("memoria", wrong) is None


def test_a_key_outlives_what_it_was_hashed_with_once_it_was_shown(table: SqlCredentials) -> None:
    clock = ManualClock()
    first = known(table, clock, b"a" * 32)
    used, unused = shown(first, 1), shown(first, 2)
    both = known(table, clock, b"b" * 32, b"a" * 32)
    assert both.find("memoria", used) is not None
    later = known(table, clock, b"b" * 32)
    assert later.find("memoria", used) is not None
    assert later.find("memoria", unused) is None


def test_uses_are_written_with_others_and_at_the_end(table: SqlCredentials) -> None:
    clock = ManualClock()
    credentials = known(table, clock)
    secret = shown(credentials)

    def noted() -> int | None:
        kept = table.get("id1")
        assert kept is not None
        return kept.last_used_at

    assert credentials.find("memoria", secret) is not None
    credentials.touched("id1")
    assert noted() is None
    at = clock.now_ms()
    clock.advance(6)
    credentials.find("memoria", secret)
    assert noted() == at
    credentials.touched("id1")
    credentials.close()
    assert noted() == at + 6_000


# -- what dialects keep -------------------------------------------------------------------------


def kept(kind: str, catalog: Any, store: VolatileStore) -> Any:
    return SqlNotes(catalog) if kind == "notes" else SqlBindings(catalog, Journal(store))


@pytest.fixture(params=["bindings", "notes"])
def bindings(request: pytest.FixtureRequest, catalog: Any) -> Any:
    return kept(request.param, catalog, VolatileStore())


def test_a_binding_has_a_version_that_rises_and_is_changed_by_it(bindings: Any) -> None:
    of = ("memoria", "bob", "branch")
    assert bindings.get(*of) is None
    assert bindings.put(*of, '"trial"', expect=1) is None
    assert bindings.put(*of, '"main"') == 1
    assert bindings.put(*of, '"trial"') == 2
    assert bindings.put(*of, '"other"', expect=0) is None
    assert bindings.put(*of, '"other"', expect=1) is None
    assert bindings.get(*of) == ("branch", '"trial"', 2)
    assert bindings.put(*of, '"other"', expect=2) == 3
    assert not bindings.delete(*of, expect=2)
    assert bindings.delete(*of, expect=3)
    assert not bindings.delete(*of)
    assert bindings.get(*of) is None
    assert bindings.list(*of[:2]) == []
    assert bindings.put(*of, '"main"', expect=3) is None
    again = bindings.put(*of, '"main"', expect=0)
    assert bindings.get(*of) == ("branch", '"main"', again)


def test_scopes_and_keys_are_what_they_are_to_the_byte(bindings: Any) -> None:
    for number, name in enumerate(NAMES):
        assert bindings.put("memoria", name, "k", str(number), expect=0) == 1, name
        assert bindings.put("memoria", "", name, str(number), expect=0) == 1, name
    for number, name in enumerate(NAMES):
        assert bindings.get("memoria", name, "k") == ("k", str(number), 1)
        assert bindings.get("memoria", "", name) == (name, str(number), 1)
    assert bindings.get("memtrace", "bob", "k") is None
    in_order = sorted(NAMES, key=str.encode)
    assert [one.key for one in bindings.list("memoria", "")] == in_order
    assert [one.key for one in bindings.list("memoria", "", "b_")] == ["b_b"]
    assert [one.key for one in bindings.list("memoria", "", "bob")] == ["bob", "bob "]
    assert [one.key for one in bindings.list("memoria", "", "b\u00f3")] == ["b\u00f3b"]
    rest = bindings.list("memoria", "", after=in_order[1], limit=2)
    assert [one.key for one in rest] == in_order[2:4]


@pytest.mark.parametrize("kind", ["bindings", "notes"])
def test_of_many_that_count_at_once_none_is_lost(url: str, kind: str) -> None:
    store = VolatileStore()
    catalogs = [open_catalog(url, Clock()) for _ in range(4)]
    catalogs[0].prepare()
    barrier = threading.Barrier(4)

    def count(number: int) -> None:
        mine = kept(kind, catalogs[number], store)
        barrier.wait(30)
        for _ in range(5):
            while True:
                now = mine.get("memoria", "", "n")
                value = "1" if now is None else str(int(now.value) + 1)
                if mine.put("memoria", "", "n", value, 0 if now is None else now.version):
                    break

    threads = [threading.Thread(target=count, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept(kind, catalogs[0], store).get("memoria", "", "n") == ("n", "20", 20)
    for catalog in catalogs:
        catalog.close()


@pytest.mark.parametrize("wrong", ["a\0b", "x" * 513, "\ud800"])
def test_what_a_database_could_not_keep_is_refused(wrong: str, tmp_path: Path) -> None:
    catalog = open_catalog(f"sqlite:///{tmp_path}/catalog.db", Clock())
    bindings = SqlBindings(catalog, Journal(VolatileStore()))
    with pytest.raises(Invalid, match="of a binding has"):
        bindings.put("memoria", wrong, "k", "1")
    with pytest.raises(Invalid, match="of a binding has"):
        bindings.get("memoria", "", wrong)
    bindings.put("memoria", "", "k", '"' + "x" * (2**20 - 2) + '"')
    with pytest.raises(Invalid, match="1,048,577 bytes"):
        bindings.put("memoria", "", "k", '"' + "x" * (2**20 - 1) + '"')
    catalog.close()


# -- what every client may ask ------------------------------------------------------------------


@pytest.fixture
def client(do: Any, tmp_path: Path) -> Iterator[Any]:
    found = do.open(
        tmp_path / "memory", embed_provider="none", catalog_url=f"sqlite:///{tmp_path}/catalog.db"
    )
    yield found
    do(found.close())


def test_a_key_is_made_listed_renewed_and_revoked(do: Any, client: Any) -> None:
    ends = Clock().now_ms() + 60_000
    made = do(
        client.create_credential(
            "memoria", "bob", "laptop", expires_at=ends, detail={"group": "grp_1"}
        )
    )
    assert made.secret.startswith("sk-")
    assert len(made.secret) == 35
    assert made.prefix == made.secret[:12]
    assert made.secret not in repr(made)
    found = do(client.credential(made))
    assert found.secret is None
    assert found == type(made)(**{**made.to_dict(), "secret": None})
    assert (found.subject, found.name, found.expires_at) == ("bob", "laptop", ends)
    assert found.detail == {"group": "grp_1"}
    other = do(client.create_credential("memoria", "eve", "phone"))
    assert [one.id for one in do.all(client.credentials(subject="bob"))] == [made.id]
    renewed = do(client.rotate_credential(made))
    assert renewed.id != made.id
    assert renewed.secret != made.secret
    assert (renewed.name, renewed.expires_at, renewed.detail) == ("laptop", ends, made.detail)
    with pytest.raises(NotFound):
        do(client.rotate_credential(made))
    listed = {one.id for one in do.all(client.credentials(dialect="memoria"))}
    assert listed == {renewed.id, other.id}
    do(client.revoke_credential(renewed))
    with pytest.raises(NotFound):
        do(client.credential(renewed))
    assert [one.id for one in do.all(client.credentials())] == [other.id]


def test_the_catalog_keeps_no_key(do: Any, client: Any, tmp_path: Path) -> None:
    secret = do(client.create_credential("memoria", "bob", "laptop")).secret
    with sqlite3.connect(tmp_path / "catalog.db") as file:
        kept = str(file.execute("SELECT * FROM palimp_credentials").fetchall())
    assert "laptop" in kept
    assert secret[:12] in kept
    assert secret[12:] not in kept


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"dialect": "memoturn"}, "'memoturn' has keys; give memoria or memorysync or memtrace"),
        ({"subject": " "}, "subject is empty"),
        ({"subject": "é" * 129}, "subject has 258 bytes"),
        ({"subject": "a\0b"}, "null character"),
        ({"name": ""}, "name is empty"),
        ({"detail": {"x": "y" * 5_000}}, "at most 4,096"),
        ({"expires_at": 1}, "expires_at is 1, and it is"),
    ],
)
def test_what_makes_no_key_is_refused(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    import palimp

    given = {"dialect": "memoria", "subject": "bob", "name": "laptop", **fields}
    place = {"embed_provider": "none", "catalog_url": f"sqlite:///{tmp_path}/catalog.db"}
    with palimp.open(tmp_path / "memory", **place) as mem, pytest.raises(Invalid, match=said):
        mem.create_credential(**given)


def test_without_a_catalog_there_are_none_and_it_is_said_what_to_set(
    do: Any, tmp_path: Path
) -> None:
    client = do.open(tmp_path / "memory", embed_provider="none")
    with pytest.raises(Unconfigured, match="PALIMP_CATALOG_URL"):
        do(client.create_credential("memoria", "bob", "laptop"))
    do(client.close())
