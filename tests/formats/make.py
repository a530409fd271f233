"""Write the fixture of this release: a folder and its store, as a program leaves them that was killed.

    .venv/bin/python tests/formats/make.py

Run once for a release, before it is tagged; what an earlier one wrote is never made again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import palimp

HERE = Path(__file__).parent

SCRIPT = """
import os, signal, sys, palimp
mem = palimp.open(sys.argv[1], embed_provider="none", ship_interval=3600, node_id="fixture")
alice = mem.profile("alice")
seat = alice.remember("Prefers aisle seats", topic="user.seat", request_id="first")
alice.ingest([{"type": "event", "text": f"Flight {n} to Lisbon", "session": "s1",
               "observed_at": 1767225600000 + n, "embedding": [float(n), 1.0]} for n in range(20)])
alice.session("s1").append("user", "hello")
alice.checkpoint("before-run")
alice.remember("Prefers the floor", topic="user.seat", durability="durable")
alice.rewind("before-run")
alice.supersede(seat, "Prefers window seats")
trial = alice.fork("trial")
trial.remember("Moves to Lisbon", topic="user.home", durability="durable")
for n in range(70):
    alice.remember(f"durable {n}", durability="durable")
mem.maintain()
alice.remember("was never shipped")
os.kill(os.getpid(), signal.SIGKILL)
"""


def main() -> None:
    """Make the fixture of this release; refuses to replace one."""
    target = HERE / palimp.__version__
    if target.exists():
        sys.exit(f"{target} exists; fixtures of a release are made once")
    work = target.with_suffix(".new")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PALIMP_")}
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(work / "memory")], env=environment, check=False
    )
    # Locks hold nothing, and a socket is no file.
    (work / "memory" / "socket").unlink()
    (work / "memory" / "lock").write_text("")
    shutil.rmtree(work / "memory" / "objects" / ".stripes")
    work.rename(target)
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
