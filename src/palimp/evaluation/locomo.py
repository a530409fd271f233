"""LoCoMo (Maharana et al., ACL 2024) at turn level: are the turns found that hold the answer.

Every turn of a conversation is written as an event through the public client, every question is one
`recall`; no model reads the answer and nothing is tuned here. The data is CC BY-NC 4.0 and not part
of this package: the caller names the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from ..client import Client, Profile
from ..clock import Clock
from ..errors import Invalid
from .metrics import CUTS, NDCG_CUT, mean, percentile, rank_scores

__all__ = ["Question", "Report", "Sample", "evaluate", "ingest_sample", "load_samples"]

# Category 5 asks about the wrong speaker or a false premise; published scores use 1 to 4.
SCORED_CATEGORIES = (1, 2, 3, 4)
_BATCH = 1_000
_SESSION = re.compile(r"session_(\d+)\Z")
_TURN_ID = re.compile(r"D:?0*(\d+):0*(\d+)\Z")
METRICS = (
    *(f"recall@{cut}" for cut in CUTS),
    *(f"hit@{cut}" for cut in CUTS),
    f"nDCG@{NDCG_CUT}",
    "MRR",
)


class Question(NamedTuple):
    """A question, its category, and the ids of the turns that hold the answer (never empty)."""

    text: str
    category: int
    evidence: frozenset[str]


class Sample(NamedTuple):
    """One conversation: events ready to be ingested, and its questions."""

    name: str
    events: list[dict[str, Any]]
    questions: list[Question]
    skipped: int


class Report(NamedTuple):
    """All figures: percentages for the scores, milliseconds and turns per second for the speed."""

    overall: dict[str, float]
    categories: dict[str, dict[str, float]]
    speed: dict[str, float]
    counts: dict[str, int]
    questions: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        return self._asdict()


def load_samples(path: Path) -> list[Sample]:
    """Read a LoCoMo file; raises `Invalid` where it is not one, naming what is missing."""
    try:
        raw = json.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise Invalid(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(raw, list) or not raw:
        raise Invalid(f"{path} is not a LoCoMo file: it should be a list of samples")
    samples = []
    for place, sample in enumerate(raw):
        try:
            samples.append(_sample(sample))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Invalid(
                f"{path} is not a LoCoMo file: sample {place}: {type(error).__name__}: {error}"
            ) from error
    return samples


def ingest_sample(profile: Profile, sample: Sample) -> None:
    """Write every turn of a conversation into a profile; doing it twice changes nothing."""
    for start in range(0, len(sample.events), _BATCH):
        profile.ingest(sample.events[start : start + _BATCH])


def evaluate(
    mem: Client,
    samples: Sequence[Sample],
    *,
    clock: Clock | None = None,
    progress: Callable[[str], object] = lambda _: None,
) -> Report:
    """Ingest the samples into profiles of `mem` (`locomo-...`) and ask every question."""
    clock = clock or Clock()
    ingest_seconds = embed_seconds = 0.0
    latencies: list[float] = []
    questions: list[dict[str, Any]] = []
    for sample in samples:
        progress(f"{sample.name}: {len(sample.events)} turns, {len(sample.questions)} questions")
        profile = mem.profile(_profile_name(sample.name), namespace="locomo")
        began = clock.monotonic()
        ingest_sample(profile, sample)
        ingest_seconds += clock.monotonic() - began
        began = clock.monotonic()
        mem.maintain()
        embed_seconds += clock.monotonic() - began
        for question in sample.questions:
            began = clock.monotonic()
            hits = profile.recall(question.text, k=max(CUTS))
            latencies.append(1000 * (clock.monotonic() - began))
            ranking = [str((hit.metadata or {})["dia_id"]) for hit in hits]
            questions.append(
                {
                    "sample": sample.name,
                    "category": question.category,
                    "question": question.text,
                    "evidence": sorted(question.evidence),
                    "ranking": ranking,
                    **rank_scores(ranking, question.evidence),
                }
            )
    turns = sum(len(sample.events) for sample in samples)
    speed = {
        "ingest_turns_per_second": turns / ingest_seconds if ingest_seconds else 0.0,
        "embed_turns_per_second": turns / embed_seconds if embed_seconds else 0.0,
        "recall_ms_p50": percentile(latencies, 0.50),
        "recall_ms_p95": percentile(latencies, 0.95),
    }
    counts = {
        "conversations": len(samples),
        "turns": turns,
        "questions": len(questions),
        "questions_without_evidence": sum(sample.skipped for sample in samples),
    }
    categories = sorted({int(question["category"]) for question in questions})
    return Report(
        _summary(q for q in questions if q["category"] in SCORED_CATEGORIES),
        {str(c): _summary(q for q in questions if q["category"] == c) for c in categories},
        speed,
        counts,
        questions,
    )


def _summary(questions: Iterable[dict[str, Any]]) -> dict[str, float]:
    chosen = list(questions)
    scores = {name: 100 * mean(question[name] for question in chosen) for name in METRICS}
    return {"questions": len(chosen), **scores}


def _profile_name(sample: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", sample.lower()).strip("-") or "sample"


def _sample(raw: dict[str, Any]) -> Sample:
    conversation = raw["conversation"]
    numbers = sorted(
        int(match[1]) for match in map(_SESSION.match, conversation) if match is not None
    )
    events = []
    for number in numbers:
        said = conversation[f"session_{number}_date_time"]
        began = datetime.strptime(f"{said} +0000", "%I:%M %p on %d %B, %Y %z")  # it names no zone
        for place, turn in enumerate(conversation[f"session_{number}"]):
            # Turns have no times of their own; a second each keeps their order.
            at = began + timedelta(seconds=place)
            events.append(_event(turn, number, at))
    known = {event["dedup_key"] for event in events}
    questions = []
    for entry in raw["qa"]:
        evidence = _evidence(entry.get("evidence", ())) & known
        if evidence:
            questions.append(Question(str(entry["question"]), int(entry["category"]), evidence))
    return Sample(str(raw["sample_id"]), events, questions, len(raw["qa"]) - len(questions))


def _event(turn: dict[str, Any], session: int, at: datetime) -> dict[str, Any]:
    text = turn["text"]
    if turn.get("blip_caption"):
        # What a shared picture shows, as the data describes it.
        text = f"{text} [shares a picture: {turn['blip_caption']}]"
    return {
        "type": "event",
        "kind": "turn",
        "text": text.strip() or "(no words)",
        "speaker": turn["speaker"],
        "session": f"session {session}",
        "observed_at": at,
        "dedup_key": turn["dia_id"],
        "metadata": {"dia_id": turn["dia_id"]},
    }


def _evidence(entries: Iterable[str]) -> frozenset[str]:
    """Return the turn ids of a question; nine entries of the data are malformed (its README)."""
    found = set()
    for entry in entries:
        for part in re.split(r"[;\s]+", str(entry)):
            match = _TURN_ID.match(part)
            if match:
                found.add(f"D{int(match[1])}:{int(match[2])}")
    return frozenset(found)
