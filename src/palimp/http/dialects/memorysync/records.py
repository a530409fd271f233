"""The records of an import file, one after another: whatever its size, one of them is in memory."""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

__all__ = ["RECORD_BYTES_MAX", "Broken", "Record", "records"]

RECORD_BYTES_MAX = 1 << 20
_PIECE_BYTES = 1 << 20
_BLANK = " \t\r\n"
# Under which an object may have the list, where the file is one.
_LISTS = ("memories", "items", "records", "data")


class Record(NamedTuple):
    """One record: its fields, or why it has none; `offset` is how much of the file is behind it."""

    fields: dict[str, Any] | None
    reason: str | None
    offset: int


class Broken(ValueError):
    """The file is not what its name says, and nothing behind this place can be read."""


def records(reader: io.BufferedReader, *, lines: bool) -> Iterator[Record]:
    """Yield the records of JSON lines, or of a JSON list; raises `Broken`."""
    return _lines(reader) if lines else _listed(reader)


def _lines(reader: io.BufferedReader) -> Iterator[Record]:
    offset = 0
    while line := reader.readline(RECORD_BYTES_MAX + 1):
        whole = len(line)
        if whole > RECORD_BYTES_MAX:
            # What follows is a part of the same line.
            while line and not line.endswith(b"\n"):
                line = reader.readline(_PIECE_BYTES)
                whole += len(line)
            offset += whole
            yield Record(None, "record_too_large", offset)
            continue
        if not offset:
            line = line.removeprefix(codecs.BOM_UTF8)
        offset += whole
        if line.strip():
            yield _record(line, offset)


def _record(raw: bytes, offset: int) -> Record:
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Record(None, "not_json", offset)
    return _checked(found, offset)


def _checked(found: Any, offset: int) -> Record:
    if isinstance(found, dict):
        return Record(found, None, offset)
    return Record(None, "not_an_object", offset)


class _Window:
    """A stretch of text of a file that is read on as it is used up."""

    def __init__(self, reader: io.BufferedReader) -> None:
        self._reader = reader
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.text = ""
        self.at = 0
        self.offset = 0

    def more(self) -> bool:
        """Read on; False at the end of the file."""
        raw = self._reader.read(_PIECE_BYTES)
        try:
            fresh = self._decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            raise Broken(f"the file is not UTF-8 after byte {self.offset:,}") from error
        self.offset += len(raw)
        self.text = self.text[self.at :] + fresh
        self.at = 0
        return bool(raw)

    def next(self) -> str:
        """Return the next character that is no blank, which stays; empty at the end."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in _BLANK:
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def take(self, wanted: str) -> None:
        """Go behind a character; raises `Broken` where another stands."""
        found = self.next()
        if found != wanted:
            where = f"about byte {self.offset:,}"
            raise Broken(f"{wanted!r} was expected {where} and {found or 'the end'!r} found")
        self.at += 1

    def value(self) -> Any:
        """Return the JSON value that begins here, and go behind it."""
        self.next()
        while True:
            try:
                found, end = _JSON.raw_decode(self.text, self.at)
            except RecursionError as error:
                raise Broken(f"a value about byte {self.offset:,} is nested too deep") from error
            except ValueError as error:
                # It may only end behind what was read.
                held = len(self.text) - self.at
                if held > RECORD_BYTES_MAX or not self.more():
                    raise Broken(f"no JSON about byte {self.offset:,}: {error}") from error
                continue
            if end == len(self.text) and not isinstance(found, dict | list | str) and self.more():
                continue
            self.at = end
            return found


_JSON = json.JSONDecoder()


def _listed(reader: io.BufferedReader) -> Iterator[Record]:
    """Yield the objects of a list: the file itself, or one of its fields."""
    window = _Window(reader)
    if window.next() == "{":
        _to_list(window)
    window.take("[")
    if window.next() == "]":
        return
    while True:
        yield _checked(window.value(), window.offset)
        if window.next() == "]":
            return
        window.take(",")


def _to_list(window: _Window) -> None:
    """Go to the list in an object; raises `Broken` where it has none."""
    window.take("{")
    while window.next() == '"':
        name = window.value()
        window.take(":")
        if name in _LISTS and window.next() == "[":
            return
        window.value()
        if window.next() == ",":
            window.take(",")
    raise Broken(f"the file is an object without a list of {', '.join(_LISTS)}")
