"""From what a reader yields to memories that are written, a batch at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from ...api import MemoryInput
from ...api.limits import BATCH_ITEMS_MAX
from ...client import Profile
from ...errors import Error
from ...profile.memories.draft import draft
from .base import Item

__all__ = ["BATCH_BYTES_MAX", "BROKEN_NAMED_MAX", "Summary", "import_items"]

# One transaction, and one request where a node is written to.
BATCH_BYTES_MAX = 4 << 20
# So many broken lines are named, further ones counted: a wrong file may be nothing else.
BROKEN_NAMED_MAX = 1_000


class Summary:
    """What an import did: results by status, the lines that could not be read, the last txid."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.broken: list[tuple[int | str, str]] = []
        self.broken_count = 0
        self.without_words = 0
        self.txid: int | None = None

    @property
    def written(self) -> int:
        """How many memories are there now that were not, or did not hold, before."""
        return self.counts["created"] + self.counts["revived"]

    def note(self, place: int | str, error: Error) -> None:
        """Keep why something could not be read."""
        self.broken_count += 1
        if len(self.broken) < BROKEN_NAMED_MAX:
            self.broken.append((place, str(error)))

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON has it."""
        return {
            "counts": dict(self.counts),
            "broken": [
                {"line" if isinstance(place, int) else "turn": place, "reason": reason}
                for place, reason in self.broken
            ],
            "broken_count": self.broken_count,
            "without_words": self.without_words,
            "txid": self.txid,
        }


def import_items(
    store: Profile,
    items: Iterable[Item],
    summary: Summary,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Write every memory that can be one; note the others in `summary` and pass them over.

    `progress` is told after every batch how many memories were looked at.
    """
    batch: list[MemoryInput] = []
    size = done = 0
    for place, found in items:
        if found is None:
            summary.without_words += 1
            continue
        try:
            if isinstance(found, Error):
                raise found
            draft(found)
        except Error as error:
            summary.note(place, error)
            continue
        batch.append(found)
        size += len(found.text)
        if len(batch) == BATCH_ITEMS_MAX or size >= BATCH_BYTES_MAX:
            _write(store, batch, summary)
            done += len(batch)
            progress(done)
            batch, size = [], 0
    if batch:
        _write(store, batch, summary)
        progress(done + len(batch))


def _write(store: Profile, batch: list[MemoryInput], summary: Summary) -> None:
    try:
        ingested = store.ingest(batch)
    except Error as error:
        raise error.located(f"after {summary.written:,} memories were written") from error
    summary.txid = ingested.txid
    summary.counts.update(result.status for result in ingested)
