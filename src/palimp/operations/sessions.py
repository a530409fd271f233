"""Sessions: append, read, list, end."""

from __future__ import annotations

import apsw
import msgspec

from ..api import (
    Append,
    Appended,
    EndedSession,
    EndSession,
    ListSessions,
    SessionPage,
    Target,
    Turns,
    Window,
)
from ..api.limits import BATCH_ITEMS_MAX
from ..api.sessions import FindTurns, RemovedTurns, RemoveTurns
from ..errors import Error, Invalid, NotFound, in_batch
from ..profile import sessions
from ..profile.checks import check_label
from ..profile.indexing import TURNS
from ..profile.memories.lifecycle import end_tasks
from .context import Context

__all__ = ["append", "end", "find", "list_page", "remove", "window"]


def append(context: Context, target: Target, request: Append) -> Appended:
    """Append turns in one transaction; everything is checked before anything is touched."""
    address = context.address(target)
    count = len(request.turns)
    if not 1 <= count <= BATCH_ITEMS_MAX:
        raise Invalid(f"an append has {count:,} turns; give 1 to {BATCH_ITEMS_MAX:,}")
    screen, said = context.screen(address), []
    if screen is not None:
        screen.label(request.session, "session")
        seen = screen.each(screen.turn, request.turns, "turns")
        request = msgspec.structs.replace(request, turns=tuple(one.item for one in seen))
        context = screen.settled("sessions.append", request)
        said = [f"turns[{index}] {one.note}" for index, one in enumerate(seen) if one.note]
    check_label(request.session, "session")
    drafts = []
    for index, given in enumerate(request.turns):
        try:
            drafts.append(sessions.draft_turn(given))
        except Error as error:
            raise in_batch(error, "turns", index, count) from error
    now_ms, sealer = context.clock.now_ms(), context.sealer_of(address)

    def write(connection: apsw.Connection) -> tuple[list[sessions.Put], list[str]]:
        done = sessions.append(connection, request.session, drafts, sealer, now_ms)
        return done, _store_embeddings(connection, drafts, done)

    with context.writing(target) as branch:
        assert branch is not None
        (done, notes), txid, _ = context.commit(branch, write, tuple[list[sessions.Put], list[str]])
        seqs = [one.seq for one in done]
        if screen is not None:
            screen.record()
            notes = [*said, *notes]
        embedded = None
        if request.wait is not None:
            from ..profile.generations import turn_handles
            from .vectors import embed_now

            note = embed_now(
                context, branch, TURNS, lambda c: turn_handles(c, request.session, seqs)
            )
            embedded = note is None
            notes = [*notes, *filter(None, [note])]
        context.wake(branch.address)
    return Appended(
        seqs=tuple(seqs),
        notes=tuple(notes),
        txid=txid,
        embedded=embedded,
        handles=tuple(one.handle for one in done),
        created=tuple(one.created for one in done),
    )


def window(context: Context, target: Target, request: Window) -> Turns:
    """Read the last turns of a session."""
    sessions.check_window(request)
    with context.reading(target) as database:
        if database is None:
            return Turns(turns=(), txid=0)
        sealer = context.sealer_of(target)
        turns, txid, _ = database.read(lambda c: sessions.window(c, request, sealer))
    return Turns(turns=turns, txid=txid)


def find(context: Context, target: Target, request: FindTurns) -> Turns:
    """Read turns by their handles."""
    sessions.check_handles(request.handles)
    with context.reading(target) as database:
        if database is None:
            return Turns(turns=(), txid=0)
        sealer = context.sealer_of(target)
        turns, txid, _ = database.read(lambda c: sessions.find(c, request.handles, sealer))
    return Turns(turns=turns, txid=txid)


def remove(context: Context, target: Target, request: RemoveTurns) -> RemovedTurns:
    """Remove turns; those that are not there are left out of the answer."""
    sessions.check_handles(request.handles)
    check_label(request.session, "session")
    with context.writing(target, create=False) as branch:
        if branch is None:
            return RemovedTurns(handles=(), txid=0)
        sealer = context.sealer_of(target)
        removed, txid, _ = context.commit(
            branch,
            lambda c: sessions.remove(c, request.handles, request.session, sealer),
            list[int],
        )
        context.wake(branch.address)
    return RemovedTurns(handles=tuple(removed), txid=txid)


def list_page(context: Context, target: Target, request: ListSessions) -> SessionPage:
    """Read one page of sessions."""
    sessions.check_sessions(request)
    with context.reading(target) as database:
        if database is None:
            return SessionPage(sessions=(), next_cursor=None, txid=0)
        now_ms = context.now_ms(database)
        (page, cursor), txid, _ = database.read(
            lambda c: sessions.list_sessions(c, request, now_ms)
        )
    return SessionPage(sessions=page, next_cursor=cursor, txid=txid)


def end(context: Context, target: Target, request: EndSession) -> EndedSession:
    """Remove a session's tasks and, when asked, its transcript; its other memories stay."""
    check_label(request.session, "session")
    now_ms = context.clock.now_ms()

    def write(connection: apsw.Connection) -> tuple[int, int]:
        # First, because it says where there is no such session.
        sessions.drop_session(connection, request.session, listed=not request.turns, now_ms=now_ms)
        sealer = context.sealer_of(target)
        tasks = end_tasks(connection, request.session, sealer)
        turns = 0
        if request.turns:
            turns = sessions.drop_turns(connection, request.session, sealer)
        return tasks, turns

    with context.writing(target, create=False) as branch:
        if branch is None:
            raise NotFound(f"no session {request.session!r:.80}; the profile is empty")
        (tasks, turns), txid, _ = context.commit(branch, write, tuple[int, int])
    return EndedSession(session=request.session, tasks=tasks, turns=turns, txid=txid)


def _store_embeddings(
    connection: apsw.Connection, drafts: list[sessions.TurnDraft], done: list[sessions.Put]
) -> list[str]:
    """Store the vectors callers gave; return a note for each one that was left out."""
    notes: list[str] = []
    if all(turn.given.embedding is None for turn in drafts):
        return notes
    from ..profile.vectors import store_given

    for index, (turn, put) in enumerate(zip(drafts, done, strict=True)):
        if turn.given.embedding is not None and put.created:
            note = store_given(connection, TURNS, put.handle, turn.given.embedding)
            if note:
                notes.append(f"turns[{index}] {note}")
    return notes
