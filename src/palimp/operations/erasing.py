"""An erasure as a record in the object store and the steps it goes through, each noted when done.

`v1/erasure/{db_id}/{id}.json` lies outside of the database: no rewind undoes it, and deleting the
profile does not lose it. Whoever finds a record goes on after the last step it notes, and each step
may be done twice: a process that ends anywhere has lost nothing. The grace is a time in the record,
set once, so no restart and no repeat shortens it. Two that carry one out at once note their steps
by compare-and-swap; who comes second goes on from what the first has noted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import apsw
import msgspec

from ..api import Blocker
from ..decoding import from_json
from ..engine import Address, Branch
from ..errors import Conflict, Error, Internal, NotFound, Unavailable
from ..ids import MAIN, random_id
from ..observe import logger
from ..profile import Sealer
from ..profile.erasing import Selection, derived, erase, held, is_there, matching, present
from ..store import ObjectStore, change_object
from .context import Context

__all__ = [
    "Erasures",
    "Record",
    "advance",
    "advance_all",
    "cancel",
    "due",
    "identity_of",
    "load",
    "records",
    "save_new",
    "waits",
]

_LOG = logger("erasure")
_PREFIX = "v1/erasure/"
_FORMAT = 1
_BATCH = 500
_DERIVED_SHOWN = 20
_DERIVED_NOTED = 10_000
# Noted in this order, each when it is completed.
MARKED, COUNTED, REMOVED, GIVEN_UP, REWRITTEN, COLLECTED, SIGNED = (
    "marked", "counted", "removed", "given_up", "rewritten", "collected", "signed",
)  # fmt: skip
# Of one that was called off.
UNMARKED = "unmarked"
# Another node may be at it too.
_ATTEMPTS = 5
_NEVER = 1 << 62


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure. `selection` is None for a whole profile, and without words once it is done."""

    format: int = _FORMAT
    version: int = 1
    nonce: str
    id: str
    db_id: str
    namespace: str
    profile: str
    selection: Selection | None
    include_derived: bool = False
    reason: str | None = None
    actor: str = ""
    requested_at: int
    not_before: int
    state: Literal["open", "done", "cancelled"] = "open"
    steps: dict[str, int] = {}
    # Of main and every branch: how many rows were found, before any was removed.
    found: dict[str, int] = {}
    # And which memories were made of them, and stay: they block while they are there.
    made: dict[str, tuple[str, ...]] = {}
    txids: dict[str, int] = {}
    points: int = 0
    bytes: int = 0
    before: tuple[str, ...] = ()
    blocked_by: tuple[Blocker, ...] = ()
    receipt: dict[str, Any] | None = None

    @property
    def rows(self) -> int:
        """How many rows were found in the present of all branches."""
        return sum(self.found.values())

    @property
    def address(self) -> Address:
        """The profile."""
        return Address(self.namespace, self.profile)


class Overtaken(Conflict):
    """Somebody else noted something in the record meanwhile."""


class Erasures:
    """Says to the engine how states are freed of erasures that it only knows by id."""

    def __init__(self, store: ObjectStore, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer

    def __call__(
        self, db_id: str, ids: tuple[str, ...] | None
    ) -> Callable[[apsw.Connection], object] | None:
        """Return what frees a state of these erasures; with None of all there ever were."""
        if ids is None:
            found = [one for one in records(self._store, db_id) if one.state != "cancelled"]
        else:
            found = [load(self._store, db_id, one) for one in ids]
        selections = [one.selection for one in found if one.selection is not None]
        if not selections:
            return None

        def free(connection: apsw.Connection) -> int:
            return sum(erase(connection, one, self._sealer) for one in selections)

        return free


def load(store: ObjectStore, db_id: str, identity: str) -> Record:
    """Return a record; `NotFound` where there is none."""
    stored = store.get(_key(db_id, identity))
    if stored is None:
        raise NotFound(f"no erasure {identity!r:.80}")
    return _decode(stored.data, _key(db_id, identity))


def records(store: ObjectStore, db_id: str | None = None) -> Iterator[Record]:
    """Yield the records of a database, or of all."""
    for key in _keys(store, _PREFIX if db_id is None else f"{_PREFIX}{db_id}/"):
        stored = store.get(key)
        if stored is not None:
            yield _decode(stored.data, key)


def _keys(store: ObjectStore, prefix: str) -> Iterator[str]:
    after, more = None, True
    while more:
        page = store.list(prefix, after)
        yield from (entry.key for entry in page.entries)
        after, more = page.after, page.after is not None


def save_new(store: ObjectStore, record: Record) -> Record:
    """Write a record, or return the one that a request before it wrote."""

    def change(data: bytes | None) -> bytes | None:
        return msgspec.json.encode(record) if data is None else None

    key = _key(record.db_id, record.id)
    data = change_object(store, key, change)
    assert data is not None
    return _decode(data, key)


def cancel(context: Context, record: Record) -> Record:
    """Call it off; `Conflict` once earlier states are being given up."""
    with context.engine.erasing.alone(record.id):
        record = load(context.engine.store, record.db_id, record.id)
        if record.state == "open" and record.selection is not None and GIVEN_UP not in record.steps:
            # Noted first: whoever is about to give something up has to note that before.
            record = _save(context.engine.store, record, state="cancelled")
        if record.state != "cancelled":
            raise Conflict(
                f"erasure {record.id} is completed or being completed; nothing takes it back"
            )
        return _unmark(context, record)


def advance_all(context: Context) -> int:
    """Go on with every erasure of this node's profiles; return how many were completed."""
    done = 0
    for record in due(context, {}):
        if not context.mine(record.namespace, record.profile):
            continue
        try:
            done += advance(context, record).state == "done"
        except Error as error:
            _LOG.warning("erasure %s of %s waits: %s", record.id, record.address, error)
    return done


def due(
    context: Context,
    later: dict[str, int],
    seen: Callable[[Record], object] = lambda _: None,
) -> Iterator[Record]:
    """Yield what can be gone on with now.

    `later` is of the caller who asks again and again: until when (ms) a record need not be read.
    `seen` is told of every one that is.
    """
    store = context.engine.store
    for key in _keys(store, _PREFIX):
        now_ms = context.clock.now_ms()
        if later.get(key, 0) > now_ms:
            continue
        stored = store.get(key)
        if stored is None:
            continue
        record = _decode(stored.data, key)
        seen(record)
        if record.state == "done" or UNMARKED in record.steps:
            later[key] = _NEVER
        elif waits(record) and record.not_before > now_ms:
            later[key] = record.not_before
        else:
            yield record


def waits(record: Record) -> bool:
    """Whether nothing is left to be done of it before its grace has ended."""
    # Not by the clock alone: it may have gone back since something was given up.
    return record.state == "open" and REMOVED in record.steps and GIVEN_UP not in record.steps


def advance(context: Context, record: Record) -> Record:
    """Do every step that is due; return the record as it is then.

    Raises `Conflict` where another node is at it all the time.
    """
    with context.engine.erasing.alone(record.id):
        # What another thread did while this one waited.
        record = load(context.engine.store, record.db_id, record.id)
        for attempt in range(_ATTEMPTS):
            try:
                return _advance(context, record)
            except Overtaken:
                if attempt + 1 == _ATTEMPTS:
                    raise
                record = load(context.engine.store, record.db_id, record.id)
            except Error as error:
                context.metrics.add("erasures_failed", code=error.code)
                raise
    raise AssertionError("unreachable")


def _advance(context: Context, record: Record) -> Record:
    if record.state == "cancelled":
        return _unmark(context, record)
    if record.selection is not None and _is_deleted(context, record):
        # With all it held: what is left is to see that nothing of it is.
        return _do(context, record, _STEPS_OF_DELETED)
    return _do(context, record, _STEPS if record.selection is not None else _STEPS_OF_PROFILE)


def _do(context: Context, record: Record, steps: tuple[tuple[str, _Step], ...]) -> Record:
    for name, step in steps:
        if name in record.steps:
            continue
        if name == GIVEN_UP and context.clock.now_ms() < record.not_before:
            return record
        ask = _ASKED_BEFORE.get(name)
        blocked = () if ask is None else ask(context, record)
        if ask is not None and blocked != record.blocked_by:
            record = _save(context.engine.store, record, blocked_by=blocked)
        if blocked:
            return record
        changed = step(context, record)
        noted = {**record.steps, name: context.clock.now_ms()}
        record = _save(context.engine.store, record, steps=noted, **changed)
    return record


# -- the steps --------------------------------------------------------------------------------


def _mark(context: Context, record: Record) -> dict[str, Any]:
    """From here on no earlier state is shown with it."""
    context.engine.erasing.mark(record.address, record.db_id, record.id)
    return {"before": tuple(sorted(context.engine.erasing.objects(record.db_id)))}


def _count(context: Context, record: Record) -> dict[str, Any]:
    """Note what there is, and what was made of it, before the first row is removed.

    Afterwards nobody could tell.
    """
    assert record.selection is not None
    selection, found, made = record.selection, {}, {}
    for address in context.engine.erasing.branches(record.address, record.db_id):
        with _using(context, address) as branch:
            if branch is not None:
                found[address.branch] = branch.read(lambda c: matching(c, selection)).value
                if not record.include_derived:
                    ids = branch.read(lambda c: derived(c, selection, _DERIVED_NOTED)).value
                    made[address.branch] = tuple(ids)
    return {"found": found, "made": made}


def _remove(context: Context, record: Record) -> dict[str, Any]:
    """Remove it from the present of every branch; durable when this returns."""
    assert record.selection is not None
    selection, txids = record.selection, {}
    sealer = context.sealer_of(record.address)
    for address in context.engine.erasing.branches(record.address, record.db_id):
        with _using(context, address) as branch:
            if branch is None:
                continue
            while branch.read(lambda c: is_there(c, selection)).value:
                sealer = context.sealer_of(address)
                branch.write(lambda c, s=sealer: _erase_unheld(c, selection, s, _BATCH))  # type: ignore[misc]
            txids[address.branch] = context.engine.erasing.divide(branch, record.id)
            context.wake(address)
    return {"txids": txids}


@contextmanager
def _using(context: Context, address: Address) -> Iterator[Branch | None]:
    """Give a branch that has a manifest; None where it was deleted since it was listed."""
    with ExitStack() as stack:
        try:
            # Nothing may have been shipped of main yet: it is written nevertheless, see `divide`.
            use = context.engine.use(address, create=address.branch == MAIN)
            branch = stack.enter_context(use)
        except NotFound:
            branch = None
        yield branch


def _give_up(context: Context, record: Record) -> dict[str, Any]:
    """From here on nothing takes it back; lists what there is in the store now."""
    now = context.engine.erasing.objects(record.db_id)
    return {"before": tuple(sorted(now.union(record.before)))}


def _rewrite(context: Context, record: Record) -> dict[str, Any]:
    """Leave of every branch its head and its named points, cleansed.

    The present is not touched again: what has been written since it was freed is another matter.
    """
    erasing = context.engine.erasing
    for address in erasing.branches(record.address, record.db_id):
        erasing.coarsen(address, record.db_id, [record.id])
    # Not counted on the way: a process that ended there would have taken its count with it.
    return erasing.rewritten(record.db_id)._asdict()


def _collect(context: Context, record: Record) -> dict[str, Any]:
    """Delete what no branch needs any more, and see that nothing else is left."""
    erasing = context.engine.erasing
    for _ in range(_ATTEMPTS):
        erasing.collect(record.address, record.db_id)
        left = erasing.uncleansed(record.db_id, record.id)
        if not left:
            break
    else:
        raise Unavailable(
            f"erasure {record.id}: {len(left):,} objects from before it are still there, for "
            f"instance {left[0]}; it is tried again",
            reason="erasure",
        )
    return {}


def _delete(context: Context, record: Record) -> dict[str, Any]:
    """Delete a whole profile."""
    if context.keys is not None:
        # First: from here on no copy of what is deleted next can be read.
        context.keys.destroy(record.db_id)
    if context.engine.erasing.database(record.address) == record.db_id:
        context.engine.delete_profile(record.address)
    return {}


def _collect_deleted(context: Context, record: Record) -> dict[str, Any]:
    erasing = context.engine.erasing
    erasing.collect_deleted(record.db_id)
    left = erasing.objects(record.db_id)
    if left:
        raise Unavailable(
            f"erasure {record.id}: {len(left):,} objects of the profile are still there, for "
            f"instance {min(left)}; it is tried again",
            reason="erasure",
        )
    return {}


def _sign(context: Context, record: Record) -> dict[str, Any]:
    """Write the receipt; the words that were erased by are not needed any more."""
    from ..security.receipts import sign_receipt

    left = context.engine.erasing.objects(record.db_id)
    hidden = None if record.selection is None else record.selection.hidden()
    fields = {
        "version": 1,
        "id": record.id,
        "store": context.engine.store.name,
        "database": f"{record.namespace}--{record.profile}",
        "db_id": record.db_id,
        "target": {"kind": "profile"} if hidden is None else msgspec.to_builtins(hidden),
        "requested_at": record.requested_at,
        "not_before": record.not_before,
        "completed_at": context.clock.now_ms(),
        "rows": record.rows,
        "txids": record.txids,
        "points_rewritten": record.points,
        "means": _means(context, record),
        "objects_removed": sorted(set(record.before) - left),
        "objects_left": len(left),
    }
    if context.audit is not None:
        context.audit.record(
            record.namespace, "erasure.completed", record.profile, items=record.rows
        )
    context.metrics.add("erasures_completed")
    receipt = sign_receipt(fields, context.receipt_key())
    return {"state": "done", "receipt": receipt, "selection": hidden, "before": ()}


def _means(context: Context, record: Record) -> str:
    if record.selection is not None:
        return "history rewritten"
    keys = context.keys
    destroyed = keys is not None and keys.is_destroyed(record.db_id)
    return "key destroyed and deleted" if destroyed else "deleted"


_Step = Callable[[Context, Record], dict[str, Any]]
_STEPS: tuple[tuple[str, _Step], ...] = (
    (MARKED, _mark),
    (COUNTED, _count),
    (REMOVED, _remove),
    (GIVEN_UP, _give_up),
    (REWRITTEN, _rewrite),
    (COLLECTED, _collect),
    (SIGNED, _sign),
)
_STEPS_OF_PROFILE: tuple[tuple[str, _Step], ...] = (
    (GIVEN_UP, _give_up),
    (REWRITTEN, _delete),
    (COLLECTED, _collect_deleted),
    (SIGNED, _sign),
)
_STEPS_OF_DELETED: tuple[tuple[str, _Step], ...] = (
    (COLLECTED, _collect_deleted),
    (SIGNED, _sign),
)


def _holds(context: Context, record: Record) -> tuple[Blocker, ...]:
    """Return what is under legal hold, on any branch: nothing of it is touched."""
    found = []
    for address in context.engine.erasing.branches(record.address, record.db_id):
        with context.engine.use(address, create=False) as branch:
            if branch is None:
                continue
            ids = branch.read(lambda c: held(c, record.selection)).value
        found += [
            Blocker(
                kind="hold",
                name=f"{identity} on {address.branch}",
                message="it is under legal hold; release it, or call the erasure off",
            )
            for identity in ids[:_DERIVED_SHOWN]
        ]
    return tuple(found)


def _blockers(context: Context, record: Record) -> tuple[Blocker, ...]:
    """Return what must go, or be decided, before history is rewritten."""
    found: list[Blocker] = list(_holds(context, record))
    store = context.engine.store
    key = _key(record.db_id, record.id)
    if context.engine.erasing.keeps_versions(record.address, key):
        found.append(
            Blocker(
                kind="versioned_bucket",
                name=store.name,
                message="the bucket keeps every version of its objects, or did once, so nothing "
                "deleted is gone; move the store to a bucket that keeps none",
            )
        )
    selection = record.selection
    if selection is None or record.include_derived:
        return tuple(found)
    for address in context.engine.erasing.branches(record.address, record.db_id):
        with context.engine.use(address, create=False) as branch:
            if branch is None:
                continue
            noted = record.made.get(address.branch, ())
            made = branch.read(lambda c, n=noted: _derived(c, selection, n)).value  # type: ignore[misc]
        found += [
            Blocker(
                kind="derived",
                name=f"{identity} on {address.branch}",
                message="it was made from what is erased and may say the same; forget or erase "
                "it too, or ask again with include_derived",
            )
            for identity in made
        ]
    return tuple(found)


def _derived(
    connection: apsw.Connection, selection: Selection, noted: tuple[str, ...]
) -> list[str]:
    """Return some of what was made of it and is there, of what was noted or written since."""
    there = [*present(connection, noted), *derived(connection, selection, _DERIVED_SHOWN)]
    return list(dict.fromkeys(there))[:_DERIVED_SHOWN]


# What is looked at before a step; a hold can be set between any two of them.
_ASKED_BEFORE: dict[str, Callable[[Context, Record], tuple[Blocker, ...]]] = {
    MARKED: _holds,
    REMOVED: _holds,
    GIVEN_UP: _blockers,
}


def _erase_unheld(
    connection: apsw.Connection, selection: Selection, sealer: Sealer, limit: int
) -> int:
    """Erase from the present, unless something was put under hold since it was looked at."""
    ids = held(connection, selection)
    if ids:
        raise Conflict(f"memory {ids[0]} is under legal hold; the erasure waits", reason="hold")
    return erase(connection, selection, sealer, limit)


def _is_deleted(context: Context, record: Record) -> bool:
    return context.engine.erasing.database(record.address) != record.db_id


def _unmark(context: Context, record: Record) -> Record:
    """Take the marks of one back that was called off, unless that was done."""
    if UNMARKED in record.steps:
        return record
    if not _is_deleted(context, record):
        context.engine.erasing.unmark(record.address, record.db_id, record.id)
    noted = {**record.steps, UNMARKED: context.clock.now_ms()}
    return _save(context.engine.store, record, steps=noted)


# -- the record -------------------------------------------------------------------------------


def _save(store: ObjectStore, record: Record, **changed: Any) -> Record:
    """Note what was done; `Conflict` where somebody else noted something meanwhile."""
    new = msgspec.structs.replace(
        record, version=record.version + 1, nonce=random_id("n"), **changed
    )

    def change(data: bytes | None) -> bytes | None:
        key = _key(record.db_id, record.id)
        if data is None:
            raise Internal(f"{key} has vanished")
        current = _decode(data, key)
        if current.nonce == new.nonce:
            return None
        if current.nonce != record.nonce:
            raise Overtaken(
                f"erasure {record.id} is being carried out by another node; look again",
            )
        return msgspec.json.encode(new)

    change_object(store, _key(record.db_id, record.id), change)
    return new


def identity_of(db_id: str, request_id: str | None, digest: bytes) -> str:
    """Return the id of a new erasure: the same for a repeat of the same request."""
    if request_id is None:
        return f"{db_id}.{random_id('e')}"
    seed = b"%s\0%s\0%s" % (db_id.encode(), request_id.encode(), digest)
    return f"{db_id}.e_{hashlib.blake2b(seed, digest_size=16).hexdigest()}"


def _key(db_id: str, identity: str) -> str:
    return f"{_PREFIX}{db_id}/{identity}.json"


def _decode(data: bytes, key: str) -> Record:
    try:
        record = from_json(data, Record)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Internal(f"object {key} is damaged: {error}", key=key) from error
    if record.format > _FORMAT:
        raise Unavailable(
            f"{key} has format {record.format}, this release reads {_FORMAT}; use a newer one",
            reason="format",
        )
    return record
