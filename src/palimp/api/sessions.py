"""Sessions and their turns on the wire."""

from __future__ import annotations

from typing import Any

from .base import Request, Result, Sequenced
from .limits import PAGE_DEFAULT
from .memories import Wait
from .operation import PROFILE, row

__all__ = [
    "ROWS",
    "Append",
    "Appended",
    "EndSession",
    "EndedSession",
    "FindTurns",
    "ListSessions",
    "RemoveTurns",
    "RemovedTurns",
    "SearchTurns",
    "SessionInfo",
    "SessionPage",
    "Turn",
    "TurnHit",
    "TurnInput",
    "TurnSearch",
    "Turns",
    "Window",
]

WINDOW_DEFAULT = 20
TURN_SEARCH_DEFAULT = 5


class TurnInput(Request, frozen=True, kw_only=True):
    """One turn: `role` (user, assistant, tool, ...), any JSON as `content`, and who spoke when.

    With `keys` (up to 4) it can be sent again: a turn one of whose keys a turn of its session has
    is that one, and is not appended.
    """

    role: str
    content: Any
    speaker: str | None = None
    at: int | str | None = None
    embedding: tuple[float, ...] | None = None
    keys: tuple[str, ...] = ()


class Turn(Result, frozen=True, kw_only=True):
    """One turn of a transcript; `seq` counts from 1 within its session and is not reused.

    `handle` is its number in its branch, whatever its session; a rewind takes numbers back.
    """

    session: str
    seq: int
    role: str
    content: Any
    speaker: str | None = None
    at: int | None = None
    created_at: int
    handle: int | None = None
    decryption_failed: bool = False


class TurnHit(Turn, frozen=True, kw_only=True):
    """A turn found by a search: `score` in [0, 1], the channels that found it, vector distance."""

    score: float
    channels: tuple[str, ...]
    distance: float | None = None


class Append(Request, frozen=True, kw_only=True):
    """Append 1 to 1,000 turns to a session in one transaction; the session exists from then on.

    With `wait` the answer comes when they have their vectors too, after 20 seconds at the latest.
    """

    session: str
    turns: tuple[TurnInput, ...]
    wait: Wait | None = None


class Appended(Result, frozen=True, kw_only=True):
    """The numbers the turns have, in order, and the txid that holds them.

    `handles` are those in the branch; `created` is False for each turn that was there by its keys.
    `notes` says what was not done as asked, for instance that an embedding was left out. `embedded`
    is whether all have their vectors, where that was waited for.
    """

    seqs: tuple[int, ...]
    txid: int
    notes: tuple[str, ...] = ()
    embedded: bool | None = None
    handles: tuple[int, ...] = ()
    created: tuple[bool, ...] = ()

    @property
    def seq(self) -> int:
        """The number of the last turn."""
        return self.seqs[-1]


class Window(Request, frozen=True, kw_only=True):
    """Read the last turns of a session, oldest first; `before` reads those before that number."""

    session: str
    last: int = WINDOW_DEFAULT
    before: int | None = None


class Turns(Result, Sequenced[Turn], frozen=True, kw_only=True):
    """A piece of a transcript."""

    turns: tuple[Turn, ...]
    txid: int

    def _items(self) -> tuple[Turn, ...]:
        return self.turns


class FindTurns(Request, frozen=True, kw_only=True):
    """Read up to 1,000 turns by their handles, whatever their sessions."""

    handles: tuple[int, ...]


class RemoveTurns(Request, frozen=True, kw_only=True):
    """Remove up to 1,000 turns by their handles, in one transaction; their numbers stay taken.

    Where a `session` is named only those of it.
    """

    handles: tuple[int, ...]
    session: str | None = None


class RemovedTurns(Result, frozen=True, kw_only=True):
    """The handles of the turns that were there, and the txid that holds it."""

    handles: tuple[int, ...]
    txid: int


class SearchTurns(Request, frozen=True, kw_only=True):
    """Rank the turns of one session by a query, an embedding, or both."""

    session: str
    query: str | None = None
    embedding: tuple[float, ...] | None = None
    k: int = TURN_SEARCH_DEFAULT


class TurnSearch(Result, Sequenced[TurnHit], frozen=True, kw_only=True):
    """Ranked turns, best first."""

    turns: tuple[TurnHit, ...]
    txid: int

    def _items(self) -> tuple[TurnHit, ...]:
        return self.turns


class EndSession(Request, frozen=True, kw_only=True):
    """End a session: its tasks go at once, its transcript too with `turns`; memories stay."""

    session: str
    turns: bool = False


class EndedSession(Result, frozen=True, kw_only=True):
    """How many task memories and turns were removed."""

    session: str
    tasks: int
    turns: int
    txid: int


class ListSessions(Request, frozen=True, kw_only=True):
    """Read sessions, most recently active first."""

    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class SessionInfo(Result, frozen=True, kw_only=True):
    """One session with its counts; times are UTC milliseconds of writing."""

    id: str
    created_at: int
    last_active_at: int
    turns: int
    memories: int
    ended_at: int | None = None


class SessionPage(Result, frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last."""

    sessions: tuple[SessionInfo, ...]
    next_cursor: str | None
    txid: int


_SESSION = PROFILE + "/sessions/{session_id}"

ROWS = (
    row(
        "sessions.list",
        f"GET {PROFILE}/sessions",
        ListSessions,
        SessionPage,
        "read",
        "Read the sessions of a profile, most recently active first.",
    ),
    row(
        "sessions.append",
        f"POST {_SESSION}/turns",
        Append,
        Appended,
        "write writes 201",
        "Append turns to a session's transcript in one transaction.",
    ),
    row(
        "sessions.window",
        f"GET {_SESSION}/turns",
        Window,
        Turns,
        "read",
        "Read the last turns of a session, oldest first.",
    ),
    row(
        "sessions.find",
        f"POST {PROFILE}/turns/find",
        FindTurns,
        Turns,
        "read",
        "Read turns by their handles.",
    ),
    row(
        "sessions.remove",
        f"POST {PROFILE}/turns/remove",
        RemoveTurns,
        RemovedTurns,
        "write writes idempotent",
        "Remove turns from their transcripts.",
    ),
    row(
        "sessions.search",
        f"POST {_SESSION}/search",
        SearchTurns,
        TurnSearch,
        "read",
        "Rank the turns of one session.",
    ),
    row(
        "sessions.end",
        f"DELETE {_SESSION}",
        EndSession,
        EndedSession,
        "write writes idempotent 204",
        "End a session: remove its tasks and, when asked, its transcript.",
    ),
)
