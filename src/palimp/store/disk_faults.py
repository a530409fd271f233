"""The operating system's errors, caught in one place and turned into ours."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from ..errors import Error, Invalid, Unavailable, Unconfigured

__all__ = ["Progress", "disk_faults"]

_RETRY_SECONDS = 1.0


class Progress(msgspec.Struct):
    """How far a write came; once begun, an error leaves its outcome open."""

    begun: bool = False


@contextmanager
def disk_faults(what: str, progress: Progress | None = None) -> Iterator[None]:
    """Raise our error for each of the system's, `from` it, naming the object `what`.

    `in_doubt` says whether the write may have happened.
    """
    try:
        yield
    except OSError as error:
        raise _ours(what, error, in_doubt=progress is not None and progress.begun) from error


def _ours(what: str, error: OSError, *, in_doubt: bool) -> Error:
    reason = error.strerror or str(error) or type(error).__name__
    if isinstance(error, (IsADirectoryError, NotADirectoryError)):
        return Invalid(f"{what}: no key can be the folder of another ({reason}); use another key")
    if error.errno == errno.ENAMETOOLONG:
        return Invalid(f"{what}: the path is too long for this file system; use a shorter folder")
    if error.errno in (errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS) or _no_links(error):
        return Unconfigured(
            f"{what}: this file system has no locks or hard links ({reason}); use a folder on a "
            "local disk",
            in_doubt=in_doubt,
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice, kind = "the disk is full; free some space and repeat it", "disk"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        advice, kind = f"{reason}; check the permissions of the folder", "permissions"
    elif error.errno in (errno.EMFILE, errno.ENFILE):
        advice, kind = f"{reason}; raise the limit (ulimit -n) or close something", "descriptors"
    else:
        advice, kind = f"the disk refused a read or write ({reason}); check it and repeat", "disk"
    return Unavailable(
        f"{what}: {advice}", retry_after=_RETRY_SECONDS, reason=kind, in_doubt=in_doubt
    )


def _no_links(error: OSError) -> bool:
    """FAT and some FUSE file systems answer `link` with EPERM; only `link` has two names."""
    return error.errno == errno.EPERM and error.filename2 is not None
