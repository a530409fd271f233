"""Which branches are here, and in which tier: hot (open), warm (a file), cold (objects only)."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ..errors import Error, NotFound, Unavailable
from ..observe import logger
from .branch import Branch
from .lookup import Address
from .options import Parts

__all__ = ["Key", "Residents"]

_LOG = logger("engine")
_HOUR_SECONDS = 3_600.0
# Open and not used for so long: its caches go, before it does.
_QUIET_SECONDS = 4.0
# What takes longer than this goes on in the lane, and is done when it is tried again.
_COOL_SECONDS = 5.0

Key = tuple[str, str]


class Residents:
    """The branches of this node by key; each is there once, and stays while somebody uses it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._changed = threading.Condition()
        # In the order of their last use.
        self._branches: OrderedDict[Key, Branch] = OrderedDict()
        self._pins: dict[Key, int] = {}
        self._leaving: set[Key] = set()
        self._kept_at: dict[Key, float] = {}
        self._released: dict[Key, float] = {}
        self._closed = False

    @contextmanager
    def use(self, key: Key, address: Address) -> Iterator[Branch]:
        """Yield a branch, which stays resident while the block runs."""
        branch = self.pin(key, address)
        try:
            yield branch
        finally:
            self.unpin(key)

    def pin(self, key: Key, address: Address) -> Branch:
        """Return a branch, which stays resident until `unpin`."""
        with self._changed:
            if self._closed:
                raise Unavailable(
                    f"{address} cannot be opened: its folder is closed", reason="closed"
                )
            while key in self._leaving:
                self._changed.wait()
            branch = self._branches.get(key)
            if branch is None:
                branch = self._branches[key] = Branch(self._parts, address, *key)
            # Whoever opened it first may not have known its name, nor may who comes now.
            if address.profile != key[0]:
                branch.address = address
            self._branches.move_to_end(key)
            self._pins[key] = self._pins.get(key, 0) + 1
        return branch

    def unpin(self, key: Key) -> None:
        """Say that a branch is not used any more by who pinned it."""
        with self._changed:
            self._pins[key] -= 1
            if not self._pins[key]:
                del self._pins[key]
                self._changed.notify_all()
        if len(self._branches) > self._parts.options.hot_cap:
            self._cap()

    def get(self, key: Key) -> Branch | None:
        """Return a branch if it is resident; for work in its lane only."""
        return self._branches.get(key)

    def all(self) -> list[Branch]:
        """Return the resident branches, the longest unused first."""
        with self._changed:
            return list(self._branches.values())

    @contextmanager
    def alone(self, key: Key, seconds: float) -> Iterator[Branch | None]:
        """Yield a branch, or None where it is not resident, while nobody can use it.

        Afterwards it is not resident. `Unavailable` where it is in use for longer than `seconds`.
        """
        with self._changed:
            idle = self._changed.wait_for(
                lambda: key not in self._leaving and not self._pins.get(key), seconds
            )
            branch = self._branches.get(key)
            if not idle:
                raise Unavailable(
                    f"{branch.name if branch else key[1]} is in use by other calls; repeat it",
                    reason="busy",
                    retry_after=1.0,
                )
            self._leaving.add(key)
        try:
            yield branch
            with self._changed:
                self._branches.pop(key, None)
                self._kept_at.pop(key, None)
                self._released.pop(key, None)
        finally:
            with self._changed:
                self._leaving.discard(key)
                self._changed.notify_all()

    def cool(self, key: Key, before_leaving: Callable[[Branch], None]) -> bool:
        """Make a branch cold: everything in the store, nothing here.

        False where that cannot be now: it is in use, or has what the store lacks.
        """
        try:
            with self.alone(key, 0) as branch:
                if branch is None or branch.is_stuck:
                    raise Unavailable("it cannot be shipped now", reason="store")

                def leave() -> bool:
                    # Deleted by somebody else: then only what was never shipped stays.
                    with suppress(NotFound):
                        before_leaving(branch)
                    with suppress(NotFound):
                        return branch.close()
                    return branch.files.current() is None

                if not branch.in_lane(leave, "becoming cold", _COOL_SECONDS):
                    raise Unavailable(f"{branch.name} has what the store lacks", reason="busy")
                branch.local.close()
                branch.files.remove()
        except Error as error:
            _LOG.debug("a branch stays warm: %s", error)
            return False
        self._parts.metrics.add("branches_cooled")
        return True

    def tiers(self, before_leaving: Callable[[Branch], None]) -> None:
        """Close what was not used for a while, remove local files that were not for longer."""
        options = self._parts.options
        now = self._parts.clock.monotonic()
        for branch in self.all():
            idle = now - branch.used_at
            if idle > options.warm_idle:
                self.cool(branch.key, before_leaving)
            elif idle > options.hot_idle and branch.local.opened and not self.in_use(branch.key):
                self._parts.lanes.submit(branch.queue, branch.park)
            elif idle > _QUIET_SECONDS and self._released.get(branch.key) != branch.used_at:
                self._released[branch.key] = branch.used_at
                branch.local.try_release_memory()
        self._cap()
        if options.disk_budget:
            self.shrink_to(options.disk_budget, before_leaving)

    def shrink_to(self, size: int, before_leaving: Callable[[Branch], None]) -> None:
        """Make the longest unused cold until the local files are at most so many bytes.

        Open ones only where none may stay: they are closed first, when they are idle.
        """
        sizes = [(branch, branch.files.size()) for branch in self.all()]
        total = sum(each for _, each in sizes)
        for branch, each in sizes:
            if total <= size:
                return
            if size and branch.local.opened:
                continue
            # Closing one takes its log away: one that was closed since is smaller than it was.
            left = branch.files.size()
            total += left - each
            if left and total > size and self.cool(branch.key, before_leaving):
                total -= left

    def due_for_upkeep(self) -> list[Branch]:
        """Return the owned branches whose history was not looked after for an hour."""
        now = self._parts.clock.monotonic()
        due = []
        for branch in self.all():
            if branch.owned and now - self._kept_at.setdefault(branch.key, now) > _HOUR_SECONDS:
                self._kept_at[branch.key] = now
                due.append(branch)
        return due

    def in_use(self, key: Key) -> bool:
        """Whether somebody is using a branch now."""
        return bool(self._pins.get(key))

    def close(self, seconds: float) -> None:
        """Let nobody in, wait for who is inside, ship and close everything; bounded by `seconds`.

        What cannot be shipped stays in its file and is shipped at the next start.
        """
        with self._changed:
            self._closed = True
            # Bounded, so that a caller stuck in an operation cannot keep a program from ending.
            self._changed.wait_for(lambda: not self._pins, seconds)
            branches = list(self._branches.values())
        end = self._parts.clock.monotonic() + seconds
        jobs = [(one, self._parts.lanes.submit(one.queue, one.close)) for one in branches]
        for branch, job in jobs:
            left = max(0.0, end - self._parts.clock.monotonic())
            try:
                if job.wait(left, f"{branch.name}: shipping at close"):
                    continue
            except Error as error:
                _LOG.warning(
                    "%s: what was not shipped stays in the folder and is shipped when it is "
                    "opened again: %s",
                    branch.name, error,
                )  # fmt: skip
        self._parts.outside.stopping.set()
        self._parts.lanes.close(max(1.0, end - self._parts.clock.monotonic()))
        for branch in branches:
            try:
                branch.abandon()
            except Error as error:
                _LOG.warning("%s: %s", branch.name, error)

    def _cap(self) -> None:
        """Close the longest unused handles over the cap."""
        cap = self._parts.options.hot_cap
        hot = [branch for branch in self.all() if branch.local.opened]
        for branch in hot[: max(0, len(hot) - cap)]:
            # What is not shipped stays open until it is: nobody is to wait for the store here.
            if self.in_use(branch.key) or branch.unshipped:
                continue
            try:
                branch.park()
            except Error as error:
                _LOG.warning("%s stays open: %s", branch.name, error)


def free_bytes(path: os.PathLike[str]) -> int:
    """Return how much space is free for this user on the disk of `path`."""
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize
