"""A fork waits for the imports that our own threads are in.

What another thread was importing at the fork, the child can never import: it would wait for it, or
go without, for ever (found by killing).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["importing"]

# Longer than any import of ours takes. A fork from within an import would wait for itself else.
_PATIENCE_SECONDS = 5.0
_lock = threading.RLock()
_held: list[bool] = []


@contextmanager
def importing() -> Iterator[None]:
    """Hold off forks while the block imports, in a thread that the program knows nothing of."""
    with _lock:
        yield


def _before() -> None:
    _held.append(_lock.acquire(timeout=_PATIENCE_SECONDS))


def _after() -> None:
    if _held.pop():
        _lock.release()


def _after_in_child() -> None:
    global _lock
    _held.clear()
    _lock = threading.RLock()


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after_in_child)
