"""obstore's errors, caught in one place and turned into ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import Denied, Error, Internal, Unavailable, Unconfigured

__all__ = ["remote_faults"]

_RETRY_SECONDS = 1.0
_CHARACTERS_MAX = 300
_STATUS = re.compile(r"status code: (\d{3})")
_OPEN = (408, 429)


@contextmanager
def remote_faults(store: str, what: str, *, writes: bool = False) -> Iterator[None]:
    """Raise our error for each of obstore's, `from` it, naming the store and the request.

    Of a write that got no answer, or 5xx, nobody knows whether it happened: `in_doubt`.
    """
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        if isinstance(error, Error):
            raise  # ours already, and `Invalid` is a ValueError too
        plain = _plain(error)
        raise _ours(f"{store}: {what}: {plain}", error, in_doubt=writes) from type(error)(plain)


def _ours(message: str, error: Exception, *, in_doubt: bool) -> Error:
    from obstore.exceptions import (
        InvalidPathError,
        NotSupportedError,
        PermissionDeniedError,
        UnauthenticatedError,
    )

    # Not every request has a class of its own for these: of a listing they come as `GenericError`.
    found = _STATUS.search(message)
    status = int(found[1]) if found else 0
    if isinstance(error, PermissionDeniedError) or status == 403:
        return Denied(f"{message}; check what the credentials may do", code="forbidden")
    if isinstance(error, UnauthenticatedError) or status == 401:
        return Denied(f"{message}; check the credentials", code="unauthorized")
    if status == 404:
        return Unconfigured(f"{message}; there is no such bucket: create it first")
    if isinstance(error, NotSupportedError):
        return Unconfigured(f"{message}; the store lacks what Palimpsest needs")
    if isinstance(error, (InvalidPathError, ValueError)):
        return Internal(message)
    if "builder error" in message:
        return Unconfigured(
            f"{message}; for an http:// endpoint set AWS_ALLOW_HTTP=true (GOOGLE_, "
            "AZURE_ALLOW_HTTP)"
        )
    # Sent once and refused: it did not happen. 5xx, 408 and 429 promise nothing of the kind.
    in_doubt = in_doubt and not (400 <= status < 500 and status not in _OPEN)
    return Unavailable(
        f"{message}; "
        + ("it may have happened, look before" if in_doubt else "wait, then")
        + " repeating it",
        retry_after=_RETRY_SECONDS,
        reason="store",
        in_doubt=in_doubt,
    )


def _plain(error: Exception) -> str:
    """Return the first line without query strings: an Azure address may carry its signature."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return re.sub(r"\?\S+", "?...", line)[:_CHARACTERS_MAX]
