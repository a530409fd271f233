"""What a forked process inherits half done, and must get out of its way before it owns a folder.

SQLite notes in memory, by inode, which locks the connections of its process have on a file. A child
inherits the notes as they were at the fork, for ever: a transaction that its parent was in would
keep it out of the file to the end of its life ("database is locked", measured). So it is with the
few locks that all connections share: forked in the moment in which another thread has one (2 % of
forks under full load, measured) the child waits for it for ever, whatever it asks of SQLite. And
what another thread was importing at the fork, the child can never import.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
import threading
from pathlib import Path
from types import ModuleType

import apsw

from ..disk import sync_path
from ..errors import Unavailable

__all__ = ["can_own", "forked", "renew_files", "sqlite_works"]

# Whether this process is a fork of one that had this module.
forked = False
_works: bool | None = None
_half_imported: list[ModuleType] = []
_PROBE_SECONDS = 5.0

_DESCRIPTORS = Path("/dev/fd")


def can_own() -> bool:
    """Whether a forked process has all that an owner of a folder needs; else it can only visit."""
    return not any(_is_half_imported(module) for module in _half_imported) and sqlite_works()


def sqlite_works() -> bool:
    """Whether a forked process can use SQLite: found out once, in a thread that may never end."""
    global _works
    if _works is None:
        probe = threading.Thread(target=_use_sqlite, name="palimp-probe", daemon=True)
        probe.start()
        probe.join(_PROBE_SECONDS)
        _works = not probe.is_alive()
    return _works


def renew_files(folder: Path) -> bool:
    """Give every file of the folder's databases that is open here an inode without a past.

    For a forked process that is about to open the folder. The content stays, byte for byte, also if
    this is killed. Whether there is nothing left to do: not while a process has the folder.
    """
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        # A new folder, or one that whoever opens it will say more about.
        return True
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            inherited = _open_here()
            for file in (folder / "hot").glob("*/*/*/main.db"):
                if _identity(file) in inherited:
                    _renew(file)
        finally:
            os.close(descriptor)
    except BlockingIOError:
        return False
    except OSError as error:
        raise Unavailable(
            f"{folder} cannot be taken over after a fork: {error.strerror or error}; repeat it "
            f"{'with more free space' if error.errno == errno.ENOSPC else 'in a new process'}",
            reason="folder",
        ) from error
    return True


def _use_sqlite() -> None:
    import tempfile  # only a fork that may have to own a folder pays for it

    with tempfile.TemporaryDirectory() as folder:
        connection = apsw.Connection(f"{folder}/probe")
        connection.execute(
            "PRAGMA synchronous = OFF; PRAGMA journal_mode = WAL; CREATE TABLE t (x); "
            "INSERT INTO t VALUES (randomblob(100000))"
        )
        connection.close()


def _is_half_imported(module: object) -> bool:
    """Whether its import has begun and not ended, as the import system notes it."""
    if not isinstance(module, ModuleType):
        return False
    # Not by `getattr`: a lazy module would be loaded by it.
    try:
        spec = object.__getattribute__(module, "__dict__").get("__spec__")
    except AttributeError:
        # One that an extension made, of no file.
        return False
    return bool(getattr(spec, "_initializing", False))


def _open_here() -> set[tuple[int, int]]:
    """Return the files that this process has open."""
    found = set()
    for name in os.listdir(_DESCRIPTORS):
        try:
            status = os.fstat(int(name))
        except OSError:
            # The one that listed them.
            continue
        found.add((status.st_dev, status.st_ino))
    return found


def _identity(file: Path) -> tuple[int, int]:
    status = file.stat()
    return (status.st_dev, status.st_ino)


def _renew(file: Path) -> None:
    fresh = file.with_name(f".{file.name}.new")
    # With its times: what was noted of the file at a clean close stays true of it.
    shutil.copy2(file, fresh)
    sync_path(fresh)
    # Made again from the log; the inherited one may have marks of readers that are no more.
    file.with_name(f"{file.name}-shm").unlink(missing_ok=True)
    os.rename(fresh, file)
    sync_path(file.parent)


def _forked() -> None:
    global forked, _works, _half_imported
    forked, _works = True, None
    # Those of this thread come to their end; what other threads began, nobody goes on with.
    modules = list(sys.modules.values())
    _half_imported = [module for module in modules if _is_half_imported(module)]


os.register_at_fork(after_in_child=_forked)
