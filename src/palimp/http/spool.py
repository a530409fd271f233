"""Bodies that go into a file as they come, and the forms in them: no size of them is in memory.

The file has no name: it is gone with the last who has it open, also where the process is killed.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from email.message import Message
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from ..errors import Invalid, Unavailable
from .messages import Disconnected, Receive, too_large

__all__ = ["FormFile", "Spool", "is_form", "parts", "spool_body"]

_PIECE_BYTES = 1 << 20
_PARTS_MAX = 20
_HEAD_BYTES_MAX = 8_192
_VALUE_BYTES_MAX = 1 << 20
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{1,70}\Z")

Run = Callable[[Callable[[], Any]], Awaitable[Any]]


class Spool:
    """A body in a file without a name; closed at the end of its `with`."""

    def __init__(self, folder: Path, reserve: int = 0) -> None:
        self._folder, self._reserve = folder, reserve
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by us
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def append(self, piece: bytes) -> None:
        """Add to the end; raises `Unavailable` where that leaves less than the reserve free."""
        try:
            if shutil.disk_usage(self._folder).free < self._reserve + len(piece):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._file.write(piece)
        except OSError as error:
            raise Unavailable(
                f"the body cannot be kept after {self.size:,} bytes: {error.strerror or error}; "
                "make room in the data folder",
                reason="disk",
            ) from error
        self.size += len(piece)

    def finish(self) -> None:
        """Let all be readable that was added."""
        self._file.flush()

    def read(self, start: int, size: int) -> bytes:
        """Return up to `size` bytes from `start`; fewer only at the end."""
        return os.pread(self._file.fileno(), size, start)

    def open(self, start: int, end: int) -> io.BufferedReader:
        """Return a reader of a stretch, which reads on after this is closed."""
        return io.BufferedReader(_Stretch(os.dup(self._file.fileno()), start, end), _PIECE_BYTES)

    def find(self, wanted: bytes, start: int) -> int:
        """Return where `wanted` begins at or after `start`; -1 where it does not."""
        while True:
            piece = self.read(start, _PIECE_BYTES)
            found = piece.find(wanted)
            if found >= 0:
                return start + found
            if start + len(piece) >= self.size:
                return -1
            start += len(piece) - len(wanted) + 1


class _Stretch(io.RawIOBase):
    """The bytes of a file from `start` to `end`."""

    def __init__(self, descriptor: int, start: int, end: int) -> None:
        self._descriptor = descriptor
        self._at, self._end = start, end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self._end - self._at)
        piece = os.pread(self._descriptor, size, self._at)
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


class FormFile:
    """A file that came in a form: its name, and where in the body it is."""

    def __init__(self, spool: Spool, name: str, kind: str, start: int, end: int) -> None:
        self.name, self.kind = name, kind
        self.size = end - start
        self._spool, self._start, self._end = spool, start, end

    def open(self) -> io.BufferedReader:
        """Return a reader of it, which reads on after the request is over."""
        return self._spool.open(self._start, self._end)


async def spool_body(
    spool: Spool,
    headers: Mapping[str, str],
    receive: Receive,
    bytes_max: int,
    seconds: float | None,
    run: Run,
) -> None:
    """Put the whole body into a spool; `run` carries out what waits for the disk.

    As `messages.read_body`, but each 1 MiB has its own `seconds`.
    """
    length = int(headers.get("content-length", 0))
    if length > bytes_max:
        raise too_large(length, bytes_max)
    more = True
    while more:
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(seconds):
                while more and size < _PIECE_BYTES:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Disconnected(f"{spool.size + size:,} bytes of its body had come")
                    pieces.append(message.get("body", b""))
                    size += len(pieces[-1])
                    more = message.get("more_body", False)
        except TimeoutError:
            raise Unavailable(
                f"1 MiB of the body did not arrive within {seconds:g} s ({spool.size + size:,} "
                "bytes did); send it faster",
                code="request_timeout",
            ) from None
        if spool.size + size > bytes_max:
            raise too_large(spool.size + size, bytes_max)
        piece = b"".join(pieces)
        await run(partial(spool.append, piece))
    await run(spool.finish)


def is_form(kind: str) -> bool:
    """Whether a content type says that the body is a form with files."""
    return kind.partition(";")[0].strip().lower() == "multipart/form-data"


def parts(spool: Spool, kind: str) -> tuple[dict[str, str], dict[str, FormFile]]:
    """Return the values and the files of a form (RFC 7578) by name; the last of a name holds.

    Raises `Invalid` for what is none, for a value of more than 1 MiB, for more than 20 parts.
    """
    said = Message()
    said["content-type"] = kind
    boundary = said.get_boundary() or ""
    if not _BOUNDARY.match(boundary):
        raise Invalid("multipart/form-data needs a boundary of 1 to 70 characters")
    mark = b"--" + boundary.encode("ascii")
    values: dict[str, str] = {}
    files: dict[str, FormFile] = {}
    # A boundary stands at the beginning of a line; the first one may be that of the body.
    at = 0 if spool.read(0, len(mark)) == mark else _found(spool, b"\r\n" + mark, 0) + 2
    for _ in range(_PARTS_MAX + 1):
        at += len(mark)
        if spool.read(at, 2) == b"--":
            return values, files
        begins = _found(spool, b"\r\n", at) + 2
        text = _found(spool, b"\r\n\r\n", begins - 2) + 4
        if text - begins > _HEAD_BYTES_MAX:
            raise Invalid(f"a part of the form has more than {_HEAD_BYTES_MAX:,} bytes of headers")
        end = _found(spool, b"\r\n" + mark, text - 2)
        name, file_name, said_kind = _head(spool.read(begins, text - begins))
        if file_name is not None:
            files[name] = FormFile(spool, file_name, said_kind, text, max(text, end))
        elif end - text > _VALUE_BYTES_MAX:
            raise Invalid(f"{name!r:.80} of the form has more than {_VALUE_BYTES_MAX:,} bytes")
        else:
            values[name] = _utf8(spool.read(text, max(0, end - text)), "a value")
        at = end + 2
    raise Invalid(f"the form has more than {_PARTS_MAX} parts")


def _found(spool: Spool, wanted: bytes, start: int) -> int:
    found = spool.find(wanted, start)
    if found < 0:
        raise Invalid("the form ends in the middle: its last boundary is missing")
    return found


def _head(raw: bytes) -> tuple[str, str | None, str]:
    """Return the name of a part, that of its file, and its type."""
    fields = {}
    for line in _utf8(raw, "a header").split("\r\n"):
        key, _, value = line.partition(":")
        fields[key.strip().lower()] = value.strip()
    found = Message()
    found["content-disposition"] = fields.get("content-disposition", "").replace("\n", " ")
    name = found.get_param("name", header="content-disposition")
    file_name = found.get_filename()
    if not isinstance(name, str):
        raise Invalid("a part of the form has no name")
    return name, file_name, fields.get("content-type", "")


def _utf8(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"{what} of the form is not UTF-8") from error
