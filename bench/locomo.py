"""Recall as it runs, with the shipped weights, on a LoCoMo file; figures only, no text of the data.

.venv/bin/python bench/locomo.py LOCOMO_DEV_JSON [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from machine import ROOT, commit, machine

import palimp
from palimp.evaluation import evaluate, load_samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results" / "locomo.json")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="palimp-locomo-") as folder,
        palimp.open(Path(folder) / "memory") as mem,
    ):
        report = evaluate(mem, load_samples(arguments.file)).to_dict()
    del report["questions"]
    today = datetime.now(UTC).date().isoformat()
    about = {"name": "locomo", "date": today, "commit": commit(), "machine": machine()}
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps({**about, **report}, indent=1) + "\n", "utf-8")
    print(json.dumps(report["overall"], indent=1))


if __name__ == "__main__":
    main()
