"""Fit the weights of recall, and say honestly what they are worth.

    .venv/bin/python bench/tune_recall.py LOCOMO_DEV_JSON [--out FILE]

Leave-one-conversation-out: the weights are fitted on all conversations but one and measured on
that one; every figure of the learnt ranking is the mean over questions of such left-out folds. Two
rankings made by hand from the same turns stand beside it: plain FTS5 with one column, and the
recipe of the design (three columns weighted 1 / 0.5 / 0.2, min-max fused with the static model's
cosine by 0.4). Intervals are 95 % bootstrap intervals over questions (in pairs for differences).

Features come from the public client (`recall(k=1000, explain=True)`: at that k every row that has
a word or a vector is a candidate; `palimp eval locomo` measures recall as it runs, with few). Only
categories 1 to 4. Nothing is written into the package: the mean of the folds is printed, and a
person puts it, rounded, into profile/recall/weights.py.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import apsw
import numpy as np
from machine import ROOT, commit, machine

import palimp
from palimp.evaluation import Sample, ingest_sample, load_samples
from palimp.evaluation.locomo import SCORED_CATEGORIES
from palimp.evaluation.metrics import rank_scores
from palimp.models.bundled import BundledEmbedder
from palimp.profile.recall.weights import WEIGHTS
from palimp.profile.recall.words import STOP_WORDS

SHOWN = ("recall@1", "recall@3", "recall@5", "recall@10", "recall@20", "nDCG@10", "MRR")
# What the search for weights maximises: mostly the first ten, but the first place counts.
OBJECTIVE = {"recall@10": 1.0, "recall@1": 0.5, "recall@5": 0.25}
STEPS = (0.4, 0.2, 0.1, 0.05)
ROUNDS_PER_STEP = 3
BOOTSTRAPS = 10_000
SEED = 20261121
FEATURES = tuple(name for name in WEIGHTS._fields if name != "topic")


class Asked(NamedTuple):
    """One question with its candidates: feature values, their turn ids, and which are right."""

    sample: str
    category: int
    values: np.ndarray
    ids: list[str]
    right: frozenset[str]
    baselines: dict[str, list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, default=None, help="default: bench/results")
    arguments = parser.parse_args()
    asked = collect(load_samples(arguments.file))
    names = sorted({question.sample for question in asked})
    fitted: dict[str, np.ndarray] = {}
    scores: dict[str, list[dict[str, float]]] = {"left-out": [], "shipped": []}
    order: list[Asked] = []
    for name in names:
        fitted[name] = fit([q for q in asked if q.sample != name])
        print(f"{name} left out: {shown_weights(fitted[name])}", flush=True)
        for question in (q for q in asked if q.sample == name):
            order.append(question)
            scores["left-out"].append(score(question, fitted[name]))
            scores["shipped"].append(score(question, start_weights()))
    for baseline in order[0].baselines:
        scores[baseline] = [rank_scores(q.baselines[baseline], q.right) for q in order]
    report = summarise(scores)
    report["weights_mean_of_folds"] = dict(
        zip(FEATURES, np.mean(list(fitted.values()), axis=0).round(3).tolist(), strict=True)
    )
    report["weights_by_left_out_fold"] = {
        name: dict(zip(FEATURES, w.round(3).tolist(), strict=True)) for name, w in fitted.items()
    }
    report["questions"] = len(order)
    show(report)
    today = datetime.now(UTC).date().isoformat()
    document = {"name": "tune_recall", "date": today, "commit": commit(), "machine": machine()}
    out = arguments.out or ROOT / "bench" / "results" / "tune_recall.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({**document, **report}, indent=1) + "\n", "utf-8")


def collect(samples: list[Sample]) -> list[Asked]:
    """Ask every question of categories 1 to 4 and keep all candidates with their features."""
    folder = Path(tempfile.mkdtemp(prefix="palimp-tune-"))
    asked = []
    try:
        with palimp.open(folder / "memory") as mem:
            for sample in samples:
                profile = mem.profile(sample.name.lower())
                ingest_sample(profile, sample)
                mem.maintain()
                by_hand = Baselines(sample)
                for question in sample.questions:
                    if question.category not in SCORED_CATEGORIES:
                        continue
                    found = profile.recall(question.text, k=1000, explain=True)
                    asked.append(
                        Asked(
                            sample.name,
                            question.category,
                            np.array([_values(hit) for hit in found]),
                            [str((hit.metadata or {})["dia_id"]) for hit in found],
                            question.evidence,
                            by_hand.rankings(question.text),
                        )
                    )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return asked


def _values(hit: palimp.Hit) -> list[float]:
    assert hit.explain is not None
    values = {feature.name: feature.value for feature in hit.explain.features}
    # A feature that is not in play is the same for all candidates of a question: 0 changes nothing.
    return [values.get(name, 0.0) for name in FEATURES]


class Baselines:
    """The two rankings written by hand: what anyone gets from FTS5 and the same static model."""

    def __init__(self, sample: Sample) -> None:
        self._ids = [event["dedup_key"] for event in sample.events]
        self._db = apsw.Connection(":memory:")
        self._embedder = BundledEmbedder()
        for table, columns in (("plain", "turn"), ("recipe", "turn, before, after")):
            self._db.execute(
                f"""CREATE VIRTUAL TABLE {table} USING fts5({columns},
                tokenize = 'porter unicode61 remove_diacritics 2')"""
            )
        said = [f"{event['speaker']}: {event['text']}" for event in sample.events]
        for place, event in enumerate(sample.events):
            day = event["observed_at"]
            turn = f"{said[place]} {day.day} {day:%B %Y}"
            near = []
            for other in (place - 1, place + 1):
                same = 0 <= other < len(said) and (
                    sample.events[other]["session"] == event["session"]
                )
                near.append(said[other] if same else "")
            self._db.execute("INSERT INTO plain (rowid, turn) VALUES (?, ?)", (place, turn))
            self._db.execute("INSERT INTO recipe (rowid, turn, before, after) VALUES (?, ?, ?, ?)",
                             (place, turn, *near))  # fmt: skip
        self._vectors = self._embedder.embed([event["text"] for event in sample.events])

    def rankings(self, query: str) -> dict[str, list[str]]:
        tokenizer = self._db.fts5_tokenizer("unicode61", ["remove_diacritics", "2"])
        words = tokenizer(
            query.encode(),
            apsw.FTS5_TOKENIZE_QUERY,
            None,
            include_offsets=False,
            include_colocated=False,
        )
        kept = [word for word in dict.fromkeys(words) if word not in STOP_WORDS] or words
        match = " OR ".join(f'"{word}"' for word in kept)
        plain = self._bm25("plain", match, "1.0")
        three = self._bm25("recipe", match, "1.0, 0.5, 0.2")
        cosine = self._vectors @ self._embedder.embed([query])[0]
        return {
            "plain FTS5": self._top(plain),
            "recipe, words": self._top(three),
            "recipe, words and vector": self._top(_min_max(three) + 0.4 * _min_max(cosine)),
        }

    def _bm25(self, table: str, match: str, weights: str) -> np.ndarray:
        values = np.zeros(len(self._ids))
        for place, value in self._db.execute(
            f"SELECT rowid, bm25({table}, {weights}) FROM {table} WHERE {table} MATCH ?", (match,)
        ):
            values[place] = -value
        return values

    def _top(self, values: np.ndarray) -> list[str]:
        return [self._ids[place] for place in np.argsort(-values, kind="stable")[:20]]


def _min_max(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else values * 0.0


def start_weights() -> np.ndarray:
    return np.array([getattr(WEIGHTS, name) for name in FEATURES])


def score(question: Asked, weights: np.ndarray) -> dict[str, float]:
    totals = question.values @ weights
    ranking = [question.ids[place] for place in np.argsort(-totals, kind="stable")[:20]]
    return rank_scores(ranking, question.right)


def fit(asked: list[Asked]) -> np.ndarray:
    """Coordinate ascent from equal weights: small, deterministic, hard to over-fit with seven."""
    weights = np.full(len(FEATURES), 0.5)
    best = objective(asked, weights)
    for step in STEPS:
        for _ in range(ROUNDS_PER_STEP):
            improved = False
            for place in range(len(FEATURES)):
                for change in (step, -step):
                    trial = weights.copy()
                    trial[place] = max(0.0, trial[place] + change)
                    value = objective(asked, trial)
                    if value > best + 1e-6:
                        best, weights, improved = value, trial, True
            if not improved:
                break
    # Only the ratios matter.
    return weights * (start_weights().sum() / weights.sum())


def objective(asked: list[Asked], weights: np.ndarray) -> float:
    total = 0.0
    for question in asked:
        totals = question.values @ weights
        top = np.argpartition(-totals, min(10, len(totals) - 1))[:10]
        top = top[np.argsort(-totals[top], kind="stable")]
        marks = np.array([question.ids[place] in question.right for place in top])
        for name, worth in OBJECTIVE.items():
            total += worth * marks[: int(name.split("@")[1])].sum() / len(question.right)
    return total / len(asked)


def summarise(scores: dict[str, list[dict[str, float]]]) -> dict[str, object]:
    random = np.random.default_rng(SEED)
    count = len(scores["left-out"])
    draws = random.integers(0, count, (BOOTSTRAPS, count))
    table: dict[str, object] = {}
    for name, rows in scores.items():
        table[name] = {m: _interval(np.array([row[m] for row in rows]), draws) for m in SHOWN}
    learnt = scores["left-out"]
    differences = {}
    for name in scores:
        if name not in ("left-out", "shipped"):
            pairs = list(zip(learnt, scores[name], strict=True))
            differences[f"left-out minus {name}"] = {
                m: _interval(np.array([a[m] - b[m] for a, b in pairs]), draws) for m in SHOWN
            }
    return {"scores": table, "paired_differences": differences}


def _interval(values: np.ndarray, draws: np.ndarray) -> dict[str, float]:
    means = 100 * values[draws].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return {
        "mean": round(100 * float(values.mean()), 2),
        "low": round(float(low), 2),
        "high": round(float(high), 2),
    }


def shown_weights(weights: np.ndarray) -> str:
    return ", ".join(f"{n} {w:.2f}" for n, w in zip(FEATURES, weights, strict=True))


def show(report: dict[str, object]) -> None:
    for title in ("scores", "paired_differences"):
        print(f"\n{title.replace('_', ' ')} (percent, 95 % interval)")
        print(f"{'':40}" + "".join(f"{name:>20}" for name in SHOWN))
        for name, row in report[title].items():
            cells = "".join(
                f"{v['mean']:>7.1f} [{v['low']:>4.1f},{v['high']:>5.1f}]" for v in row.values()
            )
            print(f"{name:40}{cells}")
    print(f"\nmean of the folds: {json.dumps(report['weights_mean_of_folds'])}")


if __name__ == "__main__":
    main()
