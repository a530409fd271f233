"""SQLite's errors, caught in one place and turned into ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from ..errors import Internal, Unavailable

__all__ = ["sqlite_faults"]

_BUSY_RETRY_SECONDS = 0.1


@contextmanager
def sqlite_faults(what: str) -> Iterator[None]:
    """Raise our error for each of SQLite's, `from` it, naming the database `what`.

    A full disk, an I/O error and a locked file are `Unavailable` (the transaction was rolled back,
    what was acknowledged before is intact); a damaged file is `Internal`.
    """
    try:
        yield
    except apsw.FullError as error:
        raise Unavailable(
            f"{what}: the disk is full; nothing of this write was kept and all earlier data is "
            "intact. Free some space and repeat it",
            reason="disk",
        ) from error
    except (apsw.IOError, apsw.CantOpenError) as error:
        raise Unavailable(
            f"{what}: the disk refused a read or write ({error}); nothing of this write was kept. "
            "Check free space, permissions and limits, then repeat it",
            reason="disk",
        ) from error
    except (apsw.BusyError, apsw.LockedError) as error:
        raise Unavailable(
            f"{what} is locked by another process ({error}); repeat it",
            retry_after=_BUSY_RETRY_SECONDS,
            reason="locked",
        ) from error
    except (apsw.ReadOnlyError, apsw.PermissionsError) as error:
        raise Unavailable(
            f"{what} cannot be written ({error}); check the permissions of its folder",
            reason="permissions",
        ) from error
    except apsw.InterruptError as error:
        raise Unavailable(
            f"{what}: the statement was interrupted; nothing of it was kept",
            code="request_timeout",
        ) from error
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise Internal(
            f"{what} is damaged ({error}); keep the file and restore it from a copy"
        ) from error
