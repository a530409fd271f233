"""The independent reader, the hand-made files, and databases to make segments of."""

import random
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from palimp import ltx

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def independent() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(HERE / "independent.py")))


@pytest.fixture(scope="session")
def golden() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(HERE / "golden.py")))


class Line:
    """A database as a plain list of pages, and the segments of its commits."""

    def __init__(self, page_size: int = 512, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.page_size = page_size
        self.pages: list[bytes] = []
        self.txid = 0
        self.segments: list[bytes] = []

    def page(self) -> bytes:
        """Half of it compressible, as pages of SQLite are."""
        words = self.random.choices([b"harbour ", b"oslo ", b"seat 12a "], k=self.page_size)
        half = self.page_size // 2
        return b"".join(words)[:half] + self.random.randbytes(self.page_size - half)

    @property
    def image(self) -> bytearray:
        return bytearray(b"".join(self.pages))

    @property
    def checksum(self) -> int:
        return ltx.database_checksum(self.image, self.page_size)

    def commit(self, size: int, *written: int, flags: int = 0) -> bytes:
        """Write new pages; the database then has `size` pages."""
        before = self.checksum if self.txid and not flags else 0
        self.txid += 1
        zeros = bytes(self.page_size)
        self.pages = (self.pages + [zeros] * size)[:size]
        for pgno in written:
            self.pages[pgno - 1] = self.page()
        header = ltx.Header(
            page_size=self.page_size,
            commit=size,
            min_txid=self.txid,
            max_txid=self.txid,
            timestamp_ms=1_767_225_600_000 + self.txid,
            pre_apply_checksum=before,
            flags=flags,
        )
        changed = [(pgno, self.pages[pgno - 1]) for pgno in sorted(written)]
        self.segments.append(ltx.encode(header, changed, None if flags else self.checksum))
        return self.segments[-1]


@pytest.fixture
def line() -> Line:
    return Line()
