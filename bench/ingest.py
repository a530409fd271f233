"""Writing: one memory, batches, a disk that is waited for, and the size of what was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from corpus import Corpus, Memory, corpus
from floor import ByHand
from harness import Row, Times, in_turn, timed
from machine import filesystem, folder, fsync_us, tree_bytes

import palimp

_BY_HAND = "the same rows and indexes by hand"


def measure(*, quick: bool) -> list[Row]:
    """Measure each on an empty profile that grows."""
    # At least 20 batches of 100 and 3 of 1,000, and enough single writes for a median.
    stored = corpus(4_000 if quick else 12_000)
    facts = Corpus(*_of_type(stored, "fact"))
    events = Corpus(*_of_type(stored, "event"))
    singles = 300 if quick else 1_500
    rows = [
        _row("one fact, vector given", facts, singles, 1, budget=3),
        _row("one event of a session, vector given", events, singles // 2, 1),
        _row("one fact, no vector", facts, singles, 1, vectors=False),
        _row(
            "one fact, vector given, bundled embedder busy", facts, singles, 1, provider="bundled"
        ),
        _row("one fact, vector given, waiting for the disk", facts, singles // 5, 1, disk=True),
        _row("batch of 100, vectors given", stored, 10 if quick else 30, 100),
        _row("batch of 1,000, vectors given", stored, 2 if quick else 6, 1_000),
    ]
    return [*rows, *_sizes(1_000 if quick else 10_000)]


def _of_type(stored: Corpus, kind: str) -> tuple[list[Memory], object]:
    places = [m.number for m in stored.memories if m.type == kind]
    return [stored.memories[place] for place in places], stored.vectors[places]


def _row(
    what: str,
    source: Corpus,
    count: int,
    size: int,
    *,
    vectors: bool = True,
    provider: str = "none",
    disk: bool = False,
    budget: float | None = None,
) -> Row:
    """Write `count` batches of `size` in turn with us and by hand."""
    warmup = max(1, min(20, count // 10))
    with folder(disk=disk) as path:
        ours, floor = _times(path, source, count, size, warmup, vectors, provider)
        place = filesystem(path)
        note = f"{place}, p95 {ours.p95:,.0f} us, {size * 1e6 / ours.median:,.0f} a second"
        if disk:
            note += f", an fsync takes {fsync_us(path):,.0f} us"
    return Row(
        f"ingest {what}",
        ours.median,
        "us",
        floor.median,
        _BY_HAND,
        budget,
        "ratio",
        note,
        {"ours": ours.as_json(), "by_hand": floor.as_json(), "embed_provider": provider},
    )


def _times(
    path: Path, source: Corpus, count: int, size: int, warmup: int, vectors: bool, provider: str
) -> tuple[Times, Times]:
    assert (count + warmup) * size <= len(source.memories), "the corpus is too small"
    # What callers hold in their hands: field mappings, and vectors as lists of numbers.
    batches = [
        source.items(at * size, (at + 1) * size, vectors=vectors) for at in range(count + warmup)
    ]
    rows = [source.memories[at * size : (at + 1) * size] for at in range(count + warmup)]
    by_hand = ByHand(path / "by-hand.db")
    by_hand.create()
    with palimp.open(path / "memory", embed_provider=provider) as mem:
        profile = mem.profile("bench")

        def one(at: int) -> None:
            item = batches[at][0]
            profile.remember(**item)

        def many(at: int) -> None:
            profile.ingest(batches[at])

        def hand(at: int) -> None:
            given = [item["embedding"] for item in batches[at]] if vectors else None
            by_hand.ingest(rows[at], given)

        ours: Callable[[int], None] = one if size == 1 else many
        if provider == "none":
            measured = in_turn([ours, hand], count, warmup)
        else:
            measured = in_turn([ours], count, warmup)
    if provider != "none":
        # By hand nothing runs beside the writes.
        measured += in_turn([hand], count, warmup)
    by_hand.close()
    return measured[0], measured[1]


def _sizes(count: int) -> list[Row]:
    """Ingest everything in batches, embed it, and weigh the folder."""
    stored = corpus(count)
    with folder() as path:
        batches = [stored.items(at, at + 1_000, vectors=False) for at in range(0, count, 1_000)]
        with palimp.open(path / "memory", embed_provider="none") as mem:
            profile = mem.profile("bench")
            ingesting = timed(lambda: [profile.ingest(batch) for batch in batches])
        with palimp.open(path / "memory") as mem:
            done = []
            embedding = timed(lambda: done.append(mem.maintain()))
            open_bytes = tree_bytes(path / "memory")
        closed_bytes = tree_bytes(path / "memory")
        by_hand = ByHand(path / "plain.db")
        by_hand.create(plain=True)
        for at in range(0, count, 1_000):
            by_hand.ingest_plain(stored.memories[at : at + 1_000], stored.vectors[at : at + 1_000])
        by_hand.close()
        plain_bytes = (path / "plain.db").stat().st_size
    embedded = done[0].embedded
    floor_what = "a plain file: rows, indexes, FTS5 without a copy of the text, one vector a row"
    return [
        Row(
            f"folder after maintain(), {count:,} memories, still open",
            open_bytes / 1e6,
            "MB",
            plain_bytes / 1e6,
            floor_what,
            3,
            "ratio",
            f"{open_bytes / count:,.0f} bytes a memory",
        ),
        Row(
            f"folder after maintain(), {count:,} memories, closed",
            closed_bytes / 1e6,
            "MB",
            plain_bytes / 1e6,
            floor_what,
        ),
        Row(
            f"bulk ingest without vectors, {count:,}, batches of 1,000",
            count / ingesting,
            "a second",
            note="all types, events indexed with their neighbours",
        ),
        Row(
            f"embedding in maintain(), {embedded:,} memories",
            embedded / embedding,
            "a second",
            note="pseudo-words: more pieces a word than English",
        ),
    ]
