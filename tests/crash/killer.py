"""Kills this process at a chosen call that changes a file: one of its own, or one of SQLite's.

`os` and `open` are replaced, and the default VFS of SQLite is one that tells. Every such call is an
event, at a place: what is called, from which line of ours, on whose behalf. Reads, closes and locks
are none: they change nothing that a killed process leaves behind.
"""

from __future__ import annotations

import builtins
import io
import os
import random
import signal
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import apsw

import palimp

SOURCE = f"{Path(palimp.__file__).parent}/"
# They call for others: what matters is who asked them to.
HELPERS = {"disk.py", "store/files.py"}
# Between the store's file calls and whoever wanted them.
BETWEEN = ("store/", "engine/driver.py")
BETWEEN_FUNCTIONS = {"drive_lane", "_drive"}
_REPLACED = "rename replace link unlink remove mkdir rmdir ftruncate fsync fdatasync".split()
# So many steps a hunt waits for a line where nobody died, and for a phase of one.
_STEPS_FOR_LINES = 4
_STEPS_FOR_PHASES = 10
_ANYTHING = 0.01
WRITES = {"write", "pwrite", "sqlite write", "stream write"}


class Place(NamedTuple):
    """What is called, the line of ours that calls, and for whom where that is the store."""

    what: str
    site: str
    through: str = ""

    @property
    def plain(self) -> tuple[str, str]:
        """The place without those it is called for."""
        return (self.what, self.site)

    @property
    def phases(self) -> tuple[str, ...]:
        """When a process can die there; in the middle of a write, half of it is written."""
        return ("before", "middle", "after") if self.what in WRITES else ("before", "after")


class Target(NamedTuple):
    """The moment to die: the count-th time something happens at a place."""

    place: Place
    phase: str
    count: int

    def __str__(self) -> str:
        through = f" for {self.place.through}" if self.place.through else ""
        return f"{self.phase} {self.place.what} number {self.count} of {self.place.site}{through}"


def die() -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()


class Hunt(NamedTuple):
    """Die where nobody died yet, after so many steps.

    First at a kind and line that is new, then at a new phase of one, then also on whose behalf.
    Of several that hunt, each has kinds and lines of its own.
    """

    start: int
    hit: frozenset[Any]
    number: int
    hunters: int

    def wants(self, place: Place, steps: int) -> list[str]:
        """Return when to die at a place; nothing where it is not this hunt's, or not yet."""
        plain, steps = place.plain, steps - self.start
        if steps < 0:
            return []
        mine = zlib.crc32(repr(plain).encode()) % self.hunters == self.number
        if mine and plain not in self.hit:
            return list(place.phases)
        if mine and steps >= _STEPS_FOR_LINES:
            return [phase for phase in place.phases if (plain, phase) not in self.hit]
        if steps >= _STEPS_FOR_PHASES:
            return [phase for phase in place.phases if (place, phase) not in self.hit]
        return []


class Killer:
    """Tells `note` of every place it comes by for the first time, and dies where it is to."""

    def __init__(
        self,
        aim: Target | Hunt | None,
        rng: random.Random,
        known: set[Place],
        note: Callable[[tuple[Any, ...]], None],
    ) -> None:
        self.steps = 0
        self._aim = aim
        self._rng = rng
        self._known = known
        self._note = note
        self._counts: Counter[Place] = Counter()
        self._lock = threading.Lock()

    def install(self) -> None:
        """Stand in for the calls that change files, until this process ends."""
        for name in _REPLACED:
            setattr(os, name, self._around(name, getattr(os, name)))
        for name in ("write", "pwrite"):
            setattr(os, name, self._writing(name, getattr(os, name)))
        os.open = self._opening(os.open)
        io.open = builtins.open = self._streaming(io.open)
        self._vfs = _Vfs(self)

    def call(
        self, what: str, real: Callable[[], Any], half: Callable[[], Any] | None = None
    ) -> Any:
        """Carry out a call, or die before it, half way or after it."""
        place = _place(what)
        if place is None:
            return real()
        with self._lock:
            self._counts[place] += 1
            count = self._counts[place]
            if place not in self._known:
                self._known.add(place)
                self._note(("place", place))
            phase = self._phase(place, count)
        if phase is None:
            return real()
        if phase == "after":
            real()
        elif phase == "middle":
            assert half is not None
            half()
        self._note(("hit", Target(place, phase, count)))
        die()
        return None

    def _phase(self, place: Place, count: int) -> str | None:
        """Return when to die at this event, if at all."""
        aim = self._aim
        if isinstance(aim, Target):
            return aim.phase if (place, count) == (aim.place, aim.count) else None
        if aim is None:
            return None
        phases = aim.wants(place, self.steps)
        if not phases and self.steps >= aim.start + _STEPS_FOR_PHASES:
            # Nothing new is left: then anything that is as good.
            phases = list(place.phases) if self._rng.random() < _ANYTHING else []
        return self._rng.choice(phases) if phases else None

    def _around(self, name: str, real: Any) -> Any:
        return lambda *given, **more: self.call(name, lambda: real(*given, **more))

    def _writing(self, name: str, real: Any) -> Any:
        def write(descriptor: int, data: Any, *offset: int) -> Any:
            return self.call(
                name,
                lambda: real(descriptor, data, *offset),
                lambda: real(descriptor, memoryview(data)[: len(data) // 2], *offset),
            )

        return write

    def _opening(self, real: Any) -> Any:
        def open_(path: Any, flags: int, *given: Any, **more: Any) -> Any:
            if not flags & (os.O_CREAT | os.O_TRUNC):
                return real(path, flags, *given, **more)
            return self.call("open", lambda: real(path, flags, *given, **more))

        return open_

    def _streaming(self, real: Any) -> Any:
        def open_(file: Any, mode: str = "r", *given: Any, **more: Any) -> Any:
            if not set(mode) & set("wxa+"):
                return real(file, mode, *given, **more)
            raw = _Raw(self, file, mode.replace("b", "").replace("t", ""))
            stream = io.BufferedWriter(raw)
            return stream if "b" in mode else io.TextIOWrapper(stream, "utf-8")

        return open_


class _Raw(io.FileIO):
    """A file that was opened as a stream."""

    def __init__(self, killer: Killer, file: Any, mode: str) -> None:
        self._killer = killer
        killer.call("stream open", lambda: super(_Raw, self).__init__(file, mode))

    def write(self, data: Any) -> Any:
        real = super().write
        return self._killer.call(
            "stream write",
            lambda: real(data),
            lambda: real(memoryview(data)[: len(data) // 2]),
        )


class _Vfs(apsw.VFS):
    """SQLite's files."""

    def __init__(self, killer: Killer) -> None:
        self._killer = killer
        super().__init__("killing", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        path = name if isinstance(name, str) or name is None else name.filename()
        if not path or not flags[0] & apsw.SQLITE_OPEN_READWRITE:
            return _ReadOnly("unix", name, flags)
        return self._killer.call("sqlite open", lambda: _VfsFile(self._killer, name, flags))

    def xDelete(self, name: str, syncdir: bool) -> None:
        real = super().xDelete
        self._killer.call("sqlite delete", lambda: real(name, syncdir))


class _ReadOnly(apsw.VFSFile):
    """A file that SQLite locks before it closes it, and is content where it may not."""

    def xLock(self, level: int) -> None:
        try:
            super().xLock(level)
        except apsw.IOError as error:
            # What SQLite would ignore, apsw would raise; except this.
            raise apsw.BusyError from error


class _VfsFile(apsw.VFSFile):
    """One of SQLite's files."""

    def __init__(self, killer: Killer, name: Any, flags: list[int]) -> None:
        self._killer = killer
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        real = super().xWrite
        self._killer.call(
            "sqlite write",
            lambda: real(data, offset),
            lambda: real(bytes(data)[: len(data) // 2], offset),
        )

    def xTruncate(self, size: int) -> None:
        real = super().xTruncate
        self._killer.call("sqlite truncate", lambda: real(size))

    def xSync(self, flags: int) -> None:
        real = super().xSync
        self._killer.call("sqlite sync", lambda: real(flags))


_PATHS: dict[CodeType, str] = {}


def _path(code: CodeType) -> str:
    """Return which of our files a function is of; empty for one of others."""
    path = _PATHS.get(code)
    if path is None:
        file = code.co_filename
        path = file[len(SOURCE) :] if file.startswith(SOURCE) else ""
        _PATHS[code] = path
    return path


def _place(what: str) -> Place | None:
    """Return where we are; None where nobody of ours called."""
    frame: FrameType | None = sys._getframe(2)
    site, key = "", ""
    while frame is not None:
        path, name = _path(frame.f_code), frame.f_code.co_name
        if path and path not in HELPERS:
            here = f"{path}:{frame.f_lineno} {name}"
            if not site:
                site = here
                if not path.startswith("store/"):
                    return Place(what, site)
            if path == "engine/driver.py" and name == "_ask":
                key = _kind(getattr(frame.f_locals["request"], "key", ""))
            if not path.startswith(BETWEEN) and name not in BETWEEN_FUNCTIONS:
                return Place(what, site, f"{key} of {here}" if key else here)
        frame = frame.f_back
    return Place(what, site) if site else None


def _kind(key: str) -> str:
    """Return what an object is."""
    for mark, kind in (("/heads/", "head"), ("/names/", "name"), ("/history-", "history")):
        if mark in key:
            return kind
    return "segment" if key.endswith(".ltx") else key.rpartition("/")[2].removesuffix(".json")
