"""Writing what was decided: rows, entries, vectors and links, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import apsw

from ..indexing import MEMORIES, add_entries, drop_vectors, reindex_around, remove_entries
from ..memories import Writer, authors, holds, states
from ..memories.lifecycle import remove
from ..schema import prepare_timeline
from ..sessions import touch_session
from .luggage import Luggage, insert, put_links, put_vectors
from .plan import Step
from .versions import LABELS, Version

__all__ = ["Task", "bring"]

# Those that are set as they are there; the state has steps of its own, tags stand in the index.
_PLAIN = tuple(name for name in LABELS if name not in ("state", "tags"))


class Task(NamedTuple):
    """What to bring: memories in their versions, what is carried of them, what has to give way.

    `grace_ms` is how long one that was deleted there can be restored here.
    """

    steps: Sequence[Step]
    luggage: Mapping[str, Luggage]
    displaced: Sequence[tuple[str, str | None]] = ()
    grace_ms: int = 0


def bring(connection: apsw.Connection, task: Task, writer: Writer) -> dict[str, str]:
    """Make memories what they are there; return those that stay as they are, and why.

    First goes what may stand in the way, then comes what is new: of a topic one holds at a time.
    """
    held = {
        step.id: "it is under legal hold here"
        for step in task.steps
        if step.theirs is None and step.ours is not None and holds.is_held(connection, step.id)
    }
    steps = [step for step in task.steps if step.id not in held]
    kept = [step for step in steps if step.ours is not None and step.theirs is not None]
    _take_away(connection, [one for one in steps if one.theirs is None], task, writer)
    for old, _ in task.displaced:
        connection.execute(
            "UPDATE __palimp_memories SET superseded_at = ? WHERE id = ? AND superseded_at IS NULL",
            (writer.now_ms, old),
        )
        handle = _handle(connection, old) if connection.changes() else None
        if handle is not None:
            authors.note(connection, "superseded", handle, writer.actor)
    for step in kept:
        if step.theirs is not None and not step.theirs.holds:
            _change(connection, step, task, writer)
    fresh = _put_new(connection, steps, task, writer)
    for step in kept:
        if step.theirs is not None and step.theirs.holds:
            _change(connection, step, task, writer)
    for step in kept:
        _retag(connection, step, writer)
    _point(connection, steps, task)
    for identity, handle in fresh.items():
        put_vectors(connection, handle, task.luggage[identity], writer.sealer)
    for step in steps:
        if step.ours is None or step.ours.links != _links(step.theirs):
            there = _handle(connection, step.id)
            if there is not None:
                find = partial(_handle, connection)
                put_links(connection, there, task.luggage[step.id], find)
    return held


def _take_away(
    connection: apsw.Connection, steps: Sequence[Step], task: Task, writer: Writer
) -> None:
    """Remove memories as they were removed there: for good, or so that they can be restored."""
    act = states.Act(writer.now_ms, writer.actor, "user_request", "merged", task.grace_ms)
    for step in steps:
        if step.ours is None:
            continue
        found = states.find(connection, step.id, writer.now_ms)
        if task.luggage[step.id].deleted and found is not None:
            states.advance(connection, [found], "delete", act, writer.sealer)
        else:
            remove(connection, [step.ours.handle], writer.sealer)


def _change(connection: apsw.Connection, step: Step, task: Task, writer: Writer) -> None:
    """Let a row say what it says there; what took its place is set when all rows are there."""
    ours, theirs = step.ours, step.theirs
    assert ours is not None
    assert theirs is not None
    if theirs.state != "active":
        # Before it ceases to be superseded: another one may hold its topic.
        _move(connection, step.id, theirs.state, writer)
    names = [name for name in _PLAIN if getattr(ours, name) != getattr(theirs, name)]
    sets = ", ".join(f"{name} = ?" for name in (*names, "superseded_at"))
    values = [getattr(theirs, name) for name in names]
    connection.execute(
        f"UPDATE __palimp_memories SET {sets} WHERE handle = ?",
        (*values, theirs.superseded_at, ours.handle),
    )
    if ours.superseded_at is not None and theirs.superseded_at is None:
        connection.execute(
            """UPDATE __palimp_memories SET superseded_by = NULL, activated_at = ?
            WHERE handle = ?""",
            (writer.now_ms, ours.handle),
        )
        authors.note(connection, "revived", ours.handle, writer.actor)
    elif theirs.superseded_at is not None:
        by = task.luggage[step.id].authors.superseded
        authors.note(connection, "superseded", ours.handle, by)
    if theirs.state == "active":
        _move(connection, step.id, "active", writer)


def _put_new(
    connection: apsw.Connection, steps: Sequence[Step], task: Task, writer: Writer
) -> dict[str, int]:
    """Insert the rows that are not here, index them, and return their numbers by id."""
    fresh: dict[str, int] = {}
    for step in steps:
        if step.ours is None and step.theirs is not None:
            luggage = task.luggage[step.id]
            row = dict(zip(luggage.columns, luggage.row, strict=True))
            if row["type"] == "event":
                prepare_timeline(connection)
            fresh[step.id] = insert(connection, luggage)
            session = row["session"]
            if session is not None:
                touch_session(connection, session, writer.now_ms)
            if step.theirs.state != "active":
                states.note_arrived(connection, fresh[step.id], step.id, writer.now_ms)
    reindex_around(connection, MEMORIES, list(fresh.values()), writer.sealer)
    return fresh


def _move(connection: apsw.Connection, identity: str, state: str, writer: Writer) -> None:
    """Bring a memory into a state by the step that leads there, with its event."""
    found = states.find(connection, identity, writer.now_ms)
    if found is None or found.state == state:
        return
    act = states.Act(writer.now_ms, writer.actor, None, "merged")
    for (before, step), after in states.TRANSITIONS.items():
        if (before, after) == (found.state, state):
            states.advance(connection, [found], step, act, writer.sealer)
            return


def _point(connection: apsw.Connection, steps: Sequence[Step], task: Task) -> None:
    pairs = [
        (step.id, step.theirs.by)
        for step in steps
        if step.theirs is not None and step.theirs.superseded_at is not None
    ]
    for old, new in (*pairs, *task.displaced):
        connection.execute(
            """UPDATE __palimp_memories SET superseded_by =
            (SELECT handle FROM __palimp_memories WHERE id = ?) WHERE id = ?""",
            (new, old),
        )


def _retag(connection: apsw.Connection, step: Step, writer: Writer) -> None:
    """Set the tags of a row, which stand in the index: its entry goes before and comes after."""
    ours, theirs = step.ours, step.theirs
    if ours is None or theirs is None or ours.tags == theirs.tags:
        return
    remove_entries(connection, MEMORIES, [ours.handle], writer.sealer)
    connection.execute(
        "UPDATE __palimp_memories SET tags = ? WHERE handle = ?", (theirs.tags, ours.handle)
    )
    add_entries(connection, MEMORIES, [ours.handle], writer.sealer)
    # They are embedded with it.
    drop_vectors(connection, MEMORIES, [ours.handle], keep_given=True)


def _links(version: Version | None) -> tuple[Any, ...]:
    return () if version is None else version.links


def _handle(connection: apsw.Connection, identity: str) -> int | None:
    found: int | None = connection.execute(
        "SELECT handle FROM __palimp_memories WHERE id = ?", (identity,)
    ).get
    return found
