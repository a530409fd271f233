"""Commits that may not continue their branch become a branch of their own; nothing is deleted."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import apsw

from ..errors import Conflict
from ..observe import logger
from .cleansing import cleansing
from .driver import drive
from .faults import sqlite_faults
from .files import BranchFiles
from .options import Cleanse, Parts
from .pieces import snapshot_of
from .protocol import Parent, Piece, read_timeline, recover
from .wal import committed_image

__all__ = ["RECOVERED", "recover_strays"]

_LOG = logger("engine")
RECOVERED = "recovered-"
_NAMES_TRIED = 100


def recover_strays(parts: Parts, name: str, key: tuple[str, str], files: BranchFiles) -> None:
    """Make a branch `recovered-{node}-{epoch}` of every file that was set aside, then remove it.

    Stopping it anywhere loses nothing: the file goes only after its branch lives.
    """
    for stray in files.strays():
        make = partial(_cleansed, parts, key[0], stray)
        parent = _parent(parts, key, files, stray)
        base = f"{RECOVERED}{parts.node}-{files.epoch_of(stray)}"
        for number in range(1, _NAMES_TRIED):
            branch = base if number == 1 else f"{base}-{number}"
            try:
                child = drive(
                    recover(key[0], branch, parent, make, parts.node),
                    parts.outside,
                    parts.options.patience,
                )
            except Conflict:
                continue
            files.remove_stray(stray)
            parts.metrics.add("branches_recovered")
            _LOG.warning(
                "%s: commits up to txid %d that could not continue it are branch %s; compare and "
                "merge them, or delete that branch",
                name, child.txid, branch,
            )  # fmt: skip
            break


def _cleansed(parts: Parts, db_id: str, stray: Path) -> Piece:
    with sqlite_faults(str(stray)):
        # All of them, also those that were completed while it lay here.
        return _piece(stray, parts.clock.now_ms(), cleansing(parts, db_id, None))


def _piece(stray: Path, at: int, cleanse: Cleanse | None) -> Piece:
    # Not read-only: SQLite may have to recover the log of a process that was killed.
    connection = apsw.Connection(str(stray), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        if cleanse is not None:
            connection.execute("PRAGMA secure_delete = ON").fetchall()
            with connection:
                cleanse(connection)
        txid = connection.execute("SELECT value FROM __palimp_engine WHERE key = 'txid'").get
        page_size = connection.pragma("page_size")
        return snapshot_of(committed_image(connection), page_size, int(txid), at)
    finally:
        connection.close()


def _parent(parts: Parts, key: tuple[str, str], files: BranchFiles, stray: Path) -> Parent | None:
    """Return the last common boundary where it can be proven."""
    shipped = files.shipped_of(stray)
    if shipped is None:
        return None
    timeline = drive(read_timeline(*key), parts.outside, parts.options.patience)
    if any((ref.max, ref.checksum) == (shipped.txid, shipped.checksum) for ref in timeline.refs()):
        return Parent(branch_id=key[1], txid=shipped.txid)
    return None
