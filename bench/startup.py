"""How long until something happens: import, first write, first answer, help; and the memory."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from harness import Row, in_turn, run
from machine import filesystem, folder

HEAVY = ("numpy", "httpx", "starlette", "sqlalchemy", "cryptography")
_IMPORTED = "import sys, palimp; print(*(n for n in sys.argv[1:] if n in sys.modules))"
# The first minute of a user, each step timed in one fresh process.
_QUICKSTART = """
import json, sys, time
clock = time.perf_counter
times = {"begin": clock()}
import palimp
times["import"] = clock()
with palimp.open(sys.argv[1]) as mem:
    alice = mem.profile("alice")
    alice.remember("Prefers aisle seats", topic="user.seat")
    times["remember"] = clock()
    alice.ingest([{"type": "event", "text": "Booked LH 400"}])
    times["ingest"] = clock()
    assert len(alice.recall("what seat does the user like?", k=3))
    times["recall"] = clock()
    alice.recall("which flight was booked?", k=3)
    times["recall again"] = clock()
    try:
        status = open("/proc/self/status").read().split("VmRSS:")[1].split()[0]
        resident = int(status) * 1024
    except OSError:
        import resource
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        resident = peak * (1 if sys.platform == "darwin" else 1024)
names = list(times)
steps = {b: (times[b] - times[a]) * 1000 for a, b in zip(names, names[1:])}
print(json.dumps({"steps": steps, "resident": resident}))
"""


def measure(*, quick: bool) -> list[Row]:
    """Measure each in fresh processes, which find the byte code an installation would have."""
    repeats = 5 if quick else 21
    with folder() as base:
        byte_code = base / "byte-code"
        runs = _quickstarts(repeats, base, byte_code)
        place = filesystem(base)
        imports = _import(repeats, byte_code)
        shown = _help(repeats, byte_code)
    first = _median(runs, "remember")
    resident = statistics.median(one["resident"] for one in runs) / 1_000_000
    return [
        *imports,
        Row(
            f"new folder, first remember acknowledged ({place})",
            first,
            "ms",
            budget=50,
            note=f"with the import {first + _median(runs, 'import'):.0f} ms",
            detail={"all_ms": _all(runs, "remember")},
        ),
        Row(
            "first recall, model loaded",
            _median(runs, "recall"),
            "ms",
            budget=400,
            note=f"the second one {_median(runs, 'recall again'):.1f} ms",
            detail={"all_ms": _all(runs, "recall")},
        ),
        shown,
        Row("resident after the quickstart", resident, "MB", budget=90),
    ]


def _import(repeats: int, byte_code: Path) -> list[Row]:
    def python(code: str, *arguments: str) -> str:
        return run((sys.executable, "-c", code, *arguments), byte_code)

    bare, ours = in_turn(
        [lambda _: python("pass"), lambda _: python("import palimp")], repeats, warmup=2
    )
    heavy = python(_IMPORTED, *HEAVY).split()
    added = (ours.median - bare.median) / 1_000
    return [
        Row(
            "import palimp, over bare Python",
            added,
            "ms",
            budget=60,
            note=f"bare Python {bare.median / 1_000:.0f} ms",
            detail={"bare": bare.as_json(), "with_import": ours.as_json()},
        ),
        Row(
            f"heavy modules after the import, of {len(HEAVY)}",
            len(heavy),
            "",
            budget=0,
            note=" ".join(heavy) or ", ".join(HEAVY),
        ),
    ]


def _quickstarts(repeats: int, base: Path, byte_code: Path) -> list[dict[str, Any]]:
    runs = []
    for number in range(-2, repeats):
        command = (sys.executable, "-c", _QUICKSTART, str(base / f"memory{number}"))
        runs.append(json.loads(run(command, byte_code)))
    return runs[2:]


def _help(repeats: int, byte_code: Path) -> Row:
    what = "palimp --help, whole process"
    command = (str(Path(sys.executable).with_name("palimp")), "--help")
    try:
        printed = run(command, byte_code)
    except (OSError, RuntimeError):
        printed = ""
    if not printed:
        return Row(what, None, "ms", budget=250, note="the command does not work yet")
    times = in_turn([lambda _: run(command, byte_code)], repeats, warmup=1)[0]
    return Row(what, times.median / 1_000, "ms", budget=250, detail=times.as_json())


def _median(runs: list[dict[str, Any]], step: str) -> float:
    return statistics.median(one["steps"][step] for one in runs)


def _all(runs: list[dict[str, Any]], step: str) -> dict[str, float]:
    values = sorted(one["steps"][step] for one in runs)
    return {"least": values[0], "median": statistics.median(values), "most": values[-1]}
