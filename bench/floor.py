"""The same by hand: what somebody would write who needs only this and knows SQLite well.

One table with our columns and secondary indexes, FTS5 with our tokenizer and columns, vectors and
their sign codes; WAL with synchronous=FULL. Nothing is checked, nothing is looked up first, and who
stood before and after an event is known to the caller.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import numpy as np
from corpus import Corpus, Memory
from numpy.typing import NDArray

_COLUMNS = """id TEXT NOT NULL UNIQUE, type TEXT NOT NULL, kind TEXT, topic TEXT,
text TEXT NOT NULL, content, keywords, tags TEXT, metadata, source TEXT, session TEXT, agent TEXT,
speaker TEXT, project TEXT, environment TEXT, importance REAL, confidence REAL, trust TEXT,
observed_at INTEGER, created_at INTEGER NOT NULL, occurred_at INTEGER NOT NULL,
activated_at INTEGER NOT NULL, superseded_by INTEGER, superseded_at INTEGER, expires_at INTEGER,
state TEXT NOT NULL DEFAULT 'active', memory_tier TEXT, access_count INTEGER NOT NULL DEFAULT 0,
last_accessed_at INTEGER, derived_from TEXT, source_span TEXT, dedup_key TEXT"""
_SCHEMA = (
    f"CREATE TABLE memories (handle INTEGER PRIMARY KEY AUTOINCREMENT, {_COLUMNS})",
    """CREATE UNIQUE INDEX active_topic ON memories (type, topic)
    WHERE topic IS NOT NULL AND superseded_at IS NULL AND state = 'active'""",
    "CREATE INDEX topic ON memories (topic, activated_at) WHERE topic IS NOT NULL",
    "CREATE INDEX superseded ON memories (superseded_by) WHERE superseded_by IS NOT NULL",
    """CREATE INDEX session ON memories (session, type, occurred_at, handle)
    WHERE session IS NOT NULL""",
    "CREATE INDEX expires ON memories (expires_at) WHERE expires_at IS NOT NULL",
)
_TOKENIZER = "tokenize = 'porter unicode61 remove_diacritics 2'"
_INDEXED = (
    "CREATE TABLE sessions (id TEXT PRIMARY KEY, last_active_at INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX session_active ON sessions (last_active_at, id)",
    f"""CREATE VIRTUAL TABLE fts USING fts5(
    text, keywords, label, before, after, content='', {_TOKENIZER})""",
    "INSERT INTO fts (fts, rank) VALUES ('secure-delete', 1)",
    "INSERT INTO fts (fts, rank) VALUES ('rank', 'bm25(1.0, 1.0, 1.0, 0.5, 0.2)')",
    "CREATE TABLE codes (code INTEGER PRIMARY KEY AUTOINCREMENT, handle INTEGER, signs BLOB)",
)
# What the size of a folder is compared with: no copy of the text, one vector a row, nothing else.
_PLAIN = (
    f"""CREATE VIRTUAL TABLE fts USING fts5(
    text, keywords, content='memories', content_rowid='handle', {_TOKENIZER})""",
)
_VECTORS = "CREATE TABLE vectors (handle INTEGER PRIMARY KEY, vector BLOB NOT NULL)"
_INSERT = """INSERT INTO memories (id, type, topic, text, keywords, tags, source, session, speaker,
observed_at, created_at, occurred_at, activated_at, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_FTS = "INSERT INTO fts (rowid, text, keywords, label, before, after) VALUES (?, ?, ?, ?, ?, ?)"
_FTS_DELETE = """INSERT INTO fts (fts, rowid, text, keywords, label, before, after)
VALUES ('delete', ?, ?, ?, ?, ?, ?)"""
_TOUCH = """INSERT INTO sessions VALUES (?1, ?2)
ON CONFLICT (id) DO UPDATE SET last_active_at = ?2"""
_DAY_MS = 86_400_000


class ByHand:
    """A SQLite file written and read without us."""

    def __init__(self, path: Path) -> None:
        self._connection = apsw.Connection(str(path))
        # Stable plans: this build of SQLite has STAT4 and would else compile statements again when
        # a bound value changes, those inside FTS5 included.
        self._connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        self._connection.execute("PRAGMA journal_mode = WAL").fetchall()
        self._connection.execute("PRAGMA synchronous = FULL").fetchall()
        # The entry of each session's last event, to write it again when a successor comes.
        self._last: dict[str, list[Any]] = {}
        self.matrix: NDArray[np.float32] | None = None

    def create(self, *, plain: bool = False) -> None:
        """Make the tables."""
        with self._connection:
            for statement in (*_SCHEMA, *(_PLAIN if plain else _INDEXED), _VECTORS):
                self._connection.execute(statement)

    def ingest(self, memories: Sequence[Memory], vectors: Sequence[Sequence[float]] | None) -> None:
        """Write memories in one transaction."""
        now_ms = int(time.time() * 1_000)
        entries: dict[int, list[Any]] = {}
        with self._connection:
            for place, memory in enumerate(memories):
                handle = self._row(memory, now_ms)
                entries[handle] = self._entry(memory, handle, entries, now_ms)
                if vectors is not None:
                    self._vector(handle, vectors[place])
            self._connection.executemany(_FTS, entries.values())

    def ingest_plain(self, memories: Sequence[Memory], vectors: NDArray[np.float32]) -> None:
        """Write rows, the two columns of words, and vectors."""
        now_ms = int(time.time() * 1_000)
        with self._connection:
            for memory, vector in zip(memories, vectors, strict=True):
                handle = self._row(memory, now_ms)
                self._connection.execute(
                    "INSERT INTO fts (rowid, text, keywords) VALUES (?, ?, ?)",
                    (handle, memory.text, memory.keywords),
                )
                self._connection.execute(
                    "INSERT INTO vectors VALUES (?, ?)", (handle, vector.tobytes())
                )

    def load(self, stored: Corpus) -> None:
        """Hold all vectors in memory for the scan."""
        self.matrix = np.ascontiguousarray(stored.vectors)

    def match(self, terms: Sequence[str], k: int) -> list[tuple[int, float]]:
        """Return the best rows by bm25."""
        words = " OR ".join(f'"{term}"' for term in terms)
        return self._connection.execute(
            "SELECT rowid, -rank FROM fts WHERE fts MATCH ? ORDER BY rank LIMIT ?", (words, k)
        ).fetchall()

    def scan(self, vector: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """Return the nearest rows, exactly."""
        assert self.matrix is not None
        cosine = self.matrix @ vector
        best = np.argpartition(cosine, -k)[-k:]
        return [(int(place) + 1, float(cosine[place])) for place in best]

    def recall(self, terms: Sequence[str], vector: NDArray[np.float32], k: int) -> list[Any]:
        """Return the rows of the best `k` of both, weighted by hand."""
        scores: dict[int, float] = {}
        for found, weight in ((self.match(terms, k), 0.6), (self.scan(vector, k), 0.4)):
            best = max((value for _, value in found), default=1.0) or 1.0
            for handle, value in found:
                scores[handle] = scores.get(handle, 0.0) + weight * value / best
        chosen = sorted(scores, key=lambda handle: -scores[handle])[:k]
        read = "SELECT * FROM memories WHERE handle = ?"
        return [self._connection.execute(read, (handle,)).fetchone() for handle in chosen]

    def close(self) -> None:
        """Fold the log into the file and close it."""
        self._connection.close()

    def _row(self, memory: Memory, now_ms: int) -> int:
        canonical = f"{memory.type} {memory.topic} {memory.text}"
        identity = f"mem_{hashlib.blake2b(canonical.encode(), digest_size=13).hexdigest()}"
        values = (
            identity,
            memory.type,
            memory.topic,
            memory.text,
            memory.keywords,
            json.dumps(memory.tags) if memory.tags else None,
            memory.source,
            memory.session,
            memory.speaker,
            memory.observed_at,
            now_ms,
            memory.observed_at or now_ms,
            now_ms,
            now_ms + _DAY_MS if memory.type == "task" else None,
        )
        self._connection.execute(_INSERT, values)
        return self._connection.last_insert_rowid()

    def _entry(
        self, memory: Memory, handle: int, fresh: dict[int, list[Any]], now_ms: int
    ) -> list[Any]:
        """Return the words of a row, and give the event before it the words that follow."""
        words = " ".join(filter(None, (memory.topic, *(memory.tags or ()), memory.keywords)))
        entry: list[Any] = [handle, memory.text, words, "", "", ""]
        if memory.session is None or memory.observed_at is None:
            return entry
        self._connection.execute(_TOUCH, (memory.session, now_ms))
        day = time.gmtime(memory.observed_at // 1_000)
        entry[3] = f"{memory.speaker} {day.tm_mday} {time.strftime('%B %Y', day)}"
        last = self._last.get(memory.session)
        self._last[memory.session] = entry
        if last is not None:
            entry[4] = f"{last[3].split()[0]}: {last[1]}"
            if last[0] not in fresh:
                self._connection.execute(_FTS_DELETE, last)
            last[5] = f"{memory.speaker}: {memory.text}"
            if last[0] not in fresh:
                self._connection.execute(_FTS, last)
        return entry

    def _vector(self, handle: int, values: Sequence[float]) -> None:
        vector = np.asarray(values, np.float32)
        self._connection.execute("INSERT INTO vectors VALUES (?, ?)", (handle, vector.tobytes()))
        self._connection.execute(
            "INSERT INTO codes (handle, signs) VALUES (?, ?)",
            (handle, np.packbits(vector > 0).tobytes()),
        )
