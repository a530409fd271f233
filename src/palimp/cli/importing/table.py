"""FORMATS: every format that can be imported, its reader, and what its items become."""

from __future__ import annotations

from typing import NamedTuple

from .base import FORMAT_DEFAULT, Reader
from .graph import read_graph
from .locomo import read_locomo
from .messages import read_messages

__all__ = ["FORMATS", "Format"]


class Format(NamedTuple):
    """A reader, and what its memories are called."""

    read: Reader
    noun: str


FORMATS: dict[str, Format] = {
    FORMAT_DEFAULT: Format(read_messages, "events"),
    "locomo": Format(read_locomo, "events"),
    "mcp-jsonl": Format(read_graph, "facts"),
}
