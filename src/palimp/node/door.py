"""The folder's socket: where other processes reach the one that has the folder open."""

from __future__ import annotations

# Its hooks around a fork have to be there before a fork waits for our thread, which needs it: those
# that are added in the middle of a fork are run by halves.
import concurrent.futures.thread  # noqa: F401
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from ..errors import Invalid
from ..forks import importing
from ..observe import logger

if TYPE_CHECKING:
    from .serving import Served

__all__ = ["SOCKET", "Door", "reachable"]

_LOG = logger("node")
SOCKET = "socket"
_BACKLOG = 128
# What fits into sockaddr_un with its end: 108 bytes on Linux, 104 on macOS.
_PATH_BYTES_MAX = 103
_DESCRIPTORS = Path("/proc/self/fd")

_OPEN: WeakSet[Door] = WeakSet()


class Door:
    """A bound socket that serves from its first visitor on: until then it is one waiting thread.

    Bound before the node is ready, so that who comes meanwhile waits and is served then.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / SOCKET
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # What a dead process left; the lock says that nobody serves it.
            self._path.unlink(missing_ok=True)
            with reachable(self._path) as address:
                self._listener.bind(address)
            self._listener.listen(_BACKLOG)
        except BaseException:
            self._listener.close()
            raise
        self._wake, self._woken = socket.socketpair()
        self._served: Served | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._thread: threading.Thread | None = None
        _OPEN.add(self)

    def open(self, make_app: Callable[[], Any]) -> None:
        """Serve what `make_app` returns, once somebody comes."""
        self._thread = threading.Thread(
            target=self._wait, args=(make_app,), name="palimp-door", daemon=True
        )
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Let nobody in any more, give those inside so long."""
        # First, so that who comes now looks for the successor.
        with suppress(OSError):
            self._path.unlink()
        self.leave(seconds)
        _OPEN.discard(self)
        for sock in (self._listener, self._wake, self._woken):
            sock.close()

    def leave(self, seconds: float) -> None:
        """Stop serving, and leave the rest as it is."""
        with self._lock:
            self._closed = True
            served = self._served
        self._wake.send(b"x")
        if served is not None:
            served.stop(seconds)
        if self._thread is not None:
            self._thread.join(seconds)

    def abandon(self) -> None:
        """In a forked child: close its copies, or nobody would notice that the parent is gone."""
        served = self._served
        if served is not None:
            served.abandon()
        for sock in (self._listener, self._wake, self._woken):
            # By number: the parent's thread may be in the middle of using the object.
            with suppress(OSError):
                os.close(sock.detach())

    def _wait(self, make_app: Callable[[], Any]) -> None:
        # Not `select`: it knows no descriptor above 1,023.
        waiting = select.poll()
        waiting.register(self._listener, select.POLLIN)
        waiting.register(self._woken, select.POLLIN)
        waiting.poll()
        # Everything HTTP needs is imported now: it takes longer than the first write may.
        with self._lock, importing():
            if self._closed:
                return
            from .serving import Served

            # Else the server's thread would, without the lock.
            import_module("uvicorn.lifespan.on")

            self._served = Served(make_app(), [self._listener], read_seconds=None)


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """Yield a name of `path` that fits into the address of a Unix socket.

    Raises `Invalid` where the path is too long and the system has no other name for it.
    """
    text = os.fspath(path)
    size = len(os.fsencode(text))
    if size <= _PATH_BYTES_MAX:
        yield text
        return
    if not _DESCRIPTORS.is_dir():
        raise Invalid(
            f"the path of {path} has {size} bytes, a socket's has at most {_PATH_BYTES_MAX} on "
            "this system; use a shorter path, for instance through a link"
        )
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield str(_DESCRIPTORS / str(descriptor) / path.name)
    finally:
        os.close(descriptor)


def _abandon_all() -> None:
    for door in list(_OPEN):
        door.abandon()
    _OPEN.clear()


os.register_at_fork(after_in_child=_abandon_all)
