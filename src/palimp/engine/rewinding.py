"""Returning to an earlier state, as a commit that writes the old pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import apsw

from ..points import Point
from ..store.disk_faults import disk_faults
from .answers import REQUESTS_TABLE, Repeat, find_answer, keep_answer
from .branch import Branch
from .cleansing import cleansing
from .driver import drive
from .faults import sqlite_faults
from .options import Cleanse, Parts
from .protocol import read_timeline
from .restore import Missing, build
from .rounds import STATE_TABLE

__all__ = ["Rewind", "rewind"]

# It restores and compares a whole database.
_PATIENCE_SECONDS = 300.0


class Rewind(NamedTuple):
    """The txid before (rewind there to undo it), the boundary returned to, and the new txid."""

    before: int
    to: int
    txid: int


def rewind(branch: Branch, parts: Parts, point: Point, repeat: Repeat | None) -> Rewind:
    """Make the content what it was at `point`, under a new txid; when this returns it is shipped.

    A crash on the way leaves either state whole. The txid before it is a boundary, so that undoing
    is a rewind too. Requests that were answered since stay answered.
    """
    branch.own()

    def work() -> Rewind:
        with branch.local.writers_place(parts.options.patience):
            branch.own()
            return _rewind(branch, parts, point, repeat)

    return branch.in_lane(work, f"rewinding to {point}", _PATIENCE_SECONDS)


def _rewind(branch: Branch, parts: Parts, point: Point, repeat: Repeat | None) -> Rewind:
    if repeat is not None:
        answer = find_answer(branch.local.writer(), repeat)
        if answer is not None:
            return Rewind(*repeat.decode(answer.result))
    parts.check_pressure(branch.name)
    branch.ship()
    manifest = branch.manifest
    assert manifest is not None
    timeline = drive(read_timeline(*branch.key, manifest), parts.outside, parts.options.patience)
    to, before = timeline.resolve(point), manifest.txid
    # With a request id it is a commit all the same: what is stored nowhere would be done again.
    if to == before and repeat is None:
        return Rewind(before, to, before)
    result = Rewind(before, to, branch.next_txid)
    try:
        with disk_faults(branch.name), sqlite_faults(branch.name):
            path = branch.files.new_incarnation()
            build(parts.store, timeline.path(to), path)
            cleanse = cleansing(parts, branch.key[0], manifest.erasing)
            now_ms = parts.clock.now_ms()
            _carry_over(path, branch.local.writer(), result, repeat, now_ms, cleanse)
            branch.commit_file(path, result.txid)
    except Missing as missing:
        raise missing.as_error(parts.store) from missing
    finally:
        branch.files.remove_old()
    parts.metrics.add("branches_rewound")
    return result


def _carry_over(
    path: Path,
    live: apsw.Connection,
    result: Rewind,
    repeat: Repeat | None,
    now_ms: int,
    cleanse: Cleanse | None,
) -> None:
    """Give the earlier state the new txid and the requests that were answered since.

    What was erased since then is not in it.
    """
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.execute("PRAGMA secure_delete = ON").fetchall()
        with connection:
            if cleanse is not None:
                cleanse(connection)
            connection.execute(
                f"UPDATE {STATE_TABLE} SET value = ? WHERE key = 'txid'", (result.txid,)
            )
            connection.execute(f"DELETE FROM {REQUESTS_TABLE}")
            rows: list[Any] = live.execute(f"SELECT * FROM {REQUESTS_TABLE}").fetchall()
            connection.executemany(f"INSERT INTO {REQUESTS_TABLE} VALUES (?, ?, ?, ?, ?)", rows)
            if repeat is not None:
                keep_answer(connection, repeat, result.txid, repeat.encode(result), now_ms)
    finally:
        connection.close()
