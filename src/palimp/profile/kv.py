"""Keys and values: one table, keys in the order of their UTF-8 bytes within a space.

Keys and content types stand in it as they are, because keys are looked up; values are sealed. A
value whose time is over is not read any more, and removed when somebody comes by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import apsw

from ..api import ListKeys, PutValue
from ..api.kv import OCTETS, KeyValue
from ..api.limits import (
    KV_KEY_BYTES_MAX,
    KV_PAGE_BYTES_MAX,
    KV_SPACE_BYTES_MAX,
    KV_VALUE_BYTES_MAX,
    PAGE_MAX,
    TTL_SECONDS_MAX,
)
from ..api.wire import check_content_type
from ..errors import Invalid
from ..sealing import Undecipherable
from .checks import check_integer, check_name_bytes
from .lazy import has_table
from .protocols import Sealer

__all__ = [
    "EXPIRE_BATCH",
    "Stored",
    "check_key",
    "check_list",
    "check_put",
    "complete",
    "delete",
    "expire_keys",
    "get",
    "has_expired_keys",
    "list_keys",
    "list_values",
    "put",
]

EXPIRE_BATCH = 500
_NAME = "__palimp_kv"
# `expires_at` stands before the value, so that it is read without the pages a large one fills.
_TABLE = f"""CREATE TABLE {_NAME} (
    ns TEXT NOT NULL, k TEXT NOT NULL, expires_at INTEGER, meta TEXT, v BLOB NOT NULL,
    PRIMARY KEY (ns, k)
) WITHOUT ROWID, STRICT"""
_INDEX = f"""CREATE INDEX __palimp_kv_expires ON {_NAME} (expires_at)
WHERE expires_at IS NOT NULL"""
_GET = f"SELECT v, meta, expires_at FROM {_NAME} WHERE ns = ? AND k = ?"
_PUT = f"""INSERT INTO {_NAME} (ns, k, expires_at, meta, v) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (ns, k) DO UPDATE
SET expires_at = excluded.expires_at, meta = excluded.meta, v = excluded.v"""
_DELETE = f"DELETE FROM {_NAME} WHERE ns = ? AND k = ? RETURNING expires_at"
_LAST_CHARACTER = chr(0x10FFFF)
_SURROGATES = range(0xD800, 0xE000)


class Stored(NamedTuple):
    """A value and its content type."""

    data: bytes
    content_type: str


def check_key(ns: str, key: str) -> None:
    """Raise `Invalid` for a space or a key that cannot be."""
    check_name_bytes(ns, "ns", KV_SPACE_BYTES_MAX)
    check_name_bytes(key, "key", KV_KEY_BYTES_MAX)


def check_put(request: PutValue) -> None:
    """Raise `Invalid` for a value that cannot be put."""
    check_key(request.ns, request.key)
    if len(request.data) > KV_VALUE_BYTES_MAX:
        raise Invalid(
            f"the value has {len(request.data):,} bytes, at most {KV_VALUE_BYTES_MAX:,} are "
            "allowed; split it, or keep it elsewhere and put its address",
            code="payload_too_large",
        )
    if request.content_type != OCTETS:
        check_content_type(request.content_type)
    if request.ttl is not None and not 0 < request.ttl <= TTL_SECONDS_MAX:
        raise Invalid(f"ttl is {request.ttl} s; give more than 0, up to {TTL_SECONDS_MAX:,}")


def put(connection: apsw.Connection, request: PutValue, sealer: Sealer, now_ms: int) -> int | None:
    """Set a key, also one whose time was over; return when its time will be."""
    expires_at = None if request.ttl is None else now_ms + max(1, round(request.ttl * 1000))
    meta = None if request.content_type == OCTETS else request.content_type
    values = (request.ns, request.key, expires_at, meta, _sealed(request, sealer))
    try:
        connection.execute(_PUT, values)
    except apsw.SQLError:
        if has_table(connection, _NAME):
            raise
        _make(connection)
        connection.execute(_PUT, values)
    return expires_at


def get(
    connection: apsw.Connection, ns: str, key: str, sealer: Sealer, now_ms: int
) -> Stored | None:
    """Return what a key holds; None where there is none, or its time is over."""
    try:
        row: Any = connection.execute(_GET, (ns, key)).fetchone()
    except apsw.SQLError:
        if has_table(connection, _NAME):
            raise
        return None
    if row is None:
        return None
    stored, meta, expires_at = row
    if expires_at is not None and expires_at <= now_ms:
        return None
    data = sealer.unseal_data(stored, "kv", _identity(ns, key), "value")
    return Stored(data, OCTETS if meta is None else meta)


def delete(connection: apsw.Connection, ns: str, key: str, now_ms: int) -> bool:
    """Remove a key; False where there was none, or its time was over."""
    if not has_table(connection, _NAME):
        return False
    rows: list[Any] = connection.execute(_DELETE, (ns, key)).fetchall()
    return any(expires_at is None or expires_at > now_ms for (expires_at,) in rows)


def check_list(request: ListKeys) -> None:
    """Raise `Invalid` for a listing that cannot be."""
    check_name_bytes(request.ns, "ns", KV_SPACE_BYTES_MAX)
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    for field, value in (("prefix", request.prefix), ("cursor", request.cursor)):
        if value:
            check_name_bytes(value, field, KV_KEY_BYTES_MAX)


def list_keys(
    connection: apsw.Connection, request: ListKeys, now_ms: int
) -> tuple[tuple[str, ...], str | None]:
    """Return one page of keys and the cursor of the next: a range of the table."""
    if not has_table(connection, _NAME):
        return (), None
    end = _after_prefix(request.prefix)
    rows: list[Any] = connection.execute(
        f"""SELECT k FROM {_NAME} WHERE ns = :ns AND k >= :prefix AND k > :cursor
        {"" if end is None else "AND k < :end"}
        AND (expires_at IS NULL OR expires_at > :now) ORDER BY k LIMIT :limit""",
        {
            "ns": request.ns,
            "prefix": request.prefix,
            # No key is empty.
            "cursor": request.cursor or "",
            "end": end,
            "now": now_ms,
            "limit": request.limit + 1,
        },
    ).fetchall()
    keys = tuple(key for (key,) in rows[: request.limit])
    return keys, keys[-1] if len(rows) > request.limit else None


def list_values(
    connection: apsw.Connection, request: ListKeys, sealer: Sealer, now_ms: int
) -> tuple[tuple[KeyValue, ...], str | None]:
    """Return one page of keys with what they hold, and the cursor of the next."""
    keys, cursor = list_keys(connection, request, now_ms)
    found: list[KeyValue] = []
    size = 0
    for key in keys:
        if size > KV_PAGE_BYTES_MAX:
            return tuple(found), found[-1].key
        try:
            stored = get(connection, request.ns, key, sealer, now_ms)
        except Undecipherable:
            found.append(KeyValue(key=key, data=b"", decryption_failed=True))
            continue
        if stored is not None:
            found.append(KeyValue(key=key, data=stored.data, content_type=stored.content_type))
            size += len(stored.data)
    return tuple(found), cursor


def has_expired_keys(connection: apsw.Connection, now_ms: int) -> bool:
    """Whether `expire_keys` would remove anything."""
    if not has_table(connection, _NAME):
        return False
    found = connection.execute(
        f"SELECT 1 FROM {_NAME} WHERE expires_at <= ? LIMIT 1", (now_ms,)
    ).get
    return found is not None


def expire_keys(connection: apsw.Connection, now_ms: int) -> int:
    """Remove up to 500 keys whose time is over and return how many."""
    if not has_table(connection, _NAME):
        return 0
    before = connection.total_changes()
    connection.execute(
        f"""DELETE FROM {_NAME} WHERE (ns, k) IN
        (SELECT ns, k FROM {_NAME} WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)""",
        (now_ms, EXPIRE_BATCH),
    )
    return connection.total_changes() - before


def complete(connection: apsw.Connection, names: Sequence[str]) -> None:
    """Make the table in a new database, where it is among `names`."""
    if _NAME in names:
        _make(connection)


def _sealed(request: PutValue, sealer: Sealer) -> bytes:
    return sealer.seal_data(request.data, "kv", _identity(request.ns, request.key), "value")


def _identity(ns: str, key: str) -> str:
    # Both may hold any character.
    return f"{len(ns.encode())}:{ns}{key}"


def _make(connection: apsw.Connection) -> None:
    connection.execute(_TABLE)
    connection.execute(_INDEX)


def _after_prefix(prefix: str) -> str | None:
    """Return the first text after all that begin with `prefix`; None where none is."""
    stem = prefix.rstrip(_LAST_CHARACTER)
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    if following in _SURROGATES:
        following = _SURROGATES.stop
    return stem[:-1] + chr(following)
