"""How long a question about documents may take: a filter without an index reads all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import apsw

from ...api.limits import DOCUMENT_SECONDS_MAX
from ...errors import Invalid

__all__ = ["bounded"]

# How often it is looked at, in steps of SQLite's: few, because a step may read a megabyte.
_STEPS = 1_000


@contextmanager
def bounded(connection: apsw.Connection, monotonic: Callable[[], float]) -> Iterator[None]:
    """Raise `Invalid` where what the block runs on a connection takes too long."""
    ends = monotonic() + DOCUMENT_SECONDS_MAX
    expired = False

    def is_over() -> bool:
        nonlocal expired
        expired = monotonic() > ends
        return expired

    connection.set_progress_handler(is_over, _STEPS)
    try:
        yield
    except apsw.InterruptError as error:
        if not expired:
            raise
        raise Invalid(
            f"it took more than {DOCUMENT_SECONDS_MAX} s and nothing was changed; make an index on "
            "a path of the filter, or ask for less"
        ) from error
    finally:
        connection.set_progress_handler(None)
