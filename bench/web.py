"""A node over HTTP: what a request takes at 1, 16 and 64 connections, over one of a bare echo.

Every request shows a token, and the node logs every request, as `palimp serve` does by default.
Needs `wrk` (a package of most systems). Client and server share the machine, so that with few
cores the larger numbers of connections measure both; the floor is measured in the same way.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from corpus import corpus, queries
from harness import Row, environment
from machine import ROOT, filesystem, folder
from serving import NAMESPACE, At, node, served

_MEMORIES = 1_000
_QUERIES = 200
_K = 5
_SECONDS = 1
_REPEATS = 3
_POST_TIMES_MAX = 3
_LUA = ROOT / "bench" / "web.lua"
_FLOOR = (sys.executable, str(ROOT / "bench" / "web_floor.py"))
_FLOOR_WHAT = "a bare ASGI echo of the same body behind the same uvicorn"
_READ = f"/v1/memory/{NAMESPACE}/read"
_POST = "a POST that finds nothing to do"


class _Load(NamedTuple):
    """What is asked: a line of a path, a tab and a body each, in turn."""

    what: str
    method: str
    lines: list[str]
    budget: float | None = None


def measure(*, quick: bool) -> list[Row]:
    """Measure each load at each number of connections, the node and the echo in turn."""
    if shutil.which("wrk") is None:
        return [
            Row(_POST, None, "us", budget=_POST_TIMES_MAX, limit="ratio", note="wrk is missing")
        ]
    connections, repeats = ((1,), 1) if quick else ((1, 16, 64), _REPEATS)
    with (
        folder() as base,
        node(base / "memory", auth=True) as ours,
        served(_FLOOR, base / "floor.log") as floor,
    ):
        place = filesystem(base)
        tags = count()
        rows = []
        for load in _loads(ours):
            lines = base / "lines"
            lines.write_text("".join(f"{line}\n" for line in load.lines), "utf-8")

            def ask(at: At, many: int, load: _Load = load, lines: Path = lines) -> dict[str, Any]:
                return _wrk(at, many, load, lines, f"run {next(tags)}")

            rows += [_row(load, many, ask, (ours, floor), repeats, place) for many in connections]
    return rows


def _loads(at: At) -> list[_Load]:
    """Fill the profile that is read, and say what is asked."""
    stored = corpus(_MEMORIES)
    asked = [query.text for query in queries(stored, _QUERIES)]
    with at.client() as client:
        body = {"memories": [{"text": memory.text} for memory in stored.memories]}
        done = client.post(f"{_READ}/memories", json=body).raise_for_status().json()
        found = client.post(f"{_READ}/recall", json={"query": asked[0], "k": _K})
        assert len(found.raise_for_status().json()["memories"]) == _K
    ids = [one["id"] for one in done["results"]]

    def recall(profile: str) -> list[str]:
        path = f"/v1/memory/{NAMESPACE}/{profile}/recall"
        return [f"{path}\t{json.dumps({'query': text, 'k': _K})}" for text in asked]

    write = f"/v1/memory/{NAMESPACE}/written/memories"
    texts = [json.dumps({"memories": [{"text": f"{text} {{n}}"}]}) for text in asked]
    return [
        _Load(_POST, "POST", recall("none"), _POST_TIMES_MAX),
        _Load("point read", "GET", [f"{_READ}/memories/{one}\t" for one in ids]),
        _Load(f"recall of {_K}, {_MEMORIES:,} memories", "POST", recall("read")),
        _Load("ingest of one memory", "POST", [f"{write}\t{text}" for text in texts]),
    ]


def _row(
    load: _Load,
    many: int,
    ask: Callable[[At, int], dict[str, Any]],
    sides: tuple[At, At],
    repeats: int,
    place: str,
) -> Row:
    found: tuple[list[dict[str, Any]], ...] = ([], [])
    # The first of each only warms up.
    for number in range(repeats + 1):
        for at, results in zip(sides, found, strict=True):
            one = ask(at, many)
            if number:
                results.append(one)
    ours, floor = (_middle(results) for results in found)
    note = (
        f"{1e6 / ours['us']:,.0f} requests/s, p50 {ours['p50_us']:,.0f} us, p99 "
        f"{ours['p99_us']:,.0f} us; the echo {1e6 / floor['us']:,.0f} requests/s, p50 "
        f"{floor['p50_us']:,.0f} us, p99 {floor['p99_us']:,.0f} us ({place})"
    )
    return Row(
        f"{load.what}, {many} connection{'s' if many > 1 else ''}, each request",
        ours["us"],
        "us",
        floor["us"],
        _FLOOR_WHAT,
        load.budget,
        "ratio",
        note,
        {"ours": ours, "floor": floor},
    )


def _middle(runs: list[dict[str, Any]]) -> dict[str, float]:
    return {name: statistics.median(one[name] for one in runs) for name in runs[0]}


def _wrk(at: At, many: int, load: _Load, lines: Path, tag: str) -> dict[str, Any]:
    """Ask for a second from so many connections, and return how that went."""
    command = ["wrk", "-t1", f"-c{many}", f"-d{_SECONDS}s", "-s", str(_LUA), at.url, "--"]
    command += [load.method, str(lines), tag, *filter(None, [at.credential])]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment())
    found = json.loads(done.stdout.partition("RESULT ")[2])
    if found["refused"] or found["lost"] or not found["requests"]:
        raise RuntimeError(f"{load.what} from {many} connections: {found}")
    return {
        "us": found["us"] / found["requests"],
        "p50_us": found["p50_us"],
        "p99_us": found["p99_us"],
    }
