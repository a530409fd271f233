"""What a node knows of its embedder: when it failed last, and when embedding has to step back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..clock import Clock
from ..errors import Error, Unavailable
from ..observe import Metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..profile import Embedder
    from ..spending import Spending

__all__ = ["Embedding", "Failure", "Pause", "embedded", "sleep"]

# After others wrote, embedding beside them takes at most this share of the time, for so long.
_SHARE = 1 / 32
_QUIET_SECONDS = 2.0
_PAUSE_SECONDS_MAX = 0.5

# Waits for so many seconds; False where there is to be no more.
Pause = Callable[[float], bool]

_clock = Clock()


def sleep(seconds: float) -> bool:
    """Wait for so many seconds, and go on."""
    if seconds > 0:
        _clock.sleep(seconds)
    return True


class Failure(NamedTuple):
    """What the embedder said when it failed, and when (ms)."""

    text: str
    at: int


class Embedding:
    """Shared by everything on a node that embeds. Thread-safe.

    `answers` is whether the last attempt succeeded, None where there was none; `failure` is the
    last that did not. Where it is `read_only` no vector is stored.
    """

    def __init__(self, *, read_only: bool = False) -> None:
        self.read_only = read_only
        self.answers: bool | None = None
        self.failure: Failure | None = None
        self._lock = threading.Lock()
        self._own = 0
        self._others = 0
        self._others_at: float | None = None

    def succeeded(self) -> None:
        """Note that the embedder answered."""
        self.answers = True

    def failed(self, error: Error, now_ms: int) -> None:
        """Note that it did not."""
        self.failure = Failure(str(error), now_ms)
        self.answers = False

    def writes(self) -> None:
        """Note a write of embedding's own, before it: so that nobody takes it for another's."""
        with self._lock:
            self._own += 1

    def is_busy(self, metrics: Metrics) -> bool:
        """Whether others wrote lately, to any database of this node."""
        # The real time, whatever clock the node has: it is the machine that is shared.
        now = _clock.monotonic()
        with self._lock:
            others = int(metrics.count("writes_committed")) - self._own
            if others > self._others:
                self._others, self._others_at = others, now
            return self._others_at is not None and now - self._others_at < _QUIET_SECONDS

    def rest(self, metrics: Metrics, worked: float, pause: Pause) -> bool:
        """Let others go first after `worked` seconds; False where there is to be no more."""
        if not self.is_busy(metrics):
            return pause(0.0)
        return pause(min(worked * (1 / _SHARE - 1), _PAUSE_SECONDS_MAX))


def embedded(
    embedder: Embedder, texts: Sequence[str], spending: Spending, *, query: bool = False
) -> Any:
    """Return one row of finite numbers per text; `Unavailable` where the model gave anything else.

    So nothing is ever stored that could not be searched.
    """
    import numpy as np

    rows = embedder.embed(texts, query=query, spending=spending)
    wanted = (len(texts), embedder.dimensions)
    if rows.shape != wanted:
        raise Unavailable(
            f"{embedder.name} gave vectors of shape {rows.shape} where {wanted} was due; none of "
            "them is used",
            reason="vectors",
        )
    if not np.isfinite(rows).all():
        raise Unavailable(
            f"{embedder.name} gave a vector with a number that is none (NaN or infinite); none of "
            f"the {len(texts):,} of this call is used",
            reason="vectors",
        )
    return rows
