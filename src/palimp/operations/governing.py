"""What a node remembers of governance beside the profiles, so that no rewind undoes it.

When a task ran last, who has to wait, whose strategy failed: shared by all nodes where there is a
catalog, else kept by this process.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..api.tasks import GovernanceTask
from ..engine import Address
from ..errors import Error
from ..observe import logger

if TYPE_CHECKING:
    from .context import Context

__all__ = [
    "COOLDOWNS",
    "PERIODS",
    "Governing",
    "circuit_open_until",
    "cooling",
    "failed",
    "succeeded",
    "touch",
]

_LOG = logger("governance")
# Seconds from one run of a task to the next.
PERIODS: dict[GovernanceTask, int] = {"hourly": 3_600, "daily": 86_400, "weekly": 604_800}
# Seconds between two runs that ask for it.
COOLDOWNS = {"governance": 3_600, "consolidate": 1_800, "reflect": 7_200}
# So often in a row a strategy may fail, and for so long it is left alone then.
_FAILURES_MAX = 3
_OPEN_SECONDS = 300
_DIALECT = "palimp"
_KEPT_MAX = 10_000


class Governing:
    """Whether this node governs by itself, for how long it holds a task, and what it remembers.

    Thread-safe. `seconds` is how long another node waits for one that does not answer.
    """

    def __init__(self, *, enabled: bool = False, seconds: float = 120.0) -> None:
        self.enabled = enabled
        self.seconds = seconds
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str], str] = {}

    def get(self, context: Context, scope: str, key: str) -> str | None:
        """Return what is remembered; None where nothing is."""
        if context.bindings is not None:
            found = context.bindings.get(_DIALECT, scope, key)
            return None if found is None else str(found.value)
        with self._lock:
            return self._kept.get((scope, key))

    def put(self, context: Context, scope: str, key: str, value: str) -> None:
        """Remember a value, which is JSON text."""
        if context.bindings is not None:
            context.bindings.put(_DIALECT, scope, key, value)
            return
        with self._lock:
            self._kept.pop((scope, key), None)
            while len(self._kept) >= _KEPT_MAX:
                del self._kept[next(iter(self._kept))]
            self._kept[scope, key] = value


def cooling(context: Context, address: Address, what: str) -> int:
    """Return for how many seconds a profile is not to be looked through again; 0: it may be."""
    last = context.governing.get(context, _of(address), what)
    if last is None:
        return 0
    left = int(last) + COOLDOWNS[what] * 1000 - context.clock.now_ms()
    # A clock that was set back makes no wait longer than it is.
    return min(COOLDOWNS[what], -(-left // 1000)) if left > 0 else 0


def touch(context: Context, address: Address, what: str) -> None:
    """Note that a profile was looked through."""
    context.governing.put(context, _of(address), what, str(context.clock.now_ms()))


def circuit_open_until(context: Context, strategy: str, task: str) -> int | None:
    """Return until when (ms) a strategy is left alone, as it failed; None: it is asked."""
    _, until = _state(context, strategy, task)
    return until if until > context.clock.now_ms() else None


def failed(context: Context, strategy: str, task: str) -> None:
    """Note that a strategy failed; the third time in a row it is left alone for five minutes."""
    count = _state(context, strategy, task)[0] + 1
    is_open = count >= _FAILURES_MAX
    until = context.clock.now_ms() + _OPEN_SECONDS * 1000 if is_open else 0
    _note(context, strategy, task, 0 if is_open else count, until)


def succeeded(context: Context, strategy: str, task: str) -> None:
    """Note that it did not; costs nothing where it did not before either."""
    if _state(context, strategy, task) != (0, 0):
        _note(context, strategy, task, 0, 0)


def _note(context: Context, strategy: str, task: str, count: int, until: int) -> None:
    try:
        context.governing.put(
            context, "governance", f"circuit/{strategy}/{task}", f"[{count}, {until}]"
        )
    except Error as error:
        # The run itself went well: what it did must not look as if it had not.
        _LOG.warning("what came of strategy %s is not noted: %s", strategy, error)


def _state(context: Context, strategy: str, task: str) -> tuple[int, int]:
    kept = context.governing.get(context, "governance", f"circuit/{strategy}/{task}")
    if kept is None:
        return 0, 0
    count, until = kept.strip("[]").split(",")
    return int(count), int(until)


def _of(address: Address) -> str:
    return f"governance/{address.namespace}--{address.profile}"
