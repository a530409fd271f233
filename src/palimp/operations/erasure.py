"""Erasures: asked for, looked at, run, called off."""

from __future__ import annotations

from typing import Any

import apsw

from ..api import (
    OPERATIONS,
    CancelErasure,
    Erase,
    Erasure,
    ErasurePage,
    GetErasure,
    ListErasures,
    RunErasure,
    Target,
)
from ..api.erasure import Status
from ..api.limits import BATCH_ITEMS_MAX, PAGE_MAX, TTL_SECONDS_MAX
from ..engine import Address
from ..errors import Error, Invalid, NotFound
from ..ids import MAIN, random_id
from ..observe import logger
from ..profile.checks import check_id, check_integer, check_label, check_text
from ..profile.erasing import Selection, derived, matching
from .context import Context
from .erasing import (
    Record,
    advance,
    cancel,
    identity_of,
    load,
    records,
    save_new,
    waits,
)

__all__ = ["call_off", "create", "get", "list_page", "purge_forgotten", "run", "selection_of"]

_LOG = logger("erasure")
GRACE_SECONDS = 86_400
_REASON_BYTES_MAX = 1_024
_DERIVED_COUNTED = 1_000


def create(context: Context, target: Target, request: Erase) -> Erasure:
    """Erase, or say what an erasure would come to."""
    address = _whole(context, target)
    selection = selection_of(request)
    if selection is None:
        # Who may write in a profile may not do away with it.
        operation = OPERATIONS["erasures.create"]
        context.access.authorize(context.principal, operation, target, "admin")
    grace = _grace(context, address, request)
    db_id = _database(context, address)
    if request.dry_run:
        return _planned(context, address, selection, grace)
    now_ms = context.clock.now_ms()
    record = Record(
        nonce=random_id("n"),
        id=identity_of(db_id, context.options.request_id, context.digest),
        db_id=db_id,
        namespace=address.namespace,
        profile=address.profile,
        selection=selection,
        include_derived=request.include_derived,
        reason=request.reason,
        actor=context.principal.actor,
        requested_at=now_ms,
        not_before=now_ms + round(grace * 1000),
    )
    record = save_new(context.engine.store, record)
    # From here on it is carried out whatever becomes of this process.
    return _shown(advance(context, record))


def get(context: Context, target: Target, request: GetErasure) -> Erasure:
    """Read how far one is."""
    return _shown(_find(context, target, request.id))


def list_page(context: Context, target: Target, request: ListErasures) -> ErasurePage:
    """Read those of a profile, in the order of their ids."""
    address = _whole(context, target)
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    found = sorted(
        (one for one in records(context.engine.store, _database(context, address))),
        key=lambda one: (one.requested_at, one.id),
    )
    start = 0
    if request.cursor is not None:
        places = [place for place, one in enumerate(found, 1) if one.id == request.cursor]
        if not places:
            raise Invalid(f"cursor {request.cursor!r:.60} did not come from an earlier page")
        start = places[0]
    page = found[start : start + request.limit]
    more = start + request.limit < len(found)
    return ErasurePage(
        erasures=tuple(_shown(one) for one in page), next_cursor=page[-1].id if more else None
    )


def run(context: Context, target: Target, request: RunErasure) -> Erasure:
    """Do what is due of one."""
    return _shown(advance(context, _find(context, target, request.id)))


def call_off(context: Context, target: Target, request: CancelErasure) -> Erasure:
    """Call one off."""
    return _shown(cancel(context, _find(context, target, request.id)))


def purge_forgotten(context: Context, target: Target, *ids: str) -> None:
    """Erase what was forgotten: the policy of the profile asks for it.

    The memory is gone from this branch already. Where the rest cannot be begun now that is raised,
    and to forget it again does it.
    """
    address = context.address(target)._replace(branch=MAIN)
    asked = Erase(ids=ids, include_derived=False, reason="erasure.purge_on_forget")
    whole = Target(address.namespace, address.profile)
    try:
        create(context, whole, asked)
    except Error as error:
        _LOG.error("%s: what was forgotten is still in its history: %s", address, error)
        raise


def selection_of(request: Erase) -> Selection | None:
    """Return what is meant, None for the whole profile; `Invalid` for no or several ways to say."""
    given: dict[str, Any] = {
        "memory": request.ids,
        "topic": (request.topic,) if request.topic is not None else (),
        "session": (request.session,) if request.session is not None else (),
        "source": (request.source,) if request.source is not None else (),
    }
    named = [kind for kind, values in given.items() if values]
    if len(named) + request.profile != 1:
        said = " and ".join([*named, *(["the whole profile"] if request.profile else [])])
        raise Invalid(
            f"an erasure is of one thing, not of {said or 'nothing'}: give ids, topic, session, "
            "source, or profile"
        )
    if request.type is not None and request.topic is None:
        raise Invalid("type goes with a topic, not with what else can be erased")
    if not request.turns and request.session is None:
        raise Invalid("turns goes with a session, not with what else can be erased")
    if request.reason is not None:
        check_text(request.reason, "reason", _REASON_BYTES_MAX)
    if request.profile:
        return None
    kind = named[0]
    if kind == "memory":
        if len(request.ids) > BATCH_ITEMS_MAX:
            raise Invalid(
                f"an erasure has {len(request.ids):,} ids; give at most {BATCH_ITEMS_MAX:,}",
                code="payload_too_large",
            )
        for identity in request.ids:
            check_id(identity)
    else:
        check_label(given[kind][0], kind)
    return Selection(
        kind=kind,  # type: ignore[arg-type]
        values=tuple(dict.fromkeys(given[kind])),
        derived=request.include_derived,
        type=request.type,
        turns=request.turns,
        salt=random_id("s"),
    )


def _grace(context: Context, address: Address, request: Erase) -> float:
    """Return how long earlier states wait, in seconds: as asked, and no longer than allowed."""
    most = context.policies.effective(address.namespace, address.profile).erasure_grace_secs
    grace = request.grace
    if grace is not None and not 0 <= grace <= TTL_SECONDS_MAX:
        raise Invalid(f"grace is {grace} seconds; give 0 to {TTL_SECONDS_MAX:,}")
    if request.profile:
        if grace:
            raise Invalid(
                "a whole profile is erased at once, nothing of it waits; leave grace out, or make "
                "it 0"
            )
        return 0.0
    wanted = GRACE_SECONDS if grace is None else grace
    return float(wanted if most is None else min(wanted, most))


def _planned(
    context: Context, address: Address, selection: Selection | None, grace: float
) -> Erasure:
    """Say what it would come to; nothing is noted anywhere."""
    erasing, now_ms = context.engine.erasing, context.clock.now_ms()
    rows = points = size = branches = 0
    made: set[str] = set()
    for there in erasing.branches(address, _database(context, address)):
        branches += 1
        if selection is None:
            continue
        more_points, more_bytes = erasing.kept(there)
        points, size = points + more_points, size + more_bytes
        with context.engine.use(there, create=False) as branch:
            if branch is not None:
                count, ids = branch.read(lambda c: _counted(c, selection)).value
                rows, made = rows + count, made | set(ids)
    return Erasure(
        id="",
        status="planned",
        kind="profile" if selection is None else selection.kind,
        requested_at=now_ms,
        not_before=now_ms + round(grace * 1000),
        rows=rows,
        derived=len(made),
        branches=branches,
        points=points,
        bytes=size,
    )


def _counted(connection: apsw.Connection, selection: Selection) -> tuple[int, list[str]]:
    return matching(connection, selection), derived(connection, selection, _DERIVED_COUNTED)


def _find(context: Context, target: Target, identity: str) -> Record:
    """Return a record of this profile; of another one it does not exist."""
    address = _whole(context, target)
    check_label(identity, "id")
    db_id, _, rest = identity.partition(".")
    if not rest or not identity.isascii() or "/" in identity:
        raise NotFound(f"no erasure {identity!r:.80} of profile {address.profile!r}")
    record = load(context.engine.store, db_id, identity)
    if record.address != address:
        raise NotFound(f"no erasure {identity!r:.80} of profile {address.profile!r}")
    return record


def _shown(record: Record) -> Erasure:
    status: Status = "running" if record.state == "open" else record.state
    if record.state == "open" and record.blocked_by:
        status = "blocked"
    elif waits(record):
        status = "waiting"
    return Erasure(
        id=record.id,
        status=status,
        kind="profile" if record.selection is None else record.selection.kind,
        requested_at=record.requested_at,
        not_before=record.not_before,
        rows=record.rows,
        derived=sum(one.kind == "derived" for one in record.blocked_by),
        branches=len(record.txids),
        txids=record.txids,
        points=record.points,
        bytes=record.bytes,
        steps=record.steps,
        blocked_by=record.blocked_by,
        receipt=record.receipt,
    )


def _database(context: Context, address: Address) -> str:
    found = context.engine.erasing.database(address)
    if found is None:
        raise NotFound(
            f"profile {address.profile!r} in namespace {address.namespace!r} was never written",
            code="database_not_found",
        )
    return found


def _whole(context: Context, target: Target) -> Address:
    address = context.address(target)
    if address.branch != MAIN:
        raise Invalid(f"{address} names a branch; an erasure is of the profile with all branches")
    return address
