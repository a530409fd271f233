"""Makes the index of databases again from what the object store has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from .rows import Indexed

__all__ = ["Index", "Rebuilt", "rebuild"]


class Index(Protocol):
    """An index that can be made again while others write to it."""

    def begin_rebuild(self) -> int:
        """Begin a generation: what is written from now on, by whomever, is of it or a later one."""

    def index(self, databases: Sequence[Indexed], generation: int) -> None:
        """Write databases as the store has them; how large they were found stays."""

    def end_rebuild(self, generation: int) -> int:
        """Remove what is of an earlier generation; return how many those were."""


class Rebuilt(NamedTuple):
    """How many databases the index has now, and how many were removed that do not exist."""

    databases: int
    removed: int


def rebuild(
    index: Index, pages: Iterable[Sequence[Indexed]], progress: Callable[[int], None]
) -> Rebuilt:
    """Make the index again of all databases there are, page by page.

    Nodes go on writing to it meanwhile. Interrupted, it has lost nothing: what is not there any
    more is removed at the end only. `progress` is told after each page how many are done.
    """
    generation = index.begin_rebuild()
    done = 0
    for page in pages:
        index.index(page, generation)
        done += len(page)
        progress(done)
    return Rebuilt(done, index.end_rebuild(generation))
