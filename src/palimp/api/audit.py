"""The audit on the wire: who did what, when, to which profile; never what was said."""

from __future__ import annotations

from typing import Literal

import msgspec

from .base import WIRE_NAMES, Request, Result, Sequenced
from .limits import PAGE_DEFAULT
from .operation import row

__all__ = [
    "ROWS",
    "AuditBreak",
    "AuditChain",
    "AuditEvent",
    "AuditPage",
    "AuditVerification",
    "Outcome",
    "QueryAudit",
    "VerifyAudit",
]

Outcome = Literal["ok", "denied", "error"]


class AuditEvent(Result, frozen=True, kw_only=True, omit_defaults=True):
    """One operation that was carried out, denied or failed, at `ts` (UTC ms).

    `actor` tells credentials apart and says nothing about them; `kind` and `scope` are what it
    reached. `host` and `model` say where texts went (actions `egress.*`), `row` which one could not
    be read (`fields.unreadable`). `node`, `seq` and `prev`
    (the SHA-256 of the line before) are its place in the chain of the node that wrote it.
    """

    ts: int
    seq: int
    node: str
    action: str
    outcome: Outcome
    actor: str
    kind: str
    scope: str
    prev: str
    profile: str | None = None
    branch: str | None = None
    code: str | None = None
    txid: int | None = None
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    request_id: str | None = None
    host: str | None = None
    model: str | None = None
    row: str | None = None


class QueryAudit(Request, frozen=True, kw_only=True, rename={**WIRE_NAMES, "from_": "from"}):
    """Read the events of a namespace, oldest first.

    `from` (inclusive) and `to` (exclusive) are UTC ms or RFC 3339 text. `action` is an exact name,
    or with a dot at its end every action that begins so.
    """

    from_: int | str | None = None
    to: int | str | None = None
    action: str | None = None
    profile: str | None = None
    outcome: Outcome | None = None
    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class AuditPage(Result, Sequenced[AuditEvent], frozen=True, kw_only=True):
    """One page; `complete` where it is the last, which has no `next_cursor`.

    A page ends where it has `limit` events or has looked at a number of objects: it may be empty
    and not the last. Of several nodes the order holds to within a minute.
    """

    events: tuple[AuditEvent, ...]
    next_cursor: str | None
    complete: bool

    def _items(self) -> tuple[AuditEvent, ...]:
        return self.events


class VerifyAudit(Request, frozen=True, kw_only=True):
    """Check the audit of a namespace from its beginning, or where `cursor` says."""

    cursor: str | None = None


class AuditChain(Result, frozen=True, kw_only=True):
    """What one node wrote: the number and the SHA-256 of its last line, and when that was (UTC ms).

    Kept elsewhere, it shows later that nothing before it was written anew.
    """

    node: str
    seq: int
    hash: str
    ts: int


class AuditBreak(Result, frozen=True, kw_only=True):
    """Where the chain of a node does not hold: the object, the line in it (from 1), and what."""

    key: str
    line: int
    what: str


class AuditVerification(Result, frozen=True, kw_only=True):
    """What was checked by this call, the chains so far, and the first break.

    `next_cursor` goes on where this call ended; None at the end, and after a break.
    """

    objects: int
    events: int
    chains: tuple[AuditChain, ...]
    broken: AuditBreak | None
    next_cursor: str | None


_AUDIT = "/v1/namespaces/{namespace}/audit"

ROWS = (
    row(
        "audit.query",
        f"GET {_AUDIT}",
        QueryAudit,
        AuditPage,
        "admin",
        "Read the audit of a namespace, oldest first.",
    ),
    row(
        "audit.verify",
        f"POST {_AUDIT}/verify",
        VerifyAudit,
        AuditVerification,
        "admin",
        "Check that no event of a namespace was altered or taken out.",
    ),
)
