"""Memories: write, read, supersede, forget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw
import msgspec

from ..api import (
    Forget,
    Forgotten,
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
    Written,
)
from ..api.limits import BATCH_ITEMS_MAX
from ..engine import Address
from ..errors import Error, Invalid, NotFound, in_batch
from ..profile import memories
from ..profile.checks import check_id
from ..profile.indexing import MEMORIES
from .context import Context

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["forget", "get", "history", "ingest", "list_page", "supersede"]


def ingest(context: Context, target: Target, request: Ingest) -> Ingested:
    """Write a batch in one transaction; everything is checked before anything is touched."""
    address = context.address(target)
    count = len(request.memories)
    if not 1 <= count <= BATCH_ITEMS_MAX:
        raise Invalid(
            f"a batch has {count:,} memories; give 1 to {BATCH_ITEMS_MAX:,}"
            + (", in several batches" if count else ""),
            code="payload_too_large" if count else "invalid_request",
        )
    drafts = []
    for index, given in enumerate(request.memories):
        try:
            drafts.append(memories.draft(given))
        except Error as error:
            raise in_batch(error, "memories", index, count) from error
    writer = _writer(context, address)

    def write(connection: apsw.Connection) -> list[ItemResult]:
        outcome = memories.ingest(connection, drafts, writer)
        return _with_embeddings(connection, outcome, request.memories)

    with context.writing(target) as branch:
        assert branch is not None
        results, txid, _ = context.commit(branch, write, list[ItemResult])
        context.metrics.add("memories_written", len(results))
        context.wake(branch.address)
    return Ingested(results=tuple(results), txid=txid)


def supersede(context: Context, target: Target, request: Supersede) -> Written:
    """Replace one memory by a newer one in one transaction."""
    check_id(request.id)
    # What does not depend on the old memory is checked before a database is opened. A topic that
    # is given may fit the type that is inherited, so it is left to the write.
    memories.draft(msgspec.structs.replace(request.memory, topic=None, ttl=None))
    writer = _writer(context, context.address(target))

    def write(connection: apsw.Connection) -> ItemResult:
        outcome = memories.supersede(connection, request.id, request.memory, writer)
        return _with_embeddings(connection, outcome, [request.memory])[0]

    # A profile that was never written has nothing to supersede, and is not made by trying.
    with context.writing(target, create=False) as branch:
        if branch is None:
            raise NotFound(f"no memory {request.id}; profile {target.profile!r} is empty")
        result, txid, _ = context.commit(branch, write, ItemResult)
        context.wake(branch.address)
    fields = {name: getattr(result, name) for name in result.__struct_fields__}
    return Written(**fields, txid=txid)


def get(context: Context, target: Target, request: GetMemory) -> GotMemory:
    """Read one memory."""
    check_id(request.id)
    with context.reading(target) as database:
        if database is None:
            raise NotFound(f"no memory {request.id}; profile {target.profile!r} is empty")
        now_ms = context.now_ms(database)
        memory, txid, _ = database.read(
            lambda c: memories.get_memory(c, request.id, context.sealer, now_ms)
        )
    return GotMemory(memory=memory, txid=txid)


def list_page(context: Context, target: Target, request: ListMemories) -> MemoryPage:
    """Read one page."""
    memories.check_list(request)
    with context.reading(target) as database:
        if database is None:
            return MemoryPage(memories=(), next_cursor=None, txid=0)
        now_ms = context.now_ms(database)
        page, txid, _ = database.read(
            lambda c: memories.list_memories(c, request, context.sealer, now_ms)
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
            lambda c: memories.history(c, request, context.sealer, now_ms)
        )
    return History(memories=found, txid=txid)


def forget(context: Context, target: Target, request: Forget) -> Forgotten:
    """Remove one memory; forgetting what is not there says so and changes nothing."""
    check_id(request.id)
    now_ms = context.clock.now_ms()
    with context.writing(target, create=False) as branch:
        if branch is None:
            return Forgotten(id=request.id, forgotten=False, txid=0)
        forgotten, txid, _ = context.commit(
            branch, lambda c: memories.forget(c, request.id, context.sealer, now_ms), bool
        )
        context.wake(branch.address)
    return Forgotten(id=request.id, forgotten=forgotten, txid=txid)


def _writer(context: Context, address: Address) -> memories.Writer:
    policy = context.policies.lenient(address.namespace, address.profile)
    seconds = policy.memory_task_ttl_max_secs
    return memories.Writer(
        context.clock.now_ms(),
        context.id_key,
        context.sealer,
        None if seconds is None else seconds * 1000,
    )


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
        if note and result.note:
            note = f"{result.note}; {note}"
        results.append(msgspec.structs.replace(result, note=note) if note else result)
    return results
