"""Recall over sealed rows beside recall over plain ones, on a LoCoMo file; figures only.

    .venv/bin/python bench/sealed_recall.py LOCOMO_DEV_JSON [--out FILE]

Both through the product, with a master key, the bundled model and the shipped weights; the one with
`encryption.fields` on, the other without. Sealed rows are searched by keyed hashes of their words,
which must cost no quality: every question has to get the same score.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from machine import ROOT, commit, machine

import palimp
from palimp.evaluation import Sample, evaluate, load_samples

_KEY = base64.b64encode(bytes(range(32))).decode()


def main() -> None:
    """Measure both and say what sealing changes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "bench" / "results" / "sealed_recall.json"
    )
    arguments = parser.parse_args()
    samples = load_samples(arguments.file)
    reports = {what: measured(samples, sealed=what == "sealed") for what in ("plain", "sealed")}
    questions = [report.pop("questions") for report in reports.values()]
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "questions": len(questions[0]),
        "questions_that_differ": sum(one != other for one, other in zip(*questions, strict=True)),
        "reports": reports,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def measured(samples: list[Sample], *, sealed: bool) -> dict[str, Any]:
    """Return what `evaluate` finds, and how long all of it took."""
    with (
        tempfile.TemporaryDirectory(prefix="palimp-sealed-") as folder,
        palimp.open(Path(folder) / "memory", master_key=_KEY) as mem,
    ):
        mem.set_policy("locomo", {"encryption": {"fields": sealed}})
        began = perf_counter()
        report = evaluate(mem, samples).to_dict()
        report["seconds"] = round(perf_counter() - began, 1)
        if legible(Path(folder), samples) == sealed:
            raise SystemExit(f"rows were to be sealed: {sealed}, and they are not so")
    return report


def legible(folder: Path, samples: list[Sample]) -> bool:
    """Whether a text of the data stands in a file below `folder`."""
    texts = [event["text"].encode() for sample in samples for event in sample.events[:50]]
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return any(text in data for data in files for text in texts if len(text) > 30)


if __name__ == "__main__":
    main()
