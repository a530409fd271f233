"""Sessions and their transcripts. A session exists once a memory or a turn refers to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import apsw

from ..api import ListSessions, SessionInfo, Turn, TurnInput, Window
from ..api.limits import (
    ABBREVIATION_BYTES_MAX,
    BATCH_ITEMS_MAX,
    CONTENT_BYTES_MAX,
    LABEL_BYTES_MAX,
    PAGE_MAX,
)
from ..clock import parse_ms
from ..errors import Invalid, NotFound
from ..sealing import PLACEHOLDER, Undecipherable
from . import turn_keys
from .checks import (
    check_embedding,
    check_integer,
    check_label,
    check_text,
    decode_json,
    encode_json,
)
from .indexing import (
    TURNS,
    add_entries,
    drop_vectors,
    neighbours,
    reindex_around,
    remove_entries,
)
from .protocols import Sealer

__all__ = [
    "TURN_COLUMNS",
    "Put",
    "TurnDraft",
    "append",
    "check_handles",
    "check_sessions",
    "check_window",
    "draft_turn",
    "drop_session",
    "drop_turns",
    "find",
    "list_sessions",
    "remove",
    "touch_session",
    "turn_fields",
    "window",
]

_SEQ_MAX = 1 << 62
_CURSOR_DIGITS_MAX = 18
_KEYS_MAX = 4
TURN_COLUMNS = "t.handle, t.session, t.seq, t.role, t.content, t.speaker, t.at, t.created_at"


class TurnDraft(NamedTuple):
    """A checked turn."""

    given: TurnInput
    content: str
    at: int | None


class Put(NamedTuple):
    """Where a turn is: its number and handle, and whether it was appended or there by its keys."""

    seq: int
    handle: int
    created: bool


def draft_turn(given: TurnInput) -> TurnDraft:
    """Check one turn; raises `Invalid` naming field and limit."""
    check_text(given.role, "role", ABBREVIATION_BYTES_MAX)
    check_label(given.speaker, "speaker")
    check_embedding(given.embedding)
    if len(given.keys) > _KEYS_MAX:
        raise Invalid(f"the turn has {len(given.keys):,} keys, at most {_KEYS_MAX} are allowed")
    for key in given.keys:
        check_text(key, "keys", LABEL_BYTES_MAX)
    content = encode_json(given.content, "content", CONTENT_BYTES_MAX)
    return TurnDraft(given, content, None if given.at is None else parse_ms(given.at, "at"))


def touch_session(connection: apsw.Connection, session: str, now_ms: int) -> None:
    """Make the session exist and note that it was active now."""
    connection.execute(
        """INSERT INTO __palimp_sessions (id, created_at, last_active_at) VALUES (?1, ?2, ?2)
        ON CONFLICT (id) DO UPDATE SET last_active_at = ?2, ended_at = NULL, listed = 1""",
        (session, now_ms),
    )


def append(
    connection: apsw.Connection,
    session: str,
    turns: Sequence[TurnDraft],
    sealer: Sealer,
    now_ms: int,
) -> list[Put]:
    """Append turns in order; return where each one is. The caller's transaction is atomic.

    Numbers go up by one and are not given again in this session, also not after its transcript was
    dropped. A turn that is there by one of its keys is not appended.
    """
    touch_session(connection, session, now_ms)
    last = connection.execute("SELECT last_seq FROM __palimp_sessions WHERE id = ?", (session,)).get
    done = []
    for turn in turns:
        known = turn_keys.find(connection, session, turn.given.keys)
        if known is not None:
            handle, seq = known
            done.append(Put(seq, handle, created=False))
            continue
        last += 1
        connection.execute(
            """INSERT INTO __palimp_turns (session, seq, role, speaker, content, at, created_at)
            VALUES (?, ?, ?, ?, ?, ?, ?)""",
            (
                session,
                last,
                turn.given.role,
                turn.given.speaker,
                sealer.seal(turn.content, "turns", f"{session}/{last}", "content"),
                turn.at,
                now_ms,
            ),
        )
        handle = connection.last_insert_rowid()
        turn_keys.note(connection, session, turn.given.keys, handle)
        done.append(Put(last, handle, created=True))
    connection.execute("UPDATE __palimp_sessions SET last_seq = ? WHERE id = ?", (last, session))
    reindex_around(connection, TURNS, [one.handle for one in done if one.created], sealer)
    return done


def find(connection: apsw.Connection, handles: Sequence[int], sealer: Sealer) -> tuple[Turn, ...]:
    """Return the turns that are there, each once, in the order of the handles."""
    found = []
    for handle in dict.fromkeys(handles):
        row: Any = connection.execute(
            f"SELECT {TURN_COLUMNS} FROM __palimp_turns t WHERE t.handle = ?", (handle,)
        ).fetchone()
        if row is not None:
            found.append(Turn(**turn_fields(row, sealer)))
    return tuple(found)


def remove(
    connection: apsw.Connection, handles: Sequence[int], within: str | None, sealer: Sealer
) -> list[int]:
    """Remove turns of a session (None: of any); return the handles of those there were.

    Their index entries and vectors go too, and what was proposed from them and quotes them. Entries
    of neighbours are written again, because they hold their words.
    """
    # Not before: opening a folder does not wait for it.
    from .proposals import remove_of

    removed = []
    for handle in dict.fromkeys(handles):
        row: Any = connection.execute(
            "SELECT session, seq FROM __palimp_turns WHERE handle = ?", (handle,)
        ).fetchone()
        if row is None or within not in (None, row[0]):
            continue
        before, after = neighbours(connection, TURNS, handle)
        beside = [one for one in (before, after) if one is not None]
        remove_entries(connection, TURNS, [handle, *beside], sealer)
        drop_vectors(connection, TURNS, [handle], keep_given=False)
        # Its embedded text began with this turn.
        drop_vectors(connection, TURNS, [after] if after is not None else [], keep_given=True)
        connection.execute("DELETE FROM __palimp_turns WHERE handle = ?", (handle,))
        add_entries(connection, TURNS, beside, sealer)
        session, seq = row
        remove_of(connection, session=session, turn=seq)
        removed.append(handle)
    turn_keys.drop(connection, removed)
    return removed


def check_handles(handles: Sequence[int]) -> None:
    """Raise `Invalid` for handles that cannot be."""
    if not 1 <= len(handles) <= BATCH_ITEMS_MAX:
        raise Invalid(f"handles has {len(handles):,}; give 1 to {BATCH_ITEMS_MAX:,}")
    for handle in handles:
        check_integer(handle, "handles", 1, _SEQ_MAX)


def turn_fields(row: Sequence[Any], sealer: Sealer) -> dict[str, Any]:
    """Return the fields of `Turn` from a row of `TURN_COLUMNS`."""
    handle, session, seq, role, content, speaker, at, created_at = row
    fields = {
        "handle": handle,
        "session": session,
        "seq": seq,
        "role": role,
        "speaker": speaker,
        "at": at,
        "created_at": created_at,
    }
    try:
        content = decode_json(sealer.unseal(content, "turns", f"{session}/{seq}", "content"))
    except Undecipherable:
        return {**fields, "content": {"text": PLACEHOLDER}, "decryption_failed": True}
    return {**fields, "content": content}


def window(connection: apsw.Connection, request: Window, sealer: Sealer) -> tuple[Turn, ...]:
    """Return the last turns, oldest first: a range read of the index."""
    rows = connection.execute(
        f"""SELECT {TURN_COLUMNS} FROM __palimp_turns t
        WHERE t.session = :session AND (:before IS NULL OR t.seq < :before)
        ORDER BY t.seq DESC LIMIT :last""",
        {"session": request.session, "before": request.before, "last": request.last},
    ).fetchall()
    return tuple(Turn(**turn_fields(row, sealer)) for row in reversed(rows))


def check_window(request: Window) -> None:
    """Raise `Invalid` for a window that cannot be."""
    check_label(request.session, "session")
    check_integer(request.last, "last", 1, BATCH_ITEMS_MAX)
    if request.before is not None:
        check_integer(request.before, "before", 1, _SEQ_MAX)


def drop_turns(connection: apsw.Connection, session: str, sealer: Sealer) -> int:
    """Remove a transcript with its index entries and vectors; return how many turns it had.

    What was proposed from it and quotes it goes too.
    """
    # Not before: opening a folder does not wait for it.
    from .proposals import remove_of

    rows: list[Any] = connection.execute(
        "SELECT handle FROM __palimp_turns WHERE session = ?", (session,)
    ).fetchall()
    handles = [handle for (handle,) in rows]
    remove_entries(connection, TURNS, handles, sealer)
    drop_vectors(connection, TURNS, handles, keep_given=False)
    connection.execute("DELETE FROM __palimp_turns WHERE session = ?", (session,))
    turn_keys.drop(connection, handles)
    remove_of(connection, session=session)
    return len(handles)


def drop_session(connection: apsw.Connection, session: str, *, listed: bool, now_ms: int) -> None:
    """Mark a session as ended; unless `listed` it no longer appears. `NotFound` if unknown."""
    known = connection.execute(
        "SELECT 1 FROM __palimp_sessions WHERE id = ? AND listed", (session,)
    ).get
    if not known:
        raise NotFound(f"no session {session!r:.80}; none was written or it was ended before")
    # An unlisted session keeps its row, so that its turn numbers are not given out again.
    connection.execute(
        "UPDATE __palimp_sessions SET ended_at = ?, listed = ? WHERE id = ?",
        (now_ms, listed, session),
    )


def list_sessions(
    connection: apsw.Connection, request: ListSessions, now_ms: int
) -> tuple[tuple[SessionInfo, ...], str | None]:
    """Return one page, most recently active first, and the cursor of the next."""
    at, identity = _cursor(request.cursor)
    rows: list[Any] = connection.execute(
        """SELECT s.id, s.created_at, s.last_active_at, s.ended_at,
        (SELECT count(*) FROM __palimp_turns t WHERE t.session = s.id),
        (SELECT count(*) FROM __palimp_memories m WHERE m.session = s.id
            AND (m.expires_at IS NULL OR m.expires_at > :now))
        FROM __palimp_sessions s WHERE s.listed
        AND (:at IS NULL OR (s.last_active_at, s.id) < (:at, :id))
        ORDER BY s.last_active_at DESC, s.id DESC LIMIT :limit""",
        {"at": at, "id": identity, "limit": request.limit + 1, "now": now_ms},
    ).fetchall()
    page = tuple(
        SessionInfo(
            id=identity,
            created_at=created_at,
            last_active_at=last_active_at,
            ended_at=ended_at,
            turns=turns,
            memories=memories,
        )
        for identity, created_at, last_active_at, ended_at, turns, memories in rows[: request.limit]
    )
    if len(rows) <= request.limit:
        return page, None
    return page, f"{page[-1].last_active_at}:{page[-1].id}"


def check_sessions(request: ListSessions) -> None:
    """Raise `Invalid` for a listing that cannot be."""
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    _cursor(request.cursor)


def _cursor(cursor: str | None) -> tuple[int | None, str | None]:
    if cursor is None:
        return None, None
    at, _, identity = cursor.partition(":")
    if not at.isascii() or not at.isdigit() or len(at) > _CURSOR_DIGITS_MAX or not identity:
        raise Invalid(f"cursor {cursor!r:.40} did not come from an earlier page")
    return int(at), identity
