"""A process that appends events for Arc until it is killed, or drains what is left and ends.

python tests/crash/spooling.py FOLDER URL LIFE append|drain

A line `ORG TEXT AT_US` on stdout is an event that was acknowledged. A thread an organisation: what
one says is in the order of its appends.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
from pathlib import Path

from palimp.api.events import AppendEvents, EventInput
from palimp.arc import ArcBinding, ArcOptions, ArcPool
from palimp.clock import Clock
from palimp.errors import Unavailable
from palimp.observe import Metrics

ORGS = ("o", "p")
POISON = "poison"
SETTLE_SECONDS = 1.0
OPTIONS = ArcOptions(
    connect_timeout=1.0,
    query_timeout=1.5,
    batch_size=20,
    flush_interval_ms=20,
    settle_seconds=SETTLE_SECONDS,
)
# A drain that brings nothing there for so long is stuck.
STUCK_SECONDS = 30.0


def append(pool: ArcPool, org: str, life: str) -> None:
    rng = random.Random(f"{life}/{org}")
    clock = Clock()
    number = 0
    while True:
        some = []
        for _ in range(rng.choice((1, 1, 2, 7, 30))):
            word = POISON if rng.random() < 0.01 else "event"
            text = f"{word}-{org}-{life}-{number}"
            some.append(EventInput(agent="a", text=text, dedup_key=text))
            number += 1
        window = 3_600.0 if rng.random() < 0.5 else None
        store = pool.of(org)
        assert store is not None
        try:
            done = store.append(AppendEvents(events=tuple(some), dedup_window=window))
        except Unavailable as error:
            print("unavailable", error.code, file=sys.stderr)
            clock.sleep(0.02)
            continue
        lines = [
            f"{org} {one.event.text} {one.event.at_us}\n" for one in done if one.event is not None
        ]
        assert len(lines) == len(some), "none of these was there before"
        os.write(1, "".join(lines).encode())
        clock.sleep(rng.random() * 0.05)


def main() -> int:
    folder, url, life, mode = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING)
    pool = ArcPool(Path(folder), OPTIONS, Clock(), Metrics())
    pool.start()
    for org in ORGS:
        pool.bind(ArcBinding(org, url, "token-of-arc", f"db-{org}"))
    os.write(1, b"ready\n")
    if mode == "append":
        for org in ORGS:
            threading.Thread(target=append, args=(pool, org, life), daemon=True).start()
        threading.Event().wait()
    clock = Clock()
    left, since = pool.pending(), clock.monotonic()
    while left and clock.monotonic() < since + STUCK_SECONDS:
        clock.sleep(0.05)
        before, left = left, pool.pending()
        if left != before:
            since = clock.monotonic()
    for one in pool.parked(limit=1_000):
        os.write(1, f"parked {one.event.text} {one.event.at_us}\n".encode())
    pool.close()
    os.write(1, f"left {sum(left.values())}\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
