"""Counters and durations of one node, kept in memory and read as one snapshot.

A library configures no logging: every room logs to `palimp.*` loggers and leaves handlers to the
program. No log line and no metric label carries memory text.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict

__all__ = ["Metrics", "logger"]


def logger(room: str) -> logging.Logger:
    """Return the logger `palimp.{room}`."""
    return logging.getLogger(f"palimp.{room}")


class Metrics:
    """Thread-safe counters; a name is `subject_verb` in the plural, labels are few and bounded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, float] = defaultdict(float)

    def add(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Add to a counter."""
        key = name
        if labels:
            inner = ",".join(f'{k}="{v}"' for k, v in sorted(labels.items()))
            key = f"{name}{{{inner}}}"
        with self._lock:
            self._counts[key] += amount

    def snapshot(self) -> dict[str, float]:
        """Return a copy of all counters, sorted by name."""
        with self._lock:
            return dict(sorted(self._counts.items()))
