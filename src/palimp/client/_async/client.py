"""The client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

from ...api import ListProfiles, Maintain, Maintained, ProfilePage, Target
from ...api.base import Request
from ...ids import NAMESPACE_CHARS_MAX, check_name, parse_profile_spec
from ..transports import AsyncTransport
from .profile import AsyncProfile

__all__ = ["AsyncClient"]

NAMESPACE_DEFAULT = "default"


class AsyncClient:
    """Reaches one node. Safe to share between threads and tasks; close it, or use it in a `with`.

    Closing keeps everything that was acknowledged. Calls on a closed client raise `Unavailable`.
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def profile(self, name: str, *, namespace: str = NAMESPACE_DEFAULT) -> AsyncProfile:
        """Return a profile by name; costs nothing and creates nothing.

        It comes to be with its first write. `name` is 1 to 128 of a-z, 0-9, `_` and `-`, beginning
        and ending with a letter or digit, without `--`; a branch may follow after `@`. Raises
        `Invalid` for other names.
        """
        spec = parse_profile_spec(name)
        check_name(namespace, "namespace", chars_max=NAMESPACE_CHARS_MAX)
        return AsyncProfile(self, namespace, spec.profile, spec.branch)

    async def profiles(self, *, namespace: str = NAMESPACE_DEFAULT) -> AsyncIterator[AsyncProfile]:
        """Iterate over the profiles of a namespace that were written to, by name."""
        target, cursor = Target(namespace), None
        while True:
            page: ProfilePage = await self.call(
                "profiles.list", target, ListProfiles(cursor=cursor)
            )
            for entry in page.profiles:
                yield self.profile(entry.profile, namespace=namespace)
            cursor = page.next_cursor
            if cursor is None:
                return

    async def maintain(self) -> Maintained:
        """Run the background work that is due now and return what was done.

        Embeds every memory and turn that has no vector yet and removes expired tasks.
        """
        done: Maintained = await self.call("maintain", Target(), Maintain())
        return done

    async def close(self) -> None:
        """Stop background work and let go of the folder; a second call does nothing."""
        await self._transport.close()

    @property
    def source(self) -> str | None:
        """The source stamped on memories that name none."""
        return self._transport.source

    async def call(self, operation: str, target: Target, request: Request) -> Any:
        """Carry out one operation of `palimp.api.OPERATIONS`; the methods above call this."""
        return await self._transport.call(operation, target, request)
