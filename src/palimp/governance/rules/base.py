"""What every rule is made of: what it looks at, what it decides, and how rows are read in pages.

A rule finds; it changes nothing. What it found is looked at again in the transaction that acts on
it, so what somebody changed in between is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import apsw

from ...api.governance import GovernanceAction
from ...profile import Sealer
from ...profile.memories.holds import unheld

__all__ = ["DAY_MS", "HOLDS", "HOUR_MS", "SINCE", "Ask", "Decision", "Look", "Rule", "pages"]

T = TypeVar("T")

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
# Rows looked at in one read: others wait as long as it takes.
_PAGE = 5_000
# What holds at `:now`, of the memories table as `m`.
HOLDS = """m.superseded_at IS NULL AND m.state = 'active'
AND (m.expires_at IS NULL OR m.expires_at > :now)"""
# Since when it is believed: what was stated or restored again is as young as that.
SINCE = """CASE WHEN m.activated_at > m.created_at THEN max(m.activated_at, m.occurred_at)
ELSE m.occurred_at END"""


class Ask(Protocol):
    """Reads a branch: what it is given sees one state of it. Between two calls others may write."""

    def __call__(self, query: Callable[[apsw.Connection], T]) -> T:
        """Return what the query does."""


class Look(NamedTuple):
    """When it is looked, and what it takes to read texts and to name pairs."""

    now_ms: int
    sealer: Sealer
    id_key: bytes


class Decision(NamedTuple):
    """What is to be done with one memory, and why, in numbers: a rationale holds no word of it.

    `confidence` is how sure that is. `other` is the memory that takes its place, or disagrees with
    it. `value` is what it gets: a confidence, a tier of trust, a cosine.
    """

    action: GovernanceAction
    handle: int
    id: str
    rationale: str
    confidence: float | None = None
    other: int | None = None
    value: float | str | None = None


class Rule(NamedTuple):
    """`find` yields decisions in pages; `again` returns those of a page that still hold."""

    name: str
    find: Callable[[Ask, Look], Iterator[list[Decision]]]
    again: Callable[[apsw.Connection, Sequence[Decision], Look], list[Decision]]


def pages(
    ask: Ask,
    query: Callable[[apsw.Connection], str],
    judge: Callable[..., Decision | None],
    now_ms: int,
) -> Iterator[list[Decision]]:
    """Yield what `judge` says of the rows of a query over the memories table, `m`.

    The query is the columns after handle and id, FROM and WHERE; it may name `:now`.
    """
    after: int | None = 0
    while after is not None:
        found, after = ask(partial(_page, query=query, judge=judge, now_ms=now_ms, after=after))
        if found:
            yield found


def again(
    connection: apsw.Connection,
    decisions: Sequence[Decision],
    query: Callable[[apsw.Connection], str],
    judge: Callable[..., Decision | None],
    now_ms: int,
) -> list[Decision]:
    """Return what `judge` says of these rows now, where the query still finds them."""
    chosen = str([one.handle for one in decisions])
    text = f"""SELECT m.handle, m.id{query(connection)}{unheld(connection, "m.id")}
    AND m.handle IN (SELECT value FROM json_each(:handles))"""
    rows = connection.execute(text, _used(text, now=now_ms, handles=chosen))
    return [one for one in (judge(now_ms, *row) for row in rows) if one is not None]


def rule(
    name: str,
    query: Callable[[apsw.Connection], str],
    judge: Callable[..., Decision | None],
) -> Rule:
    """Return the rule that judges each row of a query by itself."""
    return Rule(
        name,
        lambda ask, look: pages(ask, query, judge, look.now_ms),
        lambda connection, decisions, look: again(connection, decisions, query, judge, look.now_ms),
    )


def _page(
    connection: apsw.Connection,
    *,
    query: Callable[[apsw.Connection], str],
    judge: Callable[..., Decision | None],
    now_ms: int,
    after: int,
) -> tuple[list[Decision], int | None]:
    text = f"""SELECT m.handle, m.id{query(connection)}{unheld(connection, "m.id")}
    AND m.handle > :after ORDER BY m.handle LIMIT {_PAGE}"""
    rows: list[Any] = connection.execute(text, _used(text, now=now_ms, after=after)).fetchall()
    found = [one for one in (judge(now_ms, *row) for row in rows) if one is not None]
    return found, rows[-1][0] if len(rows) == _PAGE else None


def _used(text: str, **given: Any) -> dict[str, Any]:
    return {name: value for name, value in given.items() if f":{name}" in text}
