"""Commits taken from the write-ahead log: which frames count, what is shipped, what is refused."""

import os
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from palimp import ltx
from palimp.engine.capture import Capture
from palimp.engine.wal import Commit, committed_image
from palimp.errors import Internal, Unavailable

NOW = 1_767_225_600_000


class Line:
    """A database, its capture, and a copy that gets what is shipped."""

    def __init__(self, path: Path, page_size: int = 4_096, **pragmas: Any) -> None:
        self.path, self.closed = path, False
        new = not path.exists()
        self.connection = connect(path, page_size, **pragmas)
        if new:
            self.run("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
        self.capture = Capture(self.connection, path)
        self.copy = bytearray(self.connection.serialize("main"))
        self.capture.start_from_image()
        self.txid = 1

    def run(self, sql: str, *values: Any) -> None:
        self.connection.execute(sql, values).fetchall()

    def commit(self, *statements: str) -> None:
        for sql in ("BEGIN IMMEDIATE", *statements, "COMMIT"):
            self.run(sql)
        self.capture.commit_seen()

    def segment(self) -> Any:
        return self.capture.segment(self.txid + 1, self.txid + 1, NOW)

    def ship(self) -> ltx.Verified:
        segment = self.segment()
        self.capture.shipped(segment)
        self.txid += 1
        ltx.apply(segment.data, self.copy)
        return ltx.verify(segment.data)

    def check(self) -> None:
        assert bytes(self.copy) == self.connection.serialize("main")

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.capture.close()
            self.connection.close()


def connect(path: Path, page_size: int = 4_096, **pragmas: Any) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.pragma("page_size", page_size)
    for name, value in pragmas.items():
        connection.pragma(name, value)
    assert connection.pragma("journal_mode", "wal") == "wal"
    return connection


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path / "main.db")
    yield made
    made.close()


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Line]:
    """Has a cache of one page: what is written spills to the log long before the commit."""
    made = Line(tmp_path / "main.db", 512, auto_vacuum=1, cache_size=1)
    yield made
    made.close()


FILL = (
    "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) "
    "INSERT OR REPLACE INTO t SELECT i, randomblob(300) FROM n"
)


def tampered(line: Line, offset: int, content: bytes, *, cut: int = 0) -> None:
    """Let the capture read a copy of the log that was changed."""
    log = bytearray(Path(f"{line.path}-wal").read_bytes())
    log[offset : offset + len(content)] = content
    changed = line.path.with_name("tampered")
    changed.write_bytes(log[: len(log) - cut])
    line.capture._wal._descriptor = os.open(changed, os.O_RDONLY)


# What is collected


def test_a_commit_is_collected_once(line: Line) -> None:
    line.commit("INSERT INTO t VALUES (1, 'a')")
    assert line.capture.backlog_pages == 1
    line.capture.commit_seen()
    line.commit("INSERT INTO t VALUES (2, 'b')")
    assert line.capture.backlog_pages == 1, "the latest state of a page only"
    assert line.capture.backlog_bytes == 4_096
    found = line.ship()
    assert (found.pages, found.header.commit) == (1, 2)
    assert (found.header.min_txid, found.header.max_txid) == (2, 2)
    assert found.header.timestamp_ms == NOW
    assert line.capture.backlog_pages == 0
    line.check()


def test_several_commits_may_be_seen_at_once(line: Line) -> None:
    for number in range(5):
        line.run("INSERT INTO t VALUES (?, randomblob(5000))", number)
    line.run("DELETE FROM t")
    line.ship()
    line.check()


def test_what_is_made_shows_what_a_manifest_needs(line: Line) -> None:
    line.commit("INSERT INTO t VALUES (1, randomblob(9000))")
    segment = line.capture.segment(7, 9, NOW, node=3)
    header = ltx.verify(segment.data).header
    assert segment[1:5] == (7, 9, 4, line.connection.pragma("page_count"))
    assert header.node_id == 3
    image = line.connection.serialize("main")
    assert segment.checksum == f"{ltx.database_checksum(image, 4_096):016x}"


def test_a_rollback_leaves_no_trace(tiny: Line) -> None:
    before = os.path.getsize(f"{tiny.path}-wal")
    tiny.run("BEGIN")
    tiny.run(FILL)
    assert os.path.getsize(f"{tiny.path}-wal") > before + 50_000, "it was to spill"
    tiny.run("ROLLBACK")
    tiny.capture.commit_seen()
    assert tiny.capture.backlog_pages == 0
    # Its frames are still in the file, behind and, in part, below those of this one.
    tiny.commit("INSERT INTO t VALUES (1, 'a')")
    assert tiny.capture.backlog_pages < 5
    tiny.ship()
    tiny.check()


def test_of_a_page_that_was_spilled_the_last_state_counts(tiny: Line) -> None:
    tiny.commit(FILL)
    tiny.ship()
    before = tiny.capture._wal._given
    tiny.commit(FILL, "UPDATE t SET b = 'x' WHERE a = 200")
    assert tiny.capture._wal._given - before > tiny.capture.backlog_pages, "no page came twice"
    tiny.ship()
    tiny.check()


def test_savepoints(tiny: Line) -> None:
    tiny.commit(
        "INSERT INTO t VALUES (1, 'a')",
        "SAVEPOINT s",
        FILL,
        "ROLLBACK TO s",
        "INSERT INTO t VALUES (2, randomblob(3000))",
        "RELEASE s",
    )
    tiny.ship()
    tiny.check()


def test_a_database_shrinks_and_grows(tiny: Line) -> None:
    tiny.commit(FILL)
    high = tiny.connection.pragma("page_count")
    tiny.commit("DELETE FROM t WHERE a > 10")
    low = tiny.connection.pragma("page_count")
    assert low < high / 2
    assert tiny.capture.backlog_pages <= low, "nothing beyond the end is kept"
    assert tiny.ship().header.commit == low
    tiny.check()
    tiny.commit(FILL)
    tiny.ship()
    tiny.check()


def test_a_page_cut_off_and_back_is_the_newer_one(tiny: Line) -> None:
    tiny.commit(FILL)
    tiny.ship()
    tiny.commit("DELETE FROM t")
    tiny.commit(FILL)
    tiny.ship()
    tiny.check()


def test_vacuum(line: Line) -> None:
    line.commit(FILL)
    line.commit("DELETE FROM t WHERE a % 2")
    line.ship()
    line.run("VACUUM")
    line.capture.commit_seen()
    line.ship()
    line.check()


@pytest.mark.parametrize("page_size", [512, 65_536])
def test_other_page_sizes(tmp_path: Path, page_size: int) -> None:
    line = Line(tmp_path / "main.db", page_size)
    line.commit(FILL)
    assert line.ship().header.page_size == page_size
    line.check()
    line.close()


def test_what_changes_nothing_makes_no_backlog(line: Line) -> None:
    line.commit()
    line.commit("UPDATE t SET b = 1 WHERE a = 99")
    assert line.capture.backlog_pages == 0
    assert line.ship().pages == 0
    line.check()


def test_commits_of_an_attached_database_do_not_count(line: Line, tmp_path: Path) -> None:
    line.run(f"ATTACH '{tmp_path / 'other.db'}' AS other")
    assert line.connection.pragma("journal_mode", "wal", schema="other") == "wal"
    line.run("CREATE TABLE other.u (a)")
    line.capture.commit_seen()
    assert line.capture.backlog_pages == 0
    line.commit("INSERT INTO t VALUES (1, 'a')", "INSERT INTO u VALUES (randomblob(20000))")
    assert line.capture.backlog_pages == 1
    line.ship()
    line.check()


def test_a_statement_that_is_still_read_is_in_nobodys_way(line: Line) -> None:
    line.commit(FILL)
    cursor = line.connection.execute("SELECT a FROM t")
    next(cursor)
    line.run("INSERT INTO t VALUES (1000, 'a')")
    line.capture.commit_seen()
    assert not line.capture.fold_wal()
    line.ship()
    cursor.close()
    line.check()
    assert line.capture.fold_wal()


def test_inside_a_transaction_is_the_wrong_place(line: Line) -> None:
    line.run("BEGIN IMMEDIATE")
    with pytest.raises(AssertionError):
        line.capture.commit_seen()
    with pytest.raises(AssertionError):
        line.capture.snapshot(2, NOW)
    line.run("COMMIT")


# What is shipped


def test_commits_while_a_segment_is_shipped_stay_in_the_backlog(line: Line) -> None:
    line.commit(FILL)
    segment = line.segment()
    expected = line.connection.serialize("main")
    line.commit("UPDATE t SET b = 'later' WHERE a = 1")
    line.commit("INSERT INTO t VALUES (900, randomblob(20000))")
    line.capture.shipped(segment)
    assert 0 < line.capture.backlog_pages < segment.pages
    ltx.apply(segment.data, line.copy)
    assert line.copy == expected
    line.ship()
    line.check()


def test_looking_at_the_checksums_meanwhile_changes_nothing(line: Line) -> None:
    line.commit("INSERT INTO t VALUES (1, 'a')")
    segment = line.segment()
    line.commit("INSERT INTO t VALUES (2, 'b')")
    sums = line.capture.page_checksums()
    assert sums.checksum == ltx.database_checksum(line.connection.serialize("main"), 4_096)
    line.capture.shipped(segment)
    ltx.apply(segment.data, line.copy)
    line.ship()
    line.check()


def test_a_segment_that_was_not_shipped_is_given_again(line: Line) -> None:
    line.commit("INSERT INTO t VALUES (1, 'a')")
    first = line.segment()
    assert line.segment() == first
    line.commit("CREATE TABLE u (a)")
    second = line.segment()
    with pytest.raises(AssertionError, match="made last"):
        line.capture.shipped(first)
    line.capture.shipped(second)
    ltx.apply(second.data, line.copy)
    line.check()


def test_a_new_database_begins_with_a_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "main.db"
    connection = connect(path)
    capture = Capture(connection, path)
    assert capture.needs_snapshot
    with pytest.raises(Internal, match="nothing of it was shipped yet"):
        capture.segment(2, 2, NOW)
    connection.execute("CREATE TABLE t (a)")
    capture.commit_seen()
    snapshot = capture.snapshot(5, NOW)
    assert (snapshot.min_txid, snapshot.max_txid, snapshot.pages) == (1, 5, 2)
    connection.execute("INSERT INTO t VALUES (1)")
    capture.commit_seen()
    with pytest.raises(Internal, match="none of it is shipped yet"):
        capture.segment(6, 6, NOW)
    # Not shipped after all; the next one has it all.
    snapshot = capture.snapshot(6, NOW)
    capture.shipped(snapshot)
    connection.execute("INSERT INTO t VALUES (2)")
    segment = capture.segment(7, 7, NOW)
    copy = bytearray()
    ltx.apply(snapshot.data, copy)
    ltx.apply(segment.data, copy, txid=6)
    assert copy == connection.serialize("main")
    capture.close()
    connection.close()


def test_an_empty_database_has_one_page(tmp_path: Path) -> None:
    path = tmp_path / "main.db"
    connection = connect(path)
    capture = Capture(connection, path)
    capture.start_from_image()
    assert capture.snapshot(1, NOW).commit_pages == 1
    connection.execute("CREATE TABLE t (a)")
    assert capture.segment(2, 2, NOW).commit_pages == 2
    capture.close()
    connection.close()


def test_a_snapshot_may_take_the_place_of_a_segment(line: Line) -> None:
    line.commit(FILL)
    line.segment()
    snapshot = line.capture.snapshot(2, NOW)
    line.commit("UPDATE t SET b = 'later' WHERE a = 1")
    line.capture.shipped(snapshot)
    line.txid = 2
    ltx.apply(snapshot.data, line.copy)
    assert line.ship().pages < 5
    line.check()


def test_a_restored_file_goes_on_where_it_was(line: Line, tmp_path: Path) -> None:
    line.commit(FILL)
    snapshot = line.capture.snapshot(2, NOW)
    line.capture.shipped(snapshot)
    line.commit("DELETE FROM t WHERE a < 50", "CREATE TABLE u (a)")
    segment = line.capture.segment(3, 3, NOW)
    path = tmp_path / "restored.db"
    sums = ltx.PageChecksums(4_096)
    with path.open("wb") as stream:
        for data in (snapshot.data, segment.data):
            position = ltx.apply_pages(
                data, lambda n, page: (stream.seek((n - 1) * 4_096), stream.write(page)), sums
            )
            stream.truncate(position.commit * 4_096)
    connection = apsw.Connection(str(path))
    assert connection.pragma("integrity_check") == "ok"
    capture = Capture(connection, path)
    assert capture.start_from_image(sums) == segment.checksum
    assert capture.backlog_pages == 0, "opening it in WAL mode changes nothing"
    connection.execute("INSERT INTO u VALUES (1)")
    capture.commit_seen()
    assert capture.page_checksums().checksum != sums.checksum == position.checksum
    copy = bytearray(line.connection.serialize("main"))
    ltx.apply(capture.segment(4, 4, NOW).data, copy)
    assert copy == connection.serialize("main")
    capture.close()
    connection.close()


def test_a_log_left_by_another_process_is_part_of_the_image(line: Line) -> None:
    line.commit(FILL)
    line.ship()
    sums = line.capture.page_checksums()
    line.close()
    assert os.path.getsize(f"{line.path}-wal") > 50_000, "closing must not fold the log"
    again = Line(line.path)
    assert again.capture.page_checksums().to_bytes() == sums.to_bytes()
    again.commit("UPDATE t SET b = 'x' WHERE a = 1")
    assert again.capture.backlog_pages < 5
    again.ship()
    again.check()
    again.close()


def test_checksums_of_something_else_are_refused(line: Line) -> None:
    with pytest.raises(Internal, match="has 2 pages of 4096 bytes; the checksums are of 0"):
        line.capture.start_from_image(ltx.PageChecksums(4_096))


# Folding the log


def test_the_log_is_folded_when_nobody_reads(line: Line) -> None:
    line.connection.set_busy_timeout(5_000)
    line.commit(FILL)
    reader = connect(line.path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM t").fetchall()
    line.commit("INSERT INTO t VALUES (900, 'x')")
    started = time.perf_counter()
    assert not line.capture.fold_wal()
    assert time.perf_counter() - started < 2, "it waited"
    assert line.connection.pragma("busy_timeout") == 5_000
    reader.execute("COMMIT")
    assert line.capture.wal_bytes
    assert line.capture.fold_wal()
    assert line.capture.wal_bytes == os.path.getsize(f"{line.path}-wal") == 0
    reader.close()
    line.commit("INSERT INTO t VALUES (901, 'x')")
    line.ship()
    line.check()


def test_a_fold_collects_first(line: Line) -> None:
    line.commit(FILL)
    line.ship()
    line.run("UPDATE t SET b = 'x' WHERE a = 1")
    assert line.capture.fold_wal()
    assert line.capture.backlog_pages
    line.ship()
    line.check()


def busy_fold(line: Line) -> None:
    """Fold while a reader of the latest state is there: all is written, the log is not emptied."""
    reader = connect(line.path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM t").fetchall()
    assert not line.capture.fold_wal()
    reader.close()


def test_after_a_fold_that_met_a_reader_the_log_begins_anew(line: Line) -> None:
    line.commit("INSERT INTO t VALUES (1, 'a')")
    busy_fold(line)
    line.commit("UPDATE t SET b = 'b'")
    # As many frames as before, but of another log.
    assert line.capture._wal._given == 1
    line.ship()
    line.check()


def test_after_a_fold_that_met_a_reader_a_rollback_empties_the_log(tiny: Line) -> None:
    tiny.commit(FILL)
    busy_fold(tiny)
    tiny.run("BEGIN")
    tiny.run(FILL)
    tiny.run("ROLLBACK")
    tiny.capture.commit_seen()
    tiny.commit("INSERT INTO t VALUES (900, 'x')")
    tiny.ship()
    tiny.check()


def test_closing_keeps_the_log(line: Line) -> None:
    line.commit(FILL)
    line.close()
    assert os.path.getsize(f"{line.path}-wal") > 50_000


# What cannot be trusted


def starts_afresh(line: Line) -> None:
    """Expect no second refusal, no segment, and a snapshot after which all is as before."""
    assert line.capture.needs_snapshot
    line.capture.commit_seen()
    with pytest.raises(Internal, match="needs a snapshot"):
        line.segment()
    line.capture._wal._descriptor = -1
    line.capture.fold_wal()
    line.run("INSERT INTO t (b) VALUES ('not followed')")
    line.capture.commit_seen()
    snapshot = line.capture.snapshot(2, NOW)
    ltx.apply(snapshot.data, line.copy)
    line.check()
    line.commit("INSERT INTO t (b) VALUES ('followed')")
    line.capture.shipped(snapshot)
    assert not line.capture.needs_snapshot
    line.txid = 2
    line.ship()
    line.check()


def test_a_segment_under_way_may_still_land(line: Line) -> None:
    line.commit("INSERT INTO t VALUES (1, 'a')")
    segment = line.segment()
    line.run("INSERT INTO t VALUES (2, 'b')")
    tampered(line, 0, b"none")
    with pytest.raises(Internal):
        line.capture.commit_seen()
    line.capture.shipped(segment)
    starts_afresh(line)


def test_a_hook_that_was_replaced(line: Line) -> None:
    line.connection.pragma("wal_autocheckpoint", 0)
    line.run("INSERT INTO t VALUES (1, 'a')")
    with pytest.raises(Internal, match="expected frame 2, found frame 3"):
        line.segment()
    line.connection.set_wal_hook(line.capture._wal._on_commit)
    starts_afresh(line)


def test_a_log_somebody_else_began_anew(line: Line) -> None:
    line.commit("INSERT INTO t VALUES (1, 'a')")
    other = connect(line.path)
    other.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_TRUNCATE)
    # It had three frames and will have more.
    line.run("INSERT INTO t VALUES (2, randomblob(90000))")
    with pytest.raises(Internal, match="salts: expected"):
        line.capture.commit_seen()
    other.close()
    starts_afresh(line)


def test_commits_of_somebody_else_are_noticed_or_collected(line: Line) -> None:
    other = connect(line.path)
    other.execute("INSERT INTO t VALUES (1, 'theirs')")
    line.commit("INSERT INTO t VALUES (2, 'ours')")
    line.ship()
    line.check()
    other.execute("INSERT INTO t VALUES (3, 'theirs')")
    with pytest.raises(Internal, match="end: expected"):
        line.segment()
    other.close()


def test_a_frame_of_another_log(line: Line) -> None:
    line.run("INSERT INTO t VALUES (1, randomblob(9000))")
    tampered(line, 32 + 3 * (24 + 4_096) + 8, b"otherlog")
    with pytest.raises(Internal, match="frame 4 of page") as caught:
        line.capture.commit_seen()
    assert caught.value.details["found"] == b"otherlog".hex()
    starts_afresh(line)


@pytest.mark.parametrize(
    ("offset", "content", "cut", "match"),
    [
        (0, b"none", 0, "header"),
        (8, (512).to_bytes(4, "big"), 0, "pages of 4096 bytes, found 377f0682 and pages of 512"),
        (32 + 2 * 4_120, bytes(4), 0, "frame 3 of page 0"),
        (0, b"", 1, "expected 16480 bytes, found 16479 bytes"),
        (32 + 5 * 4_120 + 4, bytes(4), 0, "expected the end of a commit, found 4 pages"),
    ],
    ids=["magic", "page size", "page 0", "short", "no end"],
)
def test_a_log_that_is_none(line: Line, offset: int, content: bytes, cut: int, match: str) -> None:
    line.run("INSERT INTO t VALUES (1, randomblob(9000))")
    tampered(line, offset, content, cut=cut)
    with pytest.raises(Internal, match=match):
        line.capture.commit_seen()
    starts_afresh(line)


def test_growing_without_a_page(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    page = bytes(4_096)
    with pytest.raises(Internal, match="grew from 2 to 4 pages without page 3"):
        line.capture._merge(Commit(4, {1: page, 4: page}))
    # The lock page is never written.
    monkeypatch.setattr(ltx.layout, "LOCK_OFFSET", 2 * 4_096)
    line.capture._merge(Commit(4, {1: page, 4: page}))


def test_a_snapshot_that_is_not_what_was_followed(line: Line) -> None:
    line.commit(FILL)
    line.capture._sums.write(2, bytes(4_096))
    line.capture._since.discard(2)
    with pytest.raises(Internal, match="what its commits wrote makes"):
        line.capture.snapshot(2, NOW)
    starts_afresh(line)


def test_a_snapshot_of_what_was_followed_does_not_hold_the_database(line: Line) -> None:
    line.commit("INSERT INTO t VALUES (1, zeroblob(20000000))")
    line.ship()
    tracemalloc.start()
    try:
        snapshot = line.capture.snapshot(2, NOW)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # It compresses to next to nothing: a copy of the database would be nearly all there is.
    assert len(snapshot.data) < 1_000_000
    assert peak < 5_000_000
    image = bytearray()
    ltx.apply(snapshot.data, image)
    assert image == line.connection.serialize("main")


def test_a_snapshot_beside_somebody_who_reads_has_what_the_log_has(line: Line) -> None:
    reader = apsw.Connection(str(line.path))
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM t").fetchall()
    line.commit(FILL)
    image = bytearray()
    ltx.apply(line.capture.snapshot(2, NOW).data, image)
    assert image == line.connection.serialize("main")
    reader.close()
    # And afterwards the locks of the connection are what they were.
    ltx.apply(line.capture.snapshot(2, NOW).data, image)
    assert line.connection.execute("SELECT count(*) FROM t").get > 0
    other = apsw.Connection(str(line.path))
    with pytest.raises(apsw.BusyError):
        other.pragma("journal_mode", "delete")
    other.close()


def test_a_file_that_was_cut_off_gives_no_snapshot(line: Line) -> None:
    line.commit(FILL)
    assert line.capture.fold_wal()
    with line.path.open("r+b") as file:
        file.truncate(line.path.stat().st_size - 4_096)
    with pytest.raises(Internal, match="ends at byte"):
        line.capture.snapshot(2, NOW)
    assert line.capture.needs_snapshot


def test_a_disk_that_refuses_is_asked_again(line: Line) -> None:
    line.capture._wal._descriptor = os.open("/", os.O_RDONLY)
    with pytest.raises(Unavailable, match="refused a read") as caught:
        line.commit("INSERT INTO t VALUES (1, 'a')")
    assert caught.value.details["reason"] == "disk"
    os.close(line.capture._wal._descriptor)
    line.capture._wal._descriptor = -1
    line.commit("CREATE TABLE u (a)")
    line.ship()
    line.check()


def test_pages_that_cannot_be_read_are_not_taken_for_zeros(tmp_path: Path) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("finds SQLite's descriptor in /proc")
    path = tmp_path / "main.db"
    connection = connect(path, secure_delete=1)
    connection.execute("CREATE TABLE t (a)")
    connection.execute("INSERT INTO t VALUES (randomblob(40000))")
    connection.execute("DELETE FROM t")
    connection.close()
    connection = apsw.Connection(str(path))
    whole = committed_image(connection)
    assert whole == path.read_bytes(), "pages of zeros that are there"
    connection.close()
    connection = apsw.Connection(str(path))
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    inode = os.stat(path).st_ino
    descriptors = [int(name) for name in os.listdir("/proc/self/fd")]
    held = next(n for n in descriptors if inode_of(n) == inode)
    good, folder = os.dup(held), os.open("/", os.O_RDONLY)
    os.dup2(folder, held)
    try:
        assert not connection.serialize("main")[4_096:].strip(b"\0"), "SQLite tells now: simplify"
        with pytest.raises(apsw.Error):
            committed_image(connection)
    finally:
        os.dup2(good, held)
        os.close(good)
        os.close(folder)
    connection.close()


def inode_of(descriptor: int) -> int:
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return 0
