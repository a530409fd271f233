"""Erasure on the wire: what is to go from all of history, how far it is, and the receipt."""

from __future__ import annotations

from typing import Any, Literal

from .base import Request, Result
from .limits import PAGE_DEFAULT
from .memories import MemoryType
from .operation import PROFILE, row

__all__ = [
    "ROWS",
    "Blocker",
    "CancelErasure",
    "Erase",
    "Erasure",
    "ErasurePage",
    "GetErasure",
    "ListErasures",
    "RunErasure",
]

ErasureKind = Literal["memory", "topic", "session", "source", "profile"]
Status = Literal["planned", "waiting", "blocked", "running", "done", "cancelled"]


class Erase(Request, frozen=True, kw_only=True):
    """Erase memories by their `ids`, or all that has a `topic`, a `session` or a `source`.

    Or the whole `profile`, with all its branches; exactly one of these. `type` narrows a topic to
    one of its types, and with `turns` False the transcript of a session stays. From the present of
    every branch it goes at once; earlier states are never shown with it again, and are written anew
    after `grace` seconds (else the policy's `erasure.grace_secs`, else 86,400), until which it can
    be cancelled. Of earlier states only named points stay. `include_derived` erases what was made
    of it too; otherwise that blocks. With `dry_run` nothing is done: the answer says what would be.
    """

    ids: tuple[str, ...] = ()
    topic: str | None = None
    session: str | None = None
    source: str | None = None
    profile: bool = False
    type: MemoryType | None = None
    turns: bool = True
    include_derived: bool = False
    grace: float | None = None
    reason: str | None = None
    dry_run: bool = False


class Blocker(Result, frozen=True, kw_only=True):
    """What keeps an erasure from being completed, and what to do about it."""

    kind: str
    name: str
    message: str


class Erasure(Result, frozen=True, kw_only=True):
    """An erasure and how far it is.

    `rows` were removed from the present of all branches, with the txid of `txids` in each. `points`
    earlier states stay and are written anew, `bytes` large in all (an estimate before it is done).
    `steps` are those that are completed, with their times (ms). `receipt` is there when `status` is
    `done`.
    """

    id: str
    status: Status
    kind: ErasureKind
    requested_at: int
    not_before: int
    rows: int = 0
    derived: int = 0
    branches: int = 0
    points: int = 0
    bytes: int = 0
    txids: dict[str, int] = {}  # noqa: RUF012 - msgspec copies it
    steps: dict[str, int] = {}  # noqa: RUF012 - msgspec copies it
    blocked_by: tuple[Blocker, ...] = ()
    receipt: dict[str, Any] | None = None


class GetErasure(Request, frozen=True, kw_only=True):
    """Read how far an erasure is; also after its profile is gone."""

    id: str


class ListErasures(Request, frozen=True, kw_only=True):
    """Read the erasures of a profile that exists, page by page."""

    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class ErasurePage(Result, frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last."""

    erasures: tuple[Erasure, ...]
    next_cursor: str | None


class RunErasure(Request, frozen=True, kw_only=True):
    """Do what is due of an erasure now, instead of waiting for the node to come to it."""

    id: str


class CancelErasure(Request, frozen=True, kw_only=True):
    """Call an erasure off before its grace has ended: earlier states are what they were.

    What was removed from the present stays removed; a rewind brings it back.
    """

    id: str


_ERASURE = PROFILE + "/erasures/{id}"

ROWS = (
    row(
        "erasures.create",
        f"POST {PROFILE}/erasures",
        Erase,
        Erasure,
        "write writes idempotent 201",
        "Erase from the present, from history and from every branch, with a receipt.",
    ),
    row(
        "erasures.list",
        f"GET {PROFILE}/erasures",
        ListErasures,
        ErasurePage,
        "read",
        "Read the erasures of a profile.",
    ),
    row(
        "erasures.get",
        f"GET {_ERASURE}",
        GetErasure,
        Erasure,
        "read",
        "Read how far an erasure is, and its receipt.",
    ),
    row(
        "erasures.run",
        f"POST {_ERASURE}/run",
        RunErasure,
        Erasure,
        "write writes idempotent",
        "Do what is due of an erasure now.",
    ),
    row(
        "erasures.cancel",
        f"DELETE {_ERASURE}",
        CancelErasure,
        Erasure,
        "write writes idempotent",
        "Call an erasure off before its grace has ended.",
    ),
)
