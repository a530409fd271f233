"""What each embedder costs: time for one text and for many, loading, memory.

    .venv/bin/python bench/run.py --only embedders      # writes bench/results/embedders.json

Every embedder runs in processes of its own, three times, with no cache; the best time counts,
because a neighbour can only make it slower. Texts are the memories of `cues.py`: short ones of 9
words, and long ones, five of them together. The endpoint is the bundled model behind a server of
Python's standard library on loopback, in another process: what asking costs, not what a model does.

MiniLM is measured where `bench/minilm.py` has put it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

if __name__ == "__main__":  # the measured process; as `run.py` does for the others
    os.environ["OPENBLAS_NUM_THREADS"] = "1"

import cues
import minilm
from harness import Row, environment, quiet
from machine import ROOT

AT_ONCE = 64
_TOGETHER = 5
_SINGLE = 100
_MANY = 8 * AT_ONCE
_RUNS = 3
_WHAT = {
    "load_ms": ("loading, to the first vector", "ms"),
    "memory_mb": ("resident memory more", "MB"),
    "short_1_us": ("a short text alone", "us"),
    "short_64_us": (f"a short text of {AT_ONCE}", "us"),
    "long_1_us": ("a long text alone", "us"),
    "long_64_us": (f"a long text of {AT_ONCE}", "us"),
    "short_a_second": (f"short texts, {AT_ONCE} at once", "a second"),
    "long_a_second": (f"long texts, {AT_ONCE} at once", "a second"),
}


def measure(*, quick: bool) -> list[Row]:
    """Measure every embedder there is."""
    sys.path.insert(0, str(ROOT / "tests"))
    from model_server import ModelServer

    rows = []
    with ModelServer() as server:
        chosen = {"bundled": ("bundled", ""), "endpoint": ("openai", server.url)}
        for kind, name in minilm.FOLDERS.items():
            path = minilm.DEFAULT / name
            if not (path / "onnx" / "model.onnx").exists():
                missing = "no model: run bench/minilm.py"
                rows.append(Row(f"MiniLM {kind}", None, "", note=missing))
            elif not quick:
                chosen[f"MiniLM {kind}"] = ("onnx", str(path))
        for what, (provider, place) in chosen.items():
            runs = [_process(provider, place) for _ in range(1 if quick else _RUNS)]
            rows += _rows(what, runs)
    return rows


def _process(provider: str, place: str) -> dict[str, float]:
    command = [sys.executable, __file__, provider, place]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment())
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _rows(what: str, runs: list[dict[str, float]]) -> list[Row]:
    rows = []
    for name, (told, unit) in _WHAT.items():
        values = [run[name] for run in runs]
        best = max(values) if unit == "a second" else min(values)
        rows.append(Row(f"{what}: {told}", best, unit, detail={"runs": dict(enumerate(values))}))
    return rows


def _child(provider: str, place: str) -> None:
    """Measure one embedder in this process and print what was found."""
    short, long = _texts()
    import numpy as np  # noqa: F401 - what every embedder needs is no cost of one

    before = _resident_mb()
    begun = time.perf_counter()
    embedder = _embedder(provider, place)
    embedder.embed(["The first text of all."])
    found = {"load_ms": 1000 * (time.perf_counter() - begun)}
    for name, texts in (("short", short), ("long", long)):
        with quiet():
            alone = [_us(embedder, [text]) for text in texts[:_SINGLE]]
            together = [
                _us(embedder, texts[at : at + AT_ONCE]) / AT_ONCE for at in range(0, _MANY, AT_ONCE)
            ]
        found[f"{name}_1_us"] = median(alone)
        found[f"{name}_64_us"] = median(together)
        found[f"{name}_a_second"] = 1e6 * len(together) / sum(together)
    found["memory_mb"] = _resident_mb() - before
    print(json.dumps(found))


def _texts() -> tuple[list[str], list[str]]:
    notes = cues.distractors()
    pairs = [pair.memory for pair in cues.load_pairs()]
    # The handwritten ones among the others: their words are more varied.
    every = [text for both in zip(notes, pairs * 9, strict=False) for text in both]
    long = [
        " ".join(every[(at * _TOGETHER + part) % len(every)] for part in range(_TOGETHER))
        for at in range(_MANY)
    ]
    return every[:_MANY], long


def _embedder(provider: str, place: str) -> Any:
    if provider == "bundled":
        from palimp.models.bundled import BundledEmbedder

        return BundledEmbedder()
    if provider == "onnx":
        from palimp.models.onnx import OnnxEmbedder

        return OnnxEmbedder(place)
    from palimp.clock import Clock
    from palimp.models.choose import choose
    from palimp.models.exchange import Endpoint
    from palimp.observe import Metrics

    return choose("openai", "loopback", Clock(), Metrics(), endpoints=[Endpoint(place, None)])


def _us(embedder: Any, texts: list[str]) -> float:
    begun = time.perf_counter()
    embedder.embed(texts)
    return 1e6 * (time.perf_counter() - begun)


def _resident_mb() -> float:
    status = Path("/proc/self/statm")
    if not status.exists():
        return float("nan")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("provider")
    parser.add_argument("place")
    options = parser.parse_args()
    _child(options.provider, options.place)
