"""Keys of other systems' clients on the wire: a dialect asks for them, and they are made here."""

from __future__ import annotations

from typing import Any

from .base import Request, Result
from .limits import PAGE_DEFAULT
from .operation import row

__all__ = [
    "ROWS",
    "CreateCredential",
    "Credential",
    "CredentialPage",
    "CredentialRevoked",
    "GetCredential",
    "ListCredentials",
    "RevokeCredential",
    "RotateCredential",
]


class CreateCredential(Request, frozen=True, kw_only=True):
    """Make a key of a dialect (`memoria`, `memorysync`) for one of its users or tenants, `subject`.

    It holds until `expires_at` (ms), or until it is revoked. `detail` is what the dialect has to
    know of it beside, such as `{"group": "grp_1"}`, or `{"environment": "staging"}`, by which a
    key of `memorysync` begins.
    """

    dialect: str
    subject: str
    name: str
    expires_at: int | None = None
    detail: dict[str, Any] = {}  # noqa: RUF012 - msgspec copies it


class Credential(Result, frozen=True, kw_only=True):
    """A key. `secret` is what its client shows, and is said once: when it was made.

    `prefix` is how that begins. Nobody can read the rest again: a hash of it is kept. Times in ms.
    """

    id: str
    dialect: str
    subject: str
    name: str
    prefix: str
    created_at: int
    expires_at: int | None = None
    last_used_at: int | None = None
    revoked_at: int | None = None
    detail: dict[str, Any] = {}  # noqa: RUF012 - msgspec copies it
    secret: str | None = None

    def __repr__(self) -> str:
        return f"<Credential {self.id} of {self.dialect} {self.subject!r}, {self.prefix}...>"


class ListCredentials(Request, frozen=True, kw_only=True):
    """Read the keys there are, the newest first, of one dialect or of one subject, page by page.

    With `revoked` also those that were revoked.
    """

    dialect: str | None = None
    subject: str | None = None
    revoked: bool = False
    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class CredentialPage(Result, frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last."""

    credentials: tuple[Credential, ...]
    next_cursor: str | None


class GetCredential(Request, frozen=True, kw_only=True):
    """Read what is known of a key."""

    id: str


class RotateCredential(Request, frozen=True, kw_only=True):
    """Make a new key instead of one, which holds no more; it has a new id, and else is as that."""

    id: str


class RevokeCredential(Request, frozen=True, kw_only=True):
    """Let a key hold no more: within 5 seconds on every node."""

    id: str


class CredentialRevoked(Result, frozen=True, kw_only=True):
    """A key that holds no more."""

    id: str


_CREDENTIAL = "/v1/credentials/{id}"

ROWS = (
    row(
        "credentials.create",
        "POST /v1/credentials",
        CreateCredential,
        Credential,
        "admin writes platform 201",
        "Make a key for a client of another system.",
    ),
    row(
        "credentials.list",
        "GET /v1/credentials",
        ListCredentials,
        CredentialPage,
        "read platform",
        "Read which keys there are.",
    ),
    row(
        "credentials.get",
        f"GET {_CREDENTIAL}",
        GetCredential,
        Credential,
        "read platform",
        "Read what is known of a key.",
    ),
    row(
        "credentials.rotate",
        f"POST {_CREDENTIAL}/rotate",
        RotateCredential,
        Credential,
        "admin writes platform 201",
        "Make a new key instead of one.",
    ),
    row(
        "credentials.revoke",
        f"DELETE {_CREDENTIAL}",
        RevokeCredential,
        CredentialRevoked,
        "admin writes platform",
        "Let a key hold no more.",
    ),
)
