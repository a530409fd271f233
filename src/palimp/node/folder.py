"""The folder on disk: ours or not, of which format, and owned by which process.

palimp.json   {"format": 1, ...}: what this folder is and who may read it
lock          held (flock) by the process that has the folder open; never renamed or removed
README.txt    for the person who finds the folder
hot/          one directory a profile
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from weakref import WeakSet

import msgspec

from ..disk import sync_path
from ..errors import Invalid, Unavailable

__all__ = ["FORMAT", "Folder"]

FORMAT = 1
_MARK = "palimp.json"
_README = """This folder holds the memories of a Palimpsest database.
Each profile under hot/ is an SQLite file.

Do not edit or copy files in here while a program has the folder open.
"""


_HELD: WeakSet[Folder] = WeakSet()


class _Mark(msgspec.Struct, kw_only=True):
    """The content of palimp.json."""

    product: str
    format: int


class Folder:
    """A folder held by this process until `close`.

    Raises `Invalid` where the folder is somebody else's, `Unavailable` where it was written by a
    newer release, cannot be written, or is held by another process (which is named).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()
        if "\0" in str(self.path):
            raise Invalid(f"{str(self.path)!r:.200} is not a path: it contains a NUL")
        try:
            self._claim()
        except OSError as error:
            raise Unavailable(
                f"folder {self.path} cannot be used: {error.strerror or error}; check that its "
                "parent exists, may be written and has space",
                reason="folder",
            ) from error

    @property
    def databases(self) -> Path:
        """Where the profiles are."""
        return self.path / "hot"

    def close(self) -> None:
        """Let the next process have the folder."""
        _HELD.discard(self)
        os.close(self._lock)

    def abandon(self) -> None:
        """Close a forked child's copy of the lock: it must not outlive its parent's hold."""
        os.close(self._lock)

    def _claim(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise Invalid(f"{self.path} is a file; give a folder")
        if not self.path.exists():
            self.path.mkdir(mode=0o700)
        mark = self.path / _MARK
        # What a crash may leave of a folder that was being made does not make it somebody else's.
        strange = set(os.listdir(self.path)) - {"lock", f"{_MARK}.new"}
        if strange and not mark.exists():
            raise Invalid(
                f"{self.path} is not empty and not a Palimpsest folder (it has no {_MARK}); "
                "give an empty or a new folder"
            )
        self._lock = self._take_lock()
        try:
            if mark.exists():
                self._check(mark)
            else:
                self._found(mark)
            self.databases.mkdir(mode=0o700, exist_ok=True)
        except BaseException:
            os.close(self._lock)
            raise
        _HELD.add(self)

    def _take_lock(self) -> int:
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 500, 0).decode("utf-8", "replace").strip()
            os.close(descriptor)
            raise Unavailable(
                f"{self.path} is open in {holder or 'another process'}; close it there first",
                reason="locked",
            ) from None
        command = " ".join(Path(part).name if "/" in part else part for part in sys.argv[:2])
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} ({command[:200]})\n".encode(), 0)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _check(self, mark: Path) -> None:
        try:
            found = msgspec.json.decode(mark.read_bytes(), type=_Mark)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"{mark} is not what Palimpsest writes: {error}") from error
        if found.product != "palimpsest":
            raise Invalid(f"{self.path} belongs to {found.product!r:.80}, not to Palimpsest")
        if found.format > FORMAT:
            raise Unavailable(
                f"{self.path} has format {found.format}, this release reads up to {FORMAT}; "
                "open it with the release that wrote it, or a newer one",
                reason="format",
            )

    def _found(self, mark: Path) -> None:
        fresh = mark.with_name(_MARK + ".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, msgspec.json.encode(_Mark(product="palimpsest", format=FORMAT)))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(fresh, mark)
        for folder in (self.path, self.path.absolute().parent):
            sync_path(folder)
        (self.path / "README.txt").write_text(_README)


def _abandon_all() -> None:
    for folder in list(_HELD):
        folder.abandon()
    _HELD.clear()


os.register_at_fork(after_in_child=_abandon_all)
