"""Lineage: which memories were derived from what, and removing them together.

`derived_from` of a memory holds ids of memories and references: `turn:SESSION/NUMBER` to a stored
turn, `session:SESSION` and `source:SOURCE` to what was only named. It has no index: a write would
pay for what is asked once in a while. Of 100,000 memories, half of them derived, it takes 0.3 s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import apsw

from ..api.extraction import ForgetLineage
from ..api.lifecycle import Lineage
from ..errors import Invalid, NotFound
from . import proposals
from .checks import check_id, check_label, decode_json
from .memories.lifecycle import remove
from .protocols import Sealer

__all__ = [
    "FORGOTTEN_MAX",
    "Descendant",
    "check_lineage",
    "descendants",
    "forget_descendants",
    "lineage_of",
    "session_reference",
    "source_reference",
    "turn_reference",
]

# In one transaction.
FORGOTTEN_MAX = 1_000
_TURN, _SESSION, _SOURCE = "turn:", "session:", "source:"


class Descendant(NamedTuple):
    """A memory that was derived."""

    handle: int
    id: str


def turn_reference(session: str, seq: int) -> str:
    """Return how a stored turn stands in a lineage."""
    return f"{_TURN}{session}/{seq}"


def session_reference(session: str) -> str:
    """Return how a session stands in a lineage whose turns are not stored."""
    return _SESSION + session


def source_reference(source: str) -> str:
    """Return how a source stands in a lineage."""
    return _SOURCE + source


def check_lineage(request: ForgetLineage) -> None:
    """Raise `Invalid` unless one thing is named."""
    if [request.session, request.source, request.memory].count(None) != 2:
        raise Invalid("name a session, a source or a memory, and one of them only")
    check_label(request.session, "session")
    check_label(request.source, "source")
    if request.memory is not None:
        check_id(request.memory)


def descendants(connection: apsw.Connection, request: ForgetLineage) -> list[Descendant]:
    """Return all that was derived, what was derived last first.

    So that stopping anywhere leaves what is left reachable from where it was derived.
    """
    rows: list[Any] = connection.execute(
        """SELECT handle, id, derived_from FROM __palimp_memories
        WHERE derived_from IS NOT NULL ORDER BY handle"""
    ).fetchall()
    is_root = _root_of(request)
    children: dict[str, list[Descendant]] = {}
    found: dict[str, Descendant] = {}
    for handle, identity, derived_from in rows:
        child = Descendant(handle, identity)
        references = decode_json(derived_from)
        if identity != request.memory and any(map(is_root, references)):
            found[identity] = child
        for reference in references:
            children.setdefault(reference, []).append(child)
    waiting = list(found)
    for identity in waiting:
        for child in children.get(identity, ()):
            if child.id not in found and child.id != request.memory:
                found[child.id] = child
                waiting.append(child.id)
    return list(reversed(found.values()))


def forget_descendants(
    connection: apsw.Connection, request: ForgetLineage, sealer: Sealer
) -> tuple[list[str], int]:
    """Remove up to 1,000 of them, and what was proposed; return their ids and how many are left."""
    derived = descendants(connection, request)
    gone: Sequence[Descendant] = derived[:FORGOTTEN_MAX]
    remove(connection, [one.handle for one in gone], sealer)
    proposals.remove_of(connection, session=request.session, source=request.source)
    return [one.id for one in gone], len(derived) - len(gone)


def lineage_of(connection: apsw.Connection, identity: str, now_ms: int) -> Lineage:
    """Return what a memory rests on, nearest first, and what rests on it; else `NotFound`."""
    find = """SELECT derived_from FROM __palimp_memories
    WHERE id = ? AND (expires_at IS NULL OR expires_at > ?)"""
    if connection.execute(find, (identity, now_ms)).fetchone() is None:
        raise NotFound(f"no memory {identity}; it was forgotten, has expired or never existed")
    sources: dict[str, None] = {}
    waiting = [identity]
    for one in waiting:
        row = connection.execute(find, (one, now_ms)).fetchone()
        for source in decode_json(row[0]) if row is not None and row[0] is not None else ():
            if source not in sources and source != identity:
                sources[source] = None
                waiting.append(source)
    derived = [one.id for one in descendants(connection, ForgetLineage(memory=identity))]
    return Lineage(
        id=identity,
        sources=tuple(sources),
        derived=tuple(reversed(derived[-FORGOTTEN_MAX:])),
        derived_count=len(derived),
    )


def _root_of(request: ForgetLineage) -> Callable[[str], bool]:
    if request.session is not None:
        session, named = request.session, session_reference(request.session)
        return lambda reference: (
            reference == named
            or (
                reference.startswith(_TURN)
                and reference.removeprefix(_TURN).rpartition("/")[0] == session
            )
        )
    wanted = request.memory
    if request.source is not None:
        wanted = source_reference(request.source)
    return lambda reference: reference == wanted
