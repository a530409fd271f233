"""Recall on a LoCoMo file with each embedder, side by side; figures only, no text of the data.

    .venv/bin/python bench/locomo.py LOCOMO_DEV_JSON [--out FILE] [--only NAME]

For each embedder, through the product and its settings: recall as it runs (`evaluate`, shipped
weights), then all candidates of every question (`tune_recall.collect`) with the shipped weights
and with weights fitted leave-one-conversation-out, which says whether this embedder wants others.
Turn level, categories 1 to 4, 95 % bootstrap intervals over questions, differences in pairs.

MiniLM is measured where `bench/minilm.py` has put it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import minilm
import numpy as np
import tune_recall
from machine import ROOT, commit, machine

import palimp
from palimp.evaluation import Sample, evaluate, load_samples

BUNDLED = "bundled"
_PREFIX = "PALIMP_"


class Folds(NamedTuple):
    """Scores by question, in one order for all embedders, and the weights of the folds."""

    scores: dict[str, list[dict[str, float]]]
    weights: dict[str, float]


def main() -> None:
    chosen = embedders()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results" / "locomo.json")
    parser.add_argument("--only", choices=chosen)
    arguments = parser.parse_args()
    samples = load_samples(arguments.file)
    reports: dict[str, Any] = {}
    folds: dict[str, Folds] = {}
    for what, settings in chosen.items():
        if arguments.only in (None, what):
            print(f"{what} ...", flush=True)
            with environment(settings):
                reports[what] = as_it_runs(samples)
                folds[what] = by_folds(samples)
    table, differences = compared(folds)
    for what, report in reports.items():
        report["all_candidates"] = table[what]
        report["weights_mean_of_folds"] = folds[what].weights
    today = datetime.now(UTC).date().isoformat()
    about = {"name": "locomo", "date": today, "commit": commit(), "machine": machine()}
    document = {**about, "embedders": reports, "paired_differences": differences}
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    show(reports, differences)


def embedders() -> dict[str, dict[str, str]]:
    """Return the settings of each embedder there is."""
    found = {BUNDLED: {"EMBED_PROVIDER": "bundled"}}
    for kind, name in minilm.FOLDERS.items():
        path = minilm.DEFAULT / name
        if (path / "onnx" / "model.onnx").exists():
            found[f"MiniLM {kind}"] = {"EMBED_PROVIDER": "onnx", "EMBED_MODEL": str(path)}
    return found


@contextmanager
def environment(settings: dict[str, str]) -> Iterator[None]:
    """Have these settings of the product, and no others."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(_PREFIX)}
    for name in kept:
        del os.environ[name]
    os.environ.update({f"{_PREFIX}{name}": value for name, value in settings.items()})
    try:
        yield
    finally:
        for name in settings:
            del os.environ[f"{_PREFIX}{name}"]
        os.environ.update(kept)


def as_it_runs(samples: list[Sample]) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="palimp-locomo-") as folder,
        palimp.open(Path(folder) / "memory") as mem,
    ):
        report = evaluate(mem, samples).to_dict()
    del report["questions"]
    return report


def by_folds(samples: list[Sample]) -> Folds:
    asked = tune_recall.collect(samples)
    fitted = {
        name: tune_recall.fit([question for question in asked if question.sample != name])
        for name in sorted({question.sample for question in asked})
    }
    shipped = tune_recall.start_weights()
    scores = {
        "shipped": [tune_recall.score(question, shipped) for question in asked],
        "left-out": [tune_recall.score(question, fitted[question.sample]) for question in asked],
    }
    mean = np.mean(list(fitted.values()), axis=0).round(3).tolist()
    return Folds(scores, dict(zip(tune_recall.FEATURES, mean, strict=True)))


def compared(folds: dict[str, Folds]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return each embedder's figures, and what another embedder or other weights change."""
    count = len(next(iter(folds.values())).scores["shipped"])
    random = np.random.default_rng(tune_recall.SEED)
    draws = random.integers(0, count, (tune_recall.BOOTSTRAPS, count))

    def figures(rows: list[dict[str, float]], less: list[dict[str, float]] | None = None) -> Any:
        return {
            metric: tune_recall._interval(
                np.array([row[metric] for row in rows])
                - (0.0 if less is None else np.array([row[metric] for row in less])),
                draws,
            )
            for metric in tune_recall.SHOWN
        }

    table = {
        what: {name: figures(rows) for name, rows in fold.scores.items()}
        for what, fold in folds.items()
    }
    differences = {
        f"{what}: left-out minus shipped weights": figures(
            fold.scores["left-out"], fold.scores["shipped"]
        )
        for what, fold in folds.items()
    }
    for what, fold in folds.items():
        if what != BUNDLED and BUNDLED in folds:
            for name, rows in fold.scores.items():
                differences[f"{what} minus {BUNDLED}, {name} weights"] = figures(
                    rows, folds[BUNDLED].scores[name]
                )
    return table, differences


def show(reports: dict[str, Any], differences: dict[str, Any]) -> None:
    for what, report in reports.items():
        shown = {name: round(report["overall"][name], 2) for name in tune_recall.SHOWN}
        print(f"\n{what}, as it runs: {json.dumps(shown)}")
        print(f"{what}, speed: {json.dumps(report['speed'])}")
        for name, row in report["all_candidates"].items():
            print(f"{what}, {name}: {cells(row)}")
        print(f"{what}, weights, mean of the folds: {json.dumps(report['weights_mean_of_folds'])}")
    print()
    for what, row in differences.items():
        print(f"{what}: {cells(row)}")


def cells(row: dict[str, dict[str, float]]) -> str:
    return ", ".join(
        f"{metric} {row[metric]['mean']:.2f} [{row[metric]['low']:.1f}, {row[metric]['high']:.1f}]"
        for metric in ("recall@1", "recall@10")
    )


if __name__ == "__main__":
    main()
