"""What of a memory can differ between two states of a profile, and which memories do.

What a memory says never changes under its id: another text is another memory, which supersedes it.
So two states are compared by what is said about it, by whether it holds, and by what took its
place. How often it was read is no difference, nor is what rules found in its words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import apsw

from ..lazy import has_table
from ..memories.states import DELETED
from ..protocols import Sealer, Undecipherable
from ..relations import notes
from ..relations.tables import ENTITIES, LINKS, RELATIONS, is_made

__all__ = [
    "LABELS",
    "Changes",
    "Pair",
    "Version",
    "changed",
    "differences",
    "every",
    "held",
    "holder",
    "holders",
    "is_deleted",
    "version",
]

# What can change of a row that stays. The words that are searched are not among them.
LABELS = ("tags", "metadata", "importance", "confidence", "trust", "expires_at", "state", "flags")
_PLACE = ("handle", "id", "type", "topic", "activated_at")
_COLUMNS = ", ".join(f"m.{name}" for name in (*_PLACE, *LABELS, "superseded_at"))
_SELECT = f"""SELECT {_COLUMNS}, s.id FROM __palimp_memories m
LEFT JOIN __palimp_memories s ON s.handle = m.superseded_by"""
_LINKS = f"""SELECT l.handle, e.mark, l.origin, l.weight FROM {LINKS} l
JOIN {ENTITIES} e USING (entity) WHERE l.origin != 'rule'"""


class Version(NamedTuple):
    """A memory as one state of the profile has it. `by`: the id of what took its place.

    That it was written again, which `activated_at` says, is by itself no difference.
    """

    handle: int
    id: str
    type: str
    topic: str | None
    activated_at: int
    tags: str | None
    metadata: Any
    importance: float | None
    confidence: float | None
    trust: str | None
    expires_at: int | None
    state: str
    flags: str | None
    superseded_at: int | None
    by: str | None
    links: tuple[Any, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether recall may give it."""
        return self.superseded_at is None and self.state == "active"


class Pair(NamedTuple):
    """A memory before and after; None where it was not, or is not any more."""

    base: Version | None
    now: Version | None


Changes = Mapping[str, Pair]


def changed(base: apsw.Connection, now: apsw.Connection, sealer: Sealer) -> dict[str, Pair]:
    """Return what differs in `now`, of which `base` is an earlier state, in the order of its rows.

    Both are read once, side by side: a row keeps its number for as long as it is there.
    """
    found: dict[str, Pair] = {}
    old, new = _versions(base), _versions(now)
    before, after = next(old, None), next(new, None)
    while before is not None or after is not None:
        if after is None or (before is not None and before.handle < after.handle):
            assert before is not None
            _meet(found, before.id, Pair(before, None))
            before = next(old, None)
        elif before is None or after.handle < before.handle:
            _meet(found, after.id, Pair(None, after))
            after = next(new, None)
        else:
            if before.id != after.id:
                # A rewind gives numbers a second time.
                _meet(found, before.id, Pair(before, None))
                _meet(found, after.id, Pair(None, after))
            elif before[5:] != after[5:]:
                found[after.id] = Pair(before, after)
            before, after = next(old, None), next(new, None)
    return {
        identity: pair
        for identity, pair in found.items()
        if pair.base is None or pair.now is None or differences(pair.base, pair.now, sealer)
    }


def version(connection: apsw.Connection, identity: str) -> Version | None:
    """Return a memory as this state has it; None where it is forgotten, deleted or never was."""
    row = connection.execute(f"{_SELECT} WHERE m.id = ?", (identity,)).fetchone()
    if row is None:
        return None
    found = Version(*row)
    links = _links(connection, found.handle).get(found.handle, ())
    return found._replace(links=links) if links else found


def every(connection: apsw.Connection) -> dict[str, Pair]:
    """Return all memories of a state as what came to be in it."""
    return {one.id: Pair(None, one) for one in _versions(connection)}


def holder(connection: apsw.Connection, type_: str, topic: str) -> str | None:
    """Return the id of the memory that holds a topic."""
    found: str | None = connection.execute(
        """SELECT id FROM __palimp_memories
        WHERE type = ? AND topic = ? AND superseded_at IS NULL AND state = 'active'""",
        (type_, topic),
    ).get
    return found


def holders(connection: apsw.Connection) -> dict[tuple[str, str], str]:
    """Return what holds each (type, topic)."""
    rows: Any = connection.execute(
        """SELECT type, topic, id FROM __palimp_memories
        WHERE topic IS NOT NULL AND superseded_at IS NULL AND state = 'active'"""
    )
    return {(type_, topic): identity for type_, topic, identity in rows}


def held(connection: apsw.Connection) -> frozenset[str]:
    """Return the ids of all memories that hold."""
    rows: Any = connection.execute(
        "SELECT id FROM __palimp_memories WHERE superseded_at IS NULL AND state = 'active'"
    )
    return frozenset(identity for (identity,) in rows)


def is_deleted(connection: apsw.Connection, identity: str) -> bool:
    """Whether a memory that is not there was deleted softly, and can be restored."""
    if not has_table(connection, DELETED):
        return False
    found = connection.execute(f"SELECT 1 FROM {DELETED} WHERE id = ?", (identity,)).get
    return found is not None


def differences(one: Version, other: Version, sealer: Sealer) -> tuple[str, ...]:
    """Return the names of what differs; empty where nothing does.

    Whether both name what took the place is no difference: that may be forgotten on one side.
    """
    found = [
        name
        for name in LABELS
        if (a := getattr(one, name)) != (b := getattr(other, name))
        and not (name == "metadata" and _opened(one.id, a, sealer) == _opened(one.id, b, sealer))
    ]
    known = one.by is not None and other.by is not None
    if (one.superseded_at is None) != (other.superseded_at is None) or (
        known and one.by != other.by
    ):
        found.append("superseded_by")
    if one.links != other.links and _said(one.links, sealer) != _said(other.links, sealer):
        found.append("relations")
    return tuple(found)


def _meet(found: dict[str, Pair], identity: str, pair: Pair) -> None:
    """Note one side of a memory, which may have gone and come again under another number."""
    known = found.get(identity, Pair(None, None))
    found[identity] = Pair(known.base or pair.base, known.now or pair.now)


def _versions(connection: apsw.Connection) -> Iterator[Version]:
    links = _links(connection)
    for row in connection.execute(f"{_SELECT} ORDER BY m.handle"):
        found = Version(*row)
        yield found._replace(links=links[found.handle]) if found.handle in links else found


def _links(connection: apsw.Connection, handle: int | None = None) -> dict[int, tuple[Any, ...]]:
    """Return what memories are linked to, as far as somebody said so; of one or of all."""
    if not is_made(connection):
        return {}
    found: dict[int, list[Any]] = {}
    said, beside = notes.joined(connection)
    edges = f"""SELECT r.source, m.id, r.type, r.weight, {said} FROM {RELATIONS} r {beside}
    JOIN __palimp_memories m ON m.handle = r.target WHERE r.origin != 'rule'"""
    for statement, column in ((_LINKS, "l.handle"), (edges, "r.source")):
        which = "" if handle is None else f" AND {column} = ?"
        rows: Any = connection.execute(
            f"{statement}{which} ORDER BY 1, 2, 3", () if handle is None else (handle,)
        )
        for one, *rest in rows:
            found.setdefault(one, []).append(tuple(rest))
    return {one: tuple(rows) for one, rows in found.items()}


def _said(links: tuple[Any, ...], sealer: Sealer) -> list[Any]:
    """Return links and edges with metadata in plain: sealed anew it is the same."""
    # A link has three fields; an edge has two more, which are its note.
    return [
        (*link[:3], notes.read(notes.note_of(*link[3:]), sealer)) if link[3:] else link
        for link in links
    ]


def _opened(identity: str, value: Any, sealer: Sealer) -> Any:
    """Return metadata in plain: sealed anew it stands otherwise in the row and is the same."""
    if value is not None:
        with suppress(Undecipherable):
            return sealer.unseal(value, "memories", identity, "metadata")
    return value
