"""Memories: write, read, supersede, forget."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import apsw
import msgspec

from ..api import (
    FindMemories,
    Forget,
    Forgotten,
    FoundMemories,
    GetMemory,
    GotMemory,
    History,
    HistoryOf,
    Ingest,
    Ingested,
    ItemResult,
    ListMemories,
    MemoryInput,
    MemoryPage,
    Supersede,
    Target,
    Wait,
    Written,
)
from ..api.limits import BATCH_ITEMS_MAX
from ..engine import Address, Branch
from ..errors import Denied, Error, Invalid, NotFound, in_batch
from ..profile import memories
from ..profile.checks import check_id, check_integer
from ..profile.indexing import MEMORIES
from .context import Context
from .reads import note_reads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..governance.document import Effective

__all__ = [
    "Finished",
    "embed_written",
    "find",
    "finish_written",
    "forget",
    "get",
    "history",
    "ingest",
    "list_page",
    "supersede",
    "writer_of",
]


# What a handle of SQLite can be.
_HANDLE_MAX = (1 << 63) - 1


def ingest(
    context: Context, target: Target, request: Ingest, *, named: str = "memories"
) -> Ingested:
    """Write a batch in one transaction; everything is checked before anything is touched.

    `named` is what the caller called its items, for errors.
    """
    address = context.address(target)
    count = len(request.memories)
    if not 1 <= count <= BATCH_ITEMS_MAX:
        raise Invalid(
            f"a batch has {count:,} memories; give 1 to {BATCH_ITEMS_MAX:,}"
            + (", in several batches" if count else ""),
            code="payload_too_large" if count else "invalid_request",
        )
    policy = context.policies.effective(address.namespace, address.profile)
    screen, seen = context.screen(address, policy) if policy.screens else None, None
    if screen is not None:
        seen = screen.each(screen.memory, request.memories, named)
        request = msgspec.structs.replace(request, memories=tuple(one.item for one in seen))
        context = screen.settled("memories.ingest", request)
    drafts = []
    for index, given in enumerate(request.memories):
        try:
            drafts.append(memories.draft(given, seen[index].flags if seen else ()))
        except Error as error:
            raise in_batch(error, named, index, count) from error
    writer = writer_of(context, address, policy)

    def write(connection: apsw.Connection) -> list[ItemResult]:
        outcome = memories.ingest(connection, drafts, writer)
        return _with_embeddings(connection, outcome, request.memories)

    with context.writing(target) as branch:
        assert branch is not None
        results, txid, _ = context.commit(branch, write, list[ItemResult])
        if screen is not None and seen is not None:
            screen.record()
            results = [_noted(one, item.note) for one, item in zip(results, seen, strict=True)]
        context.metrics.add("memories_written", len(results))
        done = Ingested(results=tuple(results), txid=txid)
        if request.wait is not None:
            finished = finish_written(context, branch, results, request.wait)
            done = msgspec.structs.replace(done, **finished._asdict())
        context.wake(branch.address)
    if policy.memory_summarize_at:
        from .summing import sum_up

        sum_up(context, target, policy, request.memories, results)
    return done


def supersede(context: Context, target: Target, request: Supersede) -> Written:
    """Replace one memory by a newer one in one transaction."""
    check_id(request.id)
    address = context.address(target)
    policy = context.policies.effective(address.namespace, address.profile)
    screen = context.screen(address, policy)
    flags: tuple[str, ...] = ()
    said: str | None = None
    if screen is not None:
        memory, flags, said = screen.memory(request.memory)
        request = msgspec.structs.replace(request, memory=memory)
        context = screen.settled("memories.supersede", request)
    # What does not depend on the old memory is checked before a database is opened. A topic that
    # is given may fit the type that is inherited, so it is left to the write.
    memories.draft(msgspec.structs.replace(request.memory, topic=None, ttl=None))
    writer = writer_of(context, address, policy)

    def write(connection: apsw.Connection) -> ItemResult:
        outcome = memories.supersede(connection, request.id, request.memory, writer, flags)
        return _with_embeddings(connection, outcome, [request.memory])[0]

    # A profile that was never written has nothing to supersede, and is not made by trying.
    with context.writing(target, create=False) as branch:
        if branch is None:
            raise NotFound(f"no memory {request.id}; profile {target.profile!r} is empty")
        result, txid, _ = context.commit(branch, write, ItemResult)
        if screen is not None:
            screen.record()
            result = _noted(result, said)
        fields = {name: getattr(result, name) for name in result.__struct_fields__}
        done = Written(**fields, txid=txid)
        if request.wait is not None:
            finished = finish_written(context, branch, [result], request.wait)
            notes = "; ".join(filter(None, (result.note, finished.note))) or None
            superseded = finished.results[0].superseded
            done = msgspec.structs.replace(
                done, embedded=finished.embedded, note=notes, superseded=superseded
            )
        context.wake(branch.address)
    if policy.memory_summarize_at:
        from .summing import sum_up

        sum_up(context, target, policy, [request.memory], [result])
    return done


def get(context: Context, target: Target, request: GetMemory) -> GotMemory:
    """Read one memory."""
    check_id(request.id)
    with context.reading(target) as database:
        if database is None:
            raise NotFound(f"no memory {request.id}; profile {target.profile!r} is empty")
        now_ms = context.now_ms(database)
        memory, txid, _ = database.read(
            lambda c: memories.get_memory(c, request.id, context.sealer_of(target), now_ms)
        )
        policy = context.policies.lenient(target.namespace or "", target.profile)
        if policy.counts_reads:
            note_reads(database, [request.id], now_ms)
    return GotMemory(memory=memory, txid=txid)


def find(context: Context, target: Target, request: FindMemories) -> FoundMemories:
    """Read memories by their handles."""
    count = len(request.handles)
    if not 1 <= count <= BATCH_ITEMS_MAX:
        raise Invalid(f"handles has {count:,} entries; give 1 to {BATCH_ITEMS_MAX:,}")
    for place, handle in enumerate(request.handles):
        check_integer(handle, f"handles[{place}]", 0, _HANDLE_MAX)
    if request.deleted and not context.principal.may("admin"):
        raise Denied("to read deleted memories needs scope admin")
    with context.reading(target) as database:
        if database is None:
            return FoundMemories(memories=(), txid=0)
        now_ms, sealer = context.now_ms(database), context.sealer_of(target)
        found, txid, _ = database.read(
            lambda c: memories.find_memories(
                c, request.handles, sealer, now_ms, deleted=request.deleted
            )
        )
        if request.deleted:
            # Whoever administers them looks at them, and uses nothing.
            purged = database.read(lambda c: memories.find_purged(c, request.handles)).value
            return FoundMemories(memories=found, txid=txid, purged=purged)
        policy = context.policies.lenient(target.namespace or "", target.profile)
        if policy.counts_reads and found:
            note_reads(database, [one.id for one in found], now_ms)
    return FoundMemories(memories=found, txid=txid)


def list_page(context: Context, target: Target, request: ListMemories) -> MemoryPage:
    """Read one page."""
    memories.check_list(request)
    shown = ("active", "archived", "quarantined")
    if request.state not in shown and not context.principal.may("admin"):
        raise Denied(f"to list memories that are {request.state} needs scope admin")
    with context.reading(target) as database:
        if database is None:
            return MemoryPage(memories=(), next_cursor=None, txid=0)
        now_ms = context.now_ms(database)
        page, txid, _ = database.read(
            lambda c: memories.list_memories(c, request, context.sealer_of(target), now_ms)
        )
    return msgspec.structs.replace(page, txid=txid)


def history(context: Context, target: Target, request: HistoryOf) -> History:
    """Read how a memory or a topic changed."""
    memories.check_history(request)
    with context.reading(target) as database:
        if database is None:
            raise NotFound(f"profile {target.profile!r} is empty")
        now_ms = context.now_ms(database)
        found, txid, _ = database.read(
            lambda c: memories.history(c, request, context.sealer_of(target), now_ms)
        )
    return History(memories=found, txid=txid)


def forget(context: Context, target: Target, request: Forget) -> Forgotten:
    """Remove one memory; forgetting what is not there says so and changes nothing."""
    check_id(request.id)
    address = context.address(target)
    policy = context.policies.effective(address.namespace, address.profile)
    if policy.lifecycle_soft_delete:
        from .lifecycle import forget_softly

        return forget_softly(context, target, request.id, policy)
    now_ms = context.clock.now_ms()
    with context.writing(target, create=False) as branch:
        if branch is None:
            return Forgotten(id=request.id, forgotten=False, txid=0)
        sealer = context.sealer_of(target)
        forgotten, txid, _ = context.commit(
            branch, lambda c: memories.forget(c, request.id, sealer, now_ms), bool
        )
        context.wake(branch.address)
    if policy.erasure_purge_on_forget:
        from .erasure import purge_forgotten

        purge_forgotten(context, target, request.id)
    return Forgotten(id=request.id, forgotten=forgotten, txid=txid)


def writer_of(
    context: Context, address: Address, policy: Effective | None = None
) -> memories.Writer:
    """Return what a write to a profile needs, under its policy."""
    if policy is None:
        policy = context.policies.lenient(address.namespace, address.profile)
    seconds = policy.memory_task_ttl_max_secs
    return memories.Writer(
        context.clock.now_ms(),
        context.id_key_of(address),
        context.sealer_of(address),
        None if seconds is None else seconds * 1000,
        context.principal.actor,
    )


def _noted(result: ItemResult, note: str | None) -> ItemResult:
    """Return a result that says one thing more."""
    if note is None:
        return result
    said = f"{result.note}; {note}" if result.note else note
    return msgspec.structs.replace(result, note=said)


class Finished(NamedTuple):
    """What became of a write's rows while it waited: results, vectors, and why not all is done."""

    results: tuple[ItemResult, ...]
    embedded: bool
    note: str | None


def finish_written(
    context: Context, branch: Branch, results: Sequence[ItemResult], wait: Wait
) -> Finished:
    """Wait for what a write is to wait for; what is not done by then is done later."""
    note = embed_written(context, branch, [result.id for result in results])
    done = Finished(tuple(results), note is None, note)
    if wait != "related" or note is not None:
        return done
    from .relating import relate_now

    fresh = [result.id for result in results if result.status != "duplicate"]
    replaced, note = relate_now(context, branch, fresh)
    return done._replace(results=tuple(_displacing(one, replaced) for one in results), note=note)


def _displacing(result: ItemResult, replaced: Mapping[str, tuple[str, ...]]) -> ItemResult:
    """Return a result with those whose place its memory took since."""
    more = [one for one in replaced.get(result.id, ()) if one not in result.superseded]
    if not more:
        return result
    return msgspec.structs.replace(result, superseded=(*result.superseded, *more))


def embed_written(context: Context, branch: Branch, ids: Sequence[str]) -> str | None:
    """Embed memories that were just written; return why one has no vector yet, or None."""
    from ..profile.generations import memory_handles
    from .vectors import embed_now

    return embed_now(context, branch, MEMORIES, lambda c: memory_handles(c, ids))


def _with_embeddings(
    connection: apsw.Connection, outcome: memories.Outcome, given: Sequence[MemoryInput]
) -> list[ItemResult]:
    """Store the vectors callers gave, and say in the result where one was left out."""
    if all(item.embedding is None for item in given):
        return outcome.results
    # numpy takes 90 ms to import: only writes that bring a vector pay for it.
    from ..profile.vectors import store_given

    results = []
    for result, handle, item in zip(outcome.results, outcome.handles, given, strict=True):
        note = None
        if item.embedding is not None and result.status != "duplicate":
            note = store_given(connection, MEMORIES, handle, item.embedding)
        results.append(_noted(result, note))
    return results
