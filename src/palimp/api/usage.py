"""What was used of databases and namespaces, by day, on the wire."""

from __future__ import annotations

import msgspec

from .base import Request, Result, Sequenced
from .operation import row

__all__ = ["ROWS", "DatabaseUsage", "NamespaceUsage", "ReadUsage", "UsageDay"]


class ReadUsage(Request, frozen=True, kw_only=True):
    """Read the days from `from` to `to`, both among them, as `2026-03-02` (UTC).

    Without `to` up to today, without `from` the 30 days up to then.
    """

    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None


class UsageDay(Result, frozen=True, kw_only=True):
    """One day, in UTC.

    How large it was at the end of it, as far as was looked: `bytes` of the main branch, `memories`
    in it (superseded ones too), `branches` (main is one). And what was done on it: operations that
    wrote, recalls, and the tokens that language models charged for.
    """

    day: str
    bytes: int
    memories: int
    branches: int
    writes: int
    recalls: int
    model_tokens: int


class DatabaseUsage(Result, Sequenced[UsageDay], frozen=True, kw_only=True):
    """What was used of a database: each day asked for that has begun, ascending."""

    name: str
    days: tuple[UsageDay, ...]

    def _items(self) -> tuple[UsageDay, ...]:
        return self.days


class NamespaceUsage(Result, Sequenced[UsageDay], frozen=True, kw_only=True):
    """The sums over a namespace, deleted databases among them; `databases` it has now."""

    namespace: str
    databases: int
    days: tuple[UsageDay, ...]

    def _items(self) -> tuple[UsageDay, ...]:
        return self.days


ROWS = (
    row(
        "usage.database",
        "GET /v1/databases/{db}/usage",
        ReadUsage,
        DatabaseUsage,
        "read platform",
        "Read what was used of a database, by day.",
    ),
    row(
        "usage.namespace",
        "GET /v1/namespaces/{namespace}/usage",
        ReadUsage,
        NamespaceUsage,
        "read platform",
        "Read what was used of a namespace, by day.",
    ),
)
