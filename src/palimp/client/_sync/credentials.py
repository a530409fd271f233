# Made from client/_async by scripts/unasync.py; change it there.
"""What the client asks about keys of other systems' clients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from ...api import NO_OPTIONS, Options, Target, to_request
from ...api.base import Request
from ...api.credentials import (
    CreateCredential,
    Credential,
    CredentialPage,
    GetCredential,
    ListCredentials,
    RevokeCredential,
    RotateCredential,
)
from ...api.limits import PAGE_MAX
from ...api.tenants import (
    CreateTenant,
    DeleteTenant,
    ListTenants,
    Tenant,
    TenantDeleted,
    TenantPage,
)
from ...clock import parse_ms
from ..fields import IdLike
from ..inputs import text_id

__all__ = ["ClientKeys"]


class ClientKeys:
    """The part of a client about keys of dialects; where a node asks, with its platform key.

    They are kept in the catalog, as hashes.
    """

    if TYPE_CHECKING:

        def call(
            self, operation: str, target: Target, request: Request, options: Options = NO_OPTIONS
        ) -> Any: ...

    def create_credential(
        self,
        dialect: str,
        subject: str,
        name: str,
        *,
        expires_at: datetime | str | int | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> Credential:
        """Make a key with which a client of another system is its user `subject`.

        That is a user of `memoria`, or a tenant of `memorysync` or `memtrace`. Its `secret` is in
        this answer alone. `expires_at` is a time, else it holds until it is revoked.
        """
        fields = {
            "dialect": dialect,
            "subject": subject,
            "name": name,
            "expires_at": None if expires_at is None else parse_ms(expires_at, "expires_at"),
            "detail": dict(detail or {}),
        }
        request = to_request(CreateCredential, fields, "create_credential")
        made: Credential = self.call("credentials.create", Target(), request)
        return made

    def credentials(
        self, *, dialect: str | None = None, subject: str | None = None, revoked: bool = False
    ) -> Iterator[Credential]:
        """Iterate over the keys, the newest first; those that were revoked where `revoked`."""
        known = {"dialect": dialect, "subject": subject, "revoked": revoked, "limit": PAGE_MAX}
        cursor = None
        while True:
            fields = {**known, "cursor": cursor}
            request = to_request(ListCredentials, fields, "credentials")
            page: CredentialPage = self.call("credentials.list", Target(), request)
            for one in page.credentials:
                yield one
            cursor = page.next_cursor
            if cursor is None:
                return

    def credential(self, credential: IdLike) -> Credential:
        """Return what is known of a key."""
        request = GetCredential(id=text_id(credential))
        found: Credential = self.call("credentials.get", Target(), request)
        return found

    def rotate_credential(self, credential: IdLike) -> Credential:
        """Make a new key instead of one, which holds no more; else it is as that.

        Its `secret` is in this answer alone.
        """
        request = RotateCredential(id=text_id(credential))
        made: Credential = self.call("credentials.rotate", Target(), request)
        return made

    def revoke_credential(self, credential: IdLike) -> None:
        """Let a key hold no more: within 5 seconds on every node."""
        request = RevokeCredential(id=text_id(credential))
        self.call("credentials.revoke", Target(), request)

    def create_tenant(
        self, dialect: str, name: str, *, store: Literal["profile", "arc"] | None = None
    ) -> Tenant:
        """Note a tenant of another system (`memorysync`, `memtrace`); `Conflict` where it is there.

        Its keys and memories are apart from all others'. Keys of `memorysync` can be made without
        this too. One of `memtrace` is an organisation: `name` is its title, and its name in the
        answer is made. With `store` `arc` it has to be given an Arc before it keeps anything.
        """
        request = CreateTenant(dialect=dialect, name=name, store=store)
        made: Tenant = self.call("tenants.create", Target(), request)
        return made

    def tenants(self, dialect: str) -> Iterator[Tenant]:
        """Iterate over the tenants that were made, by name."""
        cursor = None
        while True:
            request = ListTenants(dialect=dialect, limit=PAGE_MAX, cursor=cursor)
            page: TenantPage = self.call("tenants.list", Target(), request)
            for one in page.tenants:
                yield one
            cursor = page.next_cursor
            if cursor is None:
                return

    def delete_tenant(self, dialect: str, name: str) -> TenantDeleted:
        """Delete a tenant with its keys, its memories and all else that is kept of it.

        `NotFound` where there is nothing. Repeat it where it was interrupted.
        """
        request = DeleteTenant(dialect=dialect, name=name)
        done: TenantDeleted = self.call("tenants.delete", Target(), request)
        return done
