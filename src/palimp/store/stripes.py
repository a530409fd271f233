"""The locks of a directory store: 256 files that are never renamed or removed.

Locking the object's own file would let two holders in, because a replace puts another file in its
place. A stripe is held with `flock`, through a descriptor of each holder's own, so it parts threads
and processes alike and is let go by a killed holder.

A stripe also remembers. Between the rename and the folder's fsync a new object can be seen but may
still be lost in a power cut; a holder killed there leaves it so. Before the rename the holder
therefore writes the key into the stripe and truncates it after the fsync: a stripe that is not
empty says "sync that key's folder before you believe what you read". Whoever takes the stripe next
does so first.
"""

from __future__ import annotations

import errno
import fcntl
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .files import Files
from .keys import is_key
from .protocol import KEY_BYTES_MAX

__all__ = ["STRIPES", "STRIPES_FOLDER", "Stripe", "Stripes"]

STRIPES = 256
STRIPES_FOLDER = ".stripes"
_HELD: set[int] = set()


class Stripe:
    """One stripe, held."""

    def __init__(self, number: int, descriptor: int) -> None:
        self.number = number
        self._descriptor = descriptor

    @property
    def temporary(self) -> str:
        """The only name a temporary of this stripe can have; no key begins with a dot."""
        return f".{self.number:02x}.new"

    def mark(self, key: str) -> None:
        """Remember that `key` is about to change."""
        record = key.encode()
        if os.pwrite(self._descriptor, record, 0) != len(record):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def marked(self) -> str | None:
        """Return the key a killed holder was changing."""
        record = os.pread(self._descriptor, KEY_BYTES_MAX + 1, 0).decode("ascii", "replace")
        # After a power cut anything may stand here; then there is nothing left to be synced either.
        return record if is_key(record) else None

    def clear(self) -> None:
        """Forget: the change is durable."""
        os.ftruncate(self._descriptor, 0)


class Stripes:
    """The stripes of one store."""

    def __init__(self, root: str, files: Files) -> None:
        self._root = root
        self._files = files
        self._folder = f"{root}/{STRIPES_FOLDER}"
        files.make_folder(self._folder)
        if not os.access(self._path(STRIPES - 1), os.F_OK):
            # All at once and in order, so that a full disk later stops no delete.
            for number in range(STRIPES):
                os.close(self._open(number))

    def number(self, key: str) -> int:
        """Return the stripe of a key."""
        return zlib.crc32(key.encode()) % STRIPES

    def is_marked(self, key: str) -> bool:
        """Whether a change in this stripe is under way, or was left unfinished."""
        try:
            return os.stat(self._path(self.number(key))).st_size > 0
        except FileNotFoundError:
            return False

    @contextmanager
    def held(self, key: str) -> Iterator[Stripe]:
        """Hold the stripe of `key`; what a killed holder left has been made durable."""
        with self.held_number(self.number(key), wait=True) as stripe:
            assert stripe is not None
            yield stripe

    @contextmanager
    def held_number(self, number: int, *, wait: bool) -> Iterator[Stripe | None]:
        """Hold a stripe; without `wait` yields None where it is busy."""
        descriptor = self._open(number)
        try:
            _HELD.add(descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield None
                return
            try:
                stripe = Stripe(number, descriptor)
                self._settle(stripe)
                yield stripe
            finally:
                # In words, not by closing: a child forked meanwhile has a copy of the descriptor.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            _HELD.discard(descriptor)
            os.close(descriptor)

    def _settle(self, stripe: Stripe) -> None:
        key = stripe.marked()
        if key is not None:
            folder = key.rpartition("/")[0]
            # Taken away by hand, it took its objects with it.
            with suppress(FileNotFoundError):
                self._files.sync_folder(f"{self._root}/{folder}" if folder else self._root)
            stripe.clear()

    def _open(self, number: int) -> int:
        return os.open(self._path(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _path(self, number: int) -> str:
        return f"{self._folder}/{number:02x}"


def _let_go() -> None:
    """In a forked child: its copies of held stripes must not outlive the parent's hold."""
    for descriptor in _HELD:
        os.close(descriptor)
    _HELD.clear()


os.register_at_fork(after_in_child=_let_go)
