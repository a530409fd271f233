"""What is used of databases: counted in memory, written to the catalog by one thread.

A count is an addition under a lock. Every few seconds what was counted becomes a batch, with how
large the databases are that were written. A batch that the catalog did not take is sent again as
it is, and counted once; what comes meanwhile waits, up to a bound.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol

import apsw

from ..api import CreateDatabase, Operation, Target
from ..api.base import Request
from ..api.limits import USAGE_DAYS_MAX
from ..api.usage import DatabaseUsage, NamespaceUsage, ReadUsage, UsageDay
from ..catalog import Batch, Counts, DatabaseRow, Indexed, Levels, Span
from ..clock import Clock, format_ms
from ..engine import Address, Engine
from ..errors import Error, Invalid, Kept, NotFound, Unavailable, Unconfigured
from ..ids import MAIN, NAMESPACE_CHARS_MAX, check_name, parse_database_name, random_id
from ..observe import Metrics, logger
from ..profile.generations import count_missing
from ..profile.indexing import CORPORA
from ..profile.memories import count_memories

if TYPE_CHECKING:
    from .context import Context

__all__ = ["BRANCHING", "RECALLS", "Catalog", "Look", "Usage", "database", "look_into", "namespace"]

_LOG = logger("usage")
# What counts as a recall, and what changes how many branches there are.
RECALLS = frozenset({"recall", "ask", "sessions.search"})
BRANCHING = frozenset({"branches.fork", "branches.delete", "extract", "reviews.merge"})
_DAY_MS = 86_400_000
_DAYS_DEFAULT = 30
_FLUSH_SECONDS = 5.0
_RETRY_SECONDS_MAX = 60.0
_PATIENCE_SECONDS = 10.0
# How large a database is, is looked up no more often than this.
_SAMPLE_SECONDS = 60.0
# While the catalog is away so many databases are remembered, each for every day: 300 bytes.
_PENDING_MAX = 100_000
_KNOWN_MAX = 100_000
_BATCH_MAX = 10_000
# At its start a node goes on with what it left, and with what no other looked at for so long.
_RESUMED_MAX = 1_000
_FORSAKEN_MS = 600_000
# No batch waits for longer while databases are looked into; the rest follow with the next.
_LOOK_SECONDS = 1.0
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)
# Superseded ones are kept, so they count. SQLite counts the rows of the smallest index.
# Places of what is counted, and what is to be found out of a database, as bits.
_WRITES, _RECALLS, _TOKENS, _WANTED = range(4)
_SIZE, _BRANCHES, _EXISTENCE = 1, 2, 4

Key = tuple[str, str]


class Catalog(Protocol):
    """Where usage is kept; every method raises `Unavailable` where that is away."""

    def record(self, batch: Batch) -> None:
        """Write a batch, all or nothing; one it has (source and number) changes nothing."""

    def profiles(self, namespace: str) -> list[str]:
        """Return the databases of a namespace that it has."""

    def pending(self, node: str, before: int, limit: int) -> list[tuple[str, str]]:
        """Return databases that wait for work, of this node or not looked at since `before`."""

    def usage(self, namespace: str, profile: str | None, first: str, last: str) -> Span | None:
        """Return what was used from day to day; None where it never heard of that."""

    def close(self) -> None:
        """Let go of it."""


# What is known of a database, whether its size and its branches are to be looked up -> what is.
Look = Callable[[str, str, DatabaseRow | None, bool, bool], DatabaseRow | None]


class _Known(NamedTuple):
    """A database that was looked into, and when (monotonic)."""

    row: DatabaseRow
    at: float


class Usage:
    """Counts what is done with databases, and reports it by day. Thread-safe.

    `look` finds out what a database is and how large (`look_into`). The catalog may be away: no
    count waits for it. What was counted and not written when the process is killed is lost: that
    of five seconds, or of as long as the catalog was away.
    """

    def __init__(
        self, catalog: Catalog, look: Look, clock: Clock, metrics: Metrics, node: str = ""
    ) -> None:
        self._catalog = catalog
        self._node = node
        self._wake: Callable[[str, str], None] | None = None
        self._unembedded: dict[Key, int] = {}
        self._look = look
        self._clock = clock
        self._metrics = metrics
        self._changed = threading.Condition()
        self._pending: dict[tuple[int, str, str], list[int]] = {}
        self._emptied: set[str] = set()
        self._closed = False
        self._thread: threading.Thread | None = None
        # What follows belongs to who holds this.
        self._flushing = threading.Lock()
        self._source = random_id("src")
        self._number = 0
        self._batch: Batch | None = None
        self._due: dict[Key, int] = {}
        self._blind_until = 0.0
        self._known: OrderedDict[Key, _Known] = OrderedDict()

    # -- counting ---------------------------------------------------------------------------------

    def count(self, operation: Operation, target: Target, request: Request) -> None:
        """Count an operation that was carried out."""
        namespace, profile = target.namespace, target.profile
        if operation.platform:
            self._note(operation, namespace, profile, request)
        elif namespace is None or profile is None:
            return
        elif operation.writes:
            wanted = _SIZE if target.branch == MAIN else 0
            if operation.name in BRANCHING:
                wanted |= _BRANCHES
            self._add(namespace, profile, _WRITES, 1, wanted)
        elif operation.name in RECALLS:
            self._add(namespace, profile, _RECALLS, 1, 0)

    def spend(self, namespace: str, profile: str, tokens: int) -> None:
        """Count tokens that models read and wrote for a database."""
        if tokens:
            self._add(namespace, profile, _TOKENS, tokens, 0)

    def look_again(self, namespace: str, profile: str) -> None:
        """Have a database looked into: work on it was done that nobody asked for."""
        self._add(namespace, profile, _WRITES, 0, _SIZE)

    def resume(self, wake: Callable[[str, str], None]) -> None:
        """Have `wake` called with databases that wait for work, once the catalog answers."""
        with self._changed:
            self._wake = wake
            self._start()

    @property
    def unembedded(self) -> int:
        """How many rows wait for a vector, of databases that were looked into here."""
        return sum(list(self._unembedded.values()))

    def _note(
        self, operation: Operation, namespace: str | None, profile: str | None, request: Request
    ) -> None:
        """Have looked at what the control plane made or deleted."""
        if isinstance(request, CreateDatabase):
            namespace, profile = parse_database_name(request.name)
        if not operation.writes or namespace is None:
            return
        if profile is not None:
            self._add(namespace, profile, _WRITES, 0, _EXISTENCE)
            return
        with self._changed:
            self._emptied.add(namespace)
            self._start()

    def _add(self, namespace: str, profile: str, place: int, amount: int, wanted: int) -> None:
        key = (self._clock.now_ms() // _DAY_MS, namespace, profile)
        with self._changed:
            counted = self._pending.get(key)
            if counted is None:
                if len(self._pending) >= _PENDING_MAX:
                    self._metrics.add("usage_dropped")
                    return
                counted = self._pending[key] = [0, 0, 0, 0]
                self._start()
            counted[place] += amount
            counted[_WANTED] |= wanted

    def _start(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="palimp-usage", daemon=True)
            self._thread.start()
        self._changed.notify()

    # -- writing ----------------------------------------------------------------------------------

    def flush(self, *, everything: bool = False) -> None:
        """Write what was counted; `Unavailable` where the catalog is away: it is kept then.

        With `everything` also how large databases are that were looked into just before.
        """
        with self._alone():
            self._flush(everything=everything)

    def close(self) -> None:
        """Write what there is, if the catalog takes it, and let go of the catalog."""
        with self._changed:
            self._closed = True
            self._wake = None
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            # A database that hangs, unlike one that is down, is not waited for: it may for ever.
            thread.join(_PATIENCE_SECONDS)
            kept = Kept()
            with kept:
                self.flush(everything=True)
            if kept.error is not None:
                _LOG.warning("usage of the last moments is lost: %s", kept.error)
        self._catalog.close()

    def _run(self) -> None:
        pause, failing = _FLUSH_SECONDS, False
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: (
                        self._closed
                        or self._pending
                        or self._emptied
                        or self._wake is not None
                        # Of a flush that failed, or is to follow.
                        or self._batch is not None
                        or self._due
                    )
                )
                self._changed.wait_for(lambda: self._closed, pause)
                if self._closed:
                    return
            # Whatever it was, also a defect: nobody else would write it.
            kept = Kept()
            with kept:
                self.flush()
            if kept.error is None:
                pause, failing = _FLUSH_SECONDS, False
                continue
            self._metrics.add("usage_failed")
            unforeseen = None if isinstance(kept.error, Error) else kept.error
            if not failing or unforeseen:
                _LOG.warning("usage waits in memory: %s", kept.error, exc_info=unforeseen)
            pause, failing = min(pause * 2, _RETRY_SECONDS_MAX), True

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Have what belongs to one at a time; `Unavailable` where that one hears nothing."""
        if not self._flushing.acquire(timeout=_PATIENCE_SECONDS):
            raise Unavailable(
                f"the catalog has not answered for {_PATIENCE_SECONDS:g} s; data is read and "
                "written without it. See what its database waits for",
                reason="catalog",
                retry_after=_FLUSH_SECONDS,
            )
        try:
            yield
        finally:
            self._flushing.release()

    def _flush(self, *, everything: bool = False) -> None:
        self._resume()
        # Bounded: others go on counting.
        for _ in range(2 + _PENDING_MAX // _BATCH_MAX):
            if self._batch is None:
                self._batch = self._cut(everything=everything)
            if self._batch is None:
                return
            self._catalog.record(self._batch)
            self._batch = None
            if not (self._pending or everything):
                return

    def _resume(self) -> None:
        wake = self._wake
        if wake is not None:
            before = self._clock.now_ms() - _FORSAKEN_MS
            for name in self._catalog.pending(self._node, before, _RESUMED_MAX):
                wake(*name)
            self._wake = None

    def _cut(self, *, everything: bool) -> Batch | None:
        """Return the next batch of what was counted; None where there is nothing to say."""
        self._find_emptied()
        with self._changed:
            keys = list(self._pending)[:_BATCH_MAX]
            for key in keys:
                self._want(key)
        rows, absent, gone = self._look_into_due(everything=everything)
        counts = []
        with self._changed:
            for key in keys:
                counted = self._pending.pop(key)
                if counted[_WANTED]:
                    # Written while it was looked into.
                    self._due[key[1:]] = self._due.get(key[1:], 0) | counted[_WANTED]
                # Who recalls from names that never were makes no rows with them. Tokens were paid.
                writes, recalls, tokens, _ = counted
                if writes or tokens or (recalls and key[1:] not in absent):
                    day, namespace, profile = key
                    counts.append(Counts(_day(day), namespace, profile, writes, recalls, tokens))
        if not (counts or rows or gone):
            return None
        self._number += 1
        now = self._clock.now_ms()
        found = tuple(counts), tuple(rows), tuple(gone)
        return Batch(self._source, self._number, now, *found, self._node)

    def _want(self, key: tuple[int, str, str]) -> None:
        """Have a database looked into as its count says."""
        name = key[1:]
        if name in self._due or len(self._due) < _PENDING_MAX:
            self._due[name] = self._due.get(name, 0) | self._pending[key][_WANTED]
        self._pending[key][_WANTED] = 0

    def _find_emptied(self) -> None:
        """Have each database looked at of a namespace that was deleted."""
        for namespace in list(self._emptied):
            for profile in self._catalog.profiles(namespace):
                self._due[namespace, profile] = _EXISTENCE
            self._emptied.discard(namespace)

    def _look_into_due(self, *, everything: bool) -> tuple[list[DatabaseRow], set[Key], list[Key]]:
        """Return what was found of databases whose time has come, and which are not there.

        Last those of them that the catalog may have.
        """
        rows: list[DatabaseRow] = []
        absent: set[Key] = set()
        gone: list[Key] = []
        now = self._clock.monotonic()
        for key, wanted in list(self._due.items()) if now >= self._blind_until else ():
            known = self._known.get(key)
            if known is not None and not wanted:
                del self._due[key]
                continue
            recent = known is not None and now - known.at < _SAMPLE_SECONDS
            if recent and wanted == _SIZE and not everything:
                continue
            before = known.row if known is not None and not wanted & _EXISTENCE else None
            try:
                row = self._look(*key, before, bool(wanted & _SIZE), bool(wanted & _BRANCHES))
            except Error as error:
                # After the others next time: one that is damaged keeps nobody from it.
                self._due[key] = self._due.pop(key)
                _LOG.debug("%s--%s is looked into later: %s", *key, error)
                if isinstance(error, Unavailable):
                    # The object store is away: counts are not to wait for it again and again.
                    self._blind_until = self._clock.monotonic() + _SAMPLE_SECONDS
                    break
            else:
                del self._due[key]
                self._known.pop(key, None)
                if row is None or row.unembedded is not None:
                    self._unembedded.pop(key, None)
                if row is not None:
                    rows.append(row)
                    self._remember(key, _Known(row, now))
                else:
                    absent.add(key)
                    if known is not None or wanted:
                        gone.append(key)
            if self._clock.monotonic() - now > _LOOK_SECONDS:
                break
        return rows, absent, gone

    def _remember(self, key: Key, known: _Known) -> None:
        self._known[key] = known
        if known.row.unembedded:
            self._unembedded[key] = known.row.unembedded
        if len(self._known) > _KNOWN_MAX:
            oldest, _ = self._known.popitem(last=False)
            self._unembedded.pop(oldest, None)

    # -- reporting --------------------------------------------------------------------------------

    def report(
        self, namespace: str, profile: str | None, request: ReadUsage
    ) -> tuple[int, tuple[UsageDay, ...]]:
        """Return how many databases a namespace has, or one, and what was used on each day.

        What this process counted is in it. Raises `Invalid` for days that are none, `NotFound` for
        what was never used.
        """
        today = date.fromisoformat(_day(self._clock.now_ms() // _DAY_MS))
        first, last = _days(request, today)
        with self._alone():
            self._flush()
            span = self._catalog.usage(namespace, profile, first.isoformat(), last.isoformat())
        if span is None:
            named = f"namespace {namespace!r}" if profile is None else f"{namespace}--{profile}"
            raise NotFound(
                f"the catalog knows nothing of {named}; if it exists, it was made before the "
                "catalog: run `palimp catalog rebuild`",
                code="database_not_found",
            )
        levels, found = span.opening, []
        while first <= min(last, today):
            day = first.isoformat()
            changed = span.changes.get(day, (0, 0, 0))
            levels = Levels(*(a + b for a, b in zip(levels, changed, strict=True)))
            writes, recalls, tokens = span.counts.get(day, (0, 0, 0))
            found.append(
                UsageDay(
                    day=day,
                    **levels._asdict(),
                    writes=writes,
                    recalls=recalls,
                    model_tokens=tokens,
                )
            )
            first += timedelta(days=1)
        return span.databases, tuple(found)


def database(context: Context, target: Target, request: ReadUsage) -> DatabaseUsage:
    """Read what was used of a database; that includes every branch."""
    address = context.address(target)
    if address.branch != MAIN:
        raise Invalid(f"{address} names a branch; usage is that of the whole database")
    _, days = _usage(context).report(address.namespace, address.profile, request)
    return DatabaseUsage(name=str(address), days=days)


def namespace(context: Context, target: Target, request: ReadUsage) -> NamespaceUsage:
    """Read what was used of all databases of a namespace."""
    name = check_name(target.namespace, "namespace", chars_max=NAMESPACE_CHARS_MAX)
    databases, days = _usage(context).report(name, None, request)
    return NamespaceUsage(namespace=name, databases=databases, days=days)


def _usage(context: Context) -> Usage:
    if context.usage is None:
        raise Unconfigured(
            "nothing counts usage here: set PALIMP_CATALOG_URL, or start the node with "
            "`palimp serve`, which has a catalog in its folder (extra `server`)"
        )
    usage: Usage = context.usage
    return usage


def look_into(
    engine: Engine, clock: Clock, embeds: Callable[[str, str], bool | None] = lambda *_: None
) -> Look:
    """Return what looks into the databases of an engine.

    The size of main is read from its local file; `before` saves the request for the name, and
    unless `branches` is set the requests that count those. `embeds` says whether the rows of a
    database are to be embedded; None where nothing here could.
    """

    def look(
        namespace: str, profile: str, before: DatabaseRow | None, size: bool, branches: bool
    ) -> DatabaseRow | None:
        address = Address(namespace, profile)
        found: tuple[str, int, int, int | None] | None = None
        # Main is not opened for the sake of its size where only another branch was written.
        if size:
            try:
                with engine.use(address, create=False) as branch:
                    if branch is not None:
                        wanted = embeds(namespace, profile)
                        counted = branch.read(lambda c: _measure(c, wanted)).value
                        found = (branch.key[0], *counted)
            except NotFound as error:
                _LOG.debug("%s was deleted meanwhile: %s", address, error)
            if found is None:
                before = None
        if before is None or (found is not None and found[0] != before.database.db_id):
            name = engine.name(address)
            if name is None or name.db_id is None:
                return None
            database, levels = Indexed(namespace, profile, name.db_id, name.created_at), None
        else:
            database, levels = before.database, before.levels
        if found is None and levels is None:
            return DatabaseRow(database, None, clock.now_ms())
        file_bytes, memories = found[1:3] if found is not None else (levels or Levels(0, 0, 0))[:2]
        count = len(engine.branches(address)) if branches or levels is None else levels.branches
        unembedded = None if found is None else found[3]
        measured = Levels(file_bytes, memories, count)
        return DatabaseRow(database, measured, clock.now_ms(), unembedded)

    return look


def _measure(connection: apsw.Connection, embedded: bool | None) -> tuple[int, int, int | None]:
    """Return bytes, memories and rows that wait for a vector; None where none would get one."""
    pages, page_size = connection.pragma("page_count"), connection.pragma("page_size")
    waiting = None
    if embedded is not None:
        waiting = sum(count_missing(connection, corpus) for corpus in CORPORA if embedded)
    return pages * page_size, count_memories(connection), waiting


def _day(day: int) -> str:
    return format_ms(day * _DAY_MS, pattern="%Y-%m-%d")


def _days(request: ReadUsage, today: date) -> tuple[date, date]:
    last = today if request.to is None else _parse(request.to, "to")
    if request.from_ is None:
        first = last - timedelta(days=_DAYS_DEFAULT - 1)
    else:
        first = _parse(request.from_, "from")
    days = (last - first).days + 1
    if not 1 <= days <= USAGE_DAYS_MAX:
        raise Invalid(f"{first} to {last} are {days} days; ask for 1 to {USAGE_DAYS_MAX}")
    return first, last


def _parse(value: str, field: str) -> date:
    try:
        if _DAY.match(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise Invalid(f"{field} is {value!r:.40}, which is no day; give one as 2026-03-02")
