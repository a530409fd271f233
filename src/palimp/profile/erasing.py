"""What an erasure is of, and freeing one state of a profile of it: pure functions on a connection.

The same selection is applied to the present and to every earlier state, so it goes by what stands
in the rows and not by numbers. Once an erasure is done nothing needs to know the words it went by:
a selection can also stand as salted digests, which a state that turns up late is compared with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Literal

import apsw
import msgspec

from .checks import decode_json
from .indexing import may_rebuild, rebuild
from .lazy import has_table
from .memories.holds import held_ids
from .memories.lifecycle import remove
from .memories.states import DELETED, forget_tombstones, tombstones
from .protocols import Sealer
from .sessions import drop_turns

__all__ = ["Kind", "Selection", "derived", "erase", "held", "is_there", "matching", "present"]

Kind = Literal["memory", "topic", "session", "source"]

_COLUMN = {"memory": "id", "topic": "topic", "session": "session", "source": "source"}
_BATCH = 500


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What is meant: memories by id, or all that has a topic, a session or a source.

    `values` are the words themselves; without them `digests` of each with `salt` before it. With
    `derived` also what was made of it, what was made of that, and so on. `type` narrows a topic to
    one of its types; `turns` is whether the transcript of a session goes too.
    """

    kind: Kind
    values: tuple[str, ...] = ()
    salt: str = ""
    digests: tuple[str, ...] = ()
    derived: bool = False
    type: str | None = None
    turns: bool = True

    def hidden(self) -> Selection:
        """Return the same without its words."""
        digests = tuple(self._digest(value) for value in self.values)
        return msgspec.structs.replace(self, values=(), digests=digests)

    def names(self, value: str) -> bool:
        """Whether a value is meant."""
        if self.digests:
            return self._digest(value) in self.digests
        return value in self.values

    def _digest(self, value: str) -> str:
        return hashlib.sha256(f"{self.salt}\0{self.kind}\0{value}".encode()).hexdigest()


def is_there(connection: apsw.Connection, selection: Selection) -> bool:
    """Whether a state has anything of it."""
    if _with_turns(selection) and next(_sessions(connection, selection), None) is not None:
        return True
    if next(_tombstones(connection, selection), None) is not None:
        return True
    return next(_handles(connection, selection), None) is not None


def matching(connection: apsw.Connection, selection: Selection) -> int:
    """Return how many rows a state has of it, turns included."""
    count = sum(1 for _ in _handles(connection, selection))
    if _with_turns(selection):
        for session in _sessions(connection, selection):
            count += connection.execute(
                "SELECT count(*) FROM __palimp_turns WHERE session = ?", (session,)
            ).get
    return count


def erase(
    connection: apsw.Connection, selection: Selection, sealer: Sealer, limit: int | None = None
) -> int:
    """Remove up to `limit` rows (None: all) with all that was derived of them; return how many.

    Entries of neighbours are written again, because they hold its words; what was proposed of it
    goes. Answers that are kept for repeated requests and name a removed memory go too.
    """
    done = 0
    while limit is None or done < limit:
        some = _BATCH if limit is None else min(_BATCH, limit - done)
        # What was made of it first: afterwards nothing would tell what it was made of.
        found = list(islice(_made_of(connection, selection), some)) if selection.derived else []
        found = found or list(islice(_handles(connection, selection), some))
        if not found:
            break
        remove(connection, [handle for handle, _ in found], sealer, held=True)
        _forget_answers(connection, [identity for _, identity in found])
        done += len(found)
    left = list(_tombstones(connection, selection))
    forget_tombstones(connection, left)
    _forget_answers(connection, left)
    if _with_turns(selection) and (limit is None or done < limit):
        for session in list(_sessions(connection, selection)):
            done += drop_turns(connection, session, sealer)
            connection.execute("DELETE FROM __palimp_sessions WHERE id = ?", (session,))
    if may_rebuild(connection, sealer):
        # Beside rows that could not be read, entries of what is erased were left.
        rebuild(connection, sealer)
    return done


def derived(connection: apsw.Connection, selection: Selection, limit: int) -> list[str]:
    """Return ids of up to `limit` memories that were made of what is erased, and are not it.

    They may say in other words what it said.
    """
    return [identity for _, identity in islice(_made_of(connection, selection), limit)]


def present(connection: apsw.Connection, ids: Iterable[str]) -> list[str]:
    """Return those of the ids that memories of this state have."""
    selection = Selection(kind="memory")
    return [
        one
        for one in ids
        if is_there(connection, msgspec.structs.replace(selection, values=(one,)))
    ]


def _made_of(connection: apsw.Connection, selection: Selection) -> Iterator[tuple[int, str]]:
    """Yield handle and id of what was made of it, directly or through others."""
    meant = _meant_by(connection, selection)
    own = {handle for handle, _ in _handles(connection, selection)}
    rows: Iterable[Any] = connection.execute(
        f"""SELECT handle, id, derived_from FROM {_memories(connection)}
        WHERE derived_from IS NOT NULL"""
    )
    left = {
        handle: (identity, decode_json(sources))
        for handle, identity, sources in rows
        if handle not in own
    }
    made: set[str] = set()
    fresh = True
    while fresh:
        fresh = False
        for handle, (identity, sources) in list(left.items()):
            if any(source in made or meant(source) for source in sources):
                yield handle, identity
                made.add(identity)
                del left[handle]
                fresh = True


def _with_turns(selection: Selection) -> bool:
    return selection.kind == "session" and selection.turns


def _meant_by(connection: apsw.Connection, selection: Selection) -> Callable[[str], bool]:
    """Return what says of an entry of a lineage whether it is erased."""
    ids = {identity for _, identity in _handles(connection, selection)}

    def meant(source: str) -> bool:
        if source in ids or (selection.kind in ("memory", "source") and selection.names(source)):
            return True
        # As extraction names a turn: turn:{session}/{number}.
        name, _, _ = source.removeprefix("turn:").rpartition("/")
        return selection.kind == "session" and source != name and selection.names(name)

    return meant


def _handles(connection: apsw.Connection, selection: Selection) -> Iterator[tuple[int, str]]:
    """Yield handle and id of the memories that are meant."""
    column = _COLUMN[selection.kind]
    if selection.values:
        marks = ", ".join("?" * len(selection.values))
        yield from connection.execute(
            f"""SELECT handle, id FROM {_memories(connection)}
            WHERE {column} IN ({marks}) AND (? IS NULL OR type = ?)""",
            (*selection.values, selection.type, selection.type),
        )
        return
    rows: Iterable[Any] = connection.execute(
        f"""SELECT handle, id, {column} FROM {_memories(connection)}
        WHERE {column} IS NOT NULL AND (?1 IS NULL OR type = ?1)""",
        (selection.type,),
    )
    for handle, identity, value in rows:
        if selection.names(value):
            yield handle, identity


def _memories(connection: apsw.Connection) -> str:
    """Return where memories stand, those that are deleted and not purged among them."""
    if not has_table(connection, DELETED):
        return "__palimp_memories"
    columns = "handle, id, type, topic, session, source, derived_from"
    return f"""(SELECT {columns} FROM __palimp_memories
    UNION ALL SELECT {columns} FROM {DELETED})"""


def _tombstones(connection: apsw.Connection, selection: Selection) -> Iterator[str]:
    """Yield what is left of purged memories that are meant: their ids."""
    if selection.kind == "memory":
        yield from (one for one in tombstones(connection) if selection.names(one))


def held(connection: apsw.Connection, selection: Selection | None) -> list[str]:
    """Return ids of what is meant (None: all) and is under legal hold in a state.

    What is held and has no row any more may be meant by anything but ids.
    """
    ids = held_ids(connection)
    if not ids or selection is None:
        return ids
    meant = {identity for _, identity in _handles(connection, selection)}
    if selection.derived:
        meant |= {identity for _, identity in _made_of(connection, selection)}
    if selection.kind == "memory":
        return [one for one in ids if one in meant or selection.names(one)]
    rows: Iterable[Any] = connection.execute(f"SELECT id FROM {_memories(connection)}")
    there = {identity for (identity,) in rows}
    return [one for one in ids if one in meant or one not in there]


def _sessions(connection: apsw.Connection, selection: Selection) -> Iterator[str]:
    rows: Iterable[Any] = connection.execute("SELECT id FROM __palimp_sessions")
    yield from (session for (session,) in rows if selection.names(session))


def _forget_answers(connection: apsw.Connection, ids: list[str]) -> None:
    for identity in ids:
        connection.execute(
            "DELETE FROM __palimp_requests WHERE instr(CAST(result AS TEXT), ?)", (identity,)
        )
