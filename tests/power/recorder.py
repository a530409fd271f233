"""Records what a program does to the files of a folder: its own calls, and SQLite's.

`os` and `open` are replaced, and the default VFS of SQLite is one that tells. The calls are carried
out all the same, except for syncs, which are only noted. What is not replaced here would be missing
in the log: `Recorder.check` plays the log and compares it with the folder.
"""

from __future__ import annotations

import builtins
import io
import linecache
import os
import random
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NamedTuple, Self

import apsw
from disk_model import (
    KEPT,
    ROOT,
    Disk,
    Event,
    Made,
    Noted,
    Removed,
    Renamed,
    Sized,
    Synced,
    Wrote,
)

import palimp

SOURCE = Path(palimp.__file__).parent
# They sync for others: what matters is who asked them to.
HELPERS = {SOURCE / "disk.py", SOURCE / "store" / "files.py"}
NOT_OURS = "not ours"
# SQLite syncs the folder of these once, with their first sync.
NAMED_WITH_FIRST_SYNC = (
    apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL
)


class Place(NamedTuple):
    """A name in a folder, and the node it stands for (None: nothing)."""

    folder: int
    name: str
    node: int | None


class Recorder:
    """The log of one folder; a context in which everything done to it is recorded."""

    def __init__(self, root: Path) -> None:
        self.root = os.path.realpath(root)
        self.log: list[Event] = []
        self.lock = threading.RLock()
        # What stands where now: the names of each folder; a file has none.
        self._folders: dict[int, dict[str, int]] = {ROOT: {}}
        self._last = ROOT
        self._descriptors: dict[int, int] = {}
        self._scan(Path(self.root))
        self.base, self.log = self.log, []
        self._calls = _Calls(self)
        self._real: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Self:
        for module, name in _REPLACED:
            self._real.append((module, name, getattr(module, name)))
        for module, name in _REPLACED:
            setattr(module, name, getattr(self._calls, name if module is os else "open_stream"))
        self._vfs = _Vfs(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for module, name, function in self._real:
            setattr(module, name, function)
        self._real.clear()
        apsw.set_default_vfs("unix")
        self._vfs.unregister()

    def note(self, what: object) -> None:
        """Put what the workload says into the log."""
        with self.lock:
            self.log.append(Noted(what))

    def check(self) -> None:
        """Raise where the log is not all that happened: its end is not what is in the folder."""
        disk = Disk(self.base)
        for event in self.log:
            disk.apply(event)
        found, wanted = disk.image(KEPT, random.Random(0)), dict(_files(Path(self.root)))
        different = sorted({name for name, _ in found.items() ^ wanted.items()})
        assert not different, f"not all that happens to {different} is recorded"

    def place(self, path: Any, dir_fd: int | None = None) -> Place | None:
        """Return where a path leads in the folder; None outside of it, or where nothing can be."""
        text = os.fsdecode(path)
        if dir_fd is not None:
            folder, parts = self._descriptors.get(dir_fd), [text]
        else:
            text = os.path.abspath(text)
            if text != self.root and not text.startswith(f"{self.root}/"):
                return None
            folder, parts = ROOT, [part for part in text[len(self.root) :].split("/") if part]
        for part in parts[:-1]:
            folder = self._folders.get(folder, {}).get(part) if folder is not None else None
        if folder is None or folder not in self._folders:
            return None
        if not parts:
            return Place(folder, "", folder)
        return Place(folder, parts[-1], self._folders[folder].get(parts[-1]))

    def make(self, place: Place, node: int | None = None, *, is_folder: bool = False) -> int:
        """Note a new name, of a new node unless one is given."""
        if node is None:
            self._last += 1
            node = self._last
        if is_folder:
            self._folders.setdefault(node, {})
        self._folders[place.folder][place.name] = node
        self.log.append(Made(place.folder, place.name, node, is_folder))
        return node

    def remove(self, place: Place) -> None:
        """Note that a name is gone."""
        del self._folders[place.folder][place.name]
        self.log.append(Removed(place.folder, place.name))

    def rename(self, source: Place, target: Place) -> None:
        """Note that a name became another one."""
        assert source.node is not None
        del self._folders[source.folder][source.name]
        if source.folder == target.folder:
            self._folders[target.folder][target.name] = source.node
            self.log.append(Renamed(source.folder, source.name, target.name, source.node))
            return
        self.make(target, source.node, is_folder=source.node in self._folders)
        made = self.log[-1]
        assert isinstance(made, Made)
        self.log.append(Removed(source.folder, source.name, made))

    def opened(self, descriptor: int, node: int) -> None:
        """Note which node a descriptor is of."""
        self._descriptors[descriptor] = node

    def closed(self, descriptor: int) -> None:
        """Forget a descriptor."""
        self._descriptors.pop(descriptor, None)

    def node(self, descriptor: int) -> int | None:
        """Return which node a descriptor is of; None where it is none of the folder's."""
        return self._descriptors.get(descriptor)

    def _scan(self, folder: Path) -> None:
        for path in sorted(folder.iterdir()):
            place = self.place(path)
            assert place is not None
            node = self.make(place, is_folder=path.is_dir())
            if path.is_dir():
                self._scan(path)
            else:
                self.log.append(Wrote(node, 0, path.read_bytes()))


def _files(root: Path) -> Iterator[tuple[str, bytes | None]]:
    """Yield every folder and file with its content; shared memory is never on the disk."""
    for path in root.rglob("*"):
        if path.is_dir():
            yield str(path.relative_to(root)), None
        elif path.is_file() and not path.name.endswith("-shm"):
            yield str(path.relative_to(root)), path.read_bytes()


def site() -> str:
    """Return the line of our code that asked for what is happening now."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if SOURCE in path.parents and path not in HELPERS:
            line = linecache.getline(str(path), frame.f_lineno).strip()
            return f"{path.relative_to(SOURCE)} {frame.f_code.co_name}: {line}"
        frame = frame.f_back
    return NOT_OURS


_REPLACED: list[tuple[Any, str]] = [
    *((os, name) for name in "open close write pwrite ftruncate sendfile fsync fdatasync".split()),
    *((os, name) for name in "rename replace link unlink remove mkdir rmdir".split()),
    (io, "open"),
    (builtins, "open"),
]


class _Calls:
    """What stands in for the calls of `os`, and for `open`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._os = {name: getattr(os, name) for module, name in _REPLACED if module is os}
        self._open_stream = io.open

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        recorder = self._recorder
        with recorder.lock:
            place = recorder.place(path, dir_fd)
            descriptor: int = self._os["open"](path, flags, mode, dir_fd=dir_fd)
            if place is not None:
                node = place.node
                if node is None:
                    node = recorder.make(place)
                elif flags & os.O_TRUNC:
                    recorder.log.append(Sized(node, 0))
                recorder.opened(descriptor, node)
            return descriptor

    def close(self, descriptor: int) -> None:
        with self._recorder.lock:
            self._recorder.closed(descriptor)
            self._os["close"](descriptor)

    def write(self, descriptor: int, data: Any) -> int:
        node = self._recorder.node(descriptor)
        if node is None:
            # Of a pipe perhaps, whose reader waits for the lock.
            return int(self._os["write"](descriptor, data))
        with self._recorder.lock:
            written: int = self._os["write"](descriptor, data)
            end = os.lseek(descriptor, 0, os.SEEK_CUR)
            data = bytes(memoryview(data).cast("B")[:written])
            self._recorder.log.append(Wrote(node, end - written, data))
            return written

    def pwrite(self, descriptor: int, data: Any, offset: int) -> int:
        with self._recorder.lock:
            node = self._recorder.node(descriptor)
            written: int = self._os["pwrite"](descriptor, data, offset)
            if node is not None:
                self._recorder.log.append(Wrote(node, offset, bytes(data)[:written]))
            return written

    def sendfile(self, target: int, source: int, offset: int, count: int) -> int:
        return self.write(target, os.pread(source, count, offset))

    def ftruncate(self, descriptor: int, size: int) -> None:
        with self._recorder.lock:
            node = self._recorder.node(descriptor)
            self._os["ftruncate"](descriptor, size)
            if node is not None:
                self._recorder.log.append(Sized(node, size))

    def fsync(self, descriptor: Any) -> None:
        with self._recorder.lock:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            node = self._recorder.node(number)
            if node is None:
                self._os["fsync"](descriptor)
            else:
                self._recorder.log.append(Synced(node, site()))

    fdatasync = fsync

    def rename(self, source: Any, target: Any, **folders: int | None) -> None:
        recorder = self._recorder
        with recorder.lock:
            first = recorder.place(source, folders.get("src_dir_fd"))
            second = recorder.place(target, folders.get("dst_dir_fd"))
            self._os["rename"](source, target, **folders)
            assert (first is None) == (second is None), "a rename into or out of what is recorded"
            if first is not None and second is not None and first.node != second.node:
                recorder.rename(first, second)

    replace = rename

    def link(self, source: Any, target: Any, **options: Any) -> None:
        recorder = self._recorder
        with recorder.lock:
            first, second = recorder.place(source), recorder.place(target)
            self._os["link"](source, target, **options)
            if first is not None and second is not None:
                recorder.make(second, first.node)

    def unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._remove("unlink", path, dir_fd)

    remove = unlink

    def rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._remove("rmdir", path, dir_fd)

    def _remove(self, name: str, path: Any, dir_fd: int | None) -> None:
        recorder = self._recorder
        with recorder.lock:
            place = recorder.place(path, dir_fd)
            self._os[name](path, dir_fd=dir_fd)
            # SQLite's shared memory and sockets are not in the log.
            if place is not None and place.node is not None:
                recorder.remove(place)

    def mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        recorder = self._recorder
        with recorder.lock:
            place = recorder.place(path, dir_fd)
            self._os["mkdir"](path, mode, dir_fd=dir_fd)
            if place is not None:
                recorder.make(place, is_folder=True)

    def open_stream(
        self, file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **more: Any
    ) -> Any:
        """`open`: what writes to the folder goes through our `os.write`."""
        is_known = (
            self._recorder.node(file) if isinstance(file, int) else self._recorder.place(file)
        )
        if is_known is None or not set(mode) & set("wxa+"):
            return self._open_stream(file, mode, buffering, *rest, **more)
        closefd = more.pop("closefd", True)
        descriptor = file if isinstance(file, int) else os.open(file, _flags(mode), 0o666)
        raw = _Raw(descriptor, mode, closefd=closefd)
        if "b" in mode and buffering == 0:
            return raw
        stream = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return stream if "b" in mode else io.TextIOWrapper(stream, *rest, **more)


def _flags(mode: str) -> int:
    flags = os.O_RDWR if "+" in mode else os.O_WRONLY
    flags |= os.O_CLOEXEC
    for letter, more in (("w", os.O_CREAT | os.O_TRUNC), ("x", os.O_CREAT | os.O_EXCL)):
        flags |= more if letter in mode else 0
    return flags | (os.O_CREAT | os.O_APPEND if "a" in mode else 0)


class _Raw(io.RawIOBase):
    """A file by its descriptor, through `os`."""

    def __init__(self, descriptor: int, mode: str, *, closefd: bool) -> None:
        self._descriptor, self._mode, self._closefd = descriptor, mode, closefd
        self.name = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def readable(self) -> bool:
        return "+" in self._mode

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = os.read(self._descriptor, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        return os.write(self._descriptor, data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return os.lseek(self._descriptor, offset, whence)

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        os.ftruncate(self._descriptor, size)
        return size

    def close(self) -> None:
        if not self.closed:
            super().close()
            if self._closefd:
                os.close(self._descriptor)


class _Vfs(apsw.VFS):
    """SQLite's files, told of."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        super().__init__("recorded", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        path = name if isinstance(name, str) or name is None else name.filename()
        recorder = self._recorder
        with recorder.lock:
            place = recorder.place(path) if path else None
            if place is None:
                return apsw.VFSFile("unix", name, flags)
            asked = flags[0]
            file = _VfsFile(recorder, name, flags)
            file.site = f"SQLite, {place.name}"
            file.node = recorder.make(place) if place.node is None else place.node
            file.unnamed = place.folder if asked & NAMED_WITH_FIRST_SYNC else None
            return file

    def xDelete(self, name: str, syncdir: bool) -> None:
        recorder = self._recorder
        with recorder.lock:
            place = recorder.place(name)
            super().xDelete(name, syncdir)
            if place is not None and place.node is not None:
                recorder.remove(place)
                if syncdir:
                    recorder.log.append(Synced(place.folder, "SQLite, folder after a delete"))


class _VfsFile(apsw.VFSFile):
    """One of SQLite's files."""

    node: int
    site: str
    unnamed: int | None

    def __init__(self, recorder: Recorder, name: Any, flags: list[int]) -> None:
        self._recorder = recorder
        super().__init__("unix", name, flags)

    def xLock(self, level: int) -> None:
        try:
            super().xLock(level)
        except apsw.IOError as error:
            # A read-only connection that is the last one asks in vain for a writer's lock as it
            # closes. SQLite lets that pass; the exception would not.
            raise apsw.BusyError(str(error)) from None

    def xWrite(self, data: bytes, offset: int) -> None:
        with self._recorder.lock:
            super().xWrite(data, offset)
            self._recorder.log.append(Wrote(self.node, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        with self._recorder.lock:
            super().xTruncate(size)
            self._recorder.log.append(Sized(self.node, size))

    def xSync(self, flags: int) -> None:
        with self._recorder.lock:
            self._recorder.log.append(Synced(self.node, self.site))
            if self.unnamed is not None:
                self._recorder.log.append(Synced(self.unnamed, f"{self.site}, its folder"))
                self.unnamed = None
