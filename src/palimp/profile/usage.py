"""What becomes of memories in use: how often they are read, how good they were found, their tiers.

Reads do not write. Who was read is collected in memory with the open branch and written by
maintenance, in batches; a crash loses what was collected, which is counts of reads and nothing
else. It is collected only where a policy or a ranking asks for it.

Feedback is a row per memory, signal and question (as a keyed hash of its words) in a table of its
own, which the first one makes. A memory's value goes from 0.5, nothing said, up and down with it,
and never leaves [0.05, 1].
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import apsw

from .lazy import has_table

__all__ = [
    "BATCH",
    "NEUTRAL",
    "SIGNALS",
    "Accesses",
    "Read",
    "Tiers",
    "complete",
    "counts",
    "drop_feedback",
    "due_tiers",
    "give",
    "given",
    "note_reads",
    "query_mark",
    "set_tiers",
    "summary",
    "value_of",
]

BATCH = 500
# What one signal adds to a memory's value.
SIGNALS = {"useful": 0.1, "irrelevant": -0.1, "outdated": -0.2, "wrong": -0.3}
NEUTRAL = 0.5
_VALUE_LEAST, _VALUE_MOST = 0.05, 1.0
# More say nothing new: the value is at its end long before.
_COUNT_MAX = 1_000
_QUERIES_A_MEMORY_MAX = 100
_COLLECTED_MAX = 10_000
_DAY_MS = 86_400_000
_MARK_BYTES = 16
_NAME = "__palimp_feedback"
# Of a `query` that is empty: whatever was asked.
_TABLE = f"""CREATE TABLE {_NAME} (
    handle INTEGER NOT NULL, query BLOB NOT NULL, signal TEXT NOT NULL, count INTEGER NOT NULL,
    at INTEGER NOT NULL, PRIMARY KEY (handle, query, signal)
) WITHOUT ROWID, STRICT"""
_ANY_QUERY = b""


class Read(NamedTuple):
    """How often a memory was read since it was last written down, and when for the last time."""

    times: int
    last: int


class Accesses:
    """Who was read in a branch, by id, until it is written. Thread-safe; lives with the branch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reads: dict[str, Read] = {}

    def note(self, ids: Iterable[str], now_ms: int) -> None:
        """Count one read of each; of more than 10,000 memories those read last are not counted."""
        with self._lock:
            for identity in ids:
                known = self._reads.get(identity)
                if known is not None:
                    self._reads[identity] = Read(known.times + 1, max(known.last, now_ms))
                elif len(self._reads) < _COLLECTED_MAX:
                    self._reads[identity] = Read(1, now_ms)

    def take(self, most: int = BATCH) -> dict[str, Read]:
        """Return up to `most` of them and forget those."""
        with self._lock:
            chosen = list(self._reads)[:most]
            return {identity: self._reads.pop(identity) for identity in chosen}

    def give_back(self, reads: dict[str, Read]) -> None:
        """Keep what could not be written."""
        with self._lock:
            for identity, read in reads.items():
                known = self._reads.get(identity, Read(0, 0))
                both = Read(known.times + read.times, max(known.last, read.last))
                self._reads[identity] = both


class Tiers(NamedTuple):
    """Who was last read, or written, at or before these times (ms) is warm, or cold."""

    warm: int | None
    cold: int | None

    @classmethod
    def of(cls, warm_days: int | None, cold_days: int | None, now_ms: int) -> Tiers | None:
        """Return the limits of a policy now; None where it has none.

        What was warm for `cold_days` is cold; without `warm_days` nothing is ever warm.
        """
        if warm_days is None and cold_days is None:
            return None
        warm = None if warm_days is None else now_ms - warm_days * _DAY_MS
        cold = None
        if cold_days is not None:
            cold = now_ms - (cold_days + (warm_days or 0)) * _DAY_MS
        return cls(warm, cold)

    def tier(self, used_at: int) -> str | None:
        """Return the tier of what was used last at this time; None is hot."""
        if self.cold is not None and used_at <= self.cold:
            return "cold"
        if self.warm is not None and used_at <= self.warm:
            return "warm"
        return None


def note_reads(connection: apsw.Connection, reads: dict[str, Read]) -> int:
    """Write down who was read; what is read is hot again. Returns how many still exist."""
    before = connection.total_changes()
    connection.executemany(
        """UPDATE __palimp_memories SET access_count = access_count + :times,
        last_accessed_at = max(coalesce(last_accessed_at, 0), :last), memory_tier = NULL
        WHERE id = :id""",
        [{"id": identity, **read._asdict()} for identity, read in reads.items()],
    )
    return connection.total_changes() - before


def due_tiers(connection: apsw.Connection, limits: Tiers, after: int) -> list[tuple[int, str]]:
    """Return up to 500 memories after a handle whose tier is not the one it should be, with that.

    Only towards the cold: what is used becomes hot when it is used.
    """
    used = "coalesce(m.last_accessed_at, m.activated_at)"
    rows: list[Any] = connection.execute(
        f"""SELECT m.handle, {used} FROM __palimp_memories m
        WHERE m.handle > :after AND m.state = 'active' AND (
            (coalesce(m.memory_tier, 'hot') != 'cold' AND {used} <= :cold)
            OR (m.memory_tier IS NULL AND {used} <= :warm))
        ORDER BY m.handle LIMIT :most""",
        {"after": after, "cold": limits.cold, "warm": limits.warm, "most": BATCH},
    ).fetchall()
    return [(handle, limits.tier(used_at) or "warm") for handle, used_at in rows]


def set_tiers(connection: apsw.Connection, due: Sequence[tuple[int, str]], limits: Tiers) -> int:
    """Move memories to their tiers, those that were not used meanwhile; return how many moved."""
    before = connection.total_changes()
    connection.executemany(
        """UPDATE __palimp_memories SET memory_tier = :tier WHERE handle = :handle
        AND coalesce(last_accessed_at, activated_at) <= :limit""",
        [{"handle": handle, "tier": tier, "limit": getattr(limits, tier)} for handle, tier in due],
    )
    return connection.total_changes() - before


def query_mark(key: bytes, query: str | None) -> bytes:
    """Return what stands for a question in the table: a keyed hash, the same for the same words."""
    if query is None:
        return _ANY_QUERY
    words = " ".join(query.casefold().split())
    data = words.encode("utf-8", "replace")
    return hashlib.blake2b(data, digest_size=_MARK_BYTES, key=key, person=b"feedback").digest()


def give(connection: apsw.Connection, handle: int, signal: str, query: bytes, now_ms: int) -> None:
    """Count one signal about a memory; of questions the last 100 are known."""
    values = {"handle": handle, "query": query, "signal": signal, "at": now_ms}
    statement = f"""INSERT INTO {_NAME} VALUES (:handle, :query, :signal, 1, :at)
        ON CONFLICT DO UPDATE SET count = min(count + 1, {_COUNT_MAX}), at = :at"""
    try:
        connection.execute(statement, values)
    except apsw.SQLError:
        if has_table(connection, _NAME):
            raise
        connection.execute(_TABLE)
        connection.execute(statement, values)
    if query:
        connection.execute(
            f"""DELETE FROM {_NAME} WHERE handle = :handle AND query IN (
                SELECT query FROM {_NAME} WHERE handle = :handle AND query != x''
                GROUP BY query ORDER BY max(at) DESC, query LIMIT -1 OFFSET :most)""",
            {"handle": handle, "most": _QUERIES_A_MEMORY_MAX},
        )


def counts(connection: apsw.Connection, handle: int) -> dict[str, int]:
    """Return how often each signal was given about a memory, whatever was asked."""
    if not has_table(connection, _NAME):
        return {}
    rows: Any = connection.execute(
        f"SELECT signal, sum(count) FROM {_NAME} WHERE handle = ? GROUP BY signal", (handle,)
    )
    return dict(rows.fetchall())


def summary(connection: apsw.Connection) -> dict[str, dict[str, int]]:
    """Return how often each signal was given, by the trust of the memories; "" is none."""
    if not has_table(connection, _NAME):
        return {}
    rows: Any = connection.execute(
        f"""SELECT coalesce(m.trust, ''), f.signal, sum(f.count) FROM {_NAME} f
        JOIN __palimp_memories m USING (handle) GROUP BY 1, 2"""
    )
    found: dict[str, dict[str, int]] = {}
    for trust, signal, count in rows:
        found.setdefault(trust, {})[signal] = count
    return found


def value_of(given: dict[str, int]) -> float:
    """Return what signals are worth together, in [0.05, 1]; 0.5 without any."""
    total = NEUTRAL + sum(SIGNALS[signal] * count for signal, count in given.items())
    return min(_VALUE_MOST, max(_VALUE_LEAST, total))


def given(
    connection: apsw.Connection, handles: Sequence[int], query: bytes
) -> dict[int, dict[str, int]]:
    """Return how often each signal was given of each memory, in general or of a question."""
    # Most profiles have none.
    if not handles or not has_table(connection, _NAME):
        return {}
    import numpy as np

    rows: list[Any] = connection.execute(
        f"""SELECT f.handle, f.signal, sum(f.count) FROM carray(:handles) c
        JOIN {_NAME} f ON f.handle = c.value WHERE f.query IN (x'', :query)
        GROUP BY f.handle, f.signal""",
        {"handles": apsw.carray(np.asarray(handles, np.int64)), "query": query},
    ).fetchall()
    found: dict[int, dict[str, int]] = {}
    for handle, signal, count in rows:
        found.setdefault(handle, {})[signal] = count
    return found


def drop_feedback(connection: apsw.Connection, handles: Sequence[int]) -> None:
    """Remove what was said about memories that are removed."""
    if handles and has_table(connection, _NAME):
        connection.executemany(
            f"DELETE FROM {_NAME} WHERE handle = ?", [(handle,) for handle in handles]
        )


def complete(connection: apsw.Connection, names: Sequence[str]) -> None:
    """Make the table in a new database, where it is among `names`."""
    if _NAME in names:
        connection.execute(_TABLE)
