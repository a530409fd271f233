"""Operations on a namespace and on the node."""

from __future__ import annotations

from contextlib import ExitStack

import msgspec

from ..api import (
    GetNode,
    ListProfiles,
    Maintain,
    Maintained,
    NodeInfo,
    ProfileEntry,
    ProfilePage,
    Target,
)
from ..api.limits import PAGE_MAX
from ..engine import Address, Upkeep
from ..errors import Invalid, Unavailable
from ..ids import NAMESPACE_CHARS_MAX, check_name
from ..observe import logger
from ..profile.checks import check_integer
from .audit import retire_audits
from .context import Context
from .erasing import advance_all
from .expiring import expire
from .lifecycle import Passed, run
from .naming import link_names
from .policy import sweep_profile
from .reads import settle
from .relating import relate
from .sealing import mend_index
from .vectors import fill

__all__ = ["info", "list_profiles", "maintain"]

_LOG = logger("node")
# Comparing a row with all others takes the longer the more there are: the rest is for the next
# call, or for the background.
_RELATED_MAX = 2_000
# Another node took a profile while this one was at it.
_GONE_ELSEWHERE = ("owned", "moving", "fenced")


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


def info(context: Context, _target: Target, _request: GetNode) -> NodeInfo:
    """Say what this node is; to who holds a token only, not where and how it keeps its data."""
    if context.principal.kind in ("owner", "platform"):
        if context.owners is None:
            return context.about
        return msgspec.structs.replace(context.about, peers=context.owners.peers())
    return msgspec.structs.replace(
        context.about, folder="", object_store="", store_id="", process=0, settings={}, leases=""
    )


def _at_once(_seconds: float) -> bool:
    # Somebody waits for it.
    return True


def _retire_audits(context: Context) -> int:
    """Retire what policies do not keep; nothing where another node is at it."""
    # Not before it is needed: opening a folder does not wait for it.
    from ..catalog.locks import NoLocks

    locks = NoLocks() if context.tasks is None else context.tasks.locks
    with ExitStack() as stack:
        try:
            held = stack.enter_context(locks.hold("audit.retire"))
        except Unavailable as error:
            _LOG.warning("audits are retired when the catalog answers again: %s", error)
            held = None
        return 0 if held is None else retire_audits(context, held)


def maintain(context: Context, _target: Target, _request: Maintain) -> Maintained:
    """Embed what has no vector, remove what expired, look after the history: of every profile.

    Of several nodes each does it for those that are its own, and one retires the audits of all.
    """
    profiles = embedded = expired = swept = paired = cooled = 0
    kept, passed = Upkeep(), Passed()
    for namespace, profile in context.engine.all_names():
        if not context.mine(namespace, profile):
            continue
        address = Address(namespace, profile)
        try:
            with context.engine.use(address, create=False) as branch:
                if branch is None:
                    continue
                profiles += 1
                expired += expire(context, branch)
                mend_index(context, branch)
                # What the embedder did not do, it is tried for again: nothing else waits for that.
                embedded += fill(context, branch, pause=_at_once).stored
                related = relate(context, branch, _RELATED_MAX, pause=_at_once)
                paired += related.duplicates + related.contradictions
                link_names(context, branch, pause=_at_once)
            passed = passed.plus(run(context, address))
            cooled += settle(context, address)
            swept += sweep_profile(context, address)
            kept = kept.plus(context.engine.maintain(address))
        except Unavailable as error:
            if error.details.get("reason") not in _GONE_ELSEWHERE:
                raise
            _LOG.info("%s is looked after where it went: %s", address, error)
    return Maintained(
        profiles=profiles,
        embedded=embedded,
        expired=expired,
        swept=swept,
        paired=paired,
        cooled=cooled,
        erased=advance_all(context),
        audit_objects_deleted=_retire_audits(context),
        **kept._asdict(),
        **msgspec.structs.asdict(passed),
    )
