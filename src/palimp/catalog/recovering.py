"""Has the catalog and its journal agree: a new catalog is given all that was ever kept.

The journal is true. A catalog without it comes from a release that had none, and is written down in
it once; one without rows was lost, and is filled from it before anybody is answered.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from sqlalchemy import Table, delete, select, tuple_, update

from ..decoding import from_json
from ..errors import Invalid
from ..observe import logger
from . import tables
from .binding_tables import bring_bindings
from .journal import (
    BINDINGS,
    CREDENTIALS,
    BindingEntry,
    Journal,
    binding_key,
    binding_of,
    credential_key,
)
from .key_rows import CredentialRow
from .key_tables import bring_credentials

if TYPE_CHECKING:
    from .sql_catalog import SqlCatalog

__all__ = ["Recovered", "Recovery", "recover"]

_LOG = logger("catalog")
_MARK = "journal"
_PAGE = 200
# A store that is far away answers each in tens of milliseconds.
_TOGETHER = 16


class Recovered(NamedTuple):
    """What one step came to: entries read, rows removed of which there is none; where to go on."""

    entries: int
    removed: int
    cursor: str | None


def recover(catalog: SqlCatalog, journal: Journal) -> None:
    """Have in a catalog what the journal has, and the other way round, if that never was done.

    Interrupted, or done by several at once, it is done again with the same end.
    """
    with catalog.transaction() as connection:
        query = select(tables.META.c.value).where(tables.META.c.key == _MARK)
        if connection.scalar(query) is not None:
            return
    work = Recovery(catalog, journal)
    written = 0 if journal.read_only else work.write_down()
    brought, place = 0, _Place(0, None)
    while place.step < len(_PREFIXES):
        count, place = work.bring(place)
        brought += count
    if journal.read_only:
        return
    with catalog.transaction() as connection:
        mark = {"key": _MARK, "value": 1, "text": None}
        catalog.inserts.new(connection, tables.META, mark)
    if written:
        _LOG.info("%d keys and bindings were written into %s", written, journal.name)
    elif brought:
        _LOG.warning(
            "catalog %s was new: it has %d keys and bindings from %s again",
            catalog.name,
            brought,
            journal.name,
        )


class _Place(NamedTuple):
    """How far it has come: which step, and after what in it."""

    step: int
    after: Any


_PREFIXES = (CREDENTIALS, BINDINGS)
_TABLES = (tables.CREDENTIALS, tables.BINDINGS)
_STEPS = len(_PREFIXES) + len(_TABLES)


class Recovery:
    """Makes the keys and bindings of a catalog again from the journal, page by page."""

    def __init__(self, catalog: SqlCatalog, journal: Journal) -> None:
        self._catalog = catalog
        self._journal = journal

    def page(self, cursor: str | None) -> Recovered:
        """Do one step; the cursor it returns asks for the next, None: all is done.

        First everything in the journal is brought, then what it does not have is removed. Nodes go
        on meanwhile: what they write is in the journal before it is in the catalog.
        """
        place = _Place(0, None) if cursor is None else _parsed(cursor)
        self._catalog.prepare()
        entries = removed = 0
        if place.step < len(_PREFIXES):
            entries, after = self.bring(place, lower=True)
        else:
            removed, after = self._sweep(place)
        return Recovered(entries, removed, None if after.step == _STEPS else _shown(after))

    def bring(self, place: _Place, *, lower: bool = False) -> tuple[int, _Place]:
        """Bring one page of the journal; with `lower` also over what is newer in the catalog."""
        found = self._journal.page(_PREFIXES[place.step], place.after, _PAGE)
        if place.step == 0:
            rows = list(self._journal.credentials(found))
            with self._catalog.transaction() as connection:
                bring_credentials(self._catalog, connection, rows)
        else:
            entries = [binding_of(raw) for raw in found.objects]
            with self._catalog.transaction() as connection:
                bring_bindings(self._catalog, connection, entries)
            if lower:
                self._lower(entries)
        after = _Place(place.step + (found.after is None), found.after)
        return len(found.objects), after

    def write_down(self) -> int:
        """Write what the catalog has into the journal where that has none; return how many."""
        written = 0
        with ThreadPoolExecutor(_TOGETHER, "palimp-journal") as pool:
            for table in _TABLES:
                after = None
                while rows := self._rows(table, after):
                    written += sum(pool.map(self._write, rows))
                    after = _name(table, rows[-1])
        return written

    def _write(self, row: CredentialRow | BindingEntry) -> bool:
        if isinstance(row, CredentialRow):
            kept: Any = self._journal.change_credential(row.id, _if_none(row))
            return bool(kept._replace(last_used_at=row.last_used_at) == row)
        kept = self._journal.change_binding(*row[:3], _if_none(row))
        return bool(kept == row)

    def _lower(self, entries: Sequence[BindingEntry]) -> None:
        """Take back what is newer in the catalog than in the journal: that was an older store."""
        columns = tables.BINDINGS.c
        for entry in entries:
            where = [columns[name] == entry[i] for i, name in enumerate(BindingEntry._fields[:3])]
            with self._catalog.transaction() as connection:
                version = connection.scalar(select(columns.version).where(*where))
            if version is None or version <= entry.version:
                continue
            # A row is written after its entry: one that is read after the row is no older.
            now = self._journal.change_binding(*entry[:3], lambda _: None)
            if now is None or now.version >= version:
                continue
            with self._catalog.transaction() as connection:
                held = update(tables.BINDINGS).where(*where, columns.version == version)
                connection.execute(held.values(value=now.value, version=now.version))

    def _sweep(self, place: _Place) -> tuple[int, _Place]:
        """Remove rows without an entry: a row is written after its entry, and entries stay."""
        table = _TABLES[place.step - len(_PREFIXES)]
        rows = self._rows(table, place.after)
        if not rows:
            return 0, _Place(place.step + 1, None)
        with ThreadPoolExecutor(_TOGETHER, "palimp-journal") as pool:
            there = list(pool.map(self._journal.has, map(_object, rows)))
        spare = [row for row, has in zip(rows, there, strict=True) if not has]
        with self._catalog.transaction() as connection:
            for row in spare:
                named = zip(table.primary_key, _name(table, row), strict=True)
                connection.execute(delete(table).where(*(column == at for column, at in named)))
        return len(spare), _Place(place.step, _name(table, rows[-1]))

    def _rows(self, table: Table, after: Any) -> list[Any]:
        """Return some rows in the order of their names."""
        kind: Any = CredentialRow if table is tables.CREDENTIALS else BindingEntry
        keys = tuple(table.primary_key)
        query = select(*(table.c[name] for name in kind._fields)).order_by(*keys).limit(_PAGE)
        if after is not None:
            query = query.where(tuple_(*keys) > tuple(after))
        with self._catalog.transaction() as connection:
            return [kind(*row) for row in connection.execute(query)]


def _if_none(row: Any) -> Callable[[Any], Any]:
    return lambda kept: row if kept is None else None


def _name(table: Table, row: Any) -> tuple[Any, ...]:
    return tuple(getattr(row, column.name) for column in table.primary_key)


def _object(row: CredentialRow | BindingEntry) -> str:
    return credential_key(row.id) if isinstance(row, CredentialRow) else binding_key(*row[:3])


def _shown(place: _Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode()


def _parsed(cursor: str) -> _Place:
    try:
        step, after = from_json(base64.urlsafe_b64decode(cursor), tuple[int, Any])
    except (binascii.Error, msgspec.DecodeError, ValueError):
        step, after = -1, None
    if not 0 <= step < _STEPS or not (after is None or _fits(step, after)):
        raise Invalid(f"cursor {cursor!r:.80} did not come from an earlier page")
    return _Place(step, after)


def _fits(step: int, after: Any) -> bool:
    if step < len(_PREFIXES):
        return isinstance(after, str)
    keys = _TABLES[step - len(_PREFIXES)].primary_key
    right = isinstance(after, list) and len(after) == len(tuple(keys))
    return right and all(isinstance(one, str) for one in after)
