"""Operations on a namespace and on the node."""

from __future__ import annotations

from ..api import ListProfiles, Maintain, Maintained, ProfileEntry, ProfilePage, Target
from ..api.limits import PAGE_MAX
from ..engine import Address, Upkeep
from ..errors import Invalid
from ..ids import NAMESPACE_CHARS_MAX, check_name
from ..profile.checks import check_integer
from ..profile.memories import expire_tasks, has_expired
from .context import Context
from .vectors import fill

__all__ = ["list_profiles", "maintain"]


def list_profiles(context: Context, target: Target, request: ListProfiles) -> ProfilePage:
    """Read one page of the profiles of a namespace; names are parsed and compared as a whole."""
    if target.namespace is None:
        raise Invalid("this operation needs a namespace")
    check_name(target.namespace, "namespace", chars_max=NAMESPACE_CHARS_MAX)
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    after = None if request.cursor is None else (target.namespace, request.cursor)
    page, more = context.engine.names(target.namespace, after, request.limit)
    return ProfilePage(
        profiles=tuple(ProfileEntry(profile=name) for _, name in page),
        next_cursor=page[-1][1] if more and page else None,
    )


def maintain(context: Context, _target: Target, _request: Maintain) -> Maintained:
    """Embed what has no vector, remove expired tasks, look after the history: of every profile."""
    profiles = embedded = expired = 0
    kept = Upkeep()
    now_ms = context.clock.now_ms()
    for namespace, profile in context.engine.all_names():
        address = Address(namespace, profile)
        with context.engine.use(address, create=False) as branch:
            if branch is None:
                continue
            profiles += 1
            # Asked first: a write makes this node the owner.
            while branch.read(lambda c: has_expired(c, now_ms)).value:
                expired += branch.write(lambda c: expire_tasks(c, now_ms, context.sealer)).value
            embedded += fill(context, branch)
        kept = kept.plus(context.engine.maintain(address))
    return Maintained(profiles=profiles, embedded=embedded, expired=expired, **kept._asdict())
