"""`locomo`: the conversations of a LoCoMo file, as the evaluation reads them, become events.

Such a file is a few megabytes and read as a whole. Turns and sessions are numbered in each of its
conversations alike, so here their names carry the conversation's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...api import MemoryInput, to_request
from ...clock import parse_ms
from ...errors import Invalid, NotFound
from .base import Item, Source

__all__ = ["read_locomo"]


def read_locomo(source: Source) -> Iterator[Item]:
    """Yield an event for every turn of every conversation, or of the one that is meant."""
    from ...evaluation import load_samples

    if source.name == "-":
        raise Invalid("a LoCoMo file is read as a whole: give its name instead of -")
    try:
        samples = load_samples(Path(source.name))
    except RecursionError as error:
        raise Invalid(f"{source.name} is not a LoCoMo file: it is nested too deeply") from error
    if source.conversation is not None:
        names = ", ".join(sample.name for sample in samples)
        samples = [sample for sample in samples if sample.name == source.conversation]
        if not samples:
            raise NotFound(
                f"{source.name} has no conversation {source.conversation!r}; it has {names}"
            )
    for sample in samples:
        for event in sample.events:
            fields = {
                **event,
                "session": f"{sample.name} {event['session']}",
                "observed_at": parse_ms(event["observed_at"], "observed_at"),
                "dedup_key": f"{sample.name} {event['dedup_key']}",
                "metadata": {**event["metadata"], "conversation": sample.name},
            }
            turn = f"{sample.name} {event['dedup_key']}"
            yield Item(turn, to_request(MemoryInput, fields, turn))
