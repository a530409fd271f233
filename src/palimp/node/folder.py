"""The folder on disk: ours or not, of which format, and owned by which process.

palimp.json   {"format": 2, ...}: what this folder is, who may read it, and of which store
lock          held (flock) by the process that has the folder open; never renamed or removed
socket        where other processes reach that one
README.txt    for the person who finds the folder
hot/          one directory a database: its branches' files; can be rebuilt from the store
objects/      the store, where no other is set
cache/        earlier states; can be rebuilt
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from weakref import WeakSet

import msgspec

from ..decoding import from_json
from ..disk import replace_file, sync_path
from ..engine.files import BranchFiles
from ..errors import Invalid, Unavailable
from ..ids import random_uuid
from .door import SOCKET
from .file_system import LOCK_TEST, check_file_system

__all__ = ["FORMAT", "Folder", "was_left_open"]

FORMAT = 2
_MARK = "palimp.json"
_README = """This folder holds the memories of a Palimpsest database.
objects/ (or the object store it was opened with) is the history and the truth; hot/ and cache/
are made from it again, except for what was written last and not shipped yet.

Do not edit or copy files in here while a program has the folder open.
"""


_HELD: WeakSet[Folder] = WeakSet()


class _Mark(msgspec.Struct, kw_only=True):
    """The content of palimp.json."""

    product: str
    format: int
    node: str = ""
    store: str = ""


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
        """Where the local files are."""
        return self.path / "hot"

    @property
    def node(self) -> str:
        """The word by which this folder is known as a node."""
        return self._mark.node

    @property
    def store_id(self) -> str:
        """The store that the local files are of."""
        return self._mark.store

    def bind(self, store_id: str, name: str) -> None:
        """Remember which store the local files are of; refuse another one.

        A folder without local files may change to another store.
        """
        if self._mark.store == store_id:
            return
        if self._mark.store and any(self.databases.iterdir()):
            raise Invalid(
                f"{self.path} holds local files of another object store than {name}; set "
                "PALIMP_OBJECT_STORE to the store they are of, copy that store's objects to the "
                "new one first, or use an empty folder"
            )
        self._write_mark(msgspec.structs.replace(self._mark, store=store_id))

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
        check_file_system(self.path)
        mark = self.path / _MARK
        # What a crash may leave of a folder that was being made does not make it somebody else's.
        strange = set(os.listdir(self.path)) - {"lock", f".{_MARK}.new", SOCKET, LOCK_TEST}
        if strange and not mark.exists():
            raise Invalid(
                f"{self.path} is not empty and not a Palimpsest folder (it has no {_MARK}); "
                "give an empty or a new folder"
            )
        self._lock = self._take_lock()
        try:
            if mark.exists():
                self._mark = self._check(mark)
            else:
                self._found()
            self.databases.mkdir(mode=0o700, exist_ok=True)
            sync_path(self.path)
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
                holder=holder or "another process",
            ) from None
        command = " ".join(Path(part).name if "/" in part else part for part in sys.argv[:2])
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} ({command[:200]})\n".encode(), 0)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _check(self, mark: Path) -> _Mark:
        try:
            found = from_json(mark.read_bytes(), _Mark)
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
        if found.format < FORMAT:
            raise Invalid(
                f"{self.path} has format {found.format}, which only unreleased versions wrote; "
                f"this release reads {FORMAT}. Use another folder"
            )
        return found

    def _found(self) -> None:
        # Before the mark: a process that finds one does not sync the folder's own name again.
        sync_path(self.path.absolute().parent)
        self._write_mark(_Mark(product="palimpsest", format=FORMAT, node=random_uuid()))
        (self.path / "README.txt").write_text(_README)

    def _write_mark(self, mark: _Mark) -> None:
        replace_file(self.path / _MARK, msgspec.json.encode(mark))
        self._mark = mark


def was_left_open(path: Path) -> bool:
    """Whether some local file of a folder is open, or was not closed."""
    return bool(BranchFiles.left_open(path / "hot"))


def _abandon_all() -> None:
    for folder in list(_HELD):
        folder.abandon()
    _HELD.clear()


os.register_at_fork(after_in_child=_abandon_all)
