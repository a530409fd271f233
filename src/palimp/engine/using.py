"""Having a branch for the length of a block."""

from __future__ import annotations

from types import TracebackType

from ..errors import NotFound
from ..ids import MAIN
from .branch import Branch
from .lookup import Address, Lookup
from .residents import Key, Residents

__all__ = ["Use"]


class Use:
    """Gives a branch that stays resident while the block runs; None where there is none.

    Written out, not a generator: every operation passes through here.
    """

    __slots__ = ("_address", "_create", "_key", "_lookup", "_residents")

    def __init__(
        self, lookup: Lookup, residents: Residents, address: Address, *, create: bool
    ) -> None:
        self._lookup = lookup
        self._residents = residents
        self._address = address
        self._create = create
        self._key: Key | None = None

    def __enter__(self) -> Branch | None:
        address = self._address
        key = self._lookup.known(address)
        offered = []
        if key is None:
            if self._create and address.branch == MAIN:
                key = self._lookup.create(address)
            else:
                found = self._lookup.find(address)
                if found is None:
                    return None
                key = (found.db_id, found.branch_id)
                offered = [found.manifest]
        branch = self._residents.pin(key, address)
        self._key = key
        try:
            if offered:
                branch.copy.offer(offered[0])
            written = branch.open()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return branch if written or self._create else None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        key = self._key
        if key is None:
            return
        self._key = None
        if isinstance(error, NotFound) and error.code == "branch_not_found":
            # Deleted by somebody else: the name may mean another branch by now.
            self._lookup.forget(key)
        self._residents.unpin(key)
