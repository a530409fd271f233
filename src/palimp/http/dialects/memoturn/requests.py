"""Bodies and queries of the dialect, in our words.

What is not named here travels as it is: our wire took over those shapes. A count above 1,000 means
1,000, as it does there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from ....api.base import Request
from ....api.convert import to_request
from ....api.limits import K_DEFAULT, K_MAX, PAGE_MAX
from ....api.memories import MemoryType
from ....api.sessions import TURN_SEARCH_DEFAULT
from ....errors import Invalid, in_batch

__all__ = [
    "all_at_once",
    "append",
    "ask",
    "clamped",
    "clamped_query",
    "erase",
    "extract",
    "ingest",
    "recall",
    "rewind",
    "search_turns",
]

_DIGITS_MAX = 16


class _Memory(Request, frozen=True, kw_only=True):
    """One memory to write."""

    type: MemoryType
    summary: str
    content: Any
    topic: str | None = None
    keywords: str | None = None
    embedding: tuple[float, ...] | None = None
    session: str | None = None
    source: str | None = None
    ttl: float | None = None


class _Ingest(Request, frozen=True, kw_only=True):
    memories: tuple[dict[str, Any], ...]


class _Recall(Request, frozen=True, kw_only=True):
    """A question: its fields are ours under the same names."""

    query: str | None = None
    embedding: tuple[float, ...] | None = None
    topic: str | None = None
    types: tuple[MemoryType, ...] = ()
    session: str | None = None
    source: str | None = None
    k: int = K_DEFAULT
    include_superseded: bool = False
    include_turns: bool = False


class _Ask(Request, frozen=True, kw_only=True):
    question: str
    types: tuple[MemoryType, ...] = ()
    session: str | None = None
    source: str | None = None
    k: int = K_DEFAULT
    include_superseded: bool = False


class _Extract(Request, frozen=True, kw_only=True):
    turns: tuple[_Turn, ...]
    session: str | None = None
    source: str | None = None
    dry_run: bool = False


class _Erase(Request, frozen=True, kw_only=True):
    memory_id: str | None = None
    topic: str | None = None
    type: MemoryType | None = None
    session: str | None = None
    turns: bool = False


class _Turn(Request, frozen=True, kw_only=True):
    role: str
    content: Any
    embedding: tuple[float, ...] | None = None


class _SearchTurns(Request, frozen=True, kw_only=True):
    vector: tuple[float, ...]
    k: int = TURN_SEARCH_DEFAULT


class _Rewind(Request, frozen=True, kw_only=True):
    to: str | int


def ingest(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a batch of memories: `summary` is our `text`."""
    given = to_request(_Ingest, fields, "ingest").memories
    memories = []
    for index, one in enumerate(given):
        try:
            plain = msgspec.to_builtins(to_request(_Memory, one, "memory"))
        except Invalid as error:
            raise in_batch(error, "memories", index, len(given)) from error
        plain["text"] = plain.pop("summary")
        memories.append(plain)
    return {"memories": memories}


def recall(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a question, with its `k` within bounds."""
    asked = to_request(_Recall, fields, "recall")
    plain: dict[str, Any] = msgspec.to_builtins(asked)
    return {**plain, "k": min(asked.k, K_MAX)}


def ask(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a question to a model, with its `k` within bounds."""
    asked = to_request(_Ask, fields, "ask")
    plain: dict[str, Any] = msgspec.to_builtins(asked)
    del plain["question"]
    return {**plain, "query": asked.question, "k": min(asked.k, K_MAX)}


def extract(fields: dict[str, Any]) -> dict[str, Any]:
    """Return turns to find memories in."""
    plain: dict[str, Any] = msgspec.to_builtins(to_request(_Extract, fields, "extract"))
    turns = [{"role": one["role"], "content": one["content"]} for one in plain["turns"]]
    return {**plain, "turns": turns}


def erase(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what is to be erased; a topic of one type, a session with its turns where asked."""
    asked = to_request(_Erase, fields, "erase")
    if asked.topic is not None and asked.type is None:
        raise Invalid("topic_key goes with the type of what has it")
    plain: dict[str, Any] = msgspec.to_builtins(asked)
    plain.pop("turns", None)
    if plain.pop("memory_id", None) is not None:
        plain["ids"] = [asked.memory_id]
    if asked.session is not None:
        plain["turns"] = asked.turns
    return plain


def append(fields: dict[str, Any]) -> dict[str, Any]:
    """Return one turn as the batch that ours takes."""
    return {"turns": [msgspec.to_builtins(to_request(_Turn, fields, "turn"))]}


def search_turns(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a search by vector, with its `k` within bounds."""
    asked = to_request(_SearchTurns, fields, "search")
    return {"embedding": asked.vector, "k": min(asked.k, K_MAX)}


def rewind(fields: dict[str, Any]) -> dict[str, Any]:
    """Return where to: a txid may be a number."""
    return {"to": str(to_request(_Rewind, fields, "rewind").to)}


def clamped(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what keeps one count of a body within bounds and leaves the rest as it is."""

    def within(fields: dict[str, Any]) -> dict[str, Any]:
        count = fields.get(name)
        return {**fields, name: min(count, K_MAX)} if type(count) is int else fields

    return within


def clamped_query(query: bytes) -> bytes:
    """Return a query string with its counts, `limit` and `last`, within bounds."""
    if b"limit" not in query and b"last" not in query:
        return query
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict"
        )
    except (UnicodeDecodeError, ValueError):
        # The operation says what is wrong with it.
        return query
    return urlencode([(name, _within(name, value)) for name, value in pairs]).encode()


def all_at_once(query: bytes) -> bytes:
    """Return the query of a list that has no pages there: as much of it as ours gives at once."""
    query = clamped_query(query)
    if b"limit=" in query:
        return query
    return query + (b"&" if query else b"") + f"limit={PAGE_MAX}".encode()


def _within(name: str, value: str) -> str:
    known = name in ("limit", "last") and value.isascii() and value.isdigit()
    return str(min(int(value[:_DIGITS_MAX]), PAGE_MAX)) if known else value
