"""Embedding: rows that have no vector, rows of an older model, and what is known of both.

All of it happens off the write path and in small slices, between which others go first. Stopping it
anywhere loses nothing: a row without a vector is the job.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import apsw

from ..api import EmbedGeneration, EmbedStatus, GetEmbedding, Reembed, Reembedded, Target
from ..api.embed import EmbeddedTexts, EmbedTexts
from ..api.limits import (
    EMBED_TEXTS_MAX,
    QUERY_BYTES_MAX,
    REEMBED_ROWS_MAX,
    WAIT_SECONDS_MAX,
)
from ..clock import Clock
from ..engine import Address, Branch
from ..errors import Denied, Error, Invalid, Unconfigured
from ..profile import Embedder
from ..profile.checks import check_integer, check_text
from ..profile.generations import (
    Batch,
    Missing,
    advance,
    count_missing,
    count_vectors,
    drop_replaced,
    generations,
    lacking,
    missing_vectors,
    unregister_empty,
)
from ..profile.indexing import CORPORA, MEMORIES, TURNS, Corpus
from .context import Context
from .egress import outgoing
from .embedding import Pause, embedded, sleep

__all__ = [
    "FILL_IN_PASSING",
    "Filled",
    "embed_now",
    "embed_texts",
    "fill",
    "fill_in_passing",
    "reembed",
    "status",
]

# A recall embeds that many rows first, so that what was just written is found by meaning; with the
# bundled embedder 256 rows take some 10 ms. The rest is the background's.
FILL_IN_PASSING = 256
# One slice: what a write of somebody else may have to wait for. The bundled embedder takes half a
# millisecond for a thousand characters.
_SLICE_ROWS = 16
_SLICE_CHARS = 2_000
_SLICES_LOOKED_AT = 16
# While it rests, it looks so often whether somebody waits.
_STEP_SECONDS = 0.01
# While nobody else writes, and for a model that is not local: what one call of it takes.
_BATCH = 128
# To step over so many rows at every look costs more than writing down that none of them is missing.
_SCANNED_MAX = 1_000
_DROPPED_AT_ONCE = 64
# A call is answered after so long, with what it did until then.
_REEMBED_SECONDS = 5.0
# The first write to a branch here may bring another file in its place; more often than that it is
# left to the next call.
_SWITCHES_MAX = 3

# A disk that is full, or a store that does not let this node write, is left alone for so long.
_REFUSED_SECONDS = 60.0

_clock = Clock()


class _Turn:
    """Whose turn it is to embed rows of a branch: no row is embedded by two at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        # An entry for each who waits: whoever embeds rests between slices, and nobody waits for
        # that.
        self.waiting: deque[None] = deque()
        # What the last slices took.
        self.took: deque[float] = deque(maxlen=_SLICES_LOOKED_AT)
        # Until when no read tries to store vectors in passing.
        self.refused_until = float("-inf")

    @contextmanager
    def taken(self, seconds: float = -1) -> Iterator[bool]:
        """Have the turn, where it is free within so many seconds; yields whether it was."""
        self.waiting.append(None)
        taken = self.lock.acquire(timeout=seconds)
        self.waiting.pop()
        try:
            yield taken
        finally:
            if taken:
                self.lock.release()


class Filled(NamedTuple):
    """How many rows got a vector, how many older ones went, and why the embedder did no more."""

    stored: int = 0
    dropped: int = 0
    failure: Error | None = None


class _Outage(Exception):
    """The embedder failed, and not the database."""

    def __init__(self, error: Error) -> None:
        super().__init__(str(error))
        self.error = error


class _Switched(Exception):
    """The branch holds something else than when this began: a rewind, or its first write here."""


class _Work:
    """Embedding of one branch; every piece asks anew what may embed its texts."""

    def __init__(self, context: Context, database: Branch, pause: Pause = sleep) -> None:
        self.context = context
        self.database = database
        self.address: Address = database.address
        self.pause = pause
        self.stored = self.dropped = 0
        self.attach()

    def attach(self) -> None:
        """Begin with what the branch holds now."""
        self.turn = self.database.attachment(_Turn, _Turn)

    def embedder(self) -> Embedder | None:
        return self.context.embedder_of(self.address.namespace, self.address.profile)

    def read(self, query: Callable[[apsw.Connection], Any]) -> Any:
        return self.database.read(query).value

    def write(self, operation: Callable[[apsw.Connection], Any]) -> Any:
        """Write to what was read; raises `_Switched` where that is not what the branch holds."""

        def write(connection: apsw.Connection) -> Any:
            if self.database.attachment(_Turn, _Turn) is not self.turn:
                raise _Switched
            return operation(connection)

        self.context.embedding.writes()
        return self.database.write(write, derived=True).value

    def name(self, embedder: Embedder) -> str:
        try:
            return embedder.name
        except Error as error:
            raise self._outage(error) from error

    def vectors(self, embedder: Embedder, name: str, rows: Sequence[Missing]) -> Any:
        try:
            with outgoing(self.context, self.address, "embed", name) as spending:
                found = embedded(embedder, [row.text for row in rows], spending)
        except Error as error:
            raise self._outage(error) from error
        self.context.embedding.succeeded()
        return found

    def store(
        self,
        corpus: Corpus,
        model: str,
        rows: Sequence[Missing],
        vectors: Any,
        batch: Batch | None = None,
    ) -> int:
        """Store vectors, return how many; with the last rows of a `batch` its mark is raised."""
        from ..profile.vectors import store_missing

        def write(connection: apsw.Connection) -> Any:
            sealer = self.context.sealer_of(self.address)
            stored = store_missing(connection, corpus, model, rows, vectors, sealer)
            if batch is not None and stored.rows == len(rows):
                advance(connection, corpus, batch)
            return stored

        stored = self.write(write)
        self.stored += stored.rows
        self.dropped += stored.dropped
        self.context.metrics.add("vectors_written", stored.rows)
        return int(stored.rows)

    def rest(self, since: float) -> bool:
        """Let others go first; False where it is to end, or somebody waits for the turn."""
        if self.turn.waiting:
            return False
        took = self.turn.took
        took.append(_clock.monotonic() - since)
        # Beside others a slice takes longer because it waits for them: that is no work of its own.
        return self.context.embedding.rest(self.context.metrics, min(took), self._pause)

    def _pause(self, seconds: float) -> bool:
        """Pause for so long; False where it is to end, or somebody waits for the turn by now."""
        goes_on = self.pause(min(seconds, _STEP_SECONDS))
        while goes_on and (seconds := seconds - _STEP_SECONDS) > 0:
            goes_on = not self.turn.waiting and self.pause(min(seconds, _STEP_SECONDS))
        return goes_on

    def _outage(self, error: Error) -> _Outage:
        self.context.embedding.failed(error, self.context.clock.now_ms())
        return _Outage(error)


def fill(
    context: Context, database: Branch, limit: int | None = None, *, pause: Pause = sleep
) -> Filled:
    """Embed up to `limit` rows (None: all) that no model has a vector of, oldest first.

    An embedder that fails is no error here: the result says so. What the database raises is raised.
    """
    return _embed_all(_Work(context, database, pause), limit, None)


def fill_in_passing(context: Context, database: Branch) -> None:
    """Embed the oldest rows without a vector, as many as a read may wait for."""
    work, left = _Work(context, database), FILL_IN_PASSING
    if _clock.monotonic() < work.turn.refused_until:
        return
    try:
        for corpus in CORPORA:
            if left > 0:
                with work.turn.taken():
                    left -= _embed_batch(work, corpus, left, None, sliced=False)
    except (_Outage, _Switched):
        # It is noted, or what was to be embedded is there no more: words find what they find.
        return
    except Error:
        # The next read need not wait for what it cannot have.
        work.turn.refused_until = _clock.monotonic() + _REFUSED_SECONDS


def embed_now(
    context: Context,
    database: Branch,
    corpus: Corpus,
    handles: Callable[[apsw.Connection], Sequence[int]],
) -> str | None:
    """Embed these rows, whatever else waits; return None when all have their vector, else why not.

    A row that is gone, or is never embedded, is not waited for.
    """
    work = _Work(context, database)
    until = _clock.monotonic() + WAIT_SECONDS_MAX
    try:
        with work.turn.taken(WAIT_SECONDS_MAX) as taken:
            if not taken:
                return f"not embedded yet: others were being embedded for {WAIT_SECONDS_MAX} s"
            return _embed_these(work, corpus, handles, until)
    except _Outage as outage:
        return f"not embedded yet: {outage.error}"
    except Error as error:
        # What was to be written is written; nobody is to take this for a write that failed.
        return f"not embedded yet: {error}"


def _embed_these(
    work: _Work,
    corpus: Corpus,
    handles: Callable[[apsw.Connection], Sequence[int]],
    until: float,
) -> str | None:
    """Do that while having the turn."""
    while True:
        embedder = work.embedder()
        if embedder is None:
            return f"not embedded: {_why_not(work.context, work.address)}"
        name = work.name(embedder)
        rows = _lacking(work, corpus, name, handles)
        if not rows:
            return None
        if _clock.monotonic() > until:
            return f"not embedded yet: it takes longer than {WAIT_SECONDS_MAX} s"
        vectors = work.vectors(embedder, name, rows)
        try:
            work.store(corpus, name, rows, vectors)
        except _Switched:
            work.attach()


def status(context: Context, target: Target, _request: GetEmbedding) -> EmbedStatus:
    """Say which models the rows have vectors of, and what is still to be done."""
    address = context.address(target)
    known = context.embedding
    embedder = context.embedder_of(address.namespace, address.profile)
    current = None
    if embedder is not None:
        try:
            current = embedder.name
        except Error as error:
            known.failed(error, context.clock.now_ms())

    def look(connection: apsw.Connection) -> dict[str, Any]:
        held = [count_vectors(connection, corpus) for corpus in CORPORA]
        return {
            "generations": tuple(
                EmbedGeneration(
                    model=one.name,
                    dimensions=one.dimensions,
                    memories=held[0].get(one.number, 0),
                    turns=held[1].get(one.number, 0),
                    current=one.name == current,
                )
                for one in generations(connection)
            ),
            "pending_memories": count_missing(connection, MEMORIES),
            "pending_turns": count_missing(connection, TURNS),
            "remaining": 0 if current is None else _remaining(connection, current),
        }

    with context.reading(target) as database:
        found: dict[str, Any] = {}
        txid = 0
        if database is not None:
            found, txid, _ = database.read(look)
    reason = None if embedder is not None else _why_not(context, address)
    if known.failure is not None:
        reason = known.failure.text
    return EmbedStatus(
        model=current,
        answers=known.answers if embedder is not None else None,
        failure=reason,
        failed_at=None if known.failure is None else known.failure.at,
        txid=txid,
        **found,
    )


def reembed(context: Context, target: Target, request: Reembed) -> Reembedded:
    """Embed rows with the model of now; then vectors of older models go."""
    address = context.address(target)
    if request.limit is not None:
        check_integer(request.limit, "limit", 1, REEMBED_ROWS_MAX)
    with context.writing(target, create=False) as branch:
        embedder = context.embedder_of(address.namespace, address.profile)
        if embedder is None:
            raise _no_embedder(context, address)
        name = embedder.name
        if branch is None:
            return Reembedded(model=name, embedded=0, dropped=0, remaining=0, txid=0)
        work = _Work(context, branch)
        until = _clock.monotonic() + _REEMBED_SECONDS
        work.pause = lambda seconds: sleep(seconds) and _clock.monotonic() < until
        done = _embed_all(work, request.limit or REEMBED_ROWS_MAX, name)
        if done.failure is not None:
            raise done.failure
        remaining, txid, _ = branch.read(lambda c: _remaining(c, name))
        dropped = done.dropped
        if not remaining:
            dropped += _drop_replaced(work, name)
            txid = branch.read(lambda _: None).txid
    return Reembedded(
        model=name, embedded=done.stored, dropped=dropped, remaining=remaining, txid=txid
    )


def embed_texts(context: Context, target: Target, request: EmbedTexts) -> EmbeddedTexts:
    """Return the vectors of texts, by the embedder that rows get theirs from."""
    address = context.address(target)
    if not 1 <= len(request.texts) <= EMBED_TEXTS_MAX:
        raise Invalid(f"texts has {len(request.texts):,}; give 1 to {EMBED_TEXTS_MAX}")
    for text in request.texts:
        check_text(text, "texts", QUERY_BYTES_MAX)
    embedder = context.embedder_of(address.namespace, address.profile)
    if embedder is None:
        raise _no_embedder(context, address)
    name = embedder.name
    with outgoing(context, address, "embed", name) as spending:
        rows = embedded(embedder, request.texts, spending, query=request.query)
    return EmbeddedTexts(model=name, vectors=tuple(tuple(row) for row in rows.tolist()))


def _no_embedder(context: Context, address: Address) -> Error:
    said = f"nothing can be embedded: {_why_not(context, address)}"
    return Unconfigured(said) if context.embedder is None else Denied(said)


def _embed_all(work: _Work, limit: int | None, model: str | None) -> Filled:
    """Embed rows without a vector of `model` (None: of any) until there are none."""
    failure = None
    for _ in range(_SWITCHES_MAX):
        try:
            _embed_corpora(work, limit, model)
            break
        except _Switched:
            work.attach()
        except _Outage as outage:
            failure = outage.error
            break
    return Filled(work.stored, work.dropped, failure)


def _embed_corpora(work: _Work, limit: int | None, model: str | None) -> None:
    for corpus in CORPORA:
        stored = 1
        while stored and (limit is None or work.stored < limit):
            size = _BATCH if limit is None else min(_BATCH, limit - work.stored)
            with work.turn.taken():
                stored = _embed_batch(work, corpus, size, model, sliced=True)
            if stored and not work.pause(0.0):
                return


def _embed_batch(work: _Work, corpus: Corpus, size: int, model: str | None, *, sliced: bool) -> int:
    """Embed the oldest rows without a vector; return how many were stored.

    None where all of them changed meanwhile: somebody else is at it, or will be called again.
    """
    since = _clock.monotonic()
    embedder = work.embedder()
    if embedder is None:
        return 0
    name = work.name(embedder)
    if sliced and embedder.local and work.context.embedding.is_busy(work.context.metrics):
        size = min(size, _SLICE_ROWS)
    sealer = work.context.sealer_of(work.address)
    batch: Batch = work.read(lambda c: missing_vectors(c, corpus, sealer, size, model=model))
    if not batch.rows:
        # Those that cannot be read are not looked for again each time.
        if batch.unreadable is not None or batch.through - batch.start > _SCANNED_MAX:
            work.write(lambda c: advance(c, corpus, batch))
        return 0
    whole = None if embedder.local else work.vectors(embedder, name, batch.rows)
    stored = 0
    for start, stop in _slices(batch.rows) if sliced else [(0, len(batch.rows))]:
        rows = batch.rows[start:stop]
        vectors = work.vectors(embedder, name, rows) if whole is None else whole[start:stop]
        # All before them were stored, and so will these be, or the mark stays where it is.
        last = stop == len(batch.rows) and stored == start
        stored += work.store(corpus, name, rows, vectors, batch if last else None)
        if sliced and not work.rest(since):
            break
        since = _clock.monotonic()
    return stored


def _slices(rows: Sequence[Missing]) -> Iterator[tuple[int, int]]:
    """Yield from where to where rows are embedded and stored at once, at least one each."""
    start = chars = 0
    for place, row in enumerate(rows):
        chars += len(row.text)
        if place > start and (place - start == _SLICE_ROWS or chars > _SLICE_CHARS):
            yield start, place
            start, chars = place, len(row.text)
    yield start, len(rows)


def _drop_replaced(work: _Work, model: str) -> int:
    """Delete the vectors of older models beside those of `model`; return how many.

    What a rewind during this brought back is left to the next call.
    """
    if not work.read(lambda c: any(one.name != model for one in generations(c))):
        return 0
    dropped = 0
    try:
        for corpus in CORPORA:
            drop = partial(drop_replaced, corpus=corpus, model=model, limit=_DROPPED_AT_ONCE)
            gone: int = 1
            while gone:
                since = _clock.monotonic()
                with work.turn.lock:
                    gone = work.write(drop)
                dropped += gone
                if gone and not work.rest(since):
                    return dropped
        work.write(lambda c: unregister_empty(c, model))
    except _Switched:
        work.attach()
    return dropped


def _lacking(
    work: _Work, corpus: Corpus, model: str, handles: Callable[[apsw.Connection], Sequence[int]]
) -> list[Missing]:
    sealer = work.context.sealer_of(work.address)
    rows: list[Missing] = work.read(lambda c: lacking(c, corpus, model, handles(c), sealer, _BATCH))
    return rows


def _remaining(connection: apsw.Connection, model: str) -> int:
    return sum(count_missing(connection, corpus, model) for corpus in CORPORA)


def _why_not(context: Context, address: Address) -> str:
    if context.embedder is None:
        return "no embedder here; set PALIMP_EMBED_PROVIDER"
    return (
        f"the policy of namespace {address.namespace!r} (ai_egress.embed) does not let texts go to "
        "the embedder"
    )
