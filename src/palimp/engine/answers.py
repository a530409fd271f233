"""Answers of requests that carried an id: a repeat is answered from here and not done again."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import apsw

from ..errors import Conflict, Invalid

__all__ = [
    "REQUESTS_TABLE",
    "REQUEST_BYTES_MAX",
    "Answer",
    "Repeat",
    "check_request_id",
    "find_answer",
    "keep_answer",
    "prune",
]

# Answers of requests. An answer over 256 KiB is not stored, and of the stored ones the newest 4 MiB
# stay. The id stays in both cases: a repeat is refused then, never done again.
REQUEST_BYTES_MAX = 256 * 1024
_REQUESTS_BYTES_MAX = 4 * 1024 * 1024
_REQUESTS_MAX = 10_000
_REQUESTS_AGE_MS = 24 * 3600 * 1000
_REQUEST_ID = re.compile(r"[!-~]{1,128}\Z")
REQUESTS_TABLE = "__palimp_requests"


class Repeat(NamedTuple):
    """A request's id, so that a repeat of it is answered and not done again.

    `digest` is of the request. `encode` and `decode` are for its answer.
    """

    id: str
    digest: bytes
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


class Answer(NamedTuple):
    """What is stored of a request that was done: its txid and its encoded answer."""

    txid: int
    result: bytes


def check_request_id(value: str) -> None:
    """Raise `Invalid` unless `value` is 1 to 128 bytes of visible ASCII."""
    if not _REQUEST_ID.match(value):
        raise Invalid(
            f"request id {value!r:.160} has {len(value)} characters; give 1 to 128 of visible "
            "ASCII, without spaces"
        )


def find_answer(connection: apsw.Connection, repeat: Repeat) -> Answer | None:
    """Return what is stored of the request, None if it was not done (or long ago).

    `Conflict` where the id is of another request, or where the answer is not kept any more.
    """
    row = connection.execute(
        f"SELECT txid, digest, result FROM {REQUESTS_TABLE} WHERE id = ?", (repeat.id,)
    ).get
    if row is None:
        return None
    txid, digest, result = row
    if digest != repeat.digest:
        raise Conflict(
            f"request id {repeat.id} belongs to a different request, which was written with txid "
            f"{txid}; give every request an id of its own",
            txid=txid,
        )
    if result is None:
        raise Conflict(
            f"request {repeat.id} was done with txid {txid} and is not done again, but its answer "
            "is not kept any more; read what it wrote",
            txid=txid,
        )
    return Answer(txid, result)


def keep_answer(
    connection: apsw.Connection, repeat: Repeat, txid: int, result: bytes, now_ms: int
) -> None:
    """Store the answer of a request in its own transaction; an answer over 256 KiB only its id."""
    kept = result if len(result) <= REQUEST_BYTES_MAX else None
    connection.execute(
        f"INSERT INTO {REQUESTS_TABLE} VALUES (?, ?, ?, ?, ?)",
        (repeat.id, txid, now_ms, repeat.digest, kept),
    )


def prune(connection: apsw.Connection, now_ms: int) -> None:
    """Drop request ids that are too old or too many, and the oldest answers beyond 4 MiB."""
    connection.execute(f"DELETE FROM {REQUESTS_TABLE} WHERE at < ?", (now_ms - _REQUESTS_AGE_MS,))
    rows, size = connection.execute(
        f"SELECT count(*), coalesce(sum(length(result)), 0) FROM {REQUESTS_TABLE}"
    ).get
    if rows > _REQUESTS_MAX:
        connection.execute(
            f"DELETE FROM {REQUESTS_TABLE} WHERE id IN "
            f"(SELECT id FROM {REQUESTS_TABLE} ORDER BY txid, id LIMIT ?)",
            (rows - _REQUESTS_MAX,),
        )
    if size > _REQUESTS_BYTES_MAX:
        connection.execute(
            f"UPDATE {REQUESTS_TABLE} SET result = NULL WHERE id IN (SELECT id FROM ("
            "SELECT id, sum(length(result)) OVER (ORDER BY txid DESC, id DESC) AS upto "
            f"FROM {REQUESTS_TABLE} WHERE result IS NOT NULL) WHERE upto > ?)",
            (_REQUESTS_BYTES_MAX,),
        )
