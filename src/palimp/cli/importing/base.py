"""What every reader is handed, and what it yields."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from io import BufferedReader
from typing import NamedTuple, TypeAlias

from ...api import MemoryInput
from ...api.limits import LABEL_BYTES_MAX
from ...errors import Error

__all__ = ["FORMAT_DEFAULT", "Item", "Reader", "Source", "dedup_key"]

FORMAT_DEFAULT = "messages"


class Source(NamedTuple):
    """A file, where it came from, and which of its conversations is meant (None: all)."""

    name: str
    stream: BufferedReader
    conversation: str | None = None


class Item(NamedTuple):
    """What stands somewhere: a memory, an error that names what is broken, or None: no words.

    `place` is the number of a line, or a name where lines mean nothing.
    """

    place: int | str
    found: MemoryInput | Error | None


Reader: TypeAlias = Callable[[Source], Iterator[Item]]


def dedup_key(text: str) -> str:
    """Return a dedup key that fits: the text itself, or a digest of one that is too long."""
    if len(text.encode("utf-8", "surrogatepass")) <= LABEL_BYTES_MAX:
        return text
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
