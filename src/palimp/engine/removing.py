"""Removing what is on this machine of branches that are deleted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..errors import Error
from ..ids import MAIN
from ..observe import logger
from .driver import drive
from .files import BranchFiles
from .lookup import Lookup
from .options import Parts
from .past import Past
from .protocol import collect_deleted
from .residents import Key, Residents

__all__ = ["Removing"]

_LOG = logger("engine")


class Removing:
    """Files of deleted branches go, and what was restored of them. Thread-safe."""

    def __init__(self, parts: Parts, residents: Residents, lookup: Lookup, past: Past) -> None:
        self._parts = parts
        self._residents = residents
        self._lookup = lookup
        self._past = past

    def branch(
        self,
        key: Key,
        seconds: float,
        bury: Callable[[], object] = lambda: None,
        *,
        stray: bool = False,
    ) -> None:
        """Remove what is here of a branch that is deleted, or that `bury` deletes.

        Commits that are nowhere else stay, unless they are meant too (`stray`).
        """
        files = BranchFiles(self._parts.root, *key)
        with self._residents.alone(key, seconds) as resident:
            bury()
            self._lookup.forget(key)
            self._past.purge(key[0])
            if resident is not None:
                resident.abandon()
            if files.strays() and not stray:
                _LOG.warning("%s has commits that are nowhere else; it stays", files.folder)
            else:
                files.remove(stray=stray)

    def database(self, db_id: str) -> None:
        """Remove what is here of a database that is deleted, and its objects.

        What was never shipped goes too. What cannot go now is logged; doing it again does the rest.
        """
        files = [(db_id, found) for found in BranchFiles.branches(self._parts.root, db_id)]
        here = {branch.key for branch in self._residents.all() if branch.key[0] == db_id}
        for key in {*files, *here, (db_id, MAIN)}:
            for work in (partial(self.branch, stray=True), self._collect):
                try:
                    work(key, self._parts.options.patience)
                except Error as error:
                    _LOG.warning("left for the next time: %s", error)

    def _collect(self, key: Key, seconds: float) -> None:
        drive(collect_deleted(*key), self._parts.outside, seconds)
