"""What first writes make, of keys, vectors, documents, events and others, as they do it.

So a file from elsewhere can be held against it, to the letter: what is named like a table of ours
and has another column, a default or a check is not one of ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw

__all__ = ["complete"]


def complete(connection: apsw.Connection, names: Sequence[str]) -> None:
    """Make those of `names` in a new database that a write would make; pass over all others."""
    # Asked of an import only; opening a folder does not wait for these.
    from . import collections, documents, governed, kv, proposals, turn_keys, usage
    from .memories import authors, dedup, states, timeline
    from .relations import notes, tables

    first = (kv, collections, documents, proposals, states, usage, dedup, tables, governed)
    for part in (*first, turn_keys, timeline, authors, notes):
        part.complete(connection, names)
