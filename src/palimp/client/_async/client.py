"""The client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from ...api import (
    ListNames,
    ListProfiles,
    Maintain,
    Maintained,
    NamePage,
    ProfilePage,
    Restored,
    Target,
    Verification,
    Wake,
)
from ...api.limits import PAGE_MAX
from ...errors import Error
from ...ids import NAMESPACE_CHARS_MAX, check_name, parse_profile_spec
from .arcs import ClientArcs
from .control import AsyncControl
from .credentials import ClientKeys
from .encryption import Encryption
from .governance import Governance
from .plugins import GovernancePlugins
from .profile import AsyncProfile
from .tasks import Fleet

__all__ = ["AsyncClient"]

T = TypeVar("T")

NAMESPACE_DEFAULT = "default"


class AsyncClient(
    AsyncControl, ClientArcs, ClientKeys, Encryption, Fleet, Governance, GovernancePlugins
):
    """Reaches one node. Safe to share between threads and tasks; close it, or use it in a `with`.

    Closing keeps everything that was acknowledged. Calls on a closed client raise `Unavailable`.
    """

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
        """Iterate over the profiles of a namespace that were written to, in a stable order."""
        target, cursor = Target(namespace), None
        while True:
            page: ProfilePage = await self.call(
                "profiles.list", target, ListProfiles(limit=PAGE_MAX, cursor=cursor)
            )
            for entry in page.profiles:
                yield self.profile(entry.profile, namespace=namespace)
            cursor = page.next_cursor
            if cursor is None:
                return

    async def maintain(self) -> Maintained:
        """Run the background work that is due now and return what was done.

        Embeds every memory and turn that has no vector yet and removes expired tasks and keys;
        makes a snapshot where a history is long, thins out what is out of retention, removes
        objects that nothing names and burner branches whose time is over.
        """
        done: Maintained = await self.call("maintain", Target(), Maintain())
        return done

    async def verify(self) -> AsyncIterator[tuple[AsyncProfile, Verification]]:
        """Check every profile of every namespace; iterate over each with what was found.

        Reads every object of the whole store; memory stays bounded by one profile's findings.
        """
        async for profile in self._everything():
            yield profile, await profile.verify()

    async def restore(self) -> Restored:
        """Build the local file of every branch of every profile from the object store.

        One that cannot be restored does not keep the others from it: its error is in `failed`.
        """
        profiles = branches = 0
        failed = []
        async for profile in self._everything():
            profiles += 1
            try:
                for found in await profile.branches():
                    branch = profile.branch(found.name)
                    try:
                        await self.call("wake", branch.target, Wake())
                    except Error as error:
                        failed.append(f"{branch}: {error}")
                    else:
                        branches += 1
            except Error as error:
                failed.append(f"{profile}: {error}")
        return Restored(profiles=profiles, branches=branches, failed=tuple(failed))

    async def _everything(self) -> AsyncIterator[AsyncProfile]:
        cursor = None
        while True:
            page: NamePage = await self.call(
                "names.list", Target(), ListNames(limit=PAGE_MAX, cursor=cursor)
            )
            for entry in page.names:
                yield self.profile(entry.profile, namespace=entry.namespace)
            cursor = page.next_cursor
            if cursor is None:
                return

    async def close(self) -> None:
        """Stop background work and let go of the folder; a second call does nothing."""
        await self._transport.close()

    @property
    def source(self) -> str | None:
        """The source stamped on memories that name none."""
        return self._transport.source

    async def aside(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call what reads or writes files of the caller's, beside an event loop where one runs."""
        return await self._transport.aside(function, *arguments)
