"""Run every benchmark, print one table, and keep the numbers.

    .venv/bin/python bench/run.py [--quick] [--only NAME] [--out FILE]

A full run writes bench/results/{name}.json, a quick one (some minutes, without 100,000 memories
and without the installation) only what `--out` names. Exits with 1 where a budget is missed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import Row
from machine import ROOT, commit, machine

# One thread, before numpy is imported: with more, a small scan takes twenty times as long.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
for name in [name for name in os.environ if name.startswith("PALIMP_")]:
    del os.environ[name]

_NAMES = (
    *("install", "startup", "ingest", "recall", "engine", "visitors", "web", "agents", "flood"),
    *("reembed", "lifecycle", "erasure", "merging", "governance", "memorysync_client"),
    *("imports", "events", "arc", "journal"),
    *("cues", "embedders", "supersession"),
    "encryption",
    *("store_requests", "placement", "cluster", "failover"),
)
_RESULTS = ROOT / "bench" / "results"
_COLUMNS = ("what", "measured", "floor", "ratio", "budget", "", "note")


def main() -> int:
    """Run, print, write; 1 where a budget was missed."""
    parser = argparse.ArgumentParser(description="Measure every budget that exists.")
    parser.add_argument("--quick", action="store_true", help="small sizes; writes no results")
    parser.add_argument("--only", choices=_NAMES, help="run one module")
    parser.add_argument("--out", help="write everything to this file as well")
    options = parser.parse_args()
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "quick": options.quick,
        "machine": machine(),
    }
    _say(about)
    found: dict[str, list[Row]] = {}
    for name in _NAMES:
        if options.only in (None, name):
            begun = time.perf_counter()
            found[name] = importlib.import_module(name).measure(quick=options.quick)
            _table(name, found[name], time.perf_counter() - begun)
    _write(about, found, options.quick, options.out)
    rows = [row for rows in found.values() for row in rows]
    missed = [row.what for row in rows if row.verdict == "MISSED"]
    held = sum(row.verdict == "ok" for row in rows)
    open_ = [row.what for row in rows if row.verdict == "not measured"]
    print(f"\n{held} budgets hold, {len(missed)} missed{': ' if missed else ''}{'; '.join(missed)}")
    if open_:
        print(f"not measured: {'; '.join(open_)}")
    return 1 if missed else 0


def _say(about: dict[str, Any]) -> None:
    on = about["machine"]
    places, fsync = on["filesystem"], on["fsync_us"]
    print(f"{about['date']}, commit {about['commit']}")
    print(f"{on['cpu']}, {on['cores']} cores, {on['kernel']}, Python {on['python']}", end=", ")
    print(f"SQLite {on['sqlite']}, numpy {on['numpy']}, BLAS threads {on['blas_threads']}")
    print(f"folders on {places['fast']} (fsync {fsync['fast']:,.0f} us)", end=", ")
    print(f"where said on {places['disk']} (fsync {fsync['disk']:,.0f} us)", end="; ")
    print(f"load average {on['load_average'][0]}")
    if on["load_average"][0] > 0.5:
        print("the machine is not idle: trust ratios, not absolute numbers")


def _table(name: str, rows: list[Row], seconds: float) -> None:
    if not rows:
        return
    print(f"\n{name} ({seconds:.0f} s)")
    lines = [_COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(_COLUMNS) - 1)]
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [line[place].rjust(widths[place]) for place in range(1, len(widths))]
        print("  ".join((*cells, line[-1])).rstrip())


def _cells(row: Row) -> tuple[str, ...]:
    unit = f" {row.unit}" if row.unit else ""

    def number(value: float | None) -> str:
        if value is None:
            return "-"
        return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"

    budget = ""
    if row.budget is not None:
        budget = f"{row.budget:g}x" if row.limit == "ratio" else f"{row.budget:g}{unit}"
    return (
        row.what,
        number(row.measured) + unit if row.measured is not None else "-",
        number(row.floor) + unit if row.floor is not None else "",
        f"{row.ratio:.2f}x" if row.ratio is not None else "",
        budget,
        row.verdict,
        row.note,
    )


def _write(
    about: dict[str, Any], found: dict[str, list[Row]], quick: bool, out: str | None
) -> None:
    documents = {
        name: {"name": name, **about, "rows": [row.as_json() for row in rows]}
        for name, rows in found.items()
    }
    if not quick:
        _RESULTS.mkdir(exist_ok=True)
        for name, document in documents.items():
            text = json.dumps(document, indent=2, ensure_ascii=False)
            (_RESULTS / f"{name}.json").write_text(text + "\n", "utf-8")
    if out is not None:
        text = json.dumps(documents, indent=2, ensure_ascii=False)
        Path(out).write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
