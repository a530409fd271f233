"""A folder that several processes share: the first owns it, the others are its visitors.

Which of the two this process is can change with every call: where the owner is gone, one of the
visitors takes the folder over, and what it was asked meanwhile is carried out once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from weakref import WeakSet

import msgspec

from ...api import (
    API_VERSION,
    NO_OPTIONS,
    OPERATIONS,
    GetNode,
    NodeInfo,
    Options,
    Target,
)
from ...api.base import Request, Result
from ...api.limits import IMPORT_BYTES_MAX
from ...api.repeats import done_before, doubtful
from ...clock import Clock
from ...errors import Conflict, Error, Invalid, NotFound, Unavailable
from ...ids import jitter, random_id
from ...node import Node, Settings, inherited
from ...node.door import SOCKET
from .socket import SILENT_SECONDS, Gone, Silent, SocketClient

__all__ = ["Folder"]

T = TypeVar("T")

# An owner that starts or stops is waited for, first this long, then twice as long each time.
_WAIT_SECONDS = 0.005
_WAIT_SECONDS_MAX = 0.1
_IN_FLIGHT_MAX = 10_000

Role: TypeAlias = Node | SocketClient

_OPEN: WeakSet[Folder] = WeakSet()


class Folder:
    """Calls the node in this process where it owns the folder, else the process that does."""

    def __init__(
        self, settings: Settings, *, clock: Clock | None = None, serving: bool = False
    ) -> None:
        self._path = _absolute(settings.data_dir)
        self._settings = msgspec.structs.replace(settings, data_dir=str(self._path))
        self._clock = clock or Clock()
        # Whether other nodes can reach this process: only then it may share the store with them.
        self._serving = serving
        # Held by the thread that finds out who owns the folder; the others wait for what it finds.
        self._lock = threading.Lock()
        # When that failed last, and how.
        self._failed: tuple[float, Error] | None = None
        self._closed = False
        # Whether what this process inherited by a fork is out of the way.
        self._renewed = False
        self._holder = "another process"
        # The folder that was opened, whatever has its path later.
        self._identity: tuple[int, int] | None = None
        self._role: Role | None = self._find()
        _OPEN.add(self)

    @property
    def source(self) -> str | None:
        """The source this client writes as."""
        return self._settings.source

    @property
    def node(self) -> Node | None:
        """The node, where this process is the owner."""
        role = self._role
        return role if isinstance(role, Node) else None

    def call(
        self, operation: str, target: Target, request: Request, options: Options = NO_OPTIONS
    ) -> Result:
        """Carry out one operation in the calling thread, here or in the owner."""
        role = self._role
        if isinstance(role, Node):
            return role.call(operation, target, request, options)
        if operation not in OPERATIONS:
            raise Invalid(f"no operation {operation!r}")
        return self._visit(operation, target, request, options)

    def aside(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call it in the calling thread."""
        return function(*arguments)

    def close(self) -> None:
        """Ship and let go of the folder where this process owns it."""
        self._closed = True
        with self._lock:
            role = self._role
        _OPEN.discard(self)
        if role is not None:
            role.close()

    def forget(self) -> None:
        """In a forked child: this process owns nothing, and shares no connection with its parent.

        The parent's handles are left alone for ever: closing one would let go of locks, or write.
        """
        self._lock = threading.Lock()
        self._renewed = False
        role, self._role = self._role, None
        if isinstance(role, Node):
            import ctypes  # 5 ms that only a forked child should pay

            ctypes.pythonapi.Py_IncRef(ctypes.py_object(role))
        elif role is not None:
            role.abandon()

    def _visit(self, operation: str, target: Target, request: Request, options: Options) -> Result:
        """Have it carried out by the owner, or by this process if it becomes the owner."""
        writes = OPERATIONS[operation].writes
        if writes:
            # The same over all attempts: what a dead owner had done already is not done again.
            options = msgspec.structs.replace(
                options,
                request_id=random_id("req") if options.request_id is None else options.request_id,
                durability=(
                    self._settings.durability if options.durability is None else options.durability
                ),
            )
        doubt = False
        while True:
            self._check_open()
            role = self._role or self._replace(None)
            try:
                return role.call(operation, target, request, options)
            except Gone as gone:
                doubt = doubt or (writes and gone.sent)
            except Silent:
                raise self._silent(options.request_id if writes else None) from None
            except Unavailable as error:
                # The owner is on its way out.
                if error.details.get("reason") != "closed" or isinstance(role, Node):
                    raise
                doubt = doubt or bool(error.details.get("in_doubt"))
            except (Conflict, NotFound) as error:
                if not doubt:
                    raise
                done = done_before(operation, target, request, error)
                if done is not None:
                    return done
                raise doubtful(operation, error) from None
            self._replace(role)

    def _replace(self, role: Role | None) -> Role:
        """Return who owns the folder now that `role` does not."""
        begun = self._clock.monotonic()
        with self._lock:
            self._check_open()
            if self._role is not None and self._role is not role:
                return self._role
            if self._failed is not None and self._failed[0] >= begun:
                # Found out while this thread waited; it would wait as long again.
                raise self._failed[1].located("")
            if role is not None:
                role.close()
            self._role = None
            try:
                self._role = self._find()
            except Error as error:
                self._failed = (self._clock.monotonic(), error)
                raise
            return self._role

    def _find(self) -> Role:
        """Take the folder, or reach who has it; an owner that starts or stops is waited for."""
        seconds = self._settings.store_timeout + self._settings.shutdown_timeout
        end = self._clock.monotonic() + seconds
        wait = _WAIT_SECONDS
        while True:
            self._check_open()
            self._check_identity()
            try:
                role: Role | None = self._own()
            except Unavailable as error:
                if error.details.get("reason") not in ("locked", "forked"):
                    raise
                refused = error
                role = self._reach(error.details.get("holder", self._holder))
            if role is not None:
                status = self._path.stat()
                self._identity = (status.st_dev, status.st_ino)
                return role
            if self._clock.monotonic() > end:
                raise refused.located(f"nobody answered at its socket for {seconds:g} s")
            self._clock.sleep(wait * (0.5 + jitter()))
            wait = min(2 * wait, _WAIT_SECONDS_MAX)

    def _own(self) -> Node:
        if inherited.forked and not inherited.can_own():
            raise Unavailable(
                f"{self._path} has no owner, and process {os.getpid()} cannot be it: it was forked "
                "while another thread was in the middle of an import or of SQLite, which stay half "
                "done in it; open the folder in another process, or fork before it is opened",
                reason="forked",
            )
        if inherited.forked and not self._renewed:
            self._renewed = inherited.renew_files(self._path)
        return Node(self._settings, clock=self._clock, share=_app, serving=self._serving)

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("this client is closed; open the folder again", reason="closed")

    def _check_identity(self) -> None:
        """Refuse to go on in another folder than the one that was opened, or to make a new one."""
        if self._identity is None:
            return
        try:
            status = self._path.stat()
            if (status.st_dev, status.st_ino) == self._identity:
                return
        except OSError:
            pass
        raise Unavailable(
            f"{self._path} is not the folder any more that was opened: it was moved, removed or "
            "replaced; open it where it is now",
            reason="folder",
        )

    def _reach(self, holder: str) -> SocketClient | None:
        """Return a way to the owner, None where it does not serve (yet, or any more)."""
        self._holder = holder
        visitor, reached = SocketClient(self._path / SOCKET, clock=self._clock), False
        try:
            about = visitor.call("node.info", Target(), GetNode(), NO_OPTIONS)
            assert isinstance(about, NodeInfo)
            self._check(about, holder)
            reached = True
            return visitor
        except Gone:
            return None
        except Silent:
            raise self._silent(None) from None
        except Unavailable as error:
            if error.details.get("reason") != "closed":
                raise
            return None
        finally:
            if not reached:
                visitor.close()

    def _check(self, about: NodeInfo, holder: str) -> None:
        """Refuse to visit an owner that would be succeeded by one with other settings."""
        if about.api != API_VERSION:
            raise Unavailable(
                f"{self._path} is owned by {holder} of release {about.release}, which speaks "
                f"version {about.api} of the wire, this release {API_VERSION}; use one release",
                reason="format",
            )
        for name, mine in self._settings.shared().items():
            theirs = about.settings.get(name, mine)
            if theirs != mine:
                raise Invalid(
                    f"{self._path} is open in {holder} with {name} {theirs!r}, here it is "
                    f"{mine!r}; use one value (PALIMP_{name.upper()}) in all processes on a folder"
                )

    def _silent(self, in_doubt: str | None) -> Unavailable:
        """Return the error; `in_doubt` is the request id of what may be done once the owner is."""
        details: dict[str, Any] = {}
        if in_doubt is not None:
            details = {"in_doubt": True, "request_id": in_doubt}
        return Unavailable(
            f"{self._path} is owned by {self._holder}, which has not answered for "
            f"{SILENT_SECONDS:g} s; end it or wait",
            retry_after=SILENT_SECONDS,
            reason="silent",
            **details,
        )


def _absolute(folder: str) -> Path:
    """Return a path that stays the same when the program changes its directory."""
    try:
        return Path(folder).expanduser().absolute()
    except OSError as error:
        raise Unavailable(
            f"folder {folder} cannot be used: the current directory is gone; give an absolute path",
            reason="folder",
        ) from error


def _app(node: Node) -> Any:
    """Return what the owner's socket serves: no limits but those of the operations themselves."""
    from ...http import create_app
    from ...http.api import Limits

    limits = Limits(
        request_seconds=None,
        read_seconds=None,
        write_seconds=None,
        body_bytes=IMPORT_BYTES_MAX,
        query_bytes=IMPORT_BYTES_MAX,
        in_flight=_IN_FLIGHT_MAX,
    )
    return create_app(node, limits=limits, trusted=True)


def _forget_all() -> None:
    for folder in list(_OPEN):
        folder.forget()


os.register_at_fork(after_in_child=_forget_all)
