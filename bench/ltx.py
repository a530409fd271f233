"""Segments: throughput of a whole database, and what one commit costs.

.venv/bin/python bench/ltx.py
"""

from __future__ import annotations

import random

import apsw
from harness import Row, in_turn

from palimp import ltx

_PAGE = 4_096
_ROWS = 20_000
_COMMIT_PAGES = 12


def _database() -> list[bytes]:
    """Pages of a database of texts with a full-text index and vectors that do not compress."""
    draw = random.Random(1)
    words = [f"{draw.choice('bcdfg')}{draw.choice('aeiou')}{n:x}" for n in range(4_000)]
    live = apsw.Connection(":memory:")
    live.execute("CREATE TABLE t (body TEXT, vector BLOB)").fetchall()
    live.execute("CREATE VIRTUAL TABLE f USING fts5(body)").fetchall()
    with live:
        for _ in range(_ROWS):
            body = " ".join(draw.choices(words, k=40))
            live.execute("INSERT INTO t VALUES (?, ?)", (body, draw.randbytes(200))).fetchall()
            live.execute("INSERT INTO f VALUES (?)", (body,)).fetchall()
    image = bytes(live.serialize("main"))
    return [image[start : start + _PAGE] for start in range(0, len(image), _PAGE)]


def measure(*, quick: bool) -> list[Row]:
    """Measure on one database in memory; nothing touches a disk."""
    pages = _database()
    image = b"".join(pages)
    count = len(pages)

    def encode() -> bytes:
        pieces: list[bytes] = []
        ltx.encode_snapshot(
            pages, pieces.append, page_size=_PAGE, commit=count, max_txid=1, timestamp_ms=0
        )
        return b"".join(pieces)

    def decode(data: bytes) -> None:
        decoder = ltx.Decoder(data)
        for _ in decoder.frames():
            pass
        decoder.close()

    def replay(data: bytes) -> None:
        ltx.apply_pages(data, lambda pgno, page: None, ltx.PageChecksums(_PAGE))

    snapshot = encode()
    whole = {
        "encode a snapshot": lambda _: encode(),
        "decode": lambda _: decode(snapshot),
        "verify": lambda _: ltx.verify(snapshot),
        "verify, payloads of any encoder": lambda _: ltx.verify(snapshot, foreign=True),
        "apply, page by page": lambda _: replay(snapshot),
        "checksums of all pages": lambda _: ltx.PageChecksums.of(image, _PAGE),
    }
    sums = ltx.PageChecksums.of(image, _PAGE)
    chosen = sorted(random.Random(2).sample(range(1, count + 1), _COMMIT_PAGES))
    header = ltx.Header(
        page_size=_PAGE, commit=count, min_txid=2, max_txid=2, pre_apply_checksum=sums.checksum
    )
    changed = [(pgno, pages[pgno - 1]) for pgno in chosen]

    def commit() -> bytes:
        for pgno, page in changed:
            sums.write(pgno, page)
        return ltx.encode(header, changed, sums.checksum)

    segment = commit()
    reader = ltx.Pages(lambda start, size: snapshot[start : start + size], len(snapshot))
    single = {
        f"{_COMMIT_PAGES} pages: checksums and encode": lambda _: commit(),
        f"{_COMMIT_PAGES} pages: decode": lambda _: ltx.decode(segment),
        f"{_COMMIT_PAGES} pages: verify": lambda _: ltx.verify(segment),
        "one page by the index": lambda n: reader.page(n % count + 1),
    }
    many = in_turn(list(whole.values()), 5 if quick else 15, warmup=2)
    few = in_turn(list(single.values()), 500 if quick else 5_000, warmup=50)
    mb = len(image) / 1e6
    note = f"{mb:.0f} MB, {len(snapshot) / 1e6:.0f} MB stored"
    return [
        *(
            Row(f"segment: {name}", mb / times.median * 1e6, "MB/s", note=note)
            for name, times in zip(whole, many, strict=True)
        ),
        *(
            Row(f"segment: {name}", times.median, "us", detail=times.as_json())
            for name, times in zip(single, few, strict=True)
        ),
    ]


if __name__ == "__main__":
    for row in measure(quick=False):
        print(f"{row.what:50} {row.measured:10.1f} {row.unit}  {row.note}")
