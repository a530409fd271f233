"""A folder that is only read: writes are refused; it may be one that cannot be written at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ...api import NO_OPTIONS, OPERATIONS, Options, Target
from ...api.base import Request, Result
from ...errors import Denied, NotFound, Unavailable
from ...node import Node, Settings
from ...node.folder import was_left_open
from ...observe import logger
from .base import Transport
from .embedded import Embedded
from .folder import Folder

__all__ = ["ReadOnly", "open_for_reading"]

T = TypeVar("T")

_LOG = logger("client")


class ReadOnly:
    """Another transport, without its writes."""

    def __init__(self, transport: Transport, *, scratch: Path | None = None) -> None:
        self._transport = transport
        self._scratch = scratch

    @property
    def source(self) -> str | None:
        """The source this client would write as."""
        return self._transport.source

    def call(
        self, operation: str, target: Target, request: Request, options: Options = NO_OPTIONS
    ) -> Result:
        """Carry out one operation that reads; `Denied` for one that writes."""
        row = OPERATIONS.get(operation)
        if row is not None and row.writes:
            raise Denied(
                f"{operation} writes, and this client was opened read-only; open the folder "
                "without read_only"
            )
        return self._transport.call(operation, target, request, options)

    def aside(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call it in the calling thread."""
        return self._transport.aside(function, *arguments)

    def close(self) -> None:
        """Close the transport, and remove what it needed."""
        self._transport.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)


def open_for_reading(settings: Settings) -> ReadOnly:
    """Return a transport that reads a folder which exists; `NotFound` where none does.

    Where the folder may be written, its last acknowledged write is seen, as by any other process.
    Where it may not, what its history holds is read, from copies in a place of their own.
    """
    path = Path(settings.data_dir).expanduser()
    try:
        there = (path / "palimp.json").exists()
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}", reason="folder") from error
    if not there:
        raise NotFound(f"there is no Palimpsest folder {path}; to make one, open it to write")
    if os.access(path, os.W_OK) and os.access(path / "lock", os.W_OK):
        return ReadOnly(Folder(settings))
    if was_left_open(path):
        _LOG.warning(
            "%s is open in another process, or was not closed: what was not stored in its history "
            "yet is not seen by this one, which may not write it",
            path,
        )
    scratch = Path(tempfile.mkdtemp(prefix="palimp-"))
    store = settings.object_store or (path.absolute() / "objects").as_uri()
    node = Node(
        msgspec.structs.replace(settings, data_dir=str(scratch / "memory"), object_store=store)
    )
    return ReadOnly(Embedded(node), scratch=scratch)
