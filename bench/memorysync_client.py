"""MemorySync's published client against our own on the same rows of the same node.

Both speak HTTP to one process. Adds go through the dialect's whole way in (the filter of fillers,
the rules that find what a text is about, handles), ours are `remember` and `ingest`. The module has
not the name of the client's: this folder comes first where modules are looked for.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from corpus import Corpus, corpus, queries
from harness import Row, environment, in_turn
from machine import filesystem, folder
from serving import At, served

import palimp
from palimp.http.dialects.memorysync.names import namespace_of
from palimp.ids import foreign_name

_TENANT, _USER = "org_bench", "eve"
_K = 5
_BULK = 50
_FILL = 1_000
_SECONDS = 600
_FLOOR_WHAT = "our own client over HTTP, same node, same rows"


def measure(*, quick: bool) -> list[Row]:
    """Measure over 1,000 memories, and where it is no quick run over 100,000."""
    if importlib.util.find_spec("memorysync") is None:
        return [Row("MemorySync client", None, "us", note="not measured: memorysync is missing")]
    found = []
    for rows in (1_000,) if quick else (1_000, 100_000):
        with folder() as base:
            found += _over(base, rows, 40 if quick else 300)
    return found


def _over(base: Path, rows: int, count: int) -> list[Row]:
    more = {"PALIMP_CATALOG_URL": f"sqlite:///{base}/catalog.db", "PALIMP_SINGLE_NODE": "1"}
    # The pass that embeds 100,000 texts is asked for in one request.
    more |= {"PALIMP_REQUEST_TIMEOUT": str(_SECONDS)}
    program = (sys.executable, "-m", "palimp")
    data = ("--data", str(base / "memory"))
    create = ("key", "--dialect", "memorysync", "create", "--tenant", _TENANT, "--json")
    made = subprocess.run(
        (*program, *create, *data),
        env={**environment(), **more},
        capture_output=True,
        text=True,
        check=True,
    )
    key = str(json.loads(made.stdout)["key"])
    # Of its own: what is added while it is measured stands nowhere yet.
    added = 2 * (count + max(10, count // 10)) * (_BULK + 1)
    stored = corpus(rows + added)
    with served((*program, "serve", "--port", "0", *data), base / "log", more) as at:
        return _measured(at, key, stored, rows, count, filesystem(base))


def _measured(at: At, key: str, stored: Corpus, rows: int, count: int, place: str) -> list[Row]:
    import memorysync

    texts = [one.text for one in stored.memories]
    asked = [
        one.text for one in queries(Corpus(stored.memories[:rows], stored.vectors[:rows]), 200)
    ]
    fresh = iter(texts[rows:])
    client = memorysync.MemorySyncClient(
        key, f"{at.url}/memorysync", end_user_id=_USER, timeout=_SECONDS
    )
    with client, palimp.connect(at.url, timeout=_SECONDS) as mem:
        # The rules of the namespace are set by the first write of the dialect.
        client.add(f"The bench of {rows:,} memories begins")
        own = mem.profile(foreign_name(_USER), namespace=namespace_of(_TENANT, "production"))
        for start in range(0, rows, _FILL):
            own.ingest({"text": text} for text in texts[start : start + _FILL])
        mem.maintain()

        def bulk(_: int) -> object:
            return client.bulk_add([memorysync.BulkAddItem(next(fresh)) for _ in range(_BULK)])

        pairs: dict[str, tuple[Callable[[int], object], Callable[[int], object]]] = {
            "query": (
                lambda number: client.query(asked[number % len(asked)], k=_K),
                lambda number: own.recall(asked[number % len(asked)], k=_K),
            ),
            "add": (
                lambda _: client.add(next(fresh)),
                lambda _: own.remember(next(fresh)),
            ),
            f"bulk add of {_BULK}": (
                bulk,
                lambda _: own.ingest({"text": next(fresh)} for _ in range(_BULK)),
            ),
        }
        assert client.query(asked[0]).memories
        return [_row(f"{name}, {rows:,} memories ({place})", pair, count)
                for name, pair in pairs.items()]  # fmt: skip


def _row(
    what: str, pair: tuple[Callable[[int], object], Callable[[int], object]], count: int
) -> Row:
    if "bulk" in what:
        count = max(10, count // 5)
    theirs, ours = in_turn(pair, count, warmup=max(4, count // 10))
    return Row(
        f"MemorySync {what}",
        theirs.median,
        "us",
        ours.median,
        _FLOOR_WHAT,
        note=f"p95 {theirs.p95:,.0f} us, ours {ours.p95:,.0f} us",
        detail={"memorysync": theirs.as_json(), "ours": ours.as_json()},
    )
