"""Memories that belong together, and summaries of them, on the wire."""

from __future__ import annotations

from typing import Literal

from .base import Request, Result, Sequenced
from .limits import PAGE_DEFAULT
from .memories import Filters, Memory, Status
from .operation import PROFILE, row

__all__ = [
    "ROWS",
    "Cluster",
    "ClusterBy",
    "ClusterPage",
    "ListClusters",
    "Summarize",
    "Summarized",
    "SummaryMethod",
]

ClusterBy = Literal["key", "relations"]
SummaryMethod = Literal["auto", "model", "extractive"]


class ListClusters(Filters, frozen=True, kw_only=True):
    """Read clusters of at least `min_size` memories, the newest first, page by page.

    By `key`: a memory with an `extracted_key` and all whose place it took in its project and
    environment. By `relations`: memories that relations connect, also through others. The filters
    say which memories count; by `key` they are about the one that holds.
    """

    by: ClusterBy = "key"
    min_size: int = 2
    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class Cluster(Result, frozen=True, kw_only=True):
    """Memories that belong together. `id` is the handle of the oldest of them.

    `memories` are the ids of up to 1,000 of the `size` there are, the oldest first; `summary` is
    the memory that sums them up, where one was made of this cluster and holds.
    """

    id: int
    by: ClusterBy
    size: int
    memories: tuple[str, ...]
    key: str | None = None
    project: str | None = None
    environment: str | None = None
    summary: str | None = None


class ClusterPage(Result, Sequenced[Cluster], frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last.

    Where not `complete` there are more relations than are looked at, which are 100,000.
    """

    clusters: tuple[Cluster, ...]
    next_cursor: str | None = None
    complete: bool = True
    txid: int = 0

    def _items(self) -> tuple[Cluster, ...]:
        return self.clusters


class Summarize(Request, frozen=True, kw_only=True):
    """Sum up 2 to 1,000 memories (`ids`) or a `cluster` by its id, in a memory of kind `summary`.

    It is derived from them, has a relation `summary_of` to each, names what they name, and takes
    the place of the summary that was made of the same before. By `model` a language model writes
    it; `extractive` puts together their most central sentences and invents no word; `auto` asks the
    model where there is one that may and can be asked. With `lossless` every name and every number
    that stands in them stands in the summary.
    """

    ids: tuple[str, ...] = ()
    cluster: int | None = None
    by: ClusterBy = "key"
    method: SummaryMethod = "auto"
    lossless: bool = True


class Summarized(Result, frozen=True, kw_only=True):
    """The summary as it is stored, and the memories it is made of.

    `status` and `superseded` are those of its write. `method` is how it was made, `note` why not as
    it was asked for, and what could not be read or was redacted.
    """

    memory: Memory
    memories: tuple[str, ...]
    method: Literal["model", "extractive"]
    status: Status
    superseded: tuple[str, ...] = ()
    note: str | None = None
    txid: int = 0


ROWS = (
    row(
        "clusters.list",
        f"GET {PROFILE}/clusters",
        ListClusters,
        ClusterPage,
        "read",
        "Read which memories belong together, by key or by their relations.",
    ),
    row(
        "clusters.summarize",
        f"POST {PROFILE}/summaries",
        Summarize,
        Summarized,
        "write writes idempotent 201",
        "Sum up memories in one that is derived from them.",
    ),
)
