"""The JSON values of a file, one after the other, with no more than one of them in memory.

A file is lines, each a value; or one document: a list (its elements are the values) or an object,
over as many lines as it likes. A line that is broken does not hide the next one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BufferedReader
from typing import Any

from ...errors import Error, Invalid
from ..common import parse_json

__all__ = ["VALUE_BYTES_MAX", "json_lines", "json_values"]

# The longest text of a memory, every character of it escaped, and room for what stands beside it.
VALUE_BYTES_MAX = 16 << 20
_CHUNK_BYTES = 1 << 20
_LOOK_BYTES = 8_192
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MARKS = re.compile(rb'\\.|["{}\[\],]', re.DOTALL)


def json_lines(stream: BufferedReader, name: str) -> Iterator[tuple[int, Any | Error]]:
    """Yield line number and value of each line that is not empty; an error where there is none.

    Raises `Invalid` for a file that is not text.
    """
    for number, line in _lines(stream, name):
        yield number, _parsed(line)


def json_values(stream: BufferedReader, name: str) -> Iterator[tuple[int, Any | Error]]:
    """Like `json_lines`, also for one JSON document; a list stands for its elements."""
    lines = _lines(stream, name)
    first = True
    for number, line in lines:
        if first and isinstance(line, bytes) and _goes_on(line):
            chunks = _chain(line, stream)
            yield from ((at, _parsed(one)) for at, one in _Splitter(number).split(chunks))
            return
        first = False
        value = _parsed(line)
        if isinstance(value, list):
            yield from ((number, element) for element in value)
        else:
            yield number, value


def _lines(stream: BufferedReader, name: str) -> Iterator[tuple[int, bytes | Error]]:
    if b"\0" in stream.peek(_LOOK_BYTES)[:_LOOK_BYTES]:
        raise Invalid(f"{name} is not UTF-8 text; it should be JSON")
    number = 0
    while line := stream.readline(VALUE_BYTES_MAX + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        size = len(line)
        # A document may be one line of any length; its elements are bounded by themselves.
        if size > VALUE_BYTES_MAX and not (number == 1 and _goes_on(line)):
            while not line.endswith(b"\n") and (line := stream.readline(VALUE_BYTES_MAX)):
                size += len(line)
            yield number, _too_large(size)
        elif line.strip():
            yield number, line


def _goes_on(line: bytes) -> bool:
    """Return whether a file's first line opens a document: no value on a line ends like that."""
    bare = line.strip()
    return bare.startswith(b"[") or (bare.startswith(b"{") and bare.endswith((b"{", b"[", b",")))


def _chain(first: bytes, stream: BufferedReader) -> Iterator[bytes]:
    yield first
    while chunk := stream.read(_CHUNK_BYTES):
        yield chunk


class _Splitter:
    """Cuts documents into values: the elements of a list at the top, and objects at the top."""

    def __init__(self, line: int) -> None:
        self._line = line
        self._parts: list[bytes] = []
        self._size = self._newlines = 0
        self._depth = 0
        self._in_list = self._in_string = False

    def split(self, chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes | Error]]:
        """Yield line number and bytes of each value; what is left over at the end too."""
        held = b""
        for chunk in chunks:
            data = held + chunk
            # A backslash belongs to what follows it.
            slashes = len(data) - len(data.rstrip(b"\\"))
            held = data[len(data) - slashes % 2 :]
            yield from self._feed(data[: len(data) - len(held)])
        self._take(held)
        yield from self._value()

    def _feed(self, data: bytes) -> Iterator[tuple[int, bytes | Error]]:
        begin = 0
        for match in _MARKS.finditer(data):
            mark, place = match[0], match.start()
            if mark == b'"':
                self._in_string = not self._in_string
            elif self._in_string or len(mark) > 1:
                continue
            elif mark in b"{[":
                if self._depth == 0 and mark == b"[":
                    self._in_list = True
                    self._take(data[begin:place])
                    yield from self._value()
                    begin = place + 1
                self._depth += 1
            elif mark in b"}]":
                self._depth = max(self._depth - 1, 0)
                if self._depth == 0:
                    self._take(data[begin : place if self._in_list else place + 1])
                    self._in_list = False
                    yield from self._value()
                    begin = place + 1
            elif self._depth == 1 and self._in_list:
                self._take(data[begin:place])
                yield from self._value()
                begin = place + 1
        self._take(data[begin:])

    def _take(self, piece: bytes) -> None:
        if not self._size:
            bare = piece.lstrip()
            self._line += piece.count(b"\n", 0, len(piece) - len(bare))
            piece = bare
        self._size += len(piece)
        self._newlines += piece.count(b"\n")
        if self._size <= VALUE_BYTES_MAX:
            self._parts.append(piece)
        else:
            self._parts.clear()

    def _value(self) -> Iterator[tuple[int, bytes | Error]]:
        if self._size > VALUE_BYTES_MAX:
            yield self._line, _too_large(self._size)
        elif self._size:
            yield self._line, b"".join(self._parts)
        self._line += self._newlines
        self._parts.clear()
        self._size = self._newlines = 0


def _parsed(value: bytes | Error) -> Any | Error:
    if isinstance(value, Error):
        return value
    try:
        return parse_json(value.decode("utf-8").strip())
    except UnicodeDecodeError as error:
        return Invalid(f"not UTF-8 at byte {error.start + 1}")
    except Invalid as error:
        return error


def _too_large(size: int) -> Error:
    return Invalid(
        f"what begins here has {size:,} bytes, at most {VALUE_BYTES_MAX:,} are read at once; "
        "split it",
        code="payload_too_large",
    )
