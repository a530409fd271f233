"""`palimp` as a child of these tests: its clocks can be moved, and it may be given a defect.

CLUSTER_CLOCK names a file with two numbers, which are added to the wall clock and to the clock of
durations, in seconds: so a machine's clock jumps, and stands still while it is suspended.
CLUSTER_MUTANT names the defect (`mutants.py`).
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import signal
import struct
import sys
from pathlib import Path

from palimp.clock import Clock

OFFSETS = struct.Struct("dd")


def move_clocks(path: str) -> None:
    """Add what the file says, from now on, to whatever reads the clocks."""
    with Path(path).open("rb") as stream:
        shared = mmap.mmap(stream.fileno(), OFFSETS.size, access=mmap.ACCESS_READ)
    wall, durations = Clock.now_ms, Clock.monotonic

    def now_ms(clock: Clock) -> int:
        return wall(clock) + round(OFFSETS.unpack(shared[:])[0] * 1000)

    def monotonic(clock: Clock) -> float:
        return durations(clock) + OFFSETS.unpack(shared[:])[1]

    Clock.now_ms = now_ms  # type: ignore[method-assign]
    Clock.monotonic = monotonic  # type: ignore[method-assign]


def main() -> None:
    """Be `palimp`, with what the environment says."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    clocks, mutant = os.environ.get("CLUSTER_CLOCK"), os.environ.get("CLUSTER_MUTANT")
    if clocks:
        move_clocks(clocks)
    if mutant:
        sys.path.insert(0, str(Path(__file__).parent))
        from mutants import MUTANTS

        MUTANTS[mutant]()
    from palimp.cli.main import main as palimp

    palimp()


if __name__ == "__main__":
    main()
