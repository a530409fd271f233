"""Random SQL, captured at random moments: the chain of segments is the database, byte for byte."""

import os
import tempfile
from pathlib import Path
from typing import Any

import apsw
import hypothesis.strategies as st
from hypothesis import Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from palimp import ltx
from palimp.engine.capture import Capture, Segment

KEYS = st.integers(0, 60)
# Blobs have overflow pages, the larger ones more than a tiny cache holds.
SIZES = st.sampled_from([0, 1, 30, 300, 2_000, 9_000, 40_000])
STATEMENT = st.one_of(
    st.tuples(st.just("put"), KEYS, SIZES),
    st.tuples(st.just("put"), KEYS, SIZES),
    st.tuples(st.just("many"), KEYS, st.integers(1, 120)),
    st.tuples(st.just("delete"), KEYS, KEYS),
    st.tuples(st.just("same"), KEYS, KEYS),
    st.tuples(st.just("words"), KEYS, st.integers(1, 40)),
    st.tuples(st.just("forget"), KEYS, KEYS),
    st.tuples(st.just("create"), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("drop"), st.integers(0, 3), st.none()),
    st.tuples(st.just("savepoint"), st.integers(0, 1), st.none()),
    st.tuples(st.just("back to"), st.integers(0, 1), st.none()),
    st.tuples(st.just("shed"), st.integers(1, 50), st.none()),
)
WORDS = "harbour oslo seat window ferry tide quay anchor north gale".split()


def run(c: apsw.Connection, name: str, a: Any, b: Any) -> None:
    """Run one statement of a transaction."""
    if name == "put":
        c.execute("INSERT OR REPLACE INTO t VALUES (?, ?, randomblob(?))", (a, f"k{a % 7}", b))
    elif name == "many":
        c.execute(
            "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            "INSERT OR REPLACE INTO t SELECT ? + i, 'many' || i, randomblob(i * 10) FROM n",
            (b, a),
        )
    elif name == "delete":
        c.execute("DELETE FROM t WHERE a BETWEEN ? AND ?", sorted((a, b)))
    elif name == "same":
        c.execute("UPDATE t SET k = k WHERE a BETWEEN ? AND ?", sorted((a, b)))
    elif name == "words":
        text = " ".join(WORDS[(a * n) % len(WORDS)] for n in range(b))
        c.execute("DELETE FROM f WHERE rowid = ?", (a,))
        c.execute("INSERT INTO f(rowid, text) VALUES (?, ?)", (a, text))
    elif name == "forget":
        c.execute("DELETE FROM f WHERE rowid BETWEEN ? AND ?", sorted((a, b)))
    elif name == "create":
        c.execute(f"CREATE TABLE IF NOT EXISTS x{a} (a, b)")
        c.execute(f"INSERT INTO x{a} SELECT a, k FROM t")
        if b:
            c.execute(f"CREATE INDEX IF NOT EXISTS y{a} ON x{a} (b, a)")
    elif name == "drop":
        c.execute(f"DROP TABLE IF EXISTS x{a}")
    elif name == "savepoint":
        c.execute(f"SAVEPOINT s{a}")
    elif name == "back to":
        try:
            c.execute(f"ROLLBACK TO s{a}")
        except apsw.SQLError:
            return  # there is no such savepoint
    else:
        c.execute(f"PRAGMA incremental_vacuum({a})").fetchall()


class Captured(RuleBasedStateMachine):
    """Applies what is shipped to a copy, and compares it with the state of the moment."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "main.db"
        self.reader: apsw.Connection | None = None
        self.made: tuple[Segment, bytes] | None = None
        self.shipped_image = bytearray()
        self.shipped_txid = 0
        self.txid = 1
        self.epoch = 0

    @initialize(
        page_size=st.sampled_from([512, 1_024, 4_096]),
        vacuum=st.sampled_from([0, 1, 2]),
        secure=st.booleans(),
        cache=st.sampled_from([1, 5, 2_000]),
        new=st.booleans(),
    )
    def create(self, page_size: int, vacuum: int, secure: bool, cache: int, new: bool) -> None:
        self.cache, self.secure = cache, secure
        self.open(page_size, vacuum)
        if new:
            assert self.capture.needs_snapshot
        else:
            self.claim_image()

    def open(self, page_size: int = 0, vacuum: int = 0) -> None:
        self.connection = c = apsw.Connection(str(self.path))
        if page_size:
            c.pragma("page_size", page_size)
            c.pragma("auto_vacuum", vacuum)
            assert c.pragma("journal_mode", "wal") == "wal"
            c.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, k, b)")
            c.execute("CREATE INDEX i ON t (k)")
            c.execute("CREATE VIRTUAL TABLE f USING fts5(text)")
        c.pragma("synchronous", 0)
        c.pragma("cache_size", self.cache)
        c.pragma("secure_delete", self.secure)
        self.capture = Capture(c, self.path)

    def claim_image(self, sums: ltx.PageChecksums | None = None) -> None:
        image = self.connection.serialize("main")
        found = self.capture.start_from_image(sums)
        assert not self.capture.needs_snapshot
        page_size = self.connection.pragma("page_size")
        assert found == f"{ltx.database_checksum(image, page_size):016x}"
        self.shipped_image[:] = image
        self.shipped_txid = self.txid

    @rule(
        statements=st.lists(STATEMENT, min_size=0, max_size=8),
        commit=st.sampled_from([True, True, True, False]),
        tell=st.sampled_from([True, True, False]),
    )
    def transaction(self, statements: list[Any], commit: bool, tell: bool) -> None:
        self.run(statements, commit=commit, tell=tell)

    def run(self, statements: list[Any], *, commit: bool = True, tell: bool = False) -> None:
        c = self.connection
        c.execute("BEGIN IMMEDIATE")
        for name, a, b in statements:
            run(c, name, a, b)
        c.execute("COMMIT" if commit else "ROLLBACK")
        self.txid += 1
        if tell:
            self.capture.commit_seen()

    @rule(statement=STATEMENT)
    def quiet_commit(self, statement: Any) -> None:
        """One statement that nobody tells the capture of."""
        self.run([statement])

    @rule()
    @precondition(lambda self: self.reader is None)
    def vacuum(self) -> None:
        self.connection.execute("VACUUM")
        self.txid += 1
        self.capture.commit_seen()

    @rule()
    @precondition(lambda self: not self.capture.needs_snapshot)
    def make_segment(self) -> None:
        self.txid += 1
        made = self.capture.segment(self.shipped_txid + 1, self.txid, self.txid)
        self.check_made(made)

    @rule()
    @precondition(lambda self: self.capture.needs_snapshot or self.txid % 6 == 0)
    def make_snapshot(self) -> None:
        self.txid += 1
        self.check_made(self.capture.snapshot(self.txid, self.txid))

    def check_made(self, made: Segment) -> None:
        found = ltx.verify(made.data)
        assert (found.header.min_txid, found.header.max_txid) == (made.min_txid, made.max_txid)
        assert (found.pages, found.header.commit) == (made.pages, made.commit_pages)
        assert f"{found.trailer.post_apply_checksum:016x}" == made.checksum
        self.made = made, self.connection.serialize("main")
        assert self.capture.backlog_pages <= made.commit_pages

    @rule(whole=st.booleans())
    @precondition(lambda self: self.made is not None)
    def link(self, whole: bool) -> None:
        made, expected = self.made
        self.capture.shipped(made)
        self.made = None
        txid = None if made.min_txid == 1 else self.shipped_txid
        position = ltx.apply(made.data, self.shipped_image, txid=txid)
        assert self.shipped_image == expected
        assert f"{position.checksum:016x}" == made.checksum
        self.shipped_txid = made.max_txid
        if whole:
            self.check_file()

    @rule(shorten=st.booleans())
    @precondition(lambda self: self.capture.wal_bytes > 0)
    def fold(self, shorten: bool) -> None:
        before = os.path.getsize(f"{self.path}-wal")
        folded = self.capture.fold_wal(shorten=shorten)
        assert folded or self.reader is not None
        if folded:
            assert self.capture.wal_bytes == 0
            assert os.path.getsize(f"{self.path}-wal") == (0 if shorten else before)

    @rule()
    @precondition(lambda self: self.reader is None)
    def begin_reading(self) -> None:
        self.reader = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
        self.reader.execute("BEGIN")
        self.reader.execute("SELECT count(*) FROM t").fetchall()

    @rule()
    @precondition(lambda self: self.reader is not None)
    def end_reading(self) -> None:
        self.reader.close()
        self.reader = None

    @rule(keep=st.booleans())
    @precondition(lambda self: self.reader is None and self.txid % 3 == 0)
    def reopen(self, keep: bool) -> None:
        """A clean close leaves the checksums, else they are computed; or a snapshot starts."""
        backlog = self.capture.needs_snapshot or self.made or self.capture.backlog_pages
        seen = None if backlog else self.capture.page_checksums()
        backlog = backlog or self.capture.backlog_pages
        self.made = None
        self.capture.close()
        self.connection.close()
        self.open()
        if not backlog:
            self.claim_image(seen if keep else None)

    def check_file(self) -> None:
        """The chain, written to a file, is a database in WAL mode that can be used."""
        path = Path(self.folder.name) / "restored.db"
        path.write_bytes(self.shipped_image)
        restored = apsw.Connection(str(path))
        assert restored.pragma("integrity_check") == "ok"
        assert restored.pragma("journal_mode") == "wal"
        restored.execute("INSERT INTO f(f) VALUES ('integrity-check')")
        restored.execute("INSERT INTO t VALUES (1000, 'after', 1)")
        restored.close()

    def teardown(self) -> None:
        if hasattr(self, "capture"):
            if self.reader is not None:
                self.end_reading()
            # However it went, what is left can be shipped.
            if self.capture.needs_snapshot:
                self.make_snapshot()
            else:
                self.make_segment()
            self.link(whole=True)
            assert self.shipped_image == self.connection.serialize("main")
            self.capture.close()
            self.connection.close()
        self.folder.cleanup()


def test_the_chain_of_segments_is_the_database() -> None:
    run_state_machine_as_test(
        Captured,
        settings=settings(
            max_examples=80,
            stateful_step_count=40,
            deadline=None,
            # Shrinking takes minutes: add Phase.shrink to look into a failure.
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
        ),
    )
