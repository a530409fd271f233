"""The local files of a branch, and which of them counts.

    hot/.open-{db}.{branch}               there while commits may be here that the store lacks
    hot/{db}/{branch}/current             names the incarnation that counts, replaced atomically
                      owner.json          the epochs this folder took, written before they are used
                      {incarnation}/main.db (-wal, -shm)
                      shipped.json        up to where it is in the store
                      clean.json, clean.sums      what the file was when it was last closed in order
                      provisional-{word}  restored to be read; nobody trusts it after this process
                      stray-{epoch}-{word}/main.db      commits that may not continue the branch,
                                                  on their way into a recovered branch

Every restored file has a directory of its own, so a `-wal` never meets another database's file.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import msgspec

from ..decoding import from_json
from ..disk import make_folders, replace_file, sync_path
from ..errors import Internal
from ..ids import random_id
from ..ltx import PageChecksums

__all__ = ["BranchFiles", "Clean", "Shipped"]

_FILE = "main.db"
_STRAY = "stray-"
_OPEN = ".open-"
_SHIPPED = "shipped.json"
_PROVISIONAL = "provisional-"
# Only the latest can be the manifest's; a few more cost nothing.
_EPOCHS_KEPT = 16


class _Epoch(msgspec.Struct, frozen=True):
    epoch: int
    nonce: str


class _Owner(msgspec.Struct, frozen=True):
    format: int = 1
    epochs: tuple[_Epoch, ...] = ()


class Clean(msgspec.Struct, frozen=True, kw_only=True):
    """What a file was when it was closed in order: all of it shipped, its log folded."""

    txid: int
    checksum: str
    page_size: int
    size: int
    mtime_ns: int


class Shipped(msgspec.Struct, frozen=True, kw_only=True):
    """The last state of a file that was linked in the store."""

    txid: int
    checksum: str


class BranchFiles:
    """One branch's folder below `root`; made with its first file. Used by one process at a time."""

    def __init__(self, root: Path, db_id: str, branch_id: str) -> None:
        self._root = root
        self.folder = root / db_id / branch_id
        self._mark = f"{_OPEN}{db_id}.{branch_id}"
        # Made by this process: nothing of an earlier one is in it.
        self._is_new = False

    def current(self) -> Path | None:
        """Return the database file that counts, or None where there is none."""
        try:
            incarnation = (self.folder / "current").read_text("utf-8").strip()
        except FileNotFoundError:
            return None
        path = self.folder / incarnation / _FILE
        return path if incarnation and "/" not in incarnation and path.exists() else None

    def new_incarnation(self) -> Path:
        """Return where a new file may be built; it counts from `make_current` on."""
        folder = self.folder / random_id("i")
        make_folders(folder, self._root)
        return folder / _FILE

    @staticmethod
    def left_open(root: Path) -> list[tuple[str, str]]:
        """Return the keys of the branches that were written and not closed in order."""
        with os.scandir(root) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(_OPEN)]
        keys = [name.removeprefix(_OPEN).split(".") for name in sorted(names)]
        return [(db_id, branch_id) for db_id, branch_id in keys]

    def mark_open(self, name: str) -> None:
        """Note that commits may be made here that the store lacks, for who starts after a crash.

        Not synced: after a power cut they are shipped when the branch is used.
        """
        (self._root / self._mark).write_text(name, "utf-8")

    def left_name(self) -> str:
        """Return the name of a branch that was left open; empty where it is not known."""
        try:
            return (self._root / self._mark).read_text("utf-8")
        except FileNotFoundError:
            return ""

    def mark_closed(self) -> None:
        """Note that the store has everything."""
        (self._root / self._mark).unlink(missing_ok=True)

    def provisional(self, keep: Path | None = None) -> Path:
        """Return where a file may be restored that is only read, and gone with the process.

        Its folder is made; nothing of it stays after a power cut. What earlier processes left of
        that kind is removed, but for `keep`.
        """
        self._is_new = make_folders(self.folder, self._root, durable=False)
        if not self._is_new:
            with os.scandir(self.folder) as entries:
                left = [Path(e.path) for e in entries if e.name.startswith(_PROVISIONAL)]
            for path in left:
                if path != keep:
                    path.unlink()
        return self.folder / f"{_PROVISIONAL}{random_id('p')}"

    def make_current(self, path: Path) -> None:
        """Let a complete file count, durably, and remove those that counted before."""
        sync_path(path)
        sync_path(path.parent)
        replace_file(self.folder / "current", path.parent.name.encode())
        self.remove_old()

    def remove_old(self) -> None:
        """Remove incarnations that do not count; a crash may have left some."""
        current = self.current()
        keep = current.parent.name if current else ""
        with os.scandir(self.folder) as entries:
            old = [e.path for e in entries if e.is_dir() and e.name.startswith("i_")]
        for path in old:
            if Path(path).name != keep:
                shutil.rmtree(path, ignore_errors=True)
        if keep == "":
            self._unlink("current")

    def record_epoch(self, epoch: int, nonce: str) -> None:
        """Note, durably, that this folder is about to own an epoch."""
        make_folders(self.folder, self._root)
        owner = self._owner()
        kept = owner.epochs[-_EPOCHS_KEPT + 1 :]
        owner = _Owner(epochs=(*kept, _Epoch(epoch, nonce)))
        replace_file(self.folder / "owner.json", msgspec.json.encode(owner))

    def is_ours(self, nonce: str) -> bool:
        """Whether this folder recorded the nonce of an owner."""
        return any(one.nonce == nonce for one in self._owner().epochs)

    def write_clean(self, path: Path, txid: int, sums: PageChecksums) -> None:
        """Note what the closed file is, so that opening it need not read all of it.

        Not durable, and not needed: without it the next opening reads the file, which is right too.
        """
        with suppress(OSError):
            self._write_clean(path, txid, sums)

    def _write_clean(self, path: Path, txid: int, sums: PageChecksums) -> None:
        stat = path.stat()
        clean = Clean(
            txid=txid,
            checksum=f"{sums.checksum:016x}",
            page_size=sums.page_size,
            size=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
        )
        replace_file(self.folder / "clean.sums", sums.to_bytes(), durable=False)
        replace_file(self.folder / "clean.json", msgspec.json.encode(clean), durable=False)

    def read_clean(self, path: Path, txid: int) -> PageChecksums | None:
        """Return the page checksums of the file, where nothing has touched it since it was closed.

        `txid` is the file's own. Whatever does not agree makes it None.
        """
        try:
            clean = from_json((self.folder / "clean.json").read_bytes(), Clean)
            data = (self.folder / "clean.sums").read_bytes()
            stat = path.stat()
        except (OSError, msgspec.DecodeError):
            return None
        same = (clean.txid, clean.size, clean.mtime_ns) == (txid, stat.st_size, stat.st_mtime_ns)
        if not same or len(data) != 8 * (clean.size // clean.page_size):
            return None
        sums = PageChecksums.from_bytes(data, clean.page_size)
        return sums if f"{sums.checksum:016x}" == clean.checksum else None

    def note_shipped(self, txid: int, checksum: str) -> None:
        """Note up to where the current file is in the store.

        Not durable, and not needed: it only proves more.
        """
        data = msgspec.json.encode(Shipped(txid=txid, checksum=checksum))
        with suppress(OSError):
            replace_file(self.folder / _SHIPPED, data, durable=False)

    def is_noted(self, txid: int, checksum: str) -> bool:
        """Whether the store had all of a current file in this state."""
        return _read_shipped(self.folder) == Shipped(txid=txid, checksum=checksum)

    def shipped_of(self, stray: Path) -> Shipped | None:
        """Return up to where a stray was in the store, where that is known."""
        return _read_shipped(stray.parent)

    def discard(self) -> None:
        """Remove the current file, of which everything is in the store."""
        self._unlink("current")
        self.remove_old()

    def set_aside(self, path: Path, epoch_max: int) -> Path:
        """Make a closed file one that no longer counts and is kept until it was recovered.

        Its commits are of the last epoch up to `epoch_max` that this folder recorded.
        """
        self._is_new = False
        epochs = (one.epoch for one in self._owner().epochs if one.epoch <= epoch_max)
        stray = self.folder / f"{_STRAY}{max(epochs, default=0)}-{random_id('s')}"
        if (self.folder / _SHIPPED).exists():
            os.rename(self.folder / _SHIPPED, path.parent / _SHIPPED)
        os.rename(path.parent, stray)
        sync_path(self.folder)
        self._unlink("current")
        return stray / _FILE

    def strays(self) -> list[Path]:
        """Return the files that wait to become a recovered branch."""
        if self._is_new:
            return []
        try:
            with os.scandir(self.folder) as entries:
                names = [entry.name for entry in entries if entry.name.startswith(_STRAY)]
        except FileNotFoundError:
            return []
        paths = (self.folder / name / _FILE for name in sorted(names))
        return [path for path in paths if path.exists()]

    def epoch_of(self, stray: Path) -> int:
        """Return the epoch in which the commits of a stray were made; 0 where none is known."""
        return int(stray.parent.name.removeprefix(_STRAY).partition("-")[0])

    def remove_stray(self, path: Path) -> None:
        """Remove a stray that has become a branch."""
        shutil.rmtree(path.parent)
        sync_path(self.folder)

    @staticmethod
    def branches(root: Path, db_id: str) -> list[str]:
        """Return the ids of the branches of a database that have a folder."""
        try:
            return sorted(os.listdir(root / db_id))
        except FileNotFoundError:
            return []

    def remove(self, *, stray: bool = False) -> None:
        """Remove everything: the branch is cold, or gone. Refused while a stray waits."""
        if self.strays() and not stray:
            raise Internal(f"{self.folder} has commits that are nowhere else; it stays")
        self._unlink("current")
        self.mark_closed()
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self.folder.parent.rmdir()
        except OSError:
            return

    def size(self) -> int:
        """Return about how many bytes the database files and their logs take."""
        path = self.current()
        used = [path, path.with_name(f"{path.name}-wal")] if path else []
        total = 0
        for one in (*used, *self.folder.glob(f"{_PROVISIONAL}*")):
            with suppress(FileNotFoundError):
                total += one.stat().st_size
        return total

    def _owner(self) -> _Owner:
        path = self.folder / "owner.json"
        try:
            return from_json(path.read_bytes(), _Owner)
        except FileNotFoundError:
            return _Owner()
        except msgspec.DecodeError as error:
            raise Internal(
                f"{path} is damaged: {error}; remove it to start from the store"
            ) from error

    def _unlink(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)


def _read_shipped(folder: Path) -> Shipped | None:
    try:
        return from_json((folder / _SHIPPED).read_bytes(), Shipped)
    except (OSError, msgspec.DecodeError):
        return None
