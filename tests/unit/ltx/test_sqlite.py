"""Real databases: what SQLite commits, applied elsewhere, is the same file and sound."""

import itertools
from pathlib import Path

import apsw
import pytest

from palimp import ltx


class Live:
    """A database in WAL mode, and the image its readers see."""

    def __init__(self, path: Path, page_size: int) -> None:
        self.path = path
        self.connection = apsw.Connection(str(path))
        for pragma in (f"page_size={page_size}", "journal_mode=wal", "wal_autocheckpoint=0"):
            self.connection.execute(f"PRAGMA {pragma}").fetchall()
        self.connection.execute(
            "CREATE TEMP VIEW n AS WITH RECURSIVE n (i) AS "
            "(SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000) SELECT i FROM n"
        ).fetchall()

    def sql(self, text: str, *values: object) -> None:
        self.connection.execute(text, values).fetchall()

    def image(self) -> bytes:
        return bytes(self.connection.serialize("main"))


def segment(before: bytes, after: bytes, page_size: int, txid: int) -> bytes:
    """What a capture of the commit gives: the pages that differ."""
    count = len(after) // page_size
    pages = {n: after[(n - 1) * page_size : n * page_size] for n in range(1, count + 1)}
    if txid > 1:
        pages = {
            n: page
            for n, page in pages.items()
            if page != before[(n - 1) * page_size : n * page_size]
        }
    header = ltx.Header(
        page_size=page_size,
        commit=count,
        min_txid=txid,
        max_txid=txid,
        pre_apply_checksum=ltx.database_checksum(before, page_size) if txid > 1 else 0,
    )
    return ltx.encode(header, pages.items(), ltx.database_checksum(after, page_size))


WORK = [
    ("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)",),
    ("CREATE VIRTUAL TABLE f USING fts5(body)",),
    ("INSERT INTO t (body) SELECT hex(randomblob(200)) FROM n LIMIT 400",),
    ("INSERT INTO f (body) SELECT body FROM t",),
    ("UPDATE t SET body = 'short' WHERE id % 7 = 0",),
    ("DELETE FROM t WHERE id > 50",),
    ("VACUUM",),
    ("INSERT INTO t (body) SELECT hex(randomblob(300)) FROM n LIMIT 100",),
    ("DROP TABLE f",),
    ("VACUUM",),
]


@pytest.mark.parametrize("page_size", [512, 4_096, 65_536])
def test_what_sqlite_commits_comes_back_byte_for_byte(tmp_path, page_size, independent):
    live = Live(tmp_path / "live.db", page_size)
    before, image, segments, sizes = b"", bytearray(), [], []
    for txid, (statement,) in enumerate(WORK, 1):
        live.sql(statement)
        after = live.image()
        segments.append(segment(before, after, page_size, txid))
        ltx.verify(segments[-1])
        if page_size == 512:
            independent.read(segments[-1])
        ltx.apply(segments[-1], image, txid=txid - 1)
        assert image == after
        before = after
        sizes.append(len(after))
    assert any(b < a for a, b in itertools.pairwise(sizes)), "it shrank at least once"
    joined = ltx.compact(segments)
    ltx.verify(joined)
    copy = bytearray()
    ltx.apply(joined, copy)
    assert copy == before
    restored = tmp_path / "restored.db"
    restored.write_bytes(copy)
    check = apsw.Connection(str(restored))
    assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert check.execute("PRAGMA page_size").fetchall() == [(page_size,)]
    query = "SELECT id, body FROM t ORDER BY id"
    assert check.execute(query).fetchall() == live.connection.execute(query).fetchall()
    check.close()


def test_the_pages_of_a_wal_are_the_segment(tmp_path):
    """The frames a commit adds to the WAL, taken from the file, against the image before it."""
    size = 4_096
    live = Live(tmp_path / "live.db", size)
    frames_seen = []
    live.connection.set_wal_hook(lambda db, name, count: frames_seen.append(count) or 0)
    live.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)")
    image = bytearray(live.image())
    sums = ltx.PageChecksums.of(image, size)
    for txid in range(2, 12):
        first = frames_seen[-1]
        live.sql("INSERT INTO t (body) VALUES (hex(randomblob(5000)))")
        wal = (tmp_path / "live.db-wal").read_bytes()
        pages, commit = {}, 0
        for number in range(first, frames_seen[-1]):
            at = 32 + number * (24 + size)
            pgno, commit = (int.from_bytes(wal[at + n : at + n + 4], "big") for n in (0, 4))
            pages[pgno] = wal[at + 24 : at + 24 + size]
        after = sums.copy()
        for pgno, page in pages.items():
            after.write(pgno, page)
        after.resize(commit)
        header = ltx.Header(
            page_size=size,
            commit=commit,
            min_txid=txid,
            max_txid=txid,
            pre_apply_checksum=sums.checksum,
        )
        data = ltx.encode(header, sorted(pages.items()), after.checksum)
        ltx.apply(data, image, sums=sums, txid=txid - 1)
        assert image == live.image()
        assert sums.checksum == after.checksum == ltx.database_checksum(image, size)
