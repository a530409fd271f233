"""Brings what is in the spool to each organisation's Arc: once, in order, by a few threads.

One thread at a time works for an organisation, one batch after the other:

1. Rows in doubt come first. `settle_seconds` after the doubt arose Arc is asked which of them it
   has; these are let go of, the others are pending again.
2. The first pending rows are noted as `sending`, on the disk; then they are sent.
3. Arc took them: they are let go of. It did not: they are pending again. It refused them for what
   is in them: halves are sent, down to the rows it refuses, which are parked. Nobody knows: they
   stay as they are, and it begins at 1.

A process that is killed between any two of these begins at 1 as well.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ..clock import Clock
from ..errors import Error, Kept
from ..ids import jitter
from ..observe import Metrics, logger
from .binding import ArcOptions
from .client import ArcClient, Outcome
from .spool import Spool, Spooled

__all__ = ["Drain"]

WORKERS = 4
# The texts of a batch are about so large at most.
_BATCH_BYTES_MAX = 8 << 20
_BACKOFF_SECONDS_MIN = 0.25
_BACKOFF_SECONDS_MAX = 5.0
_FAILURES_COUNTED_MAX = 16
# Who waits for a flush looks again that often at least.
_LOOK_SECONDS = 0.05
_LATER = float("inf")
_LOG = logger("arc")


class _Lane:
    """What is known of one organisation's way to its Arc."""

    def __init__(self, org: str) -> None:
        self.org = org
        # None: not bound. The lane stays, so that no second one begins beside what is under way.
        self.client: ArcClient | None = None
        self.due = _LATER
        # Not before this, unless somebody waits for it.
        self.rest = 0.0
        self.busy = False
        self.failures = 0
        self.said = False
        # How many attempts failed: for those who wait.
        self.failed = 0


class Drain:
    """Sends what is spooled for the organisations that are bound. Thread-safe.

    Rows go when a batch is full, when `flush_interval_ms` have passed, or when somebody asks.
    """

    def __init__(self, spool: Spool, options: ArcOptions, clock: Clock, metrics: Metrics) -> None:
        self._spool = spool
        self._options = options
        self._clock = clock
        self._metrics = metrics
        self._changed = threading.Condition()
        self._lanes: dict[str, _Lane] = {}
        self._threads: list[threading.Thread] = []
        self._closing = False

    def start(self) -> None:
        """Begin to work."""
        for number in range(WORKERS):
            thread = threading.Thread(target=self._work, name=f"palimp-arc-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, seconds: float) -> None:
        """Take up nothing more, and wait that long for what is under way."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        until = self._clock.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - self._clock.monotonic()))

    def bind(self, client: ArcClient) -> None:
        """Send what there is for an organisation, and what comes, by this client."""
        org = client.binding.org
        with self._changed:
            lane = self._lanes.get(org)
            if lane is None:
                lane = self._lanes[org] = _Lane(org)
            lane.client, lane.said, lane.failures, lane.rest = client, False, 0, 0.0
            lane.due = self._clock.monotonic()
            self._changed.notify_all()

    def unbind(self, org: str) -> None:
        """Send no more of an organisation's; what is under way comes to its end."""
        with self._changed:
            lane = self._lanes.get(org)
            if lane is not None:
                lane.client, lane.due = None, _LATER
            self._changed.notify_all()

    def wake(self, org: str) -> None:
        """Say that rows came: a full batch goes at once, others when their time has passed.

        Raises nothing: they were accepted, whatever becomes of the rest.
        """
        most = self._options.batch_size
        full = False
        with Kept():
            full = self._spool.waiting(org, most=most) >= most
        pause = 0.0 if full else self._options.flush_interval_ms / 1000
        with self._changed:
            lane = self._lanes.get(org)
            if lane is not None and lane.client is not None:
                due = max(self._clock.monotonic() + pause, lane.rest)
                if due < lane.due:
                    lane.due = due
                    self._changed.notify_all()

    def flush(self, org: str, seconds: float) -> bool:
        """Send what is pending now, and wait that long at most; whether all of it is there.

        A first failure ends the waiting.
        """
        until = self._clock.monotonic() + seconds
        target = self._spool.last_id(org)
        with self._changed:
            lane = self._lanes.get(org)
            if lane is None or lane.client is None:
                return target == 0
            failed = lane.failed
            lane.due, lane.rest = min(lane.due, self._clock.monotonic()), 0.0
            self._changed.notify_all()
        while target and self._spool.waiting(org, until=target):
            with self._changed:
                left = until - self._clock.monotonic()
                gone = lane.client is None or not self._threads or self._closing
                if lane.failed > failed or left <= 0 or gone:
                    return False
                # What comes in between the two looks is seen after a moment.
                self._changed.wait(min(left, _LOOK_SECONDS))
        return True

    def _work(self) -> None:
        while (found := self._next()) is not None:
            lane, client = found
            pause: float | None = None
            with Kept() as kept:
                pause = self._step(lane, client)
            if kept.error is not None:
                pause = self._broke(lane, kept.error)
            with self._changed:
                lane.busy = False
                if pause is not None:
                    now = self._clock.monotonic()
                    lane.due = now + pause
                    lane.rest = now + pause if pause else 0.0
                self._changed.notify_all()

    def _next(self) -> tuple[_Lane, ArcClient] | None:
        """Wait for a lane that is due, and take it; None: it is over."""
        with self._changed:
            while not self._closing:
                lanes = self._lanes.values()
                # Arcs that hang are not to have all threads.
                failing = sum(one.busy and one.failures > 0 for one in lanes)
                free = (
                    one
                    for one in lanes
                    if one.client and not one.busy and (one.failures == 0 or failing < WORKERS - 1)
                )
                lane = min(free, key=lambda one: one.due, default=None)
                left = _LATER if lane is None else lane.due - self._clock.monotonic()
                if lane is not None and lane.client is not None and left <= 0:
                    lane.busy, lane.due = True, _LATER
                    return lane, lane.client
                self._changed.wait(None if left == _LATER else left)
            return None

    def _step(self, lane: _Lane, client: ArcClient) -> float | None:
        """Settle doubts or send one batch; return in how many seconds to go on, None: no need."""
        rows, since_ms = self._spool.doubtful(lane.org)
        if rows:
            return self._settle(lane, client, rows, since_ms)
        rows = self._spool.take(lane.org, self._options.batch_size, _BATCH_BYTES_MAX)
        if not rows:
            self._spool.tidy()
            return None
        outcome = self._send(lane, client, rows)
        if outcome.kind == "written":
            self._success(lane)
            return 0.0
        return self._failed(lane, outcome.word, outcome.reason, outcome.retry_after)

    def _settle(
        self, lane: _Lane, client: ArcClient, rows: Sequence[Spooled], since_ms: int
    ) -> float:
        now_ms = self._clock.now_ms()
        if since_ms > now_ms:
            # The clock was set back: the time begins anew, and does not wait for that hour.
            self._spool.doubt(rows)
            since_ms = now_ms
        left = self._options.settle_seconds - (now_ms - since_ms) / 1000
        if left > 0:
            with self._changed:
                lane.failed += 1
            return left
        found = client.find([row.row for row in rows])
        there = [row for row, is_there in zip(rows, found, strict=True) if is_there]
        self._spool.put_back(
            [row for row, is_there in zip(rows, found, strict=True) if not is_there]
        )
        self._spool.delivered(lane.org, there)
        self._success(lane)
        self._metrics.add("arc_events_settled", len(rows))
        _LOG.info(
            "%d events for %s were in doubt: its Arc has %d of them, the others are sent again",
            len(rows),
            lane.org,
            len(there),
        )
        return 0.0

    def _send(self, lane: _Lane, client: ArcClient, rows: Sequence[Spooled]) -> Outcome:
        """Send rows, in parts where they are refused together; `written`: all or parked."""
        self._spool.mark(rows)
        outcome = client.write([row.row for row in rows])
        if outcome.kind == "written":
            self._spool.delivered(lane.org, rows)
            self._metrics.add("arc_batches_sent")
            self._metrics.add("arc_events_sent", len(rows))
            return outcome
        if outcome.kind == "doubt":
            self._spool.doubt(rows)
            return outcome
        if outcome.kind == "waits":
            self._spool.put_back(rows)
            return outcome
        if len(rows) == 1:
            self._park(lane, rows[0], outcome)
            return Outcome("written")
        self._spool.put_back(rows)
        half = len(rows) // 2
        for part in (rows[:half], rows[half:]):
            outcome = self._send(lane, client, part)
            if outcome.kind != "written":
                break
        return outcome

    def _park(self, lane: _Lane, row: Spooled, outcome: Outcome) -> None:
        self._spool.park(
            row, f"{outcome.reason}: {outcome.said}" if outcome.said else outcome.reason
        )
        self._metrics.add("arc_batches_failed", reason=outcome.word)
        _LOG.warning(
            "event %d for %s is parked: %s; look at it, then retry or drop it",
            row.id,
            lane.org,
            outcome.reason,
        )

    def _success(self, lane: _Lane) -> None:
        if lane.said:
            _LOG.info("events for %s come to its Arc again", lane.org)
        with self._changed:
            lane.failures, lane.said = 0, False
            self._changed.notify_all()

    def _broke(self, lane: _Lane, error: Exception) -> float:
        if not isinstance(error, Error):
            _LOG.error("sending events for %s broke off", lane.org, exc_info=error)
            return self._failed(lane, "internal", type(error).__name__, 0.0)
        # What Arc says of a query may quote an event: it is not for the log.
        return self._failed(lane, error.code, f"{type(error).__name__} ({error.code})", 0.0)

    def _failed(self, lane: _Lane, word: str, reason: str, retry_after: float) -> float:
        """Note a failure; return how long to rest."""
        self._metrics.add("arc_batches_failed", reason=word)
        if not lane.said:
            _LOG.warning("events for %s wait in the spool: %s", lane.org, reason)
        with self._changed:
            lane.said = True
            lane.failed += 1
            lane.failures = min(lane.failures + 1, _FAILURES_COUNTED_MAX)
            self._changed.notify_all()
            most: float = min(_BACKOFF_SECONDS_MIN * 2 ** (lane.failures - 1), _BACKOFF_SECONDS_MAX)
        return max(retry_after, most * (0.5 + jitter() / 2))
