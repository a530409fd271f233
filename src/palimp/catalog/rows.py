"""What goes into the catalog and comes out of it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Batch", "Counts", "DatabaseRow", "Indexed", "Levels", "Span"]


class Levels(NamedTuple):
    """How large a database is: bytes and memories of its main branch, and how many branches."""

    bytes: int
    memories: int
    branches: int


class Indexed(NamedTuple):
    """A database as the store has it: `created_at` in milliseconds."""

    namespace: str
    profile: str
    db_id: str
    created_at: int


class DatabaseRow(NamedTuple):
    """A database, how large it was found, and when (ms); None where nobody looked.

    `unembedded` is how many rows of main wait for a vector.
    """

    database: Indexed
    levels: Levels | None
    sampled_at: int
    unembedded: int | None = None


class Counts(NamedTuple):
    """What was done with a database on a day (`2026-03-02`, UTC)."""

    day: str
    namespace: str
    profile: str
    writes: int
    recalls: int
    model_tokens: int


class Batch(NamedTuple):
    """What a process has to say at once; `number` counts the batches of `source` from 1.

    A batch that was recorded and is sent again changes nothing. `gone` are databases that were
    found deleted, at `at` (ms). `node` is whose process it is.
    """

    source: str
    number: int
    at: int
    counts: tuple[Counts, ...]
    databases: tuple[DatabaseRow, ...]
    gone: tuple[tuple[str, str], ...]
    node: str = ""


class Span(NamedTuple):
    """What was used over some days.

    `opening` is how large it was before the first of them; `changes` and `counts` hold only days on
    which something changed: by how much the levels did, and the sums of what was counted.
    """

    databases: int
    opening: Levels
    changes: dict[str, Levels]
    counts: dict[str, tuple[int, int, int]]
