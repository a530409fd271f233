"""Checksums: of a page, and of a database, kept up to date page by page.

CRC-64 ISO with bit 63 set. A page's covers its number (4 bytes) and its content. A database's is
the exclusive or of its pages' with bit 63 set; so what a page was can be taken out and what it is
put in, in any order, and an empty database has just the bit. The lock page counts for nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from functools import reduce
from operator import xor

from fastcrc import crc64

from .layout import CHECKSUM_FLAG, is_page_size, lock_page

__all__ = ["EMPTY_DATABASE", "Bytes", "PageChecksums", "crc", "database_checksum", "page_checksum"]

Bytes = bytes | bytearray | memoryview

# 4 KiB in a quarter of a microsecond; the second argument continues an earlier sum.
crc = crc64.go_iso

EMPTY_DATABASE = CHECKSUM_FLAG


def page_checksum(pgno: int, page: Bytes) -> int:
    """Return the checksum of a page with its number."""
    return crc(page, crc(pgno.to_bytes(4, "big"))) | CHECKSUM_FLAG


def database_checksum(image: Bytes, page_size: int) -> int:
    """Return the checksum of a database file's content."""
    return PageChecksums.of(image, page_size).checksum


class PageChecksums:
    """The checksum of every page of a database, 8 bytes each, and of the whole.

    Changing a page costs one checksum, whatever the size of the database. Not safe for threads.
    """

    __slots__ = ("_folded", "_sums", "page_size")

    def __init__(self, page_size: int) -> None:
        assert is_page_size(page_size), f"page size {page_size}"
        self.page_size = page_size
        # The sum of page n is at n - 1; zero for the lock page.
        self._sums: array[int] = array("Q")
        self._folded = 0

    @classmethod
    def of(cls, image: Bytes, page_size: int) -> PageChecksums:
        """Return the checksums of a database file's content, a whole number of pages."""
        assert len(image) % page_size == 0, "a database is a whole number of pages"
        view = memoryview(image)
        starts = range(0, len(image), page_size)
        return cls.of_pages((view[start : start + page_size] for start in starts), page_size)

    @classmethod
    def of_pages(cls, pages: Iterable[Bytes], page_size: int) -> PageChecksums:
        """Return the checksums of pages that come in order, from page 1 on."""
        found = cls(page_size)
        lock = lock_page(page_size)
        found._sums.extend(
            0 if pgno == lock else page_checksum(pgno, page) for pgno, page in enumerate(pages, 1)
        )
        found._folded = reduce(xor, found._sums, 0)
        return found

    @classmethod
    def from_bytes(cls, sums: bytes, page_size: int) -> PageChecksums:
        """Return what `to_bytes` gave; who stored it says whether it still holds."""
        found = cls(page_size)
        found._sums.frombytes(sums)
        found._folded = reduce(xor, found._sums, 0)
        return found

    def to_bytes(self) -> bytes:
        """Return the checksums to be stored by this machine, 8 bytes a page in its byte order."""
        return self._sums.tobytes()

    def copy(self) -> PageChecksums:
        """Return an independent copy."""
        other = PageChecksums(self.page_size)
        other.become(self)
        return other

    def become(self, other: PageChecksums) -> None:
        """Take over the state of another one."""
        assert other.page_size == self.page_size, "page sizes differ"
        self._sums = other._sums[:]
        self._folded = other._folded

    def __len__(self) -> int:
        return len(self._sums)

    def __getitem__(self, pgno: int) -> int:
        assert 1 <= pgno <= len(self._sums), f"page {pgno} of {len(self._sums)}"
        return self._sums[pgno - 1]

    @property
    def checksum(self) -> int:
        """Return the checksum of the database."""
        return self._folded | CHECKSUM_FLAG

    def write(self, pgno: int, page: Bytes) -> int:
        """Note a page's new content and return its sum; a gap before it becomes pages of zeros."""
        assert len(page) == self.page_size, f"{len(page)} bytes are not a page"
        assert pgno != lock_page(self.page_size), "the lock page has no content"
        if pgno > len(self._sums):
            self.resize(pgno - 1)
            self._sums.append(0)
        new = page_checksum(pgno, page)
        self._folded ^= self._sums[pgno - 1] ^ new
        self._sums[pgno - 1] = new
        return new

    def resize(self, commit: int) -> None:
        """Make it a database of `commit` pages: cut off, or extended with pages of zeros."""
        assert commit >= 0, "a database has no negative size"
        have = len(self._sums)
        if commit < have:
            self._folded ^= reduce(xor, self._sums[commit:], 0)
            del self._sums[commit:]
        elif commit > have:
            zeros, lock = bytes(self.page_size), lock_page(self.page_size)
            added = array(
                "Q",
                (0 if n == lock else page_checksum(n, zeros) for n in range(have + 1, commit + 1)),
            )
            self._folded ^= reduce(xor, added, 0)
            self._sums.extend(added)
