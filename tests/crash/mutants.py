"""Defects that the kills must find: each is put into the children that work, not into the check."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lives import Life
from world import Answer

from palimp import ltx
from palimp.disk import replace_file
from palimp.engine.branch import Branch
from palimp.engine.files import BranchFiles
from palimp.engine.pieces import difference, snapshot_of
from palimp.engine.protocol import ship
from palimp.engine.rounds import Rounds
from palimp.engine.wal import committed_image

_EARLY = {"remember", "ingest", "supersede", "forget"}


def acknowledge_before_commit(life: Life) -> None:
    """A local write is answered when its transaction is about to be committed."""
    real = Rounds._commit

    def commit(rounds: Rounds) -> None:
        step = life.step
        if (
            step is not None
            and step.what in _EARLY
            and not step.durable
            and threading.current_thread() is threading.main_thread()
        ):
            life.acknowledge(step, Answer(rounds.txid()))
        real(rounds)

    Rounds._commit = commit  # type: ignore[method-assign]


def remove_before_switch(_: Life) -> None:
    """The old incarnation goes before `current` names the new one."""

    def make_current(files: BranchFiles, path: Path) -> None:
        for old in files.folder.glob("i_*"):
            if old != path.parent:
                shutil.rmtree(old)
        replace_file(files.folder / "current", path.parent.name.encode())

    BranchFiles.make_current = make_current  # type: ignore[method-assign]


def ship_after_switch(_: Life) -> None:
    """A rewind counts here before the manifest has it."""

    def commit_file(branch: Any, path: Path, txid: int) -> None:
        lane = branch._lane
        image = path.read_bytes()
        writer = branch.local.writer()
        size = writer.pragma("page_size")
        after, now_ms = ltx.PageChecksums.of(image, size), branch._parts.clock.now_ms()
        if lane.manifest.txid:
            before = ltx.PageChecksums.of(committed_image(writer), size)
            piece = difference(before, image, after, (lane.manifest.txid + 1, txid), now_ms)
        else:
            piece = snapshot_of(image, size, txid, now_ms)
        branch._commits.drop()
        branch.local.switch(path)
        branch.files.make_current(path)
        branch.drive_lane(lambda lane: ship(lane, piece))
        branch._follow(lane.manifest, after)
        branch.files.note_shipped(piece.max, piece.checksum)

    Branch.commit_file = commit_file  # type: ignore[method-assign]


MUTANTS: dict[str, Callable[[Life], None]] = {
    "acknowledge before commit": acknowledge_before_commit,
    "remove before switch": remove_before_switch,
    "ship after switch": ship_after_switch,
}
