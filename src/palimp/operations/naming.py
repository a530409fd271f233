"""Linking memories with what they name, by rules: in the background, where a policy says so."""

from __future__ import annotations

import threading
from functools import partial

import apsw

from ..clock import Clock
from ..engine import Branch
from ..forks import importing
from .auditing.actions import NAMED
from .context import Context
from .embedding import Pause, sleep

__all__ = ["link_names"]

# So many rows are read at once, one slice what somebody else may have to wait for.
_SLICE = 16
_BATCH = 128
# To look at so many rows again, after a crash, costs less than a commit for each few of them.
_UNMARKED_MAX = 1_000

_clock = Clock()


class _Progress:
    """Up to which handle the rows of an open branch were looked at; gone with its content."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.through = self.marked = -1


def link_names(
    context: Context, database: Branch, limit: int | None = None, *, pause: Pause = sleep
) -> int:
    """Look at up to `limit` rows (None: all) for what they name; return at how many.

    Stopping it anywhere loses nothing: what was not looked at is behind a mark.
    """
    address = database.address
    if not context.policies.lenient(address.namespace, address.profile).memory_entities:
        return 0
    progress = database.attachment(_Progress, _Progress)
    done = links = 0
    try:
        while limit is None or done < limit:
            since = _clock.monotonic()
            size = _SLICE if context.embedding.is_busy(context.metrics) else _BATCH
            with progress.lock:
                looked, new = _link_some(context, database, progress, size)
            done, links = done + looked, links + new
            worked = _clock.monotonic() - since
            if not (looked and context.embedding.rest(context.metrics, worked, pause)):
                break
    finally:
        if links and context.audit is not None:
            about = {"branch": address.branch}
            context.audit.record(
                address.namespace, NAMED, address.profile, about=about, links=links
            )
    return done


def _link_some(
    context: Context, database: Branch, progress: _Progress, size: int
) -> tuple[int, int]:
    """Look at some rows; return at how many, and how many links are new."""
    with importing():
        # In a thread that nobody knows of who may be about to fork.
        from ..api import EntityInput
        from ..models.rules.entities import names_in
        from ..profile.relations import naming
    if progress.through < 0:
        progress.through = progress.marked = database.read(naming.mark).value
    sealer = context.sealer_of(database.address)
    after = progress.through
    rows = database.read(partial(naming.rows, after=after, limit=size, sealer=sealer)).value
    if not rows:
        return 0, 0
    found = [
        (row.handle, tuple(EntityInput(name=one.name, type=one.type) for one in names))
        for row in rows
        if row.text is not None and (names := names_in(row.text))
    ]
    through, links = rows[-1].handle, 0
    if found or through - progress.marked > _UNMARKED_MAX:
        id_key, now_ms = context.id_key_of(database.address), context.clock.now_ms()

        def write(connection: apsw.Connection) -> int | None:
            # A rewind made it another one since: then nothing here is true of it.
            if database.attachment(_Progress, _Progress) is not progress:
                return None
            return naming.note(connection, found, through, sealer, id_key, now_ms)

        context.embedding.writes()
        written = database.write(write).value
        if written is None:
            return 0, 0
        links, progress.marked = written, through
    progress.through = through
    return len(rows), links
