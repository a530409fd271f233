"""Keys of other systems' clients in the catalog's database, and before it in its journal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select, tuple_, update

from ..errors import Internal
from .key_rows import CredentialRow
from .tables import CREDENTIALS

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from .journal import Journal
    from .sql_catalog import SqlCatalog

__all__ = ["SqlCredentials", "bring_credentials"]


class SqlCredentials:
    """Keeps keys in a catalog; `key_rows.CredentialTable`. Thread-safe, as the catalog is.

    A change is in the journal before it is in the catalog, which is what is read. Where one was
    interrupted in between, whoever changes that key next brings the catalog to it.
    """

    def __init__(self, catalog: SqlCatalog, journal: Journal) -> None:
        self._catalog = catalog
        self._journal = journal

    def add(self, row: CredentialRow) -> None:
        """Keep a new one."""
        # A catalog that is down is told of before there is a key that nobody knows.
        self._row(row.id)
        self._journal.change_credential(row.id, lambda old: row if old is None else None)
        self._bring(row)

    def replace(self, old: str, row: CredentialRow) -> bool:
        """Keep a new one and revoke the old, both or neither; False where that is not there."""
        done = False

        def change(kept: CredentialRow | None) -> CredentialRow | None:
            nonlocal done
            now = self._now(old, kept)
            done = now is not None and now.revoked_at is None
            return now._replace(revoked_at=row.created_at) if now is not None and done else None

        found = self._journal.succeed(old, change, row)
        self._bring(*(one for one in (found, row if done else None) if one is not None))
        return done

    def revoke(self, credential: str, at: int) -> bool:
        """Let one hold no more; False where it is not there."""
        done = False

        def change(kept: CredentialRow | None) -> CredentialRow | None:
            nonlocal done
            now = self._now(credential, kept)
            done = now is not None and now.revoked_at is None
            return now._replace(revoked_at=at) if now is not None and done else None

        found = self._journal.change_credential(credential, change)
        if found is not None:
            self._bring(found)
        return done

    def rehash(self, credential: str, new: str) -> None:
        """Keep another hash of one."""

        def change(kept: CredentialRow | None) -> CredentialRow | None:
            now = self._now(credential, kept)
            return None if now is None or now.hash == new else now._replace(hash=new)

        found = self._journal.change_credential(credential, change)
        if found is not None:
            self._bring(found)

    def get(self, credential: str) -> CredentialRow | None:
        """Return one by its id."""
        return self._one(CREDENTIALS.c.id == credential)

    def find(self, dialect: str, hashes: list[str]) -> CredentialRow | None:
        """Return the one that has one of these hashes."""
        return self._one(CREDENTIALS.c.dialect == dialect, CREDENTIALS.c.hash.in_(hashes))

    def was_revoked(self, dialect: str, hashes: list[str]) -> bool:
        """Whether one that has one of these hashes was revoked."""
        columns = CREDENTIALS.c
        of = columns.dialect == dialect, columns.hash.in_(hashes)
        query = select(columns.id).where(*of, columns.revoked_at.is_not(None)).limit(1)
        with self._catalog.changing() as connection:
            return connection.scalar(query) is not None

    def page(
        self,
        dialect: str | None,
        subject: str | None,
        before: tuple[int, str] | None,
        limit: int,
        *,
        revoked: bool = False,
    ) -> list[CredentialRow]:
        """Return those of a dialect and a subject, the newest first, before (time, id) only."""
        columns = CREDENTIALS.c
        query = select(*_COLUMNS)
        if not revoked:
            query = query.where(columns.revoked_at.is_(None))
        if dialect is not None:
            query = query.where(columns.dialect == dialect)
        if subject is not None:
            query = query.where(columns.subject == subject)
        if before is not None:
            query = query.where(tuple_(columns.created_at, columns.id) < before)
        query = query.order_by(columns.created_at.desc(), columns.id.desc()).limit(limit)
        with self._catalog.changing() as connection:
            return [CredentialRow(*row) for row in connection.execute(query)]

    def any(self, dialect: str) -> bool:
        """Return whether there ever was one."""
        query = select(CREDENTIALS.c.id).where(CREDENTIALS.c.dialect == dialect).limit(1)
        with self._catalog.changing() as connection:
            return connection.scalar(query) is not None

    def used(self, times: dict[str, int]) -> None:
        """Note when keys were used last, by their ids (ms)."""
        last = func.coalesce(CREDENTIALS.c.last_used_at, 0)
        with self._catalog.changing() as connection:
            # In one order everywhere: two nodes that wait for each other's rows are a deadlock.
            for credential, at in sorted(times.items()):
                row = update(CREDENTIALS).where(CREDENTIALS.c.id == credential, last < at)
                connection.execute(row.values(last_used_at=at))

    def _one(self, *conditions: ColumnElement[bool]) -> CredentialRow | None:
        query = select(*_COLUMNS).where(*conditions, CREDENTIALS.c.revoked_at.is_(None))
        with self._catalog.changing() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else CredentialRow(*row)

    def _row(self, credential: str) -> CredentialRow | None:
        """Return one as the catalog has it, also one that was revoked."""
        query = select(*_COLUMNS).where(CREDENTIALS.c.id == credential)
        with self._catalog.changing() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else CredentialRow(*row)

    def _now(self, credential: str, kept: CredentialRow | None) -> CredentialRow | None:
        """Return what one is: what an older release wrote is in the catalog only."""
        row = self._row(credential)
        if kept is None or row is None:
            return kept or row
        return kept._replace(revoked_at=row.revoked_at) if kept.revoked_at is None else kept

    def _bring(self, *rows: CredentialRow) -> None:
        with self._catalog.changing() as connection:
            bring_credentials(self._catalog, connection, rows)


def bring_credentials(
    catalog: SqlCatalog, connection: Connection, rows: Sequence[CredentialRow]
) -> None:
    """Have keys in the catalog as the journal has them; what was revoked there stays revoked."""
    # In one order everywhere: two nodes that wait for each other's rows are a deadlock.
    for row in sorted(rows, key=lambda one: one.id):
        changed = _changed(row)
        if connection.execute(changed).rowcount:
            continue
        # Not an upsert: on MySQL it would change whichever row has that hash.
        new = catalog.inserts.new(connection, CREDENTIALS, row._asdict())
        if not new and not connection.execute(changed).rowcount:
            raise Internal(f"the hash of key {row.id} is that of another key")


def _changed(row: CredentialRow) -> Any:
    revoked = func.coalesce(CREDENTIALS.c.revoked_at, row.revoked_at)
    held = update(CREDENTIALS).where(CREDENTIALS.c.id == row.id)
    return held.values(hash=row.hash, revoked_at=revoked)


_COLUMNS = tuple(CREDENTIALS.c[name] for name in CredentialRow._fields)
