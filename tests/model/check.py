#!/usr/bin/env python3
"""Check the branch protocol's Promela models with spin, and that every mutation of them is noticed.

python tests/model/check.py                 everything: the models within their bounds, all mutations
python tests/model/check.py --quick         smaller bounds, all mutations (what pytest runs)
python tests/model/check.py --only low_limit --trace
                                            one of them, and its counterexample step by step

Needs `spin` and `gcc`; builds in a temporary folder. What is modelled: docs/internals/model.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
MEMORY_MB = 2048
SECONDS_MAX = 300
DEPTH_MAX = 10_000


class Run(NamedTuple):
    """A model with bounds and mutations; `breaks` is the invariant that must fail (None: none)."""

    name: str
    model: str
    defines: tuple[str, ...] = ()
    breaks: str | None = None
    only: str = ""


class Result(NamedTuple):
    """What became of it; `ok` where that is what was expected."""

    run: Run
    verdict: str
    ok: bool
    states: int
    depth: int
    seconds: float
    megabytes: float
    trace: str


MODELS = (
    Run("own", "own.pml"),
    Run("own, four takes", "own.pml", ("WRITES=1", "TAKES=4"), only="full"),
    Run("own, three nodes", "own.pml", ("NODES=3", "WRITES=2"), only="full"),
    Run("collect", "collect.pml"),
    Run("collect, more objects", "collect.pml", ("TAKES=2", "OBJECTS=4"), only="full"),
    Run("collect with a fork", "collect.pml", ("FORKS", "TAKES=2")),
    Run(
        "collect with a fork, more objects",
        "collect.pml",
        ("FORKS", "TAKES=2", "OBJECTS=4"),
        only="full",
    ),
    Run("fork", "fork.pml"),
    Run("name", "name.pml"),
)
QUICK = {"own": ("WRITES=2",), "fork": ("ACTS=3",), "collect": ("TAKES=2",)}

ONE_OWNER = "one owner links under an epoch"
OUR_EPOCH = "nobody else changes the manifest under our epoch"
MISSING = "no named object is missing"
FORK_MISSING = "a living fork names only what exists"
FOUND = "a fork that was answered is found under its name"


def _mutation(model: str, switch: str, breaks: str, *more: str) -> Run:
    return Run(f"{model}: {switch.lower()}", f"{model}.pml", (switch, *more), breaks)


MUTATIONS = (
    _mutation("own", "SAME_EPOCH", ONE_OWNER),
    _mutation("own", "UNCONDITIONAL_PUT", ONE_OWNER),
    _mutation("own", "FENCED_GOES_ON", "epochs never run backwards"),
    _mutation("own", "FENCE_BY_THE_NEW_EPOCH", OUR_EPOCH),
    _mutation("own", "GIVE_UP_ON_LOST_ANSWER", OUR_EPOCH),
    _mutation("own", "ACK_EARLY", "no durable write is lost"),
    _mutation("own", "NO_RECOVERED_BRANCH", "no acknowledged write is silently gone"),
    _mutation("own", "TRUST_ANY_FOLDER", "what is linked is what the database holds"),
    _mutation("own", "REUSE_TXIDS", "txids never repeat"),
    _mutation("own", "LOW_LIMIT", "txids never repeat"),
    _mutation("collect", "COLLECT_NEWER_EPOCHS", MISSING),
    _mutation("collect", "LINK_BEFORE_STORED", MISSING),
    _mutation("collect", "COLLECT_AFTER_A_LOST_ANSWER", MISSING),
    _mutation("collect", "OWN_MANIFEST_ONLY", FORK_MISSING, "FORKS"),
    _mutation("collect", "FORMING_DOES_NOT_COUNT", FORK_MISSING, "FORKS"),
    _mutation("collect", "NO_SECOND_LOOK", FORK_MISSING, "FORKS"),
    _mutation("fork", "NO_SECOND_LOOK", FORK_MISSING),
    _mutation("fork", "LOOK_BEFORE_FORMING", FORK_MISSING),
    _mutation("fork", "COPY_AGAIN_AND_LIVE", FORK_MISSING),
    _mutation("fork", "FORMING_DOES_NOT_COUNT", FORK_MISSING),
    _mutation("fork", "OWN_MANIFEST_ONLY", FORK_MISSING),
    _mutation("fork", "ONE_LIST", FORK_MISSING),
    _mutation("fork", "TAKE_BACK", "a dropped reference never comes back"),
    _mutation("name", "NO_TOMBSTONE_FOR_THE_UNWRITTEN", FOUND),
    _mutation("name", "CONFLICT_ALTHOUGH_IT_LIVES", "a fork that was refused does not live"),
)


class Broken(Exception):
    """spin or gcc did not do its part; nothing is known about the protocol."""


def check(run: Run) -> Result:
    """Build and run one of them. A model has to reach all its statements, else it proves little."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="palimp-model-") as folder:
        shutil.copy(HERE / run.model, folder)
        switches = [f"-D{define}" for define in run.defines]
        _command(["spin", "-a", *switches, run.model], folder)
        # Breadth first finds the shortest counterexample; depth first needs less memory.
        search = ["-DBFS"] if run.breaks else ["-DCOLLAPSE"]
        # For most mutations gcc takes longer than the search.
        level = "-O2" if run.breaks is None else "-O1" if "FORKS" in run.defines else "-O0"
        flags = [level, "-w", "-DSAFETY", f"-DMEMLIM={MEMORY_MB}", *search]
        _command(["gcc", *flags, "-o", "pan", "pan.c"], folder)
        out = _command(["./pan", "-E", f"-m{DEPTH_MAX}"], folder)
        broken, trace = None, ""
        if list(Path(folder).glob("*.trail")):
            trace = _command(["spin", "-t", "-p", "-g", "-l", *switches, run.model], folder)
            broken = _invariant(trace, Path(folder) / run.model)
    verdict, ok = _judge(run, out, broken)
    return Result(
        run,
        verdict,
        ok,
        int(float(_number(r"([\d.e+]+) states, stored", out))),
        int(_number(r"depth reached (\d+)", out)),
        time.monotonic() - began,
        float(_number(r"([\d.]+)\s+total actual memory usage", out)),
        trace,
    )


def _judge(run: Run, out: str, broken: str | None) -> tuple[str, bool]:
    if broken is None and "errors: 0" not in out:
        return "the search did not end: " + " ".join(out.split())[:200], False
    # Out of memory or too deep: pan says so and still counts no errors.
    cut = "Search not completed" in out or "search depth too small" in out
    if broken is None and cut:
        return "the search was cut short: too little memory, or too deep", False
    if run.breaks is not None:
        if broken is None:
            return "NOT NOTICED", False
        return f"noticed: {broken}", broken == run.breaks
    if broken is not None:
        return f"BROKEN: {broken}", False
    unreached = sorted({int(line) for line in re.findall(r"\.pml:(\d+), state", out)})
    idle = [line for line in unreached if not _is_end(run.model, line)]
    if idle:
        return f"holds, but never reaches lines {idle}", False
    return "holds", True


def _is_end(model: str, line: int) -> bool:
    return (HERE / model).read_text().splitlines()[line - 1].startswith("}")


def _invariant(trace: str, model: Path) -> str:
    """Return the name of the assertion that failed: the comment that stands beside it."""
    found = re.findall(r"\.pml:(\d+), Error: assertion violated", trace)
    if not found:
        raise Broken(f"the counterexample cannot be replayed:\n{trace[-2000:]}")
    line = model.read_text().splitlines()[int(found[-1]) - 1]
    name = re.search(r"/\* inv: (.*?) \*/", line)
    return name[1] if name else line.strip()


def _number(pattern: str, out: str) -> str:
    found = re.search(pattern, out)
    return found[1] if found else "0"


def _command(command: list[str], folder: str) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            timeout=SECONDS_MAX,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except subprocess.TimeoutExpired:
        raise Broken(f"{' '.join(command)} did not end within {SECONDS_MAX} s") from None
    if done.returncode and command[0] != "./pan":
        raise Broken(f"{' '.join(command)}:\n{done.stdout[-3000:]}")
    return done.stdout


def missing() -> str:
    """Return how to install what is missing, or nothing."""
    lacking = [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]
    if not lacking:
        return ""
    return f"{' and '.join(lacking)} not found; on Debian or Ubuntu: apt-get install {' '.join(lacking)}"


def runs(*, quick: bool) -> list[Run]:
    """Return what there is to check."""
    models = [run for run in MODELS if not (quick and run.only == "full")]
    if quick:
        models = [run._replace(defines=run.defines + QUICK.get(run.name, ())) for run in models]
    return [*models, *MUTATIONS]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="smaller bounds")
    parser.add_argument("--only", default="", help="those whose name contains this")
    parser.add_argument("--trace", action="store_true", help="print counterexamples")
    args = parser.parse_args()
    if missing():
        print(missing(), file=sys.stderr)
        return 2
    wanted = [run for run in runs(quick=args.quick) if args.only in run.name]
    if not wanted:
        print(f"nothing is called {args.only!r}", file=sys.stderr)
        return 2
    surprises = 0
    print(f"{'model or mutation':40} {'states':>10} {'depth':>6} {'s':>6} {'MB':>6}")
    # Two at a time at most: each may take 2 GB.
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        for result in pool.map(check, wanted):
            print(
                f"{result.run.name:40} {result.states:10,} {result.depth:6} {result.seconds:6.1f} "
                f"{result.megabytes:6.0f}  {'' if result.ok else 'SURPRISE: '}{result.verdict}",
                flush=True,
            )
            if args.trace:
                print(result.trace)
            surprises += not result.ok
    print(f"{len(wanted)} checked, {surprises} surprises")
    return 1 if surprises else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Broken as error:
        print(error, file=sys.stderr)
        sys.exit(1)
