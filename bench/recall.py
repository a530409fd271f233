"""Recall at 1,000, 10,000 and 100,000 memories against an FTS5 query and an exact scan by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from corpus import Corpus, Query, corpus, queries
from floor import ByHand
from harness import Row, Times, in_turn, timed
from machine import folder

import palimp

_K = 10
_BATCH = 1_000
_WARMUP = 20
_BUDGET_AT = 10_000


def measure(*, quick: bool) -> list[Row]:
    """Measure every size, then how recall grows."""
    rows: list[Row] = []
    medians: dict[int, float] = {}
    for count in (1_000, 10_000) if quick else (1_000, 10_000, 100_000):
        with folder() as path:
            found, medians[count] = _at(path, count, 60 if quick else 200)
        rows += found
    if 100_000 in medians:
        large, small = medians[100_000], medians[10_000]
        rows.append(
            Row(
                "recall at 100,000, vector given",
                large,
                "us",
                small,
                "the same at 10,000",
                8,
                "ratio",
            )
        )
    return rows


def _at(path: Path, count: int, asked: int) -> tuple[list[Row], float]:
    stored = corpus(count)
    questions = queries(stored, asked + _WARMUP)
    by_hand = ByHand(path / "by-hand.db")
    by_hand.create()
    for at in range(0, count, _BATCH):
        by_hand.ingest(stored.memories[at : at + _BATCH], stored.vectors[at : at + _BATCH].tolist())
    by_hand.load(stored)
    label = f"at {count:,}"
    with palimp.open(path / "memory", embed_provider="none") as mem:
        profile = mem.profile("bench")
        rows = [_bulk(profile, stored)]
        given, floor = in_turn(_given(profile, by_hand, questions), asked, warmup=_WARMUP)
        match, scan = in_turn(_parts(by_hand, questions), asked, warmup=_WARMUP)
        rows.append(
            _row(
                f"recall {label}, vector given",
                given,
                floor,
                2 if count == _BUDGET_AT else None,
                f"by hand: FTS5 {match.median:,.0f} us, scan {scan.median:,.0f} us",
                found_share=_found(profile, questions[_WARMUP:]),
            )
        )
    with palimp.open(path / "memory") as mem:
        profile = mem.profile("bench")
        done: list[palimp.Maintained] = []
        seconds = timed(lambda: done.append(mem.maintain()))
        rows.append(
            Row(
                f"embedding in maintain(), {done[0].embedded:,} memories",
                done[0].embedded / seconds,
                "a second",
            )
        )
        variants = _variants(profile, questions)
        times = in_turn(list(variants.values()), asked, warmup=_WARMUP)
        for what, measured in zip(variants, times, strict=True):
            rows.append(_row(f"recall {label}, {what}", measured, None, None, ""))
    by_hand.close()
    return rows, given.median


def _bulk(profile: Any, stored: Corpus) -> Row:
    count = len(stored.memories)
    seconds = 0.0
    for at in range(0, count, _BATCH):
        batch = stored.items(at, at + _BATCH, vectors=True)
        seconds += timed(lambda batch=batch: profile.ingest(batch))
    what = f"bulk ingest with vectors, {count:,}, batches of {_BATCH:,}"
    return Row(what, count / seconds, "a second")


def _given(profile: Any, by_hand: ByHand, questions: list[Query]) -> list[Callable[[int], object]]:
    vectors = [question.vector.tolist() for question in questions]

    def ours(at: int) -> object:
        return profile.recall(questions[at].text, embedding=vectors[at], k=_K)

    def floor(at: int) -> object:
        return by_hand.recall(questions[at].telling, questions[at].vector, _K)

    return [ours, floor]


def _parts(by_hand: ByHand, questions: list[Query]) -> list[Callable[[int], object]]:
    return [
        lambda at: by_hand.match(questions[at].telling, _K),
        lambda at: by_hand.scan(questions[at].vector, _K),
    ]


def _variants(profile: Any, questions: list[Query]) -> dict[str, Callable[[int], object]]:
    """Return what else is asked, with the bundled embedder at work."""
    vectors = [question.vector.tolist() for question in questions]
    sessions = sorted({q.about.session for q in questions if q.about.session})

    def text(**filters: Any) -> Callable[[int], object]:
        return lambda at: profile.recall(questions[at].text, k=_K, **filters)

    return {
        "text only": text(),
        "text and vector given": lambda at: profile.recall(
            questions[at].text, embedding=vectors[at], k=_K
        ),
        "text, explained": text(explain=True),
        "text, type (5 % of rows)": text(type="instruction"),
        "text, source (1 %)": lambda at: profile.recall(
            questions[at].text, k=_K, source=questions[at].about.source
        ),
        "text, session (25 rows)": lambda at: profile.recall(
            questions[at].text, k=_K, session=sessions[at % len(sessions)]
        ),
    }


def _found(profile: Any, questions: list[Query]) -> float:
    """Return the share of questions that found the memory they were made from."""
    good = 0
    for question in questions:
        hits = profile.recall(question.text, embedding=question.vector.tolist(), k=_K)
        good += any(hit.text == question.about.text for hit in hits)
    return good / len(questions)


def _row(
    what: str,
    ours: Times,
    floor: Times | None,
    budget: float | None,
    note: str,
    **detail: Any,
) -> Row:
    told = f"p95 {ours.p95:,.0f} us" + (f"; {note}" if note else "")
    times = {"ours": ours.as_json()}
    if floor is not None:
        times["by_hand"] = floor.as_json()
    return Row(
        what,
        ours.median,
        "us",
        floor.median if floor else None,
        "FTS5 query and exact scan by hand" if floor else "",
        budget,
        "ratio",
        told,
        {**times, **detail},
    )
