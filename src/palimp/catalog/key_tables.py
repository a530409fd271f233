"""Keys of other systems' clients, and their bindings, in the catalog's database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, tuple_, update

from ..errors import Invalid
from .coordination import now_of
from .key_rows import Binding, CredentialRow
from .tables import BINDINGS, CREDENTIALS

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from .sql_catalog import SqlCatalog

__all__ = ["SqlBindings", "SqlCredentials"]

_SCOPE_BYTES_MAX = 512
_KEY_BYTES_MAX = 256
_VALUE_BYTES_MAX = 1 << 20


class SqlCredentials:
    """Keeps keys in a catalog; `key_rows.CredentialTable`. Thread-safe, as the catalog is."""

    def __init__(self, catalog: SqlCatalog) -> None:
        self._catalog = catalog

    def add(self, row: CredentialRow) -> None:
        """Keep a new one."""
        with self._catalog.changing() as connection:
            connection.execute(insert(CREDENTIALS).values(**row._asdict()))

    def replace(self, old: str, row: CredentialRow) -> bool:
        """Keep a new one and revoke the old, both or neither; False where that is not there."""
        with self._catalog.changing() as connection:
            done = connection.execute(_revoking(old, row.created_at))
            if done.rowcount == 0:
                return False
            connection.execute(insert(CREDENTIALS).values(**row._asdict()))
            return True

    def revoke(self, credential: str, at: int) -> bool:
        """Let one hold no more; False where it is not there."""
        with self._catalog.changing() as connection:
            return connection.execute(_revoking(credential, at)).rowcount == 1

    def get(self, credential: str) -> CredentialRow | None:
        """Return one by its id."""
        return self._one(CREDENTIALS.c.id == credential)

    def find(self, dialect: str, hashes: list[str]) -> CredentialRow | None:
        """Return the one that has one of these hashes."""
        return self._one(CREDENTIALS.c.dialect == dialect, CREDENTIALS.c.hash.in_(hashes))

    def rehash(self, credential: str, new: str) -> None:
        """Keep another hash of one."""
        changed = update(CREDENTIALS).where(CREDENTIALS.c.id == credential)
        with self._catalog.changing() as connection:
            connection.execute(changed.values(hash=new))

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


class SqlBindings:
    """Keeps bindings in a catalog; `key_rows.BindingTable`. Thread-safe, as the catalog is."""

    def __init__(self, catalog: SqlCatalog) -> None:
        self._catalog = catalog
        self._now = now_of(catalog)

    def get(self, dialect: str, scope: str, key: str) -> Binding | None:
        """Return what is kept under a key."""
        query = select(*_BINDING).where(*_named(dialect, scope, key))
        with self._catalog.changing() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Binding(*row)

    def put(
        self, dialect: str, scope: str, key: str, value: str, expect: int | None = None
    ) -> int | None:
        """Keep a value and return its version; None, and nothing changed, where `expect` is wrong.

        `expect` is the version it has to have now: 0 where there must be none; None takes any.
        """
        _check_size(value, "a binding", 0, _VALUE_BYTES_MAX)
        where = _named(dialect, scope, key)
        named = {"dialect": dialect, "scope": scope, "key": key}
        new = {**named, "value": value, "version": 1, "updated_at": self._now}
        query = select(BINDINGS.c.version).where(*where)
        changed = update(BINDINGS).where(*where)
        if expect is not None:
            changed = changed.where(BINDINGS.c.version == expect)
        values = {"value": value, "version": BINDINGS.c.version + 1, "updated_at": self._now}
        while True:
            with self._catalog.changing() as connection:
                # An insert that meets a row locks it: only where there seems to be none.
                if expect != 0 and connection.execute(changed.values(**values)).rowcount:
                    version: int = connection.execute(query).scalar_one()
                    return version
                if not expect and self._catalog.inserts.new(connection, BINDINGS, new):
                    return 1
            if expect is not None:
                return None

    def list(
        self, dialect: str, scope: str, prefix: str = "", after: str = "", limit: int = 1_000
    ) -> list[Binding]:
        """Return those whose keys begin with `prefix` and come after `after`, in their order."""
        query = select(*_BINDING).where(*_within(dialect, scope), BINDINGS.c.key > after)
        if prefix:
            # There they are bytes, and counted so.
            size = len(prefix.encode() if self._catalog.dialect == "mysql" else prefix)
            query = query.where(func.substr(BINDINGS.c.key, 1, size) == prefix)
        with self._catalog.changing() as connection:
            rows = connection.execute(query.order_by(BINDINGS.c.key).limit(limit))
            return [Binding(*row) for row in rows]

    def delete(self, dialect: str, scope: str, key: str, expect: int | None = None) -> bool:
        """Remove a key, if it has the version `expect`; whether it was removed."""
        gone = delete(BINDINGS).where(*_named(dialect, scope, key))
        if expect is not None:
            gone = gone.where(BINDINGS.c.version == expect)
        with self._catalog.changing() as connection:
            return connection.execute(gone).rowcount == 1


_COLUMNS = tuple(CREDENTIALS.c[name] for name in CredentialRow._fields)
_BINDING = tuple(BINDINGS.c[name] for name in Binding._fields)


def _revoking(credential: str, at: int) -> Any:
    held = CREDENTIALS.c.id == credential, CREDENTIALS.c.revoked_at.is_(None)
    return update(CREDENTIALS).where(*held).values(revoked_at=at)


def _named(dialect: str, scope: str, key: str) -> tuple[ColumnElement[bool], ...]:
    _check_size(key, "the key of a binding", 1, _KEY_BYTES_MAX)
    return *_within(dialect, scope), BINDINGS.c.key == key


def _within(dialect: str, scope: str) -> tuple[ColumnElement[bool], ...]:
    _check_size(scope, "the scope of a binding", 0, _SCOPE_BYTES_MAX)
    return BINDINGS.c.dialect == dialect, BINDINGS.c.scope == scope


def _check_size(text: str, what: str, least: int, most: int) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise Invalid(f"{what} has half a surrogate pair, which no UTF-8 text can hold") from None
    # PostgreSQL has no room for a null character.
    if not least <= size <= most or "\0" in text:
        raise Invalid(f"{what} has {size:,} bytes; {least:,} to {most:,} fit, without a null")
