"""From a caller's arguments to the requests of the wire, and from exports to a caller's files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, get_args

from ..api import (
    NO_OPTIONS,
    Append,
    Ask,
    Durability,
    EntityInput,
    Erase,
    Extract,
    Fork,
    HistoryOf,
    Import,
    Ingest,
    Ingested,
    ListMemories,
    MemoryInput,
    MoveMemories,
    Options,
    RecallRequest,
    SearchTurns,
    Supersede,
    TurnInput,
    VectorInput,
    Wait,
    Written,
    to_request,
)
from ..api.base import Request
from ..api.clusters import ListClusters
from ..api.limits import IMPORT_BYTES_MAX
from ..clock import parse_ms, parse_seconds, wire_when
from ..disk import replace_file
from ..errors import Conflict, Error, Invalid, NotFound, Unavailable, in_batch
from ..ids import check_name
from ..points import Point
from .fields import EntityLike, IdLike, MemoryLike, PointLike, ReadFields

__all__ = [
    "apart",
    "append_request",
    "ask_request",
    "branch_name",
    "check_free",
    "clusters_request",
    "documents",
    "entity_inputs",
    "erase_request",
    "extract_request",
    "fork_request",
    "history_request",
    "import_request",
    "ingest_request",
    "list_request",
    "listed_requests",
    "move_request",
    "options",
    "point",
    "reading",
    "recall_request",
    "save",
    "search_request",
    "supersede_request",
    "text_id",
    "turn",
    "vector_items",
    "written",
]

R = TypeVar("R", bound=Request)
T = TypeVar("T")

_READ_FIELDS = tuple(ReadFields.__annotations__)

_TIMES = ("observed_at", "expires_at", "since", "until", "at")
# Of these, what may be said as how long ago.
_BOUNDS = ("since", "until")
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


def branch_name(value: Any) -> str:
    """Return the name of a branch given as text or as a profile on it."""
    found = value if isinstance(value, str) else getattr(value, "branch_name", None)
    if not isinstance(found, str):
        raise Invalid(f"a branch is given by name or as a profile, not {type(value).__name__}")
    return check_name(found, "branch")


def ingest_request(
    items: Iterable[MemoryLike], source: str | None, wait: Wait | None = None
) -> Ingest:
    """Return the request of a batch; errors name the item's index."""
    listed = _listed(items, "ingest", "memories")
    memories = []
    for index, item in enumerate(listed):
        try:
            memories.append(_memory(item, source, "memory"))
        except Error as error:
            raise in_batch(error, "memories", index, len(listed)) from error
    return Ingest(memories=tuple(memories), wait=_wait(wait))


def written(done: Ingested) -> Written:
    """Return what became of the one memory of a batch."""
    (result,) = done.results
    fields = {name: getattr(result, name) for name in result.__struct_fields__}
    if done.note is not None:
        fields["note"] = done.note if result.note is None else f"{result.note}; {done.note}"
    return Written(**fields, txid=done.txid, embedded=done.embedded)


def supersede_request(
    identity: IdLike,
    text: str,
    fields: Mapping[str, Any],
    source: str | None,
    wait: Wait | None = None,
) -> Supersede:
    """Return the request that replaces a memory."""
    return Supersede(
        id=text_id(identity),
        memory=_memory({**fields, "text": text}, source, "memory"),
        wait=_wait(wait),
    )


def list_request(fields: Mapping[str, Any]) -> ListMemories:
    """Return the request of a listing's first page."""
    return to_request(ListMemories, _filters(fields), "list")


def clusters_request(fields: Mapping[str, Any], filters: Mapping[str, Any]) -> ListClusters:
    """Return the request that lists what belongs together."""
    return to_request(ListClusters, {**_filters(filters), **fields}, "clusters")


def move_request(fields: Mapping[str, Any], filters: Mapping[str, Any]) -> MoveMemories:
    """Return the request that moves what a filter matches."""
    return to_request(MoveMemories, {**_filters(filters), **fields}, "move")


def recall_request(query: str | None, k: int, fields: Mapping[str, Any]) -> RecallRequest:
    """Return the request of a recall."""
    return to_request(RecallRequest, {**_filters(fields), "query": query, "k": k}, "recall")


def ask_request(query: str, k: int, fields: Mapping[str, Any]) -> Ask:
    """Return the request that has a question answered."""
    return to_request(Ask, {**_filters(fields), "query": query, "k": k}, "ask")


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


def append_request(
    session: str, turns: Iterable[Mapping[str, Any] | TurnInput], wait: Wait | None = None
) -> Append:
    """Return the request that appends turns; errors name the turn's index."""
    converted = _turns(turns, "extend")
    return to_request(Append, {"session": session, "turns": converted, "wait": wait}, "append")


def search_request(session: str, query: str | None, embedding: Any, k: int) -> SearchTurns:
    """Return the request that searches a transcript."""
    fields = {"session": session, "query": query, "embedding": embedding, "k": k}
    return to_request(SearchTurns, fields, "search")


def vector_items(vectors: Iterable[Mapping[str, Any] | VectorInput]) -> list[VectorInput]:
    """Return the vectors of a batch; errors name the item's index."""
    listed = _listed(vectors, "upsert_all", "vectors")
    items = []
    for index, item in enumerate(listed):
        try:
            items.append(_convert(VectorInput, item, "vector"))
        except Error as error:
            raise in_batch(error, "items", index, len(listed)) from error
    return items


def documents(
    given: Mapping[str, Any] | Iterable[Mapping[str, Any]],
) -> list[Mapping[str, Any]]:
    """Return the documents of a batch; one alone is a batch of one."""
    return [given] if isinstance(given, Mapping) else _listed(given, "insert", "documents")


def entity_inputs(given: Iterable[EntityLike]) -> tuple[EntityInput, ...]:
    """Return what a memory names, given as names, mappings or inputs."""
    return tuple(
        _convert(EntityInput, {"name": one} if isinstance(one, str) else one, "entity")
        for one in _listed(given, "entities", "names")
    )


def listed_requests(
    cls: type[R], items: Iterable[Mapping[str, Any] | R], method: str, what: str
) -> tuple[R, ...]:
    """Return each item of a batch as its struct; errors name the item's index."""
    listed = _listed(items, method, what)
    found = []
    for index, item in enumerate(listed):
        try:
            found.append(_convert(cls, item, what))
        except Error as error:
            raise in_batch(error, what, index, len(listed)) from error
    return tuple(found)


def options(durability: Durability | None, request_id: str | None) -> Options:
    """Return how a write is to be carried out."""
    if durability is None and request_id is None:
        return NO_OPTIONS
    return Options(request_id=request_id, durability=durability)


def reading(given: Mapping[str, Any]) -> Options:
    """Return how something is to be read; raises `Invalid` for an unknown name."""
    rest, how = apart(given)
    for name in rest:
        raise Invalid(f"a read takes no {name!r:.80}; it takes {' and '.join(_READ_FIELDS)}")
    return how


def apart(given: Mapping[str, Any]) -> tuple[dict[str, Any], Options]:
    """Return the fields of a request and, apart from them, how it is to be read."""
    how = {name: given[name] for name in _READ_FIELDS if name in given}
    if not how:
        return dict(given), NO_OPTIONS
    return {name: value for name, value in given.items() if name not in how}, Options(**how)


def point(value: PointLike) -> Point:
    """Return a point given as one, as a checkpoint's name, or as a time."""
    if isinstance(value, Point):
        return value
    if isinstance(value, str):
        return Point.checkpoint(value)
    if isinstance(value, datetime):
        return Point.time(value)
    raise Invalid(
        f"{value!r:.80} is no point; give a Point (Point.txid(41), what checkpoint() returned, "
        "the .point of what points() lists), a checkpoint's name, or a datetime"
    )


def fork_request(name: str, at: PointLike | None, ttl: timedelta | float | None) -> Fork:
    """Return the request that makes a branch."""
    fields = {
        "name": name,
        "at": None if at is None else str(point(at)),
        "ttl": None if ttl is None else parse_seconds(ttl, "ttl"),
    }
    return to_request(Fork, fields, "fork")


def erase_request(
    memories: Iterable[IdLike], *, grace: float | timedelta | None, **fields: Any
) -> Erase:
    """Return the request that erases."""
    seconds = None if grace is None else parse_seconds(grace, "grace")
    ids = [text_id(one) for one in memories]
    return to_request(Erase, {**fields, "ids": ids, "grace": seconds}, "erase")


def extract_request(
    turns: Iterable[Mapping[str, Any] | TurnInput] | None, fields: Mapping[str, Any]
) -> Extract:
    """Return the request that extracts; errors name the turn's index."""
    given = () if turns is None else _turns(turns, "extract")
    if turns is not None and not given:
        raise Invalid("extract has no turns; give some, or a session whose stored turns are meant")
    return to_request(Extract, {**fields, "turns": given}, "extract")


def import_request(path: str | os.PathLike[str]) -> Import:
    """Return the request that brings in a file; the file is read whole."""
    try:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > IMPORT_BYTES_MAX:
                raise Invalid(
                    f"{path} has {size:,} bytes, at most {IMPORT_BYTES_MAX:,} can be imported",
                    code="payload_too_large",
                )
            return Import(data=file.read())
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}") from error


def check_free(path: str | os.PathLike[str], overwrite: bool) -> Path:
    """Return the path if a database file may be written there; raises `Conflict` otherwise.

    A journal beside it is refused always: SQLite would take it for the new file's.
    """
    file = Path(path)
    taken = () if overwrite else (file,)
    for one in (*taken, *(file.with_name(file.name + end) for end in ("-wal", "-journal"))):
        if os.path.lexists(one):
            raise Conflict(
                f"{one} exists; move it away, name another file"
                + (", or say overwrite=True" if one == file else ""),
                code="already_exists",
            )
    return file


def save(path: str | os.PathLike[str], data: bytes, overwrite: bool) -> None:
    """Put an exported file in its place: whole, on the disk, or not at all."""
    file = check_free(path, overwrite)
    try:
        replace_file(file, data)
    except FileNotFoundError:
        raise NotFound(f"there is no folder {file.parent}") from None
    except OSError as error:
        raise Unavailable(f"{file} cannot be written: {error.strerror}") from error


def _wait(wait: Wait | None) -> Wait | None:
    if wait not in (None, *get_args(Wait)):
        raise Invalid(f"wait is {wait!r:.80}; give 'embedded', 'related', or nothing")
    return wait


def _listed(items: Iterable[T], method: str, what: str) -> list[T]:
    # A text or a mapping can be iterated too, but never is what was meant.
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, Iterable):
        raise Invalid(f"{method} takes a list of {what}, not {type(items).__name__}")
    return list(items)


def _turns(turns: Iterable[Mapping[str, Any] | TurnInput], method: str) -> list[TurnInput]:
    listed = _listed(turns, method, "turns")
    converted = []
    for index, item in enumerate(listed):
        try:
            converted.append(_convert(TurnInput, item, "turn"))
        except Error as error:
            raise in_batch(error, "turns", index, len(listed)) from error
    return converted


def _memory(item: MemoryLike, source: str | None, what: str) -> MemoryInput:
    if isinstance(item, MemoryInput):
        fields: dict[str, Any] = {name: getattr(item, name) for name in item.__struct_fields__}
    elif isinstance(item, Mapping):
        fields = dict(item)
    else:
        raise Invalid(f"{what} must be an object with fields, not {type(item).__name__}")
    if source is not None and fields.get("source") is None:
        fields["source"] = source
    for name in ("ttl", "dedup_window"):
        if fields.get(name) is not None:
            fields[name] = parse_seconds(fields[name], name)
    sources = fields.get("derived_from")
    if isinstance(sources, (list, tuple)):
        fields["derived_from"] = [text_id(one, "derived_from") for one in sources]
    if fields.get("entities"):
        fields["entities"] = entity_inputs(fields["entities"])
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
            fields[name] = wire_when(value, name) if name in _BOUNDS else parse_ms(value, name)
    return fields
