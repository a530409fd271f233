"""What is held of somebody, on the wire: every record of a profile or a session, page by page."""

from __future__ import annotations

from typing import Any, Literal

from .base import Request, Result
from .limits import PAGE_DEFAULT
from .operation import PROFILE, row

__all__ = ["ROWS", "ExportSubject", "RecordKind", "SubjectPage", "SubjectRecord"]

RecordKind = Literal["memory", "turn", "document", "value"]


class ExportSubject(Request, frozen=True, kw_only=True):
    """Read what is held: memories, turns, documents, values, in this order, the oldest first.

    With a `session` its memories and turns only. What was superseded, archived, deleted and not
    purged yet, or has expired and is still there, is part of it.
    """

    session: str | None = None
    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class SubjectRecord(Result, frozen=True, kw_only=True):
    """One record as it is held.

    A memory has its fields and its `events` (when it was made, superseded, archived, ...); a turn
    those of `Turn`; a document `collection`, `id` and `document`; a value `ns`, `key`,
    `content_type`, and `text`, or `base64` where it is none.
    """

    kind: RecordKind
    data: dict[str, Any]


class SubjectPage(Result, frozen=True, kw_only=True):
    """One page, shorter where records are large; `next_cursor` is None on the last."""

    records: tuple[SubjectRecord, ...]
    next_cursor: str | None
    txid: int


ROWS = (
    row(
        "subject.export",
        f"GET {PROFILE}/subject",
        ExportSubject,
        SubjectPage,
        "admin past",
        "Read everything that is held in a profile or a session, with where it came from.",
    ),
)
