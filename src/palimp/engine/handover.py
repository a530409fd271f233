"""Handing databases to other nodes: shipped, the right to write given up, then detached."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from ..errors import Error
from ..observe import logger
from .branch import Branch
from .claims import Claims
from .options import Parts
from .residents import Residents

__all__ = ["Handover"]

_LOG = logger("engine")
# What is idle is given up by so many at a time: others wait for the thread that does it.
_IDLE_MAX = 64
_IDLE_SECONDS = 5.0


class Handover:
    """Gives up databases that are claimed by this node. Thread-safe."""

    def __init__(self, parts: Parts, residents: Residents, claims: Claims) -> None:
        self._parts = parts
        self._residents = residents
        self._claims = claims

    def release(self, names: Iterable[str], seconds: float) -> list[str]:
        """Ship what is here of databases and detach them; return those that could be.

        Writes to them are refused meanwhile, with reason `moving`. One whose store does not answer
        within `seconds` stays.
        """
        end = self._parts.clock.monotonic() + seconds
        with self._claims.moving(names) as leaving:
            wanted = set(leaving)
            here = [one for one in self._residents.all() if one.database in wanted]
            submit = self._parts.lanes.submit
            jobs = [(branch, submit(branch.queue, branch.hand_over)) for branch in here]
            for branch, job in jobs:
                left = max(0.0, end - self._parts.clock.monotonic())
                if not self._done(branch, partial(job.wait, left, f"{branch.name}: handing over")):
                    leaving[:] = [name for name in leaving if name != branch.database]
        self._parts.metrics.add("databases_released", len(leaving))
        return leaving

    def idle(self) -> list[tuple[str, float]]:
        """Return the databases claimed here, and for how many seconds each was not used."""
        now = self._parts.clock.monotonic()
        used: dict[str, float] = {}
        for branch in self._residents.all():
            name = branch.database
            busy = self._residents.in_use(branch.key)
            used[name] = max(now if busy else branch.used_at, used.get(name, 0.0))
        found = []
        for name in self._claims.names():
            since = self._claims.since(name)
            last = max(used.get(name, 0.0), now if since is None else since)
            found.append((name, now - last))
        return found

    def tick(self) -> None:
        """Give up what was not used for a while: databases that rest are nobody's."""
        idle = [name for name, seconds in self.idle() if seconds > self._parts.options.hot_idle]
        if idle:
            self.release(idle[:_IDLE_MAX], _IDLE_SECONDS)

    def _done(self, branch: Branch, wait: partial[bool]) -> bool:
        try:
            return wait()
        except Error as error:
            _LOG.warning("%s stays at this node: %s", branch.name, error)
            return False
