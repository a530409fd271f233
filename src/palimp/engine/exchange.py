"""A database as a plain SQLite file for elsewhere, and such a file, mistrusted, as a database.

What is exported is in rollback-journal mode: any SQLite opens it, also where nothing can be
written. What is imported may have been made by anybody. It is compared with the schema of this
release before anything in it can be evaluated, and opened so that SQLite trusts none of it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import msgspec

from ..decoding import from_json
from ..errors import Invalid
from ..ids import random_id
from ..store.disk_faults import disk_faults
from .faults import sqlite_faults

__all__ = [
    "IMPORT_BYTES_MAX",
    "SchemaRow",
    "check_import",
    "import_image",
    "looked_into",
    "plain_file",
    "read_names",
    "read_schema",
]

# One object of a store.
IMPORT_BYTES_MAX = 4 << 30
_STATE_TABLE = "__palimp_engine"
_RESERVED = "__palimp_"
_SQLITE_OWN = re.compile(r"sqlite_(?!autoindex_)", re.IGNORECASE)
# SQLite writes the first words by itself, whatever stood in the statement.
_CALLERS_TABLE = re.compile(
    r"""(?:CREATE\ TABLE\b
    |CREATE\ VIRTUAL\ TABLE\ (?:\w+|"[^"]*"|'[^']*'|`[^`]*`|\[[^]]*\])\s+
    USING\s+(?:fts5|rtree|rtree_i32)\s*\()""",
    re.IGNORECASE | re.VERBOSE,
)
_HEADER_BYTES = 100
_MAGIC = b"SQLite format 3\0"
# File format for writing and reading: 1 is a rollback journal, 2 a write-ahead log.
_MODE_BYTES = slice(18, 20)
_ROLLBACK_MODE = b"\1\1"
_ORIGIN_BYTES_MAX = 65_536


class SchemaRow(NamedTuple):
    """One row of `sqlite_master`, without where in the file the object is."""

    type: str
    name: str
    table: str
    sql: str | None


def plain_file(image: bytes, folder: Path, origin: dict[str, str | int]) -> bytes:
    """Return a database image as a file that any SQLite opens, also where it cannot write.

    The content is the image's, in rollback-journal mode, with `origin` as one more row of the
    engine's table. `folder` holds a temporary copy meanwhile and nothing afterwards.
    """
    forming = folder / f".export-{random_id('file')}"
    path = forming / "main.db"
    try:
        with disk_faults(str(path)):
            forming.mkdir(mode=0o700)
            path.write_bytes(image)
        with sqlite_faults(str(path)), _opened(path, apsw.SQLITE_OPEN_READWRITE) as connection:
            # No shared memory for a file nobody else knows, no syncs for one that will be removed.
            connection.pragma("locking_mode", "exclusive")
            connection.pragma("synchronous", "off")
            _set_journal_mode(connection, "delete")
            connection.execute(
                f"INSERT OR REPLACE INTO {_STATE_TABLE} VALUES ('origin', ?)",
                (msgspec.json.encode(origin).decode(),),
            )
        with disk_faults(str(path)):
            return path.read_bytes()
    finally:
        shutil.rmtree(forming, ignore_errors=True)


def read_schema(path: Path) -> frozenset[SchemaRow]:
    """Return the schema of a database file that nobody writes to, for `check_import`."""
    with sqlite_faults(str(path)), _opened_unchanging(path) as connection:
        return _schema(connection)


@contextmanager
def looked_into(path: Path) -> Iterator[apsw.Connection]:
    """Give a file that `check_import` let through to who only reads what stands in it."""
    with sqlite_faults(path.name), _opened_unchanging(path) as connection:
        yield connection


def read_names(path: Path) -> list[str]:
    """Return the names of the objects of a file from elsewhere, in the order they were made.

    None of a file that cannot be read: `check_import` says what is wrong with it.
    """
    with sqlite_faults(path.name), _opened_unchanging(path) as connection:
        try:
            rows: list[Any] = connection.execute(
                "SELECT name FROM sqlite_schema ORDER BY rowid"
            ).fetchall()
        except apsw.Error:
            return []
    return list(dict.fromkeys(name for (name,) in rows if isinstance(name, str)))


def check_import(path: Path, template: frozenset[SchemaRow]) -> dict[str, str | int] | None:
    """Return what an exported file says of its origin (None where it says nothing).

    Raises `Invalid`, naming what, unless the file is an undamaged SQLite database with exactly the
    objects of `template`, and of anybody else's only what SQL of a caller's own may make: no
    trigger or index on a table of ours, no virtual table of another kind. Nothing in the file is
    evaluated before that is known, and nothing is written, to it or beside it. It has to be
    writable all the same, and nobody else may have it open: a copy of ours.
    """
    with disk_faults(path.name):
        size = path.stat().st_size
        with path.open("rb") as stream:
            header = stream.read(_HEADER_BYTES)
    if size > IMPORT_BYTES_MAX:
        raise Invalid(
            f"{path.name} has {size:,} bytes, at most {IMPORT_BYTES_MAX:,} are imported",
            code="payload_too_large",
        )
    _check_header(path, header)
    with _refused(path):
        with _opened_unchanging(path) as connection:
            _check_schema(path, _schema(connection), template)
        return _check_content(path)


def import_image(path_in: Path, path_out: Path, txid: int) -> None:
    """Copy a file that `check_import` let through to the new file `path_out`, for our use.

    It is then in WAL mode at `txid`, without an origin and without answers to earlier requests.
    The caller syncs it and its folder before anybody relies on it.
    """
    assert not path_out.exists(), f"{path_out} is there already"
    with disk_faults(str(path_out)):
        shutil.copyfile(path_in, path_out)
    with sqlite_faults(str(path_out)), _opened(path_out, apsw.SQLITE_OPEN_READWRITE) as connection:
        _set_journal_mode(connection, "wal")
        connection.pragma("secure_delete", "on")
        with connection:
            connection.execute(f"INSERT OR REPLACE INTO {_STATE_TABLE} VALUES ('txid', ?)", (txid,))
            connection.execute(f"DELETE FROM {_STATE_TABLE} WHERE key = 'origin'")
            connection.execute("DELETE FROM __palimp_requests")


@contextmanager
def _opened(path: Path | str, flags: int) -> Iterator[apsw.Connection]:
    """Open a file that SQLite is to trust in nothing."""
    connection = apsw.Connection(str(path), flags=flags)
    try:
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0)
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
        connection.pragma("cell_size_check", 1)
        yield connection
    finally:
        connection.close()


@contextmanager
def _opened_unchanging(path: Path) -> Iterator[apsw.Connection]:
    """Open a file to look at it: no lock, no journal played back, nothing made beside it."""
    address = f"{path.absolute().as_uri()}?immutable=1"
    with _opened(address, apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI) as connection:
        yield connection


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Whatever SQLite cannot make sense of is the file's fault; what the disk refuses is not."""
    with sqlite_faults(path.name):
        try:
            yield
        except (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, apsw.FormatError) as error:
            raise _damaged(path, str(error)) from error


def _damaged(path: Path, what: str) -> Invalid:
    return Invalid(f"{path.name} is damaged: {what:.300}; nothing was imported, use another copy")


def _check_header(path: Path, header: bytes) -> None:
    if not header.startswith(_MAGIC):
        raise Invalid(f"{path.name} is not an SQLite database; give a file that export wrote")
    if header[_MODE_BYTES] != _ROLLBACK_MODE:
        # Its last changes may stand in a log beside it, which nobody handed in.
        raise Invalid(
            f"{path.name} is not in rollback-journal mode, as exported files are; "
            "run PRAGMA journal_mode = DELETE on it where its -wal file is"
        )


def _check_schema(path: Path, found: frozenset[SchemaRow], template: frozenset[SchemaRow]) -> None:
    if not any(row.type == "table" and row.name == _STATE_TABLE for row in found):
        raise Invalid(
            f"{path.name} was not made by export: it has no table {_STATE_TABLE}; "
            "give a file that export wrote"
        )
    found = frozenset(row for row in found if row in template or not _is_a_callers(row))
    ours = {(row.type, row.name) for row in template}
    theirs = {(row.type, row.name) for row in found}
    for wrong, words in (
        (theirs - ours, "has {}, which no Palimpsest database of this release has"),
        (ours - theirs, "lacks {} of this release"),
        ({row[:2] for row in found ^ template}, "has {} in another form than this release"),
    ):
        if wrong:
            # A table before what belongs to it.
            kind = max(kind for kind, _ in wrong)
            name = min(name for other, name in wrong if other == kind)
            raise Invalid(
                f"{path.name} {words.format(f'{kind} {name!r:.80}')}; "
                "export it anew with this release"
            )


def _is_a_callers(row: SchemaRow) -> bool:
    """Whether SQL of a caller's own can have made an object; of ours it can make none."""
    names = f"{row.name} {row.table}".lower()
    if _RESERVED in names or _SQLITE_OWN.match(row.name):
        return False
    return row.type != "table" or _CALLERS_TABLE.match(row.sql or "") is not None


def _schema(connection: apsw.Connection) -> frozenset[SchemaRow]:
    rows: list[Any] = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema"
    ).fetchall()
    found = frozenset(SchemaRow(*row) for row in rows)
    if len(found) != len(rows):
        # SQLite takes the index of a UNIQUE twice, each with a root page of its own.
        raise apsw.CorruptError("an object stands twice in its schema")
    return found


def _check_content(path: Path) -> dict[str, str | int] | None:
    """Return the origin after every page, index, constraint and word list was found sound."""
    if path.with_name(f"{path.name}-journal").exists():
        raise _damaged(path, "a journal lies beside it, so a change to it was not finished")
    # Not read-only: then SQLite leaves every CHECK out of the schema, and so out of its check.
    with _opened(path, apsw.SQLITE_OPEN_READWRITE) as connection:
        if connection.readonly("main"):
            raise apsw.ReadOnlyError("a full check opens it for writing")
        connection.pragma("query_only", 1)
        found = connection.execute("PRAGMA integrity_check(1)").get
        if found != "ok":
            raise _damaged(path, str(found))
        return _origin(path, connection)


def _origin(path: Path, connection: apsw.Connection) -> dict[str, str | int] | None:
    text = connection.execute(f"SELECT value FROM {_STATE_TABLE} WHERE key = 'origin'").get
    if text is None:
        return None
    if isinstance(text, str) and len(text) <= _ORIGIN_BYTES_MAX:
        try:
            return from_json(text, dict[str, str | int])
        except (msgspec.DecodeError, UnicodeError):
            pass
    raise _damaged(path, "what it says of its origin is not what export writes")


def _set_journal_mode(connection: apsw.Connection, mode: str) -> None:
    found = connection.pragma("journal_mode", mode)
    assert found == mode, f"journal mode is {found!r}, not {mode!r}"
