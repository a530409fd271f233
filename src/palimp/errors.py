"""The errors of Palimpsest, grouped by what the caller does next.

    Error
    |- Invalid        correct the request            invalid_request, payload_too_large
    |- NotFound       name something that exists     not_found, database_not_found, branch_not_found
    |- Conflict       read again, then decide        already_exists, conflict
    |- Denied         use another credential         unauthorized, forbidden
    |- Unavailable    wait `retry_after`, repeat     unavailable, overloaded, request_timeout
    |- Unconfigured   configure it or do without     unconfigured
    `- Internal       report it                      internal

`Invalid` is also a `ValueError`, `NotFound` a `LookupError`. The codes are those of the wire; the
set is closed, a new one needs a decision record.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, ClassVar, Self

__all__ = [
    "CODES",
    "Conflict",
    "Denied",
    "Error",
    "Internal",
    "Invalid",
    "Kept",
    "NotFound",
    "Unavailable",
    "Unconfigured",
    "in_batch",
]


class Error(Exception):
    """The base of every error this package raises on purpose.

    `code` is one of `CODES` and stable; the message is for people and names the object, the
    numbers and the next step. `retry_after` is a number of seconds or None. `details` holds what
    a program may want, for instance `index` of the bad item of a batch.
    """

    codes: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retry_after: float | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.codes[0]
        self.retry_after = retry_after
        self.details = details
        assert self.code in self.codes, f"{type(self).__name__} cannot carry {self.code}"

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.code, self.retry_after, self.details))

    def located(self, place: str, **details: Any) -> Error:
        """Return a copy of the error with `place` (if any) before its message, `details` added."""
        merged = {**self.details, **details}
        message = f"{place}: {self.message}" if place else self.message
        return type(self)(message, code=self.code, retry_after=self.retry_after, **merged)


class Invalid(Error, ValueError):
    """The request cannot be carried out as it stands: correct it and send it again."""

    codes = ("invalid_request", "payload_too_large")


class NotFound(Error, LookupError):
    """The thing that was named does not exist (any more)."""

    codes = ("not_found", "database_not_found", "branch_not_found")


class Conflict(Error):
    """The state is not what the request assumed: read again, then decide."""

    codes = ("conflict", "already_exists")


class Denied(Error):
    """The credential is missing, unknown, or does not reach this far."""

    codes = ("forbidden", "unauthorized")


class Unavailable(Error):
    """Something this needs is busy or away: wait and repeat the same request."""

    codes = ("unavailable", "overloaded", "request_timeout")


class Unconfigured(Error):
    """The operation needs a part that is not configured here."""

    codes = ("unconfigured",)


class Internal(Error):
    """A defect of Palimpsest or a damaged file: please report it."""

    codes = ("internal",)


CODES: tuple[str, ...] = tuple(sorted(code for cls in Error.__subclasses__() for code in cls.codes))


class Kept:
    """Keeps what its block raised for whoever is to hear of it; an interrupt passes through."""

    __slots__ = ("error",)

    def __init__(self) -> None:
        self.error: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        if isinstance(error, Exception):
            self.error = error
            return True
        return False


def in_batch(error: Error, field: str, index: int, count: int) -> Error:
    """Return the error of one item of a batch of `count`, with the item's `index` in its details.

    A single item needs no number in its message.
    """
    place = f"{field}[{index}] (nothing of the batch was written)" if count > 1 else ""
    return error.located(place, index=index)


def _rebuild(
    cls: type[Error], message: str, code: str, retry_after: float | None, details: dict[str, Any]
) -> Error:
    return cls(message, code=code, retry_after=retry_after, **details)
