# Made from client/_async by scripts/unasync.py; change it there.
"""Erasures of a profile: asked for, followed, called off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...api import Blocker, CancelErasure, Erasure, GetErasure, RunErasure
from ...api.base import Request
from ...clock import Clock
from ...errors import Unavailable

if TYPE_CHECKING:
    from .profile import Profile

__all__ = ["ErasureJob"]

_LOOK_SECONDS = 1.0


class ErasureJob:
    """An erasure, and what was last heard of it (`state`); a value, nothing is open."""

    __slots__ = ("profile", "state")

    def __init__(self, profile: Profile, state: Erasure) -> None:
        self.profile = profile
        self.state = state

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id or '(planned)'} {self.status}>"

    @property
    def id(self) -> str:
        """What it is asked about by; empty where it is only planned."""
        return self.state.id

    @property
    def status(self) -> str:
        """`planned`, `waiting` for its grace to end, `blocked`, `running`, `done`, `cancelled`."""
        return self.state.status

    @property
    def blocked_by(self) -> tuple[Blocker, ...]:
        """What keeps it from being completed."""
        return self.state.blocked_by

    @property
    def receipt(self) -> dict[str, Any] | None:
        """The signed receipt, once it is done."""
        return self.state.receipt

    def refresh(self) -> Erasure:
        """Ask how far it is."""
        return self._ask("erasures.get", GetErasure(id=self.id))

    def run(self) -> Erasure:
        """Do what is due of it now; nothing is done before its grace has ended."""
        return self._ask("erasures.run", RunErasure(id=self.id))

    def cancel(self) -> Erasure:
        """Call it off, before its grace has ended; `Conflict` afterwards."""
        return self._ask("erasures.cancel", CancelErasure(id=self.id))

    def wait(self, timeout: float = 60.0) -> Erasure:
        """Do what is due until it is done, blocked or cancelled, and return it.

        Raises `Unavailable` where that takes longer than `timeout` seconds, its grace included.
        """
        clock = Clock()
        end = clock.monotonic() + timeout
        while (self.run()).status in ("waiting", "running"):
            due = (self.state.not_before - clock.now_ms()) / 1000
            if clock.monotonic() + max(due, 0.0) > end:
                raise Unavailable(
                    f"erasure {self.id} is {self.status} and was not done within {timeout:g} s; "
                    "it goes on by itself, ask again later",
                    retry_after=max(due, _LOOK_SECONDS),
                )
            self.profile.client.aside(clock.sleep, min(max(due, 0.01), _LOOK_SECONDS))
        return self.state

    def _ask(self, operation: str, request: Request) -> Erasure:
        found: Erasure = self.profile.client.call(operation, self.profile.target, request)
        self.state = found
        return found
