"""The Arcs of organisations: given, shown, taken away; and what one of them refused.

An Arc's key is sealed with the key of the organisation's namespace, which the master key wraps: a
new master key wraps that again, and leaves what is sealed here as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol, cast

import msgspec

from ..api import Target
from ..api.arcs import (
    ArcInstance,
    ArcRemoved,
    ArcRowsMoved,
    BindArc,
    DropParked,
    GetArc,
    ListParked,
    ParkedEvent,
    ParkedPage,
    RemoveArc,
    RetryParked,
)
from ..api.limits import PAGE_MAX
from ..errors import Conflict, Invalid, NotFound, Unconfigured
from ..profile.checks import check_integer
from .auditing.actions import ARCS
from .context import Context
from .organisations import (
    PROFILE,
    ArcRow,
    ArcSecret,
    VersionedArc,
    arc_of,
    arc_rows,
    change_arc,
    check_org,
    get_org,
    namespace_of,
    new_id,
    put_arc,
)

__all__ = [
    "Waiting",
    "arc_versions",
    "bind",
    "drop",
    "get",
    "masked",
    "open_key",
    "parked",
    "put_first",
    "remove",
    "reseal",
    "retry",
    "sealed",
]

_SHOWN = 4
_ID_MAX = 2**63 - 1
_DIGITS_MAX = 18


class Waiting(Protocol):
    """What waits for Arcs on this node; every method may be called from any thread."""

    def changed(self) -> None:
        """Read again which organisations have an Arc."""

    def figures(self, org: str) -> tuple[int, int, bool | None]:
        """Return how many events wait, how many are parked, and whether Arc answered last."""

    def parked(self, org: str, after: int, limit: int) -> list[ParkedEvent]:
        """Return parked events with higher ids than `after`, by id."""

    def retry(self, org: str, ids: Sequence[int] | None) -> int:
        """Have parked events wait again, and return how many; None: all of them."""

    def drop(self, org: str, ids: Sequence[int] | None) -> int:
        """Give parked events up, and return how many; None: all of them."""

    def forget(self, org: str) -> None:
        """Give up all that waits for an organisation's Arc."""

    def look(self) -> None:
        """Read what there is, and do what follows from it."""


def bind(context: Context, _target: Target, request: BindArc) -> ArcInstance:
    """Give an organisation an Arc."""
    # Its room is imported by who has to do with one.
    from ..arc import ArcBinding, check_binding

    checked = check_binding(
        ArcBinding(request.org, request.url, request.api_key, request.database, request.measurement)
    )
    get_org(context, request.org, "; create it first with `memtrace org create`")
    held = arc_of(context, request.org)
    if held is not None and held.row.given:
        raise _bound(request.org)
    made = ArcRow(
        state="draining",
        id=new_id("arc"),
        url=checked.url,
        database=checked.database,
        measurement=checked.measurement,
        created_at=context.clock.now_ms(),
        secret=sealed(context, request.org, request.api_key),
    )
    found = put_first(context, request.org, made, held)
    if found is None:
        raise _bound(request.org)
    _record(context, request.org, "bind")
    return _shown(context, found)


def put_first(
    context: Context, org: str, made: ArcRow, held: VersionedArc | None
) -> VersionedArc | None:
    """Keep a new Arc where `held` is what is known; None where another was faster."""
    if held is None:
        return put_arc(context, org, made, 0)
    if held.row.state == "needed":
        # Nothing was ever written to the profile: there is nothing to carry.
        made = msgspec.structs.replace(made, state="bound")
    # What was carried somewhere is there.
    made = msgspec.structs.replace(made, carried=held.row.carried)
    return put_arc(context, org, made, held.version)


def get(context: Context, _target: Target, request: GetArc) -> ArcInstance:
    """Read where an organisation keeps its events."""
    return _shown(context, _held(context, request.org))


def remove(context: Context, _target: Target, request: RemoveArc) -> ArcRemoved:
    """Take the Arc away. What it was is kept, so that nothing is carried there twice."""
    held = _held(context, request.org)
    row = msgspec.structs.replace(held.row, state="removed", secret=None)
    if put_arc(context, held.org, row, held.version) is None:
        # Somebody else carried something meanwhile: what is there now goes as well.
        return remove(context, _target, request)
    _record(context, request.org, "remove")
    waiting, refused, _ = _waiting(context).figures(request.org)
    return ArcRemoved(org=request.org, spooled=waiting + refused)


def parked(context: Context, _target: Target, request: ListParked) -> ParkedPage:
    """Read a page of what Arc refused, also where it was taken away since."""
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    after = 0 if request.cursor is None else _place(request.cursor)
    found = _waiting(context).parked(check_org(request.org), after, request.limit + 1)
    page, more = found[: request.limit], len(found) > request.limit
    return ParkedPage(parked=tuple(page), next_cursor=str(page[-1].id) if more else None)


def retry(context: Context, _target: Target, request: RetryParked) -> ArcRowsMoved:
    """Offer it again."""
    done = _waiting(context).retry(check_org(request.org), _ids(request.ids))
    _record(context, request.org, "retry", events=done)
    return ArcRowsMoved(org=request.org, events=done)


def drop(context: Context, _target: Target, request: DropParked) -> ArcRowsMoved:
    """Give it up."""
    done = _waiting(context).drop(check_org(request.org), _ids(request.ids))
    _record(context, request.org, "drop", events=done)
    return ArcRowsMoved(org=request.org, events=done)


def open_key(context: Context, org: str, secret: ArcSecret | None) -> str:
    """Return an Arc's key; raises `Unconfigured` without a master key, `Internal` if altered."""
    if secret is None:
        return ""
    # Cryptography takes 40 ms to import.
    from ..security.envelope import unwrap

    _, key = _keys(context).namespace(namespace_of(org), secret.version)
    return unwrap(key, secret.sealed, _about(org)).decode()


def arc_versions(context: Context, namespace: str) -> Iterator[int]:
    """Yield the versions of a namespace's key with which keys of Arcs are sealed."""
    for held in _of_namespace(context, namespace):
        if held.row.secret is not None:
            yield held.row.secret.version


def reseal(context: Context, namespace: str) -> None:
    """Seal the keys of Arcs with the newest version of a namespace's key."""
    for held in _of_namespace(context, namespace):
        if held.row.secret is not None:
            key = open_key(context, held.org, held.row.secret)
            # Where it changed meanwhile, it was sealed anew, or is to be sealed by a repeat.
            change_arc(context, held, secret=sealed(context, held.org, key))


def masked(key: str) -> str:
    """Return what may be shown of a key."""
    if not key:
        return "(empty)"
    if len(key) <= 2 * _SHOWN:
        return "*" * len(key)
    return key[:_SHOWN] + "*" * (len(key) - 2 * _SHOWN) + key[-_SHOWN:]


def sealed(context: Context, org: str, api_key: str) -> ArcSecret:
    """Return an Arc's key as it is kept; raises `Unconfigured` without a master key."""
    from ..security.envelope import wrap

    version, key = _keys(context).namespace(namespace_of(org))
    return ArcSecret(version=version, sealed=wrap(key, api_key.encode(), _about(org)))


def _about(org: str) -> str:
    return f"arc\0{org}"


def _keys(context: Context) -> Any:
    if context.keys is None:
        raise Unconfigured(
            "the key of an Arc is kept sealed, and there is no master key: set PALIMP_MASTER_KEY "
            "or MEMTRACE_MASTER_KEY (`palimp keygen master` makes one)"
        )
    return context.keys


def _of_namespace(context: Context, namespace: str) -> Iterator[VersionedArc]:
    if context.bindings is not None:
        yield from (held for held in arc_rows(context) if namespace_of(held.org) == namespace)


def _held(context: Context, org: str) -> VersionedArc:
    held = arc_of(context, org)
    if held is None or not held.row.given:
        raise NotFound(f"no arc instance configured for {org:.80}")
    return held


def _shown(context: Context, held: VersionedArc) -> ArcInstance:
    row = held.row
    waiting, refused, reachable = _waiting(context).figures(held.org)
    return ArcInstance(
        org=held.org,
        id=row.id,
        url=row.url,
        database=row.database,
        measurement=row.measurement,
        api_key=masked(open_key(context, held.org, row.secret)),
        state=cast("Literal['draining', 'bound']", row.state),
        created_at=row.created_at,
        spooled=waiting,
        parked=refused,
        reachable=reachable,
    )


def _waiting(context: Context) -> Waiting:
    if context.event_stores is None:
        raise Unconfigured(
            "which organisation has an Arc is kept in the catalog, and there is none here: set "
            "PALIMP_CATALOG_URL, or start the node with `palimp serve`, which has one in its "
            "folder (extra `server`)"
        )
    found: Waiting = context.event_stores
    return found


def _bound(org: str) -> Conflict:
    return Conflict(f"org '{org}' already has an arc instance configured", code="already_exists")


def _ids(ids: tuple[int, ...] | None) -> tuple[int, ...] | None:
    for one in ids or ():
        if not 0 < one <= _ID_MAX:
            raise Invalid(f"{one:,} is no id of a parked event; `palimp org parked` shows them")
    return ids


def _place(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= _DIGITS_MAX):
        raise Invalid(f"cursor {cursor!r:.80} did not come from an earlier page")
    return int(cursor)


def _record(context: Context, org: str, what: str, events: int = 0) -> None:
    if context.audit is not None:
        namespace, principal = namespace_of(org), context.principal
        context.audit.record(namespace, ARCS[what], PROFILE, principal=principal, events=events)
