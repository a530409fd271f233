"""The journal of the catalog: what is in it comes back, on every database a catalog runs on."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from palimp.catalog import open_catalog, start_catalog
from palimp.clock import Clock
from palimp.errors import Internal, Invalid, Unavailable
from palimp.store import VolatileStore

from .catalog_backends import mariadb, postgres, url

__all__ = ["mariadb", "postgres", "url"]

pytest.importorskip(
    "sqlalchemy", reason="sqlalchemy is not installed (pip install 'palimp[server]')"
)

from sqlalchemy import delete, insert, update

from palimp.catalog import tables
from palimp.catalog.binding_tables import SqlBindings
from palimp.catalog.journal import BINDINGS, CREDENTIALS, Journal, binding_key
from palimp.catalog.key_rows import CredentialRow
from palimp.catalog.key_tables import SqlCredentials
from palimp.catalog.recovering import Recovery

# What many an order of letters takes for one, and what no key of an object may be.
NAMES = ["bob", "bob ", "Bob", "b\u00f3b", "bo\u0301b", "b/../b", "b%b", "\U0001f4be" * 60]


def row(identity: str, **more: Any) -> CredentialRow:
    fields = {"subject": "bob", "hash": f"hash of {identity}", "created_at": 5, "detail": "{}"}
    return CredentialRow(
        id=identity, dialect="memoria", name="laptop", prefix="sk-1", **{**fields, **more}
    )


class Kept:
    """A catalog with its journal, and what is kept in them."""

    def __init__(self, url: str, store: Any, *, read_only: bool = False) -> None:
        self.store = store
        self.journal = Journal(store, read_only=read_only)
        self.catalog = start_catalog(url, Clock(), "one store", self.journal)
        self.credentials = SqlCredentials(self.catalog, self.journal)
        self.bindings = SqlBindings(self.catalog, self.journal)

    def rows(self, table: Any) -> list[Any]:
        with self.catalog.changing() as connection:
            return sorted(tuple(one) for one in connection.execute(table.select()))

    def state(self) -> Any:
        """What a client would be told; when a key was used last is not kept."""
        found = self.credentials.page(None, None, None, 999, revoked=True)
        keys = sorted(one._replace(last_used_at=None) for one in found)
        names = [self.bindings.list("memoria", scope) for scope in ("", *NAMES)]
        return keys, names

    def lose(self) -> None:
        """Have the database without its tables, as one that was made anew."""
        with self.catalog.engine.begin() as connection:
            for table in (tables.CREDENTIALS, tables.BINDINGS, tables.META):
                connection.execute(delete(table))
            connection.execute(insert(tables.META).values(key="generation", value=1, text=None))
        self.catalog.bind("one store", self.journal)

    def recover(self) -> tuple[int, int]:
        """Make it again; how many entries were read, and removed."""
        work, cursor, entries, removed = Recovery(self.catalog, self.journal), None, 0, 0
        while True:
            step = work.page(cursor)
            entries, removed, cursor = entries + step.entries, removed + step.removed, step.cursor
            if cursor is None:
                return entries, removed


@pytest.fixture
def open_(url: str) -> Iterator[Callable[..., Kept]]:
    made = list[Kept]()

    def make(store: Any = None, **more: Any) -> Kept:
        made.append(Kept(url, store or VolatileStore(), **more))
        return made[-1]

    yield make
    for one in made:
        one.catalog.close()


def fill(kept: Kept) -> None:
    kept.credentials.add(row("a", detail='{"group":"grp_1"}', expires_at=9, subject="Bob "))
    kept.credentials.add(row("b", created_at=6))
    kept.credentials.add(row("c", created_at=7))
    kept.credentials.rehash("c", "newer")
    kept.credentials.revoke("b", 9)
    assert kept.credentials.replace("a", row("d", created_at=8))
    kept.credentials.used({"c": 77})
    for number, name in enumerate(NAMES):
        kept.bindings.put("memoria", name, "k", str(number))
        kept.bindings.put("memoria", "", name, str(number))
    kept.bindings.put("memoria", "", "bob", '"again"')
    kept.bindings.put("memoria", "", "gone", '"x"')
    kept.bindings.delete("memoria", "", "gone")


def test_a_catalog_that_was_lost_is_made_again_before_anybody_is_answered(open_: Any) -> None:
    kept = open_()
    fill(kept)
    before = kept.state()
    assert kept.bindings.get("memoria", "", "bob") == ("bob", '"again"', 2)
    kept.lose()
    # The very first question: without its keys a dialect would let everybody in.
    assert kept.credentials.any("memoria")
    assert kept.state() == before
    assert kept.bindings.put("memoria", "", "gone", '"y"', expect=0) == 3


def test_another_database_is_filled_from_the_journal(open_: Any, tmp_path: Any) -> None:
    kept = open_()
    fill(kept)
    other = Kept(f"sqlite:///{tmp_path}/other.db", kept.store)
    assert other.state() == kept.state()
    other.catalog.close()


def test_what_a_release_without_a_journal_kept_is_written_down(open_: Any) -> None:
    first = open_()
    fill(first)
    before = first.state()
    # As that release left it: rows, and no objects.
    empty = open_(VolatileStore())
    with empty.catalog.engine.begin() as connection:
        connection.execute(delete(tables.META).where(tables.META.c.key == "journal"))
    later = open_(empty.store)
    assert later.state() == before
    later.lose()
    assert later.state() == before


def test_a_node_that_may_not_write_reads_the_journal_and_leaves_it(open_: Any) -> None:
    kept = open_()
    fill(kept)
    before = kept.state()
    kept.lose()
    objects = kept.store.list("", None, 999)
    reader = open_(kept.store, read_only=True)
    assert reader.state() == before
    assert kept.store.list("", None, 999) == objects


def test_rebuild_takes_what_the_journal_says(open_: Any) -> None:
    kept = open_()
    fill(kept)
    before = kept.state()
    name = tables.BINDINGS.c
    with kept.catalog.engine.begin() as connection:
        # An older dump was put back: here one is missing, one is older, one is there again.
        connection.execute(delete(tables.CREDENTIALS).where(tables.CREDENTIALS.c.id == "c"))
        unrevoked = update(tables.CREDENTIALS).where(tables.CREDENTIALS.c.id == "b")
        connection.execute(unrevoked.values(revoked_at=None))
        older = update(tables.BINDINGS).where(name.scope == "", name.key == "bob")
        connection.execute(older.values(value="0", version=1))
        gone = update(tables.BINDINGS).where(name.scope == "", name.key == "gone")
        connection.execute(gone.values(value='"x"', version=1))
        # And what the store does not know, or not yet: it is of before it was put back.
        connection.execute(insert(tables.CREDENTIALS).values(**row("z")._asdict()))
        spare = {"dialect": "memoria", "scope": "", "key": "z", "value": "1", "version": 9}
        connection.execute(insert(tables.BINDINGS).values(**spare, updated_at=0))
        newer = update(tables.BINDINGS).where(name.scope == "", name.key == "b%b")
        connection.execute(newer.values(value="99", version=7))
    assert kept.state() != before
    assert kept.recover() == (4 + 2 * len(NAMES) + 1, 2)
    assert kept.state() == before
    assert kept.recover()[1] == 0


def test_pages_cover_all_of_it(open_: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palimp.catalog.recovering._PAGE", 3)
    kept = open_()
    fill(kept)
    before = kept.state()
    kept.lose()
    assert kept.state() == before
    with kept.catalog.engine.begin() as connection:
        for number in range(7):
            connection.execute(insert(tables.CREDENTIALS).values(**row(f"z{number}")._asdict()))
    assert kept.recover() == (4 + 2 * len(NAMES) + 1, 7)
    assert kept.state() == before


class Cut:
    """A store whose answer to every write is lost once the write was done."""

    def __init__(self, store: VolatileStore) -> None:
        self.store = store
        self.cut = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        if name not in ("create", "replace"):
            return found

        def call(*given: Any) -> Any:
            done = found(*given)
            if self.cut:
                raise Unavailable("the answer is lost", in_doubt=True)
            return done

        return call


def test_who_changes_it_next_notes_what_was_interrupted(open_: Any) -> None:
    store = Cut(VolatileStore())
    kept = open_(store)
    kept.credentials.add(row("a"))
    kept.bindings.put("memoria", "", "k", "1")
    store.cut = True
    for change in (
        lambda: kept.credentials.revoke("a", 9),
        lambda: kept.bindings.put("memoria", "", "k", "2"),
        lambda: kept.credentials.add(row("b")),
    ):
        with pytest.raises(Unavailable, match="lost"):
            change()
    store.cut = False
    assert kept.credentials.get("a") is not None, "the catalog was not come to"
    assert not kept.credentials.revoke("a", 10), "it was revoked before"
    assert kept.credentials.get("a") is None
    # By the version that was read nothing is changed any more, and what it is now is seen.
    read = kept.bindings.get("memoria", "", "k")
    assert (read.value, read.version) == ("1", 1)
    assert kept.bindings.put("memoria", "", "k", "3", expect=1) is None
    assert kept.bindings.get("memoria", "", "k") == ("k", "2", 2)
    assert kept.bindings.put("memoria", "", "k", "3", expect=2) == 3


def test_a_key_is_replaced_or_not_wherever_it_was_interrupted(open_: Any) -> None:
    store = Cut(VolatileStore())
    kept = open_(store)
    kept.credentials.add(row("a"))
    store.cut = True
    with pytest.raises(Unavailable, match="lost"):
        kept.credentials.replace("a", row("b", created_at=6))
    store.cut = False
    # One object says both: the new one has none of its own yet.
    assert [key for key in listed(kept, CREDENTIALS) if "/b.json" in key] == []
    kept.recover()
    assert kept.credentials.get("a") is None
    assert kept.credentials.get("b") == row("b", created_at=6)
    assert len(listed(kept, CREDENTIALS)) == 2
    kept.credentials.revoke("b", 8)
    kept.lose()
    assert kept.credentials.page(None, None, None, 9) == [], "nothing holds again"


def listed(kept: Kept, prefix: str) -> list[str]:
    return [entry.key for entry in kept.store.list(prefix, None, 999).entries]


def test_what_an_older_release_beside_this_one_wrote_is_taken_up(open_: Any) -> None:
    kept = open_()
    kept.bindings.put("memoria", "", "k", "1")
    with kept.catalog.changing() as connection:
        connection.execute(update(tables.BINDINGS).values(value="2", version=2))
        connection.execute(insert(tables.CREDENTIALS).values(**row("z")._asdict()))
    assert kept.bindings.put("memoria", "", "k", "3", expect=2) == 3
    assert kept.credentials.revoke("z", 9)
    kept.lose()
    assert kept.bindings.get("memoria", "", "k") == ("k", "3", 3)
    assert kept.credentials.was_revoked("memoria", ["hash of z"])


def test_a_late_note_of_an_older_change_undoes_nothing(open_: Any) -> None:
    """Two nodes change one entry, and the first comes to the catalog last."""
    kept = open_()
    held, go, slow = threading.Event(), threading.Event(), Slow(kept)

    def first() -> None:
        slow.put(held, go)

    thread = threading.Thread(target=first)
    thread.start()
    assert held.wait(30)
    assert kept.bindings.delete("memoria", "", "k")
    go.set()
    thread.join()
    assert kept.bindings.get("memoria", "", "k") is None
    assert kept.bindings.list("memoria", "") == []


class Slow:
    """A node that stops between the journal and the catalog."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept

    def put(self, held: threading.Event, go: threading.Event) -> None:
        journal = Journal(self.kept.store)
        change = journal.change_binding

        def stopping(*given: Any) -> Any:
            found = change(*given)
            held.set()
            go.wait(30)
            return found

        journal.change_binding = stopping  # type: ignore[method-assign]
        SqlBindings(self.kept.catalog, journal).put("memoria", "", "k", "1")


def test_what_was_removed_leaves_no_content_in_the_store(open_: Any) -> None:
    kept = open_()
    kept.bindings.put("memoria", "bob", "k", '"secret words"')
    kept.bindings.delete("memoria", "bob", "k")
    [key] = listed(kept, BINDINGS)
    assert key == binding_key("memoria", "bob", "k")
    assert b"secret words" not in kept.store.get(key).data


def test_what_a_newer_release_added_stays_and_its_format_is_refused(open_: Any) -> None:
    kept = open_()
    kept.bindings.put("memoria", "", "k", "1")
    [key] = listed(kept, BINDINGS)

    def change(**more: Any) -> None:
        found = kept.store.get(key)
        kept.store.replace(
            key, json.dumps({**json.loads(found.data), **more}).encode(), found.version
        )

    change(added={"by": "another"})
    kept.bindings.put("memoria", "", "k", "2")
    assert json.loads(kept.store.get(key).data)["added"] == {"by": "another"}
    change(writer=99)
    with pytest.raises(Unavailable, match="may be changed by releases from writer 99"):
        kept.bindings.put("memoria", "", "k", "3")
    change(format=99)
    with pytest.raises(Unavailable, match="has format 99, this release reads 1"):
        kept.bindings.put("memoria", "", "k", "3")
    change(format=1, writer=1, value=5)
    with pytest.raises(Internal, match="damaged"):
        kept.bindings.put("memoria", "", "k", "3")
    assert kept.bindings.get("memoria", "", "k").value == "2"


def test_without_its_store_nothing_is_changed_and_what_is_there_is_read(open_: Any) -> None:
    store = Down(VolatileStore())
    kept = open_(store)
    kept.credentials.add(row("a"))
    kept.bindings.put("memoria", "", "k", "1")
    store.down = True
    for change in (
        lambda: kept.credentials.add(row("b")),
        lambda: kept.credentials.revoke("a", 9),
        lambda: kept.bindings.put("memoria", "", "k", "2"),
        lambda: kept.bindings.delete("memoria", "", "k"),
    ):
        with pytest.raises(Unavailable, match="away"):
            change()
    assert kept.credentials.find("memoria", ["hash of a"]) == row("a")
    assert kept.bindings.get("memoria", "", "k").value == "1"
    # A new catalog answers nobody before it has what was kept.
    kept.lose()
    with pytest.raises(Unavailable, match="away"):
        kept.credentials.any("memoria")
    store.down = False
    assert kept.credentials.any("memoria")


class Down:
    """A store that is away at times."""

    def __init__(self, store: VolatileStore) -> None:
        self.store = store
        self.down = False

    def __getattr__(self, name: str) -> Any:
        if self.down and name != "name":
            raise Unavailable("the store is away", in_doubt=False)
        return getattr(self.store, name)


@pytest.mark.parametrize("wrong", ["x", "W10=", "WzksbnVsbF0=", "WzIsWzEsMl1d", "WzAsNV0="])
def test_a_cursor_that_is_none_is_refused(open_: Any, wrong: str) -> None:
    kept = open_()
    with pytest.raises(Invalid, match="did not come from an earlier page"):
        Recovery(kept.catalog, kept.journal).page(wrong)


def test_nodes_that_start_at_once_on_a_new_catalog_agree(url: str) -> None:
    store = VolatileStore()
    first = Kept(url, store)
    fill(first)
    before = first.state()
    first.lose()
    barrier, found = threading.Barrier(4), list[Any]()

    def start() -> None:
        barrier.wait(30)
        kept = Kept(url, store)
        found.append(kept.state())
        kept.catalog.close()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [before] * 4
    first.catalog.close()


def test_a_command_that_only_makes_the_tables_leaves_them_to_be_filled(
    open_: Any, url: str
) -> None:
    kept = open_()
    fill(kept)
    before = kept.state()
    kept.lose()
    catalog = open_catalog(url, Clock())
    catalog.prepare()
    catalog.close()
    assert open_(kept.store).state() == before
