"""Comparing what was embedded with what is near to it: after embedding, in as small slices."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw

from ..api.limits import WAIT_SECONDS_MAX
from ..clock import Clock
from ..engine import Branch
from ..errors import Error
from ..forks import importing
from .auditing.actions import RELATED
from .context import Context
from .embedding import Pause, sleep

if TYPE_CHECKING:
    from ..profile.relating import Found

__all__ = ["NEAR_DUPLICATE_MIN", "Compared", "Related", "relate", "relate_now"]

# Without a policy.
NEAR_DUPLICATE_MIN = 0.95
# A look takes half a millisecond, one slice what a read of somebody else may have to wait for. What
# was found is noted after so many rows or pairs, one slice while others write.
_SLICE = 4
_BATCH = 64
_PAIRS = 16
# To compare so many rows again, after a crash, costs less than a commit for each few of them.
_UNMARKED_MAX = 1_000

_clock = Clock()


class Related(NamedTuple):
    """How many rows were compared, and what was found."""

    rows: int = 0
    duplicates: int = 0
    contradictions: int = 0
    superseded: int = 0

    def plus(self, *found: int) -> Related:
        """Return the sum of both."""
        return Related(*(a + b for a, b in zip(self, found, strict=True)))


class Compared(NamedTuple):
    """Whose place each memory took, by id, and why not all was compared; None where it was."""

    replaced: dict[str, tuple[str, ...]]
    note: str | None = None


class _Progress:
    """Up to which code the rows of an open branch were compared; gone with its content."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.through = self.marked = -1


def relate(
    context: Context, database: Branch, limit: int | None = None, *, pause: Pause = sleep
) -> Related:
    """Compare up to `limit` embedded rows (None: all) with those near to them.

    What is found is noted as proposals; newer near duplicates supersede older ones only where the
    policy says so. Stopping it anywhere loses nothing: what was not compared is behind a mark.
    """
    progress = database.attachment(_Progress, _Progress)
    done = Related()
    try:
        while limit is None or done.rows < limit:
            since = _clock.monotonic()
            rows = _SLICE if context.embedding.is_busy(context.metrics) else _BATCH
            with progress.lock:
                found = _relate_some(context, database, progress, rows)
            done = done.plus(*found)
            worked = _clock.monotonic() - since
            if not (found.rows and context.embedding.rest(context.metrics, worked, pause)):
                break
    finally:
        _tell(context, database, done)
    return done


def relate_now(context: Context, database: Branch, ids: Sequence[str]) -> Compared:
    """Compare memories that have their vectors with those near to them, without waiting its turn.

    What is found is noted, and done, as by `relate`, which passes over it later. It takes 20
    seconds at most; what was not compared then is left to that.
    """
    compared = Compared({})
    if context.embedding.read_only:
        return compared._replace(note="not compared: this node stores nothing of its own")
    until = _clock.monotonic() + WAIT_SECONDS_MAX
    try:
        for start in range(0, len(ids), _SLICE):
            if _clock.monotonic() > until:
                late = f"not compared yet: it takes longer than {WAIT_SECONDS_MAX} s"
                return compared._replace(note=late)
            compared.replaced.update(_relate_these(context, database, ids[start : start + _SLICE]))
    except Error as error:
        # What was to be written is written; nobody is to take this for a write that failed.
        return compared._replace(note=f"not compared yet: {error}")
    return compared


def _relate_these(
    context: Context, database: Branch, ids: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    from ..models import rules
    from ..profile import relating
    from ..profile.generations import memory_handles
    from ..profile.vectors import CodeIndex

    progress = database.attachment(_Progress, _Progress)
    index = database.attachment(CodeIndex, CodeIndex)
    address = database.address
    policy = context.policies.lenient(address.namespace, address.profile)
    sealer, id_key = context.sealer_of(address), context.id_key_of(address)
    minimum = policy.memory_near_duplicate_min or NEAR_DUPLICATE_MIN

    def look(connection: apsw.Connection) -> Found:
        handles = memory_handles(connection, ids)
        return relating.find_of(connection, index, sealer, rules, handles, minimum)

    found = database.read(look).value
    if not found.pairs:
        return {}
    now_ms = context.clock.now_ms()
    supersede = policy.memory_near_duplicates == "supersede"

    def write(connection: apsw.Connection) -> Any:
        # As in `_relate_some`.
        if database.attachment(_Progress, _Progress) is not progress:
            return relating.Noted(), {}
        noted = relating.note(connection, found, sealer, id_key, now_ms, supersede=supersede)
        return noted, relating.replaced(connection, found.pairs)

    context.embedding.writes()
    noted, replaced = database.write(write, derived=not supersede).value
    _tell(context, database, Related(found.rows, *noted))
    return replaced  # type: ignore[no-any-return]


def _relate_some(context: Context, database: Branch, progress: _Progress, rows: int) -> Related:
    with importing():
        # In a thread that nobody knows of who may be about to fork.
        from ..profile import relating
    if progress.through < 0:
        progress.through = progress.marked = database.read(relating.mark).value
    if not database.read(lambda c: relating.has_more(c, progress.through)).value:
        return Related()
    address = database.address
    policy = context.policies.lenient(address.namespace, address.profile)
    minimum = policy.memory_near_duplicate_min or NEAR_DUPLICATE_MIN
    found = _find(
        context, database, progress.through, rows, minimum, associations=policy.memory_associations
    )
    noted = relating.Noted()
    if found.pairs or found.associations or found.through - progress.marked > _UNMARKED_MAX:
        supersede = policy.memory_near_duplicates == "supersede"
        now_ms = context.clock.now_ms()
        sealer, id_key = context.sealer_of(address), context.id_key_of(address)

        def write(connection: apsw.Connection) -> relating.Noted | None:
            # A rewind made it another one since: then nothing here is true of it.
            if database.attachment(_Progress, _Progress) is not progress:
                return None
            return relating.note(connection, found, sealer, id_key, now_ms, supersede=supersede)

        context.embedding.writes()
        written = database.write(write, derived=not supersede).value
        if written is None:
            return Related()
        noted, progress.marked = written, found.through
    progress.through = found.through
    return Related(found.rows, *noted)


def _find(
    context: Context,
    database: Branch,
    after: int,
    rows: int,
    minimum: float,
    *,
    associations: bool,
) -> Found:
    """Compare up to so many rows, fewer where much was found; between slices others may read."""
    with importing():
        from ..models import rules
        from ..profile.relating import Found, find
        from ..profile.vectors import CodeIndex
    index = database.attachment(CodeIndex, CodeIndex)
    found = Found([], 0, after)
    while found.rows < rows and len(found.pairs) < _PAIRS:
        look = partial(
            find,
            index=index,
            sealer=context.sealer_of(database.address),
            reader=rules,
            after=found.through,
            limit=_SLICE,
            minimum=minimum,
            associations=associations,
        )
        some = database.read(look).value
        found = Found(
            [*found.pairs, *some.pairs],
            found.rows + some.rows,
            some.through,
            (*found.associations, *some.associations),
        )
        if some.rows < _SLICE:
            break
    return found


def _tell(context: Context, database: Branch, done: Related) -> None:
    counted = {name: count for name, count in done._asdict().items() if count and name != "rows"}
    for what, count in counted.items():
        context.metrics.add("memory_pairs_found", count, what=what)
    if counted and context.audit is not None:
        address = database.address
        about = {"branch": address.branch}
        context.audit.record(address.namespace, RELATED, address.profile, about=about, **counted)
