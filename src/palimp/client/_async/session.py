"""A session of a profile and its transcript."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from ...api import (
    NO_OPTIONS,
    Appended,
    Durability,
    EndedSession,
    EndSession,
    Options,
    RemovedTurns,
    RemoveTurns,
    TurnInput,
    Turns,
    TurnSearch,
    Wait,
    Window,
    to_request,
)
from ...api.sessions import TURN_SEARCH_DEFAULT, WINDOW_DEFAULT
from ..fields import ContextFields, ReadFields, Time
from ..inputs import apart, append_request, options, reading, search_request, turn

if TYPE_CHECKING:
    from ...api.events import SessionText
    from .past import AsyncReading

__all__ = ["AsyncSession", "AsyncTranscript"]


class AsyncTranscript:
    """What can be read of one session, as it is or as it was; a value that holds nothing open."""

    __slots__ = ("name", "profile")

    def __init__(self, profile: AsyncReading, name: str) -> None:
        self.profile = profile
        self.name = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} of {self.profile!r}>"

    async def window(
        self, last: int = WINDOW_DEFAULT, *, before: int | None = None, **how: Unpack[ReadFields]
    ) -> Turns:
        """Return the last turns, oldest first; `before` gives those before that number."""
        fields = {"session": self.name, "last": last, "before": before}
        request = to_request(Window, fields, "window")
        found: Turns = await self._call("sessions.window", request, reading(how))
        return found

    async def search(
        self,
        query: str | None = None,
        *,
        embedding: Sequence[float] | None = None,
        k: int = TURN_SEARCH_DEFAULT,
        **how: Unpack[ReadFields],
    ) -> TurnSearch:
        """Return at most `k` turns of this session that matter, best first."""
        request = search_request(self.name, query, embedding, k)
        found: TurnSearch = await self._call("sessions.search", request, reading(how))
        return found

    async def context(self, **fields: Unpack[ContextFields]) -> SessionText:
        """Return what happened in this session as text for a prompt; `str()` of it is the text.

        It has the newest memories of the session, at most `limit=` (100), written since `since=`
        (a time, or how long ago: `"24h"` unless given; None: any), of `kinds=` only where these are
        given. With `max_tokens=` (UTF-8 bytes / 4) the oldest are left out until it fits.
        """
        # Not before: few programs need it.
        from ..timeline import context_request

        given, how = apart(fields)
        found: SessionText = await self._call(
            "sessions.context", context_request(self.name, given), how
        )
        return found

    async def _call(self, operation: str, request: Any, how: Options = NO_OPTIONS) -> Any:
        return await self.profile.client.call(operation, self.profile.target, request, how)


class AsyncSession(AsyncTranscript):
    """One session of a profile: a value that holds nothing open.

    Writes take `durability=` and `request_id=` as those of the profile do.
    """

    __slots__ = ()

    async def append(
        self,
        role: str,
        content: Any,
        *,
        speaker: str | None = None,
        at: Time | None = None,
        embedding: Sequence[float] | None = None,
        keys: Sequence[str] = (),
        wait: Wait | None = None,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> Appended:
        """Append one turn; `content` is text or any JSON. Its number is in `.seq`.

        Where a turn of the session has one of `keys` it is not appended: that one is meant.
        """
        fields = {"speaker": speaker, "at": at, "embedding": embedding, "keys": tuple(keys)}
        said = turn(role, content, fields)
        return await self.extend([said], wait=wait, durability=durability, request_id=request_id)

    async def extend(
        self,
        turns: Iterable[Mapping[str, Any] | TurnInput],
        *,
        wait: Wait | None = None,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> Appended:
        """Append 1 to 1,000 turns in one transaction: all of them, or none and an error.

        With `wait="embedded"` it returns when they have their vectors; where the embedder fails
        they are appended all the same, `embedded` is False and `notes` say why.
        """
        request = append_request(self.name, turns, wait)
        how = options(durability, request_id)
        done: Appended = await self._call("sessions.append", request, how)
        return done

    async def remove(
        self,
        handles: Iterable[int],
        *,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> RemovedTurns:
        """Remove up to 1,000 turns of this session by their `handle`; what is not there is not.

        Their numbers are not given again.
        """
        fields = {"handles": tuple(handles), "session": self.name}
        request = to_request(RemoveTurns, fields, "remove")
        how = options(durability, request_id)
        done: RemovedTurns = await self._call("sessions.remove", request, how)
        return done

    async def end(
        self,
        *,
        turns: bool = False,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> EndedSession:
        """Remove the session's tasks and, with `turns`, its transcript; other memories stay.

        Raises `NotFound` where there is no such session.
        """
        request = to_request(EndSession, {"session": self.name, "turns": turns}, "end")
        how = options(durability, request_id)
        done: EndedSession = await self._call("sessions.end", request, how)
        return done
