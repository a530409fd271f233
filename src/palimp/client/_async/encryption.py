"""What the client asks about encryption keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from ...api import (
    NO_OPTIONS,
    GetKeys,
    KeysStatus,
    ListProfileKeys,
    MasterKeysRetired,
    Options,
    ProfileKeysInfo,
    ProfileKeysPage,
    Retired,
    RetireKeys,
    RetireMasterKeys,
    Rotated,
    RotateKeys,
    Target,
)
from ...api.base import Request
from ...api.limits import PAGE_MAX

__all__ = ["Encryption"]


class Encryption:
    """The part of a client that is about encryption keys; where a node asks, with its platform key.

    No key ever travels.
    """

    if TYPE_CHECKING:

        async def call(
            self, operation: str, target: Target, request: Request, options: Options = NO_OPTIONS
        ) -> Any: ...

    async def keys(self) -> KeysStatus:
        """Return which master keys and keys of namespaces there are."""
        found: KeysStatus = await self.call("keys.status", Target(), GetKeys())
        return found

    async def profile_keys(self, namespace: str) -> AsyncIterator[ProfileKeysInfo]:
        """Iterate over the profiles of a namespace and the versions of their keys."""
        cursor = None
        while True:
            request = ListProfileKeys(limit=PAGE_MAX, cursor=cursor)
            page: ProfileKeysPage = await self.call("keys.profiles", Target(namespace), request)
            for one in page.profiles:
                yield one
            cursor = page.next_cursor
            if cursor is None:
                return

    async def rotate_keys(
        self, namespace: str, *, rewrap_only: bool = False
    ) -> AsyncIterator[Rotated]:
        """Give a namespace and its profiles new keys; iterates over what was done, page by page.

        With `rewrap_only` the profiles keep theirs, wrapped anew. What was sealed before stays
        readable. Ended on the way, do it again.
        """
        cursor = None
        while True:
            request = RotateKeys(rewrap_only=rewrap_only, cursor=cursor)
            page: Rotated = await self.call("keys.rotate", Target(namespace), request)
            yield page
            cursor = page.next_cursor
            if cursor is None:
                return

    async def retire_keys(self, namespace: str, *, force: bool = False) -> AsyncIterator[Retired]:
        """Give up versions of keys that nothing needs; iterates over what was done, page by page.

        With `force` also versions that something needs: what is sealed with them is lost.
        """
        cursor = None
        while True:
            request = RetireKeys(force=force, cursor=cursor)
            page: Retired = await self.call("keys.retire", Target(namespace), request)
            yield page
            cursor = page.next_cursor
            if cursor is None:
                return

    async def retire_master_keys(self) -> MasterKeysRetired:
        """Need no longer the master keys that wrap nothing."""
        done: MasterKeysRetired = await self.call(
            "keys.retire_masters", Target(), RetireMasterKeys()
        )
        return done
