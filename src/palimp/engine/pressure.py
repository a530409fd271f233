"""Whether writes have to be refused for want of disk space, or because the store lags behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..errors import Unavailable
from .options import Options
from .residents import free_bytes

__all__ = ["RETRY_SECONDS", "DiskRoom"]

RETRY_SECONDS = 5.0


class DiskRoom(NamedTuple):
    """The disk of the local files, and the store they are shipped to."""

    root: Path
    options: Options
    store: str

    def pressure(self, backlog: int, make_room: Callable[[], None]) -> Unavailable | None:
        """Return why writes are refused with so many bytes unshipped; None where they are not.

        `make_room` is called before they are refused for want of space.
        """
        reserve = self.options.disk_reserve
        free = free_bytes(self.root)
        if free < reserve:
            make_room()
            free = free_bytes(self.root)
        if free < reserve:
            return Unavailable(
                f"the disk of {self.root} has {free:,} bytes free, fewer than the {reserve:,} kept "
                "in reserve; reads go on. Free some space",
                reason="disk",
                retry_after=RETRY_SECONDS,
            )
        if backlog > self.options.backlog_bytes:
            return Unavailable(
                f"{backlog:,} bytes wait for object storage {self.store}, more than "
                f"{self.options.backlog_bytes:,}; repeat this when it has caught up",
                code="overloaded",
                reason="backlog",
                retry_after=RETRY_SECONDS,
            )
        return None
