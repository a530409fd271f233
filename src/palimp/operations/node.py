"""Operations on a namespace and on the node."""

from __future__ import annotations

from collections.abc import Iterator

from ..api import ListProfiles, Maintain, Maintained, ProfileEntry, ProfilePage, Target
from ..api.limits import PAGE_MAX
from ..errors import Invalid
from ..ids import NAMESPACE_CHARS_MAX, DatabaseName, check_name, parse_database_name
from ..observe import logger
from ..profile.checks import check_integer
from ..profile.memories import expire_tasks
from .context import Context
from .vectors import fill

__all__ = ["list_profiles", "maintain"]

_LOG = logger("operations")


def list_profiles(context: Context, target: Target, request: ListProfiles) -> ProfilePage:
    """Read one page of the profiles of a namespace; names are parsed and compared as a whole."""
    if target.namespace is None:
        raise Invalid("this operation needs a namespace")
    check_name(target.namespace, "namespace", chars_max=NAMESPACE_CHARS_MAX)
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    names = sorted(
        name.profile
        for name in _names(context)
        if name.namespace == target.namespace
        and (request.cursor is None or name.profile > request.cursor)
    )
    page = names[: request.limit]
    return ProfilePage(
        profiles=tuple(ProfileEntry(profile=name) for name in page),
        next_cursor=page[-1] if len(names) > len(page) else None,
    )


def maintain(context: Context, _target: Target, _request: Maintain) -> Maintained:
    """Embed what has no vector and remove expired tasks, in every profile."""
    profiles = embedded = expired = 0
    now_ms = context.clock.now_ms()
    for name in _names(context):
        with context.engine.use(str(name), create=False) as database:
            if database is None:
                continue
            profiles += 1
            while removed := database.write(
                lambda c: expire_tasks(c, now_ms, context.sealer)
            ).value:
                expired += removed
            embedded += fill(context, database)
    return Maintained(profiles=profiles, embedded=embedded, expired=expired)


def _names(context: Context) -> Iterator[DatabaseName]:
    """Yield the names of all profiles; a directory somebody else made beside them is none."""
    for name in context.engine.names():
        try:
            yield parse_database_name(name)
        except Invalid:
            _LOG.warning("%r in the folder of profiles is not a profile", name)
