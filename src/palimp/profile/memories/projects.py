"""Giving the memories of one project to another, or to none, whatever state they are in."""

from __future__ import annotations

from typing import Any

import apsw

from ...api.annotating import Reassign
from ..lazy import has_table
from ..protocols import Sealer
from . import dedup, events, states

__all__ = ["reassign"]


def reassign(
    connection: apsw.Connection, given: Reassign, sealer: Sealer, act: states.Act
) -> tuple[int, bool]:
    """Move one page of memories, each with its event; return how many, and if there are more.

    Superseded, archived and deleted ones too, and those under legal hold: it loses nothing.
    """
    left, moved = given.limit, 0
    tables = ["__palimp_memories"]
    if has_table(connection, states.DELETED):
        tables.append(states.DELETED)
    for table in tables:
        rows: list[Any] = connection.execute(
            f"SELECT handle, id FROM {table} WHERE project = ? ORDER BY handle LIMIT ?",
            (given.project, left + 1),
        ).fetchall()
        page = rows[:left]
        if page and not moved:
            states.prepare(connection)
        for handle, identity in page:
            connection.execute(
                f"UPDATE {table} SET project = ? WHERE handle = ?", (given.to, handle)
            )
            dedup.move(connection, handle, given.to)
            said = events.Event(
                handle, identity, "annotated", act.now_ms, act.actor, reason="project"
            )
            events.add(connection, said)
            changes = {"project": (given.project, given.to)}
            events.note_changes(connection, identity, changes, sealer)
        moved += len(page)
        left -= len(page)
        if len(rows) > len(page):
            return moved, True
    return moved, False
