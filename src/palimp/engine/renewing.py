"""What sealing needs of the engine: which database a name means, and storing segments again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

from ..errors import NotFound
from ..ids import MAIN
from ..observe import logger
from . import protocol
from .driver import drive
from .lookup import Address, Lookup
from .options import Parts
from .protocol.renew import renew
from .protocol.requests import Steps
from .protocol.timeline import read_manifest
from .residents import Residents

__all__ = ["Renewed", "Renewing"]

T = TypeVar("T")

_LOG = logger("engine")
# Each branch writes its manifest once for so many.
_BATCH = 64
_PATIENCE_SECONDS = 600.0


class Renewed(NamedTuple):
    """How many segments were stored again, and how many are still to be."""

    stored: int = 0
    remaining: int = 0


class Renewing:
    """Databases by their ids, and their segments stored again. Thread-safe."""

    def __init__(self, parts: Parts, residents: Residents, lookup: Lookup) -> None:
        self._parts = parts
        self._residents = residents
        self._lookup = lookup

    def database(self, address: Address, *, create: bool) -> str | None:
        """Return the id of a profile's database; asks the store where it is not known yet."""
        # Every write asks.
        known = self._lookup.known(address)
        if known is not None:
            return known[0]
        main = address._replace(branch=MAIN)
        known = self._lookup.known(main)
        if known is not None:
            return known[0]
        if create:
            return self._lookup.create(main)[0]
        found = self._lookup.find(main)
        return None if found is None else found.db_id

    def namespace_of(self, db_id: str) -> str:
        """Return the namespace of a database: at once where it is in use, else by all names."""
        for branch in self._residents.all():
            # One that was opened by its ids has no name to go by.
            if branch.key[0] == db_id and branch.address.profile != db_id:
                return branch.address.namespace
        after, more = None, True
        while more:
            page, more = self._lookup.names(None, after, 1_000)
            for names in page:
                found = self._drive(protocol.read_name(*names))
                if found is not None and found.db_id == db_id:
                    return names[0]
            after = page[-1] if page else after
        raise NotFound(f"no name leads to database {db_id}", code="database_not_found")

    def was_written(self, db_id: str) -> bool:
        """Whether something of a database was shipped."""
        manifest = self._drive(read_manifest(db_id, MAIN))
        return manifest is not None and manifest.txid > 0

    def renew(self, address: Address, is_old: Callable[[str], bool], limit: int) -> Renewed:
        """Store up to `limit` segments again for which `is_old(key)`, in every branch.

        Every boundary stays. Ended anywhere it goes on where it was: what was stored is not old.
        What nothing refers to any more is for `Erasing.collect`.
        """
        db_id = self.database(address, create=False)
        if db_id is None:
            return Renewed()
        stored = remaining = 0
        for name, branch_id, manifest in self._drive(protocol.list_branches(db_id)):
            if manifest is None:
                continue
            there = address._replace(branch=name)
            done = self._renew(there, (db_id, branch_id), is_old, limit - stored)
            stored, remaining = stored + done.stored, remaining + done.remaining
        return Renewed(stored, remaining)

    def _renew(
        self, address: Address, key: tuple[str, str], is_old: Callable[[str], bool], limit: int
    ) -> Renewed:
        try:
            timeline = self._drive(protocol.read_timeline(*key))
            keys = dict.fromkeys(ref.key for ref in timeline.refs())
            old = [one for one in keys if is_old(one)]
            stored = 0
            while stored < min(limit, len(old)):
                batch = frozenset(old[stored : min(limit, stored + _BATCH)])
                self._in_lane(address, key, partial(renew, keys=batch))
                stored += len(batch)
        except NotFound as error:
            _LOG.debug("%s was deleted since it was listed: %s", address, error)
            return Renewed()
        return Renewed(stored, len(old) - stored)

    def _in_lane(
        self, address: Address, key: tuple[str, str], make: Callable[[protocol.Lane], Steps[int]]
    ) -> int:
        with self._residents.use(key, address) as branch:
            branch.open()
            branch.own()
            work = partial(branch.drive_lane, make)
            return branch.in_lane(work, "storing segments again", _PATIENCE_SECONDS)

    def _drive(self, steps: Steps[T]) -> T:
        return drive(steps, self._parts.outside, self._parts.options.patience)
