"""Conversations and notes of other programs, read into memories: one reader a format."""

from __future__ import annotations

from .base import FORMAT_DEFAULT, Item, Source
from .run import Summary, import_items
from .table import FORMATS, Format

__all__ = [
    "FORMATS",
    "FORMAT_DEFAULT",
    "Format",
    "Item",
    "Source",
    "Summary",
    "import_items",
]
