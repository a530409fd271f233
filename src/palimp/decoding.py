"""Decoding into types: the one place, because the first time of each has to be one thread's.

msgspec (0.22) makes what it has to know of a struct when one is first decoded. A thread that
decodes one while another is at that reads what is half made, and the process dies of SIGSEGV. So it
is made here before, of one type at a time, and of what it consists of with it.
"""

from __future__ import annotations

import os
import threading
from typing import Any, TypeVar

import msgspec

__all__ = ["from_json", "from_msgpack", "from_plain", "json_decoder"]

T = TypeVar("T")

_lock = threading.Lock()
# Types of which all is known; of generic ones too, like `list[Row]`.
_KNOWN: set[Any] = set()


def from_json(data: bytes | str, kind: type[T], *, strict: bool = True) -> T:
    """Return what JSON says, as a type; raises as `msgspec.json.decode` does."""
    if kind not in _KNOWN:
        _learn(kind)
    return msgspec.json.decode(data, type=kind, strict=strict)


def from_msgpack(data: bytes, kind: type[T]) -> T:
    """Return what MessagePack says, as a type; raises as `msgspec.msgpack.decode` does."""
    if kind not in _KNOWN:
        _learn(kind)
    return msgspec.msgpack.decode(data, type=kind)


def from_plain(value: object, kind: type[T], *, strict: bool = True) -> T:
    """Return dicts, lists and scalars as a type; raises as `msgspec.convert` does."""
    if kind not in _KNOWN:
        _learn(kind)
    return msgspec.convert(value, kind, strict=strict)


def json_decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """Return what decodes many of one type."""
    with _lock:
        return msgspec.json.Decoder(kind)


def _learn(kind: Any) -> None:
    json_decoder(kind)
    _KNOWN.add(kind)


def _after_in_child() -> None:
    # Whoever held it at the fork is not there.
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_in_child)
