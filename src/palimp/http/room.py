"""Room for the bodies of all requests together, so that many large ones do not fill the memory."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from ..errors import Unavailable

__all__ = ["Room", "Share"]

_RETRY_SECONDS = 1.0


class Room:
    """So many bytes, shared by the requests under way; used from one event loop."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.taken = 0

    def share(self) -> Share:
        """Return the share of one request, for a `with`."""
        return Share(self)


class Share:
    """What one request takes; given back at the end of its `with`."""

    __slots__ = ("_room", "_taken")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._taken = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._room.taken -= self._taken

    def take(self, size: int) -> None:
        """Take some more; raises `Unavailable` (`overloaded`) where it does not fit."""
        room = self._room
        if room.taken + size > room.bytes_max:
            raise Unavailable(
                f"bodies of {room.taken:,} bytes are being read here already, at most "
                f"{room.bytes_max:,} at a time; repeat it later",
                code="overloaded",
                reason="bodies",
                retry_after=_RETRY_SECONDS,
            )
        room.taken += size
        self._taken += size
