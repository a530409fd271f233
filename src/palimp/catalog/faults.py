"""The one place where SQLAlchemy's errors become ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from ..errors import Unavailable

__all__ = ["RETRY_SECONDS", "catalog_faults"]

RETRY_SECONDS = 5.0
_REASON_CHARS = 300


@contextmanager
def catalog_faults(name: str, secrets: tuple[str, ...] = ()) -> Iterator[None]:
    """Raise `Unavailable` where the database fails; whether it took the change is not known.

    None of `secrets` is in the message, whatever the driver says.
    """
    try:
        yield
    except SQLAlchemyError as error:
        reason = _said(getattr(error, "orig", None) or error).strip().split("\n")[0]
        for secret in secrets:
            reason = reason.replace(secret, "***")
        raise Unavailable(
            f"catalog {name} does not answer as it should: {reason[:_REASON_CHARS]}; data is read "
            "and written without it. Bring it back, or set PALIMP_CATALOG_URL to another and run "
            "`palimp catalog rebuild`",
            reason="catalog",
            retry_after=RETRY_SECONDS,
        ) from None


def _said(error: BaseException) -> str:
    """Return what a driver says; that of MySQL says a number first."""
    if len(error.args) > 1 and isinstance(error.args[0], int):
        return f"{error.args[1]} ({error.args[0]})"
    return str(error)
