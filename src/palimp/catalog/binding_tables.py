"""What dialects keep that is no memory, in the catalog's database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Table, case, delete, func, select, update

from ..errors import Invalid
from .coordination import now_of
from .journal import BindingEntry
from .key_rows import Binding
from .tables import BINDINGS, NOTES

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from .journal import Journal
    from .sql_catalog import SqlCatalog

__all__ = ["SqlBindings", "SqlNotes", "bring_bindings"]

_SCOPE_BYTES_MAX = 512
_KEY_BYTES_MAX = 256
_VALUE_BYTES_MAX = 1 << 20
# What a binding that was removed has for a value: no JSON text is empty.
_GONE = ""


class _Kept:
    """What is read of a table of values under keys."""

    def __init__(self, catalog: SqlCatalog, table: Table) -> None:
        self._catalog = catalog
        self._table = table
        self._columns = tuple(table.c[name] for name in Binding._fields)
        self._now = now_of(catalog)

    def get(self, dialect: str, scope: str, key: str) -> Binding | None:
        """Return what is kept under a key."""
        found = self._row(dialect, scope, key)
        return None if found is None or found.value == _GONE else found

    def list(
        self, dialect: str, scope: str, prefix: str = "", after: str = "", limit: int = 1_000
    ) -> list[Binding]:
        """Return those whose keys begin with `prefix` and come after `after`, in their order."""
        columns = self._table.c
        query = select(*self._columns).where(*self._within(dialect, scope), columns.key > after)
        query = query.where(columns.value != _GONE)
        if prefix:
            # There they are bytes, and counted so.
            size = len(prefix.encode() if self._catalog.dialect == "mysql" else prefix)
            query = query.where(func.substr(columns.key, 1, size) == prefix)
        with self._catalog.changing() as connection:
            rows = connection.execute(query.order_by(columns.key).limit(limit))
            return [Binding(*row) for row in rows]

    def _row(self, dialect: str, scope: str, key: str) -> Binding | None:
        query = select(*self._columns).where(*self._named(dialect, scope, key))
        with self._catalog.changing() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Binding(*row)

    def _named(self, dialect: str, scope: str, key: str) -> tuple[ColumnElement[bool], ...]:
        _check_size(key, "the key of a binding", 1, _KEY_BYTES_MAX)
        return *self._within(dialect, scope), self._table.c.key == key

    def _within(self, dialect: str, scope: str) -> tuple[ColumnElement[bool], ...]:
        _check_size(scope, "the scope of a binding", 0, _SCOPE_BYTES_MAX)
        return self._table.c.dialect == dialect, self._table.c.scope == scope


class SqlNotes(_Kept):
    """Keeps what is of passing interest: `key_rows.BindingTable`, in the catalog and nowhere else.

    Thread-safe, as the catalog is.
    """

    def __init__(self, catalog: SqlCatalog) -> None:
        super().__init__(catalog, NOTES)

    def put(
        self, dialect: str, scope: str, key: str, value: str, expect: int | None = None
    ) -> int | None:
        """Keep a value and return its version; None, and nothing changed, where `expect` is wrong.

        `expect` is the version it has to have now: 0 where there must be none; None takes any.
        """
        _check_size(value, "a binding", 1, _VALUE_BYTES_MAX)
        where = self._named(dialect, scope, key)
        named = {"dialect": dialect, "scope": scope, "key": key}
        new = {**named, "value": value, "version": 1, "updated_at": self._now}
        query = select(NOTES.c.version).where(*where)
        changed = update(NOTES).where(*where)
        if expect is not None:
            changed = changed.where(NOTES.c.version == expect)
        values = {"value": value, "version": NOTES.c.version + 1, "updated_at": self._now}
        while True:
            with self._catalog.changing() as connection:
                # An insert that meets a row locks it: only where there seems to be none.
                if expect != 0 and connection.execute(changed.values(**values)).rowcount:
                    version: int = connection.execute(query).scalar_one()
                    return version
                if not expect and self._catalog.inserts.new(connection, NOTES, new):
                    return 1
            if expect is not None:
                return None

    def delete(self, dialect: str, scope: str, key: str, expect: int | None = None) -> bool:
        """Remove a key, if it has the version `expect`; whether it was removed."""
        gone = delete(NOTES).where(*self._named(dialect, scope, key))
        if expect is not None:
            gone = gone.where(NOTES.c.version == expect)
        with self._catalog.changing() as connection:
            return connection.execute(gone).rowcount == 1


class SqlBindings(_Kept):
    """Keeps bindings in a catalog; `key_rows.BindingTable`. Thread-safe, as the catalog is.

    A change is in the journal before it is in the catalog, which is what is read. Where one was
    interrupted in between, whoever changes that binding next brings the catalog to it. A row whose
    value is empty was removed: its version says what is older.
    """

    def __init__(self, catalog: SqlCatalog, journal: Journal) -> None:
        super().__init__(catalog, BINDINGS)
        self._journal = journal

    def put(
        self, dialect: str, scope: str, key: str, value: str, expect: int | None = None
    ) -> int | None:
        """Keep a value and return its version; None, and nothing changed, where `expect` is wrong.

        `expect` is the version it has to have now: 0 where there must be none; None takes any.
        """
        _check_size(value, "a binding", 1, _VALUE_BYTES_MAX)
        return self._change(BindingEntry(dialect, scope, key, value, 0), expect)

    def delete(self, dialect: str, scope: str, key: str, expect: int | None = None) -> bool:
        """Remove a key, if it has the version `expect`; whether it was removed."""
        entry = BindingEntry(dialect, scope, key, _GONE, 0)
        return self._change(entry, expect) is not None

    def _change(self, wanted: BindingEntry, expect: int | None) -> int | None:
        """Make an entry what is wanted, in its next version, and return that; None: it is left."""
        # Checked before an object is named by it.
        self._named(*wanted[:3])
        done = False

        def change(kept: BindingEntry | None) -> BindingEntry | None:
            nonlocal done
            now = self._newest(wanted, kept)
            held = now.version if now.value != _GONE else 0
            done = expect in (None, held) and bool(held or wanted.value != _GONE)
            return wanted._replace(version=now.version + 1) if done else None

        found = self._journal.change_binding(*wanted[:3], change)
        if found is not None:
            with self._catalog.changing() as connection:
                bring_bindings(self._catalog, connection, [found])
        return found.version if found is not None and done else None

    def _newest(self, wanted: BindingEntry, kept: BindingEntry | None) -> BindingEntry:
        """Return what it is now: what an older release wrote is in the catalog only."""
        row = self._row(*wanted[:3])
        known = wanted._replace(value=_GONE) if kept is None else kept
        if row is None or row.version <= known.version:
            return known
        return wanted._replace(value=row.value, version=row.version)


def bring_bindings(
    catalog: SqlCatalog, connection: Connection, entries: Sequence[BindingEntry]
) -> None:
    """Have bindings in the catalog as the journal has them, but those that are newer there."""
    # In one order everywhere: two nodes that wait for each other's rows are a deadlock.
    now = catalog.clock.now_ms()
    rows = [{**one._asdict(), "updated_at": now} for one in sorted(entries)]
    if rows:
        catalog.inserts.or_change(connection, BINDINGS, rows, _if_newer)


def _if_newer(given: Any) -> list[tuple[str, Any]]:
    newer = given.version > BINDINGS.c.version
    # Last what it is decided by.
    return [
        (name, case((newer, given[name]), else_=BINDINGS.c[name]))
        for name in ("value", "updated_at", "version")
    ]


def _check_size(text: str, what: str, least: int, most: int) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise Invalid(f"{what} has half a surrogate pair, which no UTF-8 text can hold") from None
    # PostgreSQL has no room for a null character.
    if not least <= size <= most or "\0" in text:
        raise Invalid(f"{what} has {size:,} bytes; {least:,} to {most:,} fit, without a null")
