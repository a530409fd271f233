"""Relations between memories, and what they name: add, read, remove."""

from __future__ import annotations

import apsw
import msgspec

from ..api import Target
from ..api.limits import BATCH_ITEMS_MAX
from ..api.relations import (
    AddedRelations,
    AddRelations,
    EntityPage,
    LinkedEntities,
    LinkEntities,
    ListEntities,
    ListRelations,
    ListUnlinked,
    RelationPage,
    RemovedRelations,
    RemoveRelations,
    UnlinkedPage,
)
from ..errors import Error, Invalid, NotFound, in_batch
from ..profile.checks import check_id
from ..profile.relations import edges, entities, given, pages
from ..profile.relations.tables import present
from .context import Context

__all__ = ["add", "link", "list_entities", "list_page", "list_unlinked", "remove"]


def add(context: Context, target: Target, request: AddRelations) -> AddedRelations:
    """Relate memories in one transaction; everything is checked before anything is touched."""
    count = _batch(len(request.relations), "relations")
    given.check_origin(request.origin)
    for index, one in enumerate(request.relations):
        try:
            check_id(one.source)
            check_id(one.target)
            given.check_edge(one)
            if one.source == one.target:
                raise Invalid(
                    f"memory {one.source!r:.80} would be related to itself; name another one"
                )
        except Error as error:
            raise in_batch(error, "relations", index, count) from error
    now_ms = context.clock.now_ms()
    screen = context.screen(context.address(target))
    if screen is not None:
        seen = screen.each(screen.relation, request.relations, "relations")
        request = msgspec.structs.replace(request, relations=tuple(one.item for one in seen))
        context = screen.settled("relations.add", request)
    sealer = context.sealer_of(target)

    def write(connection: apsw.Connection) -> AddedRelations:
        new = list(edges.resolved(connection, request.relations, sealer, now_ms))
        added, updated = edges.add(connection, new, request.origin, now_ms)
        return AddedRelations(added=added, updated=updated)

    with context.writing(target, create=False) as branch:
        if branch is None:
            raise _empty(target, request.relations[0].source)
        done, txid, _ = context.commit(branch, write, AddedRelations)
        context.wake(branch.address)
    return msgspec.structs.replace(done, txid=txid)


def remove(context: Context, target: Target, request: RemoveRelations) -> RemovedRelations:
    """Remove the edges from one memory to another."""
    check_id(request.source)
    check_id(request.target)
    if request.type is not None:
        given.check_type(request.type, "type")
    now_ms = context.clock.now_ms()

    def write(connection: apsw.Connection) -> RemovedRelations:
        source = present(connection, request.source, now_ms)
        other = present(connection, request.target, now_ms)
        return RemovedRelations(removed=edges.remove(connection, source, other, request.type))

    with context.writing(target, create=False) as branch:
        if branch is None:
            raise _empty(target, request.source)
        done, txid, _ = context.commit(branch, write, RemovedRelations)
        context.wake(branch.address)
    return msgspec.structs.replace(done, txid=txid)


def list_page(context: Context, target: Target, request: ListRelations) -> RelationPage:
    """Read one page of relations."""
    pages.check_relations_page(request)
    with context.reading(target) as database:
        if database is None:
            if request.memory is not None:
                raise _empty(target, request.memory)
            return RelationPage(relations=())
        now_ms, sealer = context.now_ms(database), context.sealer_of(target)
        page, txid, _ = database.read(lambda c: pages.list_relations(c, request, sealer, now_ms))
    return msgspec.structs.replace(page, txid=txid)


def list_entities(context: Context, target: Target, request: ListEntities) -> EntityPage:
    """Read one page of what memories name."""
    pages.check_entities_page(request)
    with context.reading(target) as database:
        if database is None:
            if request.memory is not None:
                raise _empty(target, request.memory)
            return EntityPage(entities=())
        now_ms, sealer = context.now_ms(database), context.sealer_of(target)
        id_key = b"" if request.name is None else context.id_key_of(target)
        page, txid, _ = database.read(
            lambda c: pages.list_entities(c, request, sealer, id_key, now_ms)
        )
    return msgspec.structs.replace(page, txid=txid)


def link(context: Context, target: Target, request: LinkEntities) -> LinkedEntities:
    """Link memories with what they name, in one transaction."""
    address = context.address(target)
    count = _batch(len(request.links), "links")
    given.check_origin(request.origin)
    screen = context.screen(address)
    if screen is not None:
        # Names are what something is found by: refused or flagged, never changed.
        screen.each(screen.named, request.links, "links")
    for index, one in enumerate(request.links):
        try:
            check_id(one.id)
            given.check_entities(one.entities)
        except Error as error:
            raise in_batch(error, "links", index, count) from error
    now_ms = context.clock.now_ms()
    sealer, id_key = context.sealer_of(address), context.id_key_of(address)

    def write(connection: apsw.Connection) -> LinkedEntities:
        done = entities.Counted()
        handles = [present(connection, one.id, now_ms) for one in request.links]
        for handle, one in zip(handles, request.links, strict=True):
            named = one.entities
            done = done.plus(
                entities.link(connection, handle, named, request.origin, sealer, id_key, now_ms)
            )
        return LinkedEntities(**done._asdict())

    with context.writing(target, create=False) as branch:
        if branch is None:
            raise _empty(target, request.links[0].id)
        linked, txid, _ = context.commit(branch, write, LinkedEntities)
        if screen is not None:
            screen.record()
        context.wake(branch.address)
    return msgspec.structs.replace(linked, txid=txid)


def list_unlinked(context: Context, target: Target, request: ListUnlinked) -> UnlinkedPage:
    """Read one page of memories that are linked with nothing."""
    pages.check_unlinked_page(request)
    with context.reading(target) as database:
        if database is None:
            return UnlinkedPage(memories=(), count=0)
        now_ms, sealer = context.now_ms(database), context.sealer_of(target)
        page, txid, _ = database.read(lambda c: pages.list_unlinked(c, request, sealer, now_ms))
    return msgspec.structs.replace(page, txid=txid)


def _batch(count: int, what: str) -> int:
    if not 1 <= count <= BATCH_ITEMS_MAX:
        raise Invalid(
            f"{what} has {count:,} entries; give 1 to {BATCH_ITEMS_MAX:,}"
            + (", in several calls" if count else ""),
            code="payload_too_large" if count else "invalid_request",
        )
    return count


def _empty(target: Target, identity: str) -> NotFound:
    return NotFound(f"no memory {identity!r:.80}; profile {target.profile!r} is empty")
