"""From a caller's arguments to the requests of the wire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from ..api import (
    Append,
    HistoryOf,
    Ingest,
    ListMemories,
    MemoryInput,
    RecallRequest,
    SearchTurns,
    Supersede,
    TurnInput,
    to_request,
)
from ..api.base import Request
from ..clock import parse_ms, parse_seconds
from ..errors import Error, Invalid, in_batch
from .fields import IdLike, MemoryLike

__all__ = [
    "append_request",
    "history_request",
    "ingest_request",
    "list_request",
    "recall_request",
    "search_request",
    "supersede_request",
    "text_id",
    "turn",
]

R = TypeVar("R", bound=Request)
T = TypeVar("T")

_TIMES = ("observed_at", "since", "until", "at")
# The wire says which types and kinds; Python says type= and kind=, one or several.
_PLURALS = {"type": "types", "kind": "kinds"}


def text_id(value: IdLike, what: str = "id") -> str:
    """Return an id given as text or as anything with an `id`."""
    found = value if isinstance(value, str) else getattr(value, "id", None)
    if not isinstance(found, str):
        raise Invalid(f"{what} must be text or have an .id, not {type(value).__name__}")
    if not found:
        raise Invalid(f"{what} is empty")
    return found


def ingest_request(items: Iterable[MemoryLike], source: str | None) -> Ingest:
    """Return the request of a batch; errors name the item's index."""
    listed = _listed(items, "ingest", "memories")
    memories = []
    for index, item in enumerate(listed):
        try:
            memories.append(_memory(item, source, "memory"))
        except Error as error:
            raise in_batch(error, "memories", index, len(listed)) from error
    return Ingest(memories=tuple(memories))


def supersede_request(
    identity: IdLike, text: str, fields: Mapping[str, Any], source: str | None
) -> Supersede:
    """Return the request that replaces a memory."""
    return Supersede(
        id=text_id(identity), memory=_memory({**fields, "text": text}, source, "memory")
    )


def list_request(fields: Mapping[str, Any]) -> ListMemories:
    """Return the request of a listing's first page."""
    return to_request(ListMemories, _filters(fields), "list")


def recall_request(query: str | None, k: int, fields: Mapping[str, Any]) -> RecallRequest:
    """Return the request of a recall."""
    return to_request(RecallRequest, {**_filters(fields), "query": query, "k": k}, "recall")


def history_request(identity: IdLike | None, topic: str | None, type_: str | None) -> HistoryOf:
    """Return the request for the history of an id or a topic."""
    fields = {
        "id": None if identity is None else text_id(identity),
        "topic": topic,
        "type": type_,
    }
    return to_request(HistoryOf, fields, "history")


def turn(role: str, content: Any, fields: Mapping[str, Any]) -> TurnInput:
    """Return one turn."""
    return _convert(TurnInput, {**fields, "role": role, "content": content}, "turn")


def append_request(session: str, turns: Iterable[Mapping[str, Any] | TurnInput]) -> Append:
    """Return the request that appends turns; errors name the turn's index."""
    listed = _listed(turns, "extend", "turns")
    converted = []
    for index, item in enumerate(listed):
        try:
            converted.append(_convert(TurnInput, item, "turn"))
        except Error as error:
            raise in_batch(error, "turns", index, len(listed)) from error
    return to_request(Append, {"session": session, "turns": converted}, "append")


def search_request(session: str, query: str | None, embedding: Any, k: int) -> SearchTurns:
    """Return the request that searches a transcript."""
    fields = {"session": session, "query": query, "embedding": embedding, "k": k}
    return to_request(SearchTurns, fields, "search")


def _listed(items: Iterable[T], method: str, what: str) -> list[T]:
    # A text or a mapping can be iterated too, but never is what was meant.
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, Iterable):
        raise Invalid(f"{method} takes a list of {what}, not {type(items).__name__}")
    return list(items)


def _memory(item: MemoryLike, source: str | None, what: str) -> MemoryInput:
    if isinstance(item, MemoryInput):
        fields: dict[str, Any] = {name: getattr(item, name) for name in item.__struct_fields__}
    elif isinstance(item, Mapping):
        fields = dict(item)
    else:
        raise Invalid(f"{what} must be an object with fields, not {type(item).__name__}")
    if source is not None and fields.get("source") is None:
        fields["source"] = source
    if fields.get("ttl") is not None:
        fields["ttl"] = parse_seconds(fields["ttl"], "ttl")
    sources = fields.get("derived_from")
    if isinstance(sources, (list, tuple)):
        fields["derived_from"] = [text_id(one, "derived_from") for one in sources]
    return _convert(MemoryInput, fields, what)


def _filters(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return filters as the wire has them: plurals, and times as milliseconds."""
    result: dict[str, Any] = {}
    for name, value in fields.items():
        plural = _PLURALS.get(name)
        if plural is not None and value is not None:
            result[plural] = [value] if isinstance(value, str) else value
        elif plural is None:
            result[name] = value
    return _with_times(result)


def _convert(cls: type[R], item: Mapping[str, Any] | R, what: str) -> R:
    if isinstance(item, cls):
        return item
    if not isinstance(item, Mapping):
        raise Invalid(f"{what} must be an object with fields, not {type(item).__name__}")
    return to_request(cls, _with_times(dict(item)), what)


def _with_times(fields: dict[str, Any]) -> dict[str, Any]:
    for name in _TIMES:
        value = fields.get(name)
        if value is not None:
            fields[name] = parse_ms(value, name)
    return fields
