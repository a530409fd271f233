"""The file calls of the directory store, one method a durable step.

A seam: tests stand in between to record writes and syncs (power loss), to kill the process before
a step, or to make a step fail.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Files"]


class Files:
    """The operating system's files. Paths are text: a `Path` would cost as much as a read."""

    def read(self, path: str) -> bytes | None:
        """Return a whole file, or None where there is none."""
        with self._opened(path) as descriptor:
            if descriptor is None:
                return None
            return self._read_all(descriptor, os.fstat(descriptor).st_size)

    def read_range(self, path: str, offset: int, length: int) -> bytes | None:
        """Return up to `length` bytes from `offset`, or None where there is no file."""
        with self._opened(path) as descriptor:
            if descriptor is None:
                return None
            size = os.fstat(descriptor).st_size
            os.lseek(descriptor, min(offset, size), os.SEEK_SET)
            return self._read_all(descriptor, max(0, min(length, size - offset)))

    def is_file(self, path: str) -> bool:
        """Whether the name is a file's; raises `IsADirectoryError` where it is a folder's."""
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return False
        if mode & 0o170000 == 0o040000:
            raise IsADirectoryError(path)
        return True

    def write_new(self, path: str, data: bytes) -> None:
        """Write a new file."""
        descriptor = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            self.sync_file(descriptor)
        finally:
            os.close(descriptor)

    def sync_file(self, descriptor: int) -> None:
        """Make what was written to the file durable."""
        os.fsync(descriptor)

    def link(self, source: str, target: str) -> None:
        """Give the file a second name; raises `FileExistsError` where that is taken."""
        os.link(source, target)

    def rename(self, source: str, target: str) -> None:
        """Put the file in the place of another, atomically."""
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        """Remove a name; nothing happens where there is none."""
        try:
            os.unlink(path)  # noqa: PTH108 - see the class
        except FileNotFoundError:
            return

    def make_folder(self, path: str) -> None:
        """Make a folder, unless there is one."""
        try:
            os.mkdir(path, 0o700)  # noqa: PTH102 - see the class
        except FileExistsError:
            if not os.stat(path).st_mode & 0o170000 == 0o040000:
                raise NotADirectoryError(path) from None

    def sync_folder(self, path: str) -> None:
        """Make the names in a folder durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _opened(self, path: str) -> Iterator[int | None]:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            yield None
            return
        try:
            yield None if os.fstat(descriptor).st_mode & 0o170000 == 0o040000 else descriptor
        finally:
            os.close(descriptor)

    @staticmethod
    def _read_all(descriptor: int, size: int) -> bytes:
        """Read `size` bytes, fewer only if the file ends: one read may return less than asked."""
        data = os.read(descriptor, size)
        if len(data) == size:
            return data
        parts = [data]
        missing = size - len(data)
        while missing and parts[-1]:
            parts.append(os.read(descriptor, missing))
            missing -= len(parts[-1])
        return b"".join(parts)
