"""From a profile's and a branch's name to their ids, remembered."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import NotFound
from ..ids import MAIN
from .driver import Outside, drive
from .protocol import Located, find_profile, locate
from .protocol.records import GONE, name_key, name_prefix

__all__ = ["Address", "Lookup"]

_KNOWN_MAX = 100_000
Key = tuple[str, str]


class Address(NamedTuple):
    """The three names of a branch."""

    namespace: str
    profile: str
    branch: str = MAIN

    def __str__(self) -> str:
        at = "" if self.branch == MAIN else f"@{self.branch}"
        return f"{self.namespace}--{self.profile}{at}"


class Lookup:
    """Finds what a name means; what it found is kept until it is told otherwise. Thread-safe."""

    def __init__(self, outside: Outside, patience: float) -> None:
        self._outside = outside
        self._patience = patience
        self._known: dict[Address, Key] = {}

    def known(self, address: Address) -> Key | None:
        """Return what the names were found to mean before."""
        return self._known.get(address)

    def find(self, address: Address) -> Located | None:
        """Ask the store; None where there is no such profile. `NotFound` for another branch."""
        found = drive(locate(*address), self._outside, self._patience)
        if found is not None:
            self._remember(address, (found.db_id, found.branch_id))
        elif address.branch != MAIN:
            raise NotFound(
                f"branch not found: {address.branch!r}; profile {address.profile!r} was never "
                "written",
                code="branch_not_found",
            )
        return found

    def create(self, address: Address) -> Key:
        """Return the database of a profile, made if there is none; one conditional put then."""
        assert address.branch == MAIN, "a branch comes of a fork"
        found = drive(
            find_profile(address.namespace, address.profile, create=True),
            self._outside,
            self._patience,
        )
        assert found is not None
        key = (found.db_id, MAIN)
        self._remember(address, key)
        return key

    def forget(self, key: Key) -> None:
        """Ask again next time: the branch was deleted."""
        for address, known in list(self._known.items()):
            if known == key:
                self._known.pop(address, None)

    def names(
        self, namespace: str | None, after: tuple[str, str] | None, limit: int
    ) -> tuple[list[tuple[str, str]], bool]:
        """Return up to `limit` namespaces and names of profiles, and whether there may be more.

        In the order of their keys, those after `after`; of a namespace, or of all. One request for
        every 1,000, and for each that was deleted once.
        """
        start = None if after is None else name_key(*after)
        found: list[tuple[str, str]] = []
        gone = None
        while len(found) < limit:
            page = self._outside.store.list(name_prefix(namespace), start, limit - len(found))
            for entry in page.entries:
                start = entry.key
                found_in, _, file = entry.key.removeprefix(name_prefix()).partition("/")
                if file.endswith(GONE):
                    gone = (found_in, file.removesuffix(GONE))
                    continue
                name = (found_in, file.removesuffix(".json"))
                if name != gone or self.find(Address(*name)) is not None:
                    found.append(name)
            if page.after is None:
                return found, False
        return found, True

    def _remember(self, address: Address, key: Key) -> None:
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[address] = key
