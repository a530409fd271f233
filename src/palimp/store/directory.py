"""Object storage in a folder of a local file system: `file:///path`.

    {root}/.stripes/00 .. ff      locks (`stripes.py`)
    {root}/{key}                  an object: its bytes, nothing else
    {root}/{folder}/.{stripe}.new a temporary: in its stripe there is one writer, so one name does

Order of a write, all of it under the key's stripe: temporary, fsync, mark the stripe, `link`
(create) or `rename` (replace), fsync the folder, clear the mark, let go, answer. What a crash can
leave is a temporary, which no listing shows and the stripe's next write or a listing removes, and a
marked stripe, whose folder is synced before anybody is told what is in it.

A version is a hash of the bytes, as S3's is: a replace compares the whole stored object.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress

from .disk_faults import Progress, disk_faults
from .files import Files
from .keys import check_key, check_list, check_range, check_size, is_key, starting_point
from .protocol import AlreadyThere, Entry, Page, Stored, Version, VersionMismatch
from .stripes import Stripe, Stripes

__all__ = ["DirectoryStore"]

_FOLDERS_KNOWN_MAX = 10_000
_TEMPORARY = re.compile(r"\.([0-9a-f]{2})\.new\Z")


class DirectoryStore:
    """A folder shared by any number of threads and processes of one machine.

    Makes the folder (not its parents) where there is none. Not for network file systems.
    """

    def __init__(self, root: str | os.PathLike[str], *, files: Files | None = None) -> None:
        self._root = os.path.abspath(root)  # noqa: PTH100 - text, see `Files`
        self._files = files or Files()
        # Folders whose names in their parents this process has synced; never removed, so no entry
        # goes stale. One made by a killed process is synced again by the first to use it.
        self._folders: set[str] = set()
        with disk_faults(f"folder {self._root}"):
            self._files.make_folder(self._root)
            self._files.sync_folder(self._root.rpartition("/")[0] or "/")
            self._stripes = Stripes(self._root, self._files)

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"file://{self._root}"

    def create(self, key: str, data: bytes) -> Version:
        """Write an object that does not exist yet."""
        check_key(key)
        check_size(key, data)
        path = self._path(key)
        progress = Progress()
        with self._faults(key, progress), self._stripes.held(key) as stripe:
            if self._files.is_file(path):
                raise AlreadyThere(key)
            temporary = self._write_temporary(key, stripe, data)
            progress.begun = True
            try:
                self._files.link(temporary, path)
            except FileExistsError:
                raise AlreadyThere(key) from None
            finally:
                self._files.unlink(temporary)
            self._finish(key, stripe)
        return _version(data)

    def replace(self, key: str, data: bytes, version: Version) -> Version:
        """Write the object only if it still is `version`."""
        check_key(key)
        check_size(key, data)
        path = self._path(key)
        progress = Progress()
        with self._faults(key, progress), self._stripes.held(key) as stripe:
            stored = self._files.read(path)
            if stored is None or _version(stored) != version:
                raise VersionMismatch(key)
            temporary = self._write_temporary(key, stripe, data)
            progress.begun = True
            self._files.rename(temporary, path)
            self._finish(key, stripe)
        return _version(data)

    def get(self, key: str) -> Stored | None:
        """Return the whole object and its version."""
        check_key(key)
        with self._faults(key):
            data = self._files.read(self._path(key))
            # Asked after the read: what was seen before the mark or after it went is durable.
            if self._stripes.is_marked(key):
                with self._stripes.held(key):
                    data = self._files.read(self._path(key))
        return None if data is None else Stored(data, _version(data))

    def get_range(self, key: str, offset: int, length: int) -> bytes | None:
        """Return a part of the object."""
        check_key(key)
        check_range(key, offset, length)
        with self._faults(key):
            data = self._files.read_range(self._path(key), offset, length)
            if self._stripes.is_marked(key):
                with self._stripes.held(key):
                    data = self._files.read_range(self._path(key), offset, length)
        return data

    def list(self, prefix: str = "", after: str | None = None, limit: int = 1000) -> Page:
        """Return a page of keys. Costs a look at every name of the folders it passes."""
        check_list(prefix, after, limit)
        after, more = starting_point(prefix, after)
        entries: list[Entry] = []
        with self._faults(prefix or "the root"):
            for entry in self._walk(prefix, after) if more else ():
                entries.append(entry)
                if len(entries) == limit:
                    return Page(entries, entry.key)
        return Page(entries, None)

    def delete(self, key: str) -> None:
        """Remove the object; its folder stays."""
        check_key(key)
        progress = Progress()
        with self._faults(key, progress), self._stripes.held(key):
            # No mark, so that a full disk can be emptied; instead every repeat syncs again.
            progress.begun = True
            # Where there is no such folder, or the key is one, there is no object.
            with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                if self._files.is_file(self._path(key)):
                    self._files.unlink(self._path(key))
                self._files.sync_folder(self._folder(key))

    def close(self) -> None:
        """Nothing is kept open between calls."""

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _folder(self, key: str) -> str:
        return self._path(key).rpartition("/")[0]

    def _faults(self, key: str, progress: Progress | None = None) -> AbstractContextManager[None]:
        return disk_faults(f"{self.name}: {key}", progress)

    def _write_temporary(self, key: str, stripe: Stripe, data: bytes) -> str:
        self._make_folders(key)
        temporary = f"{self._folder(key)}/{stripe.temporary}"
        # Unlinked, not truncated: a create killed after `link` leaves it as a second name of the
        # object (tests/unit/store/test_directory.py).
        self._files.unlink(temporary)
        try:
            self._files.write_new(temporary, data)
            stripe.mark(key)
        except OSError:
            self._files.unlink(temporary)
            raise
        return temporary

    def _finish(self, key: str, stripe: Stripe) -> None:
        self._files.sync_folder(self._folder(key))
        stripe.clear()

    def _make_folders(self, key: str) -> None:
        """Make the folders of `key`; each one's name in its parent is durable before it is used."""
        folder = self._root
        for name in key.split("/")[:-1]:
            parent, folder = folder, f"{folder}/{name}"
            if folder not in self._folders:
                self._files.make_folder(folder)
                self._files.sync_folder(parent)
                if len(self._folders) >= _FOLDERS_KNOWN_MAX:
                    self._folders.clear()
                self._folders.add(folder)

    def _walk(self, prefix: str, after: str | None) -> Iterator[Entry]:
        """Yield the objects under `prefix` above `after`, in the order of their keys' bytes."""
        try:
            with os.scandir(f"{self._root}/{prefix}") as found:
                # With its slash, a folder's name sorts where its objects' keys do.
                names = sorted(
                    ((_sorting(item), item) for item in found), key=lambda named: named[0]
                )
        except (FileNotFoundError, NotADirectoryError):
            return
        for name, item in names:
            key = prefix + name
            temporary = _TEMPORARY.match(name)
            if temporary:
                self._remove_stale(f"{self._root}/{key}", int(temporary[1], 16))
            elif name.endswith("/"):
                if is_key(key[:-1]) and (after is None or after[: len(key)] <= key):
                    yield from self._walk(key, after)
            elif is_key(key) and (after is None or key > after):
                try:
                    size = item.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue  # deleted since the folder was read
                if item.is_file(follow_symlinks=False):
                    yield Entry(key, size)

    def _remove_stale(self, temporary: str, number: int) -> None:
        """Remove a temporary that no writer is at work on: its stripe is free."""
        with self._stripes.held_number(number, wait=False) as stripe:
            if stripe is not None:
                self._files.unlink(temporary)


def _sorting(item: os.DirEntry[str]) -> str:
    return f"{item.name}/" if item.is_dir(follow_symlinks=False) else item.name


def _version(data: bytes) -> Version:
    return Version(hashlib.blake2b(data, digest_size=16).hexdigest())
