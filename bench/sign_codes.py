"""How many of the nearest by cosine are among the nearest by sign code, on real texts.

    .venv/bin/python bench/sign_codes.py LOCOMO_DEV_JSON [--out FILE]

Rows: every turn, every turn with its speaker, and pieces of twelve words, embedded by the bundled
model. Queries: the questions. Compared: the signs of the bare vector, and the rotated codes that
the product stores.
"""

from __future__ import annotations

import argparse
import json
import os
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from machine import ROOT, commit, machine

from palimp.evaluation import Sample, load_samples
from palimp.models.bundled import BundledEmbedder
from palimp.profile.vectors import sign_codes

NEAREST = 10
FIRST = (64, 128, 256)
PIECE_WORDS, PIECE_STEP = 12, 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results" / "sign_codes.json")
    arguments = parser.parse_args()
    samples = load_samples(arguments.file)
    embedder = BundledEmbedder()
    rows = embedder.embed(texts(samples))
    queries = embedder.embed([q.text for sample in samples for q in sample.questions])
    report = {
        "bare signs, 256 bits": shares(rows, queries, bare),
        "rotated signs, 1,024 bits": shares(rows, queries, rotated),
    }
    today = datetime.now(UTC).date().isoformat()
    about = {"name": "sign_codes", "date": today, "commit": commit(), "machine": machine()}
    counts = {"rows": len(rows), "queries": len(queries), "nearest": NEAREST}
    arguments.out.parent.mkdir(exist_ok=True)
    document = {**about, **counts, "found_percent_among_first": report}
    arguments.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    print(json.dumps({**counts, **report}, indent=1))


def texts(samples: list[Sample]) -> list[str]:
    found = []
    for sample in samples:
        for event in sample.events:
            found += [event["text"], f"{event['speaker']}: {event['text']}"]
            words = event["text"].split()
            found += [
                " ".join(words[start : start + PIECE_WORDS])
                for start in range(0, len(words) - PIECE_STEP, PIECE_STEP)
            ]
    return found


def bare(rows: np.ndarray) -> np.ndarray:
    return np.packbits(rows > 0, axis=1).view(np.uint64)


def rotated(rows: np.ndarray) -> np.ndarray:
    codes = [sign_codes(rows[at : at + 256]) for at in range(0, len(rows), 256)]
    return np.frombuffer(b"".join(b"".join(part) for part in codes), np.uint64).reshape(
        len(rows), -1
    )


def shares(rows: np.ndarray, queries: np.ndarray, encode) -> dict[str, float]:
    codes, asked = encode(rows), encode(queries)
    found: dict[int, list[float]] = {first: [] for first in FIRST}
    for query, code in zip(queries, asked, strict=True):
        nearest = set(np.argpartition(-(rows @ query), NEAREST)[:NEAREST].tolist())
        distance = np.bitwise_count(codes ^ code).sum(axis=1)
        order = np.argsort(distance, kind="stable")[: max(FIRST)].tolist()
        for first in FIRST:
            found[first].append(len(nearest & set(order[:first])) / NEAREST)
    return {str(first): round(100 * float(np.mean(v)), 1) for first, v in found.items()}


if __name__ == "__main__":
    main()
