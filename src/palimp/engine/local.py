"""Databases in a folder of this machine: one directory each, opened on demand, closed when idle."""

from __future__ import annotations

import os
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from ..disk import sync_path
from ..errors import Unavailable
from ..ids import random_id
from .database import Database, create_file
from .faults import sqlite_faults

__all__ = ["HOT_CAP_DEFAULT", "LocalEngine"]

# Each open database holds up to 6 descriptors; 1,024 is the usual limit of a process.
HOT_CAP_DEFAULT = 128
_FILE = "main.db"
_CLOSE_WAIT_SECONDS = 30.0
_FORMING = ".forming-"


class LocalEngine:
    """Opens databases by name, creates them on their first write, keeps the recent ones open.

    A database exists from the moment its directory has its final name; a crash while it is made
    leaves only a `.forming-` directory, removed at the next start. Names are handed in by the
    caller, who has checked them.
    """

    def __init__(
        self,
        folder: Path,
        prepare: Callable[[apsw.Connection], None],
        *,
        check: Callable[[apsw.Connection, str], None],
        hot_cap: int = HOT_CAP_DEFAULT,
    ) -> None:
        self._folder = folder
        self._prepare = prepare
        self._check = check
        self._hot_cap = max(1, hot_cap)
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._closed = False
        self._open: OrderedDict[str, _Handle] = OrderedDict()
        folder.mkdir(mode=0o700, exist_ok=True)
        for leftover in folder.glob(f"{_FORMING}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    @contextmanager
    def use(self, name: str, *, create: bool) -> Iterator[Database | None]:
        """Yield the open database `name`, or None where it does not exist and `create` is False.

        While the block runs the handle stays open.
        """
        handle = self._pin(name, create)
        try:
            yield handle.database if handle else None
        finally:
            if handle:
                self._unpin(handle)

    def names(self) -> list[str]:
        """Return the names of all databases, sorted; what is none of them is passed over."""
        with os.scandir(self._folder) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))

    def close(self) -> None:
        """Wait for what is under way and close every handle; nothing can be opened afterwards.

        The files hold all that was committed.
        """
        with self._idle:
            self._closed = True
            # Bounded, so that a caller stuck in an operation cannot keep a program from ending.
            self._idle.wait_for(
                lambda: not any(handle.pins for handle in self._open.values()), _CLOSE_WAIT_SECONDS
            )
            handles, self._open = list(self._open.values()), OrderedDict()
        for handle in handles:
            handle.database.close()

    def _pin(self, name: str, create: bool) -> _Handle | None:
        with self._lock:
            if self._closed:
                raise Unavailable(f"{name} cannot be opened: its folder is closed", reason="closed")
            handle = self._open.get(name)
            if handle is None:
                path = self._folder / name / _FILE
                if not path.exists():
                    if not create:
                        return None
                    self._create(name)
                handle = self._open[name] = _Handle(Database(path, name, self._check))
            self._open.move_to_end(name)
            handle.pins += 1
            surplus = self._surplus()
        for old in surplus:
            old.database.close()
        return handle

    def _unpin(self, handle: _Handle) -> None:
        with self._idle:
            handle.pins -= 1
            self._idle.notify_all()

    def _surplus(self) -> list[_Handle]:
        """Take the least recently used idle handles over the cap out of the table."""
        surplus = []
        if len(self._open) > self._hot_cap:
            for name, handle in list(self._open.items()):
                if len(self._open) <= self._hot_cap:
                    break
                if handle.pins == 0:
                    surplus.append(self._open.pop(name))
        return surplus

    def _create(self, name: str) -> None:
        forming = self._folder / f"{_FORMING}{random_id('db')}"
        with sqlite_faults(name):
            try:
                forming.mkdir(mode=0o700)
                create_file(forming / _FILE, random_id("lin"), self._prepare)
                sync_path(forming / _FILE)
                sync_path(forming)
                os.rename(forming, self._folder / name)
                sync_path(self._folder)
            except OSError as error:
                shutil.rmtree(forming, ignore_errors=True)
                raise apsw.IOError(str(error)) from error
            except apsw.Error:
                shutil.rmtree(forming, ignore_errors=True)
                raise


class _Handle:
    """An open database and how many blocks are using it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.pins = 0
