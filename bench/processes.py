"""What other processes take: memory and CPU time, as the kernel counts them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["cpu_seconds", "resident_bytes"]

_TICKS = os.sysconf("SC_CLK_TCK")
# Of what follows the name in /proc/PID/stat: user and system time, in ticks.
_USER, _SYSTEM = 11, 12


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time that processes have taken so far, together."""
    return sum(_cpu_seconds(pid) for pid in pids)


def resident_bytes(pid: int) -> int:
    """Return what a process has resident."""
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) << 10
    return 0


def _cpu_seconds(pid: int) -> float:
    # The name may have spaces and brackets in it; what is wanted comes after the last one.
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS
