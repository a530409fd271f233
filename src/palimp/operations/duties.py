"""What is due without anybody asking for it, done a bounded part at a time.

What `maintain` does for the whole store at once, a node does on the way: erasures whose grace has
ended, what has expired, what policies let go. Of profiles in use here an hour after they were, and
of others once a day, where a policy asks for something: to look at one is to wake it. Of several
nodes each does it for the profiles that are its own, `Context.mine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, TypeAlias

from ..engine import Address
from ..errors import Error, NotFound
from ..governance.sweep import Sweep
from ..ids import MAIN
from ..observe import logger
from .context import Context
from .erasing import Record, advance, due
from .expiring import expire
from .governance_schedule import Schedule
from .lifecycle import run
from .naming import link_names
from .policy import sweep_profile
from .reads import settle

__all__ = ["Duties", "Trouble"]

_LOG = logger("node")
_HERE_SECONDS = 3_600.0
_EVERYWHERE_SECONDS = 86_400.0
# Of one pass: profiles whose policy is looked at, and rows of each branch that change their state.
_NAMES = 500
_ROWS = 5_000

Duty: TypeAlias = tuple[str, str, Callable[[], object]]


class Trouble(NamedTuple):
    """What failed: which duty, of what, and how."""

    duty: str
    what: str
    error: Error


class Duties:
    """Remembers where the last pass ended. For one thread."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._later: dict[str, int] = {}
        self._schedule = Schedule(context)
        # How many steps of an erasure were completed when what is here was looked at.
        self._seen: dict[str, int] = {}
        # When each of those in use was looked at, and when it had been used last by then.
        self._looked: dict[Address, tuple[float, float]] = {}
        self._walk_at = 0.0
        self._after: tuple[str, str] | None = None

    def once(self, goes_on: Callable[[], bool]) -> list[Trouble]:
        """Do what is due, until `goes_on` says no; what fails stops nothing else."""
        troubles: list[Trouble] = []
        parts = (self._erasures, self._in_use, self._elsewhere, self._schedule.due, self._arcs)
        for part in parts:
            try:
                for duty, what, work in part():
                    if not goes_on():
                        return troubles
                    self._try(duty, what, work, troubles)
            except Error as error:
                # What is due could not be listed.
                troubles.append(Trouble("listing", "the store", error))
        return troubles

    def _try(
        self, duty: str, what: str, work: Callable[[], object], troubles: list[Trouble]
    ) -> None:
        try:
            work()
        except NotFound as error:
            # Deleted since.
            _LOG.debug("%s of %s is not needed any more: %s", duty, what, error)
        except Error as error:
            troubles.append(Trouble(duty, what, error))

    def _erasures(self) -> Iterator[Duty]:
        """Yield what went on elsewhere, which what is here has to follow, and what can go on."""
        moved: dict[str, Address] = {}

        def seen(record: Record) -> None:
            steps = len(record.steps)
            if self._seen.get(record.id) != steps:
                self._seen[record.id] = steps
                moved[record.db_id] = record.address

        found = list(due(self._context, self._later, seen))
        for db_id, address in moved.items():
            look_again = partial(self._context.engine.erasing.look_again, address, db_id)
            yield "erasure", f"of {address}, begun elsewhere", look_again
        for record in found:
            if not self._is_mine(record.address):
                continue
            what = f"{record.id} of {record.address}"
            yield "erasure", what, partial(advance, self._context, record)

    def _in_use(self) -> Iterator[Duty]:
        """Yield the profiles that were used since they were looked at, an hour ago or more."""
        now = self._context.clock.monotonic()
        used: dict[Address, float] = {}
        for branch, at in self._context.engine.used():
            address = branch._replace(branch=MAIN)
            used[address] = max(at, used.get(address, at))
        self._looked = {one: self._looked.get(one, (now, -1.0)) for one in used}
        for address, at in used.items():
            looked_at, before = self._looked[address]
            # To look is to use: what nobody else uses is left alone, and cools.
            # What another node has was only read here: that node looks after it.
            if now - looked_at >= _HERE_SECONDS and at > before and self._is_mine(address):
                yield "profile", str(address), partial(self._look_after, address)
                ends = dict(self._context.engine.used())
                left = max((t for one, t in ends.items() if _is_of(one, address)), default=at)
                self._looked[address] = (now, left)

    def _elsewhere(self) -> Iterator[Duty]:
        """Yield the profiles of which a policy asks for something, a page of names in each pass."""
        clock, engine = self._context.clock, self._context.engine
        if self._after is None:
            if self._walk_at > clock.monotonic():
                return
            self._walk_at = clock.monotonic() + _EVERYWHERE_SECONDS
        page, more = engine.names(after=self._after, limit=_NAMES)
        for names in page:
            address = Address(*names)
            wanted = address not in self._looked and self._is_mine(address)
            if wanted and self._is_asked_for(address):
                yield "profile", str(address), partial(self._look_after, address)
        self._after = page[-1] if page and more else None

    def _arcs(self) -> Iterator[Duty]:
        """Yield a look at which organisations were given an Arc by another node."""
        if self._context.event_stores is not None:
            yield "look", "at the Arcs of organisations", self._context.event_stores.look

    def _is_mine(self, address: Address) -> bool:
        return self._context.mine(address.namespace, address.profile)

    def _is_asked_for(self, address: Address) -> bool:
        policy = self._context.policies.lenient(address.namespace, address.profile)
        windows = (policy.lifecycle_active_days, policy.lifecycle_archived_days)
        asked = policy.lifecycle_soft_delete or any(days is not None for days in windows)
        sweeps = Sweep.of(policy, self._context.clock.now_ms()) is not None
        return asked or sweeps or policy.has_tiers

    def _look_after(self, address: Address) -> None:
        """Remove what expired from main, and move what is due on every branch."""
        context = self._context
        with context.engine.use(address, create=False) as branch:
            if branch is None:
                return
            expire(context, branch, _ROWS)
            # Where nothing is embedded nobody else does it.
            link_names(context, branch, _ROWS)
        run(context, address, _ROWS)
        settle(context, address)
        sweep_profile(context, address)


def _is_of(branch: Address, profile: Address) -> bool:
    return branch._replace(branch=MAIN) == profile
