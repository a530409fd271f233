"""What a caller says of a memory's relations and names: checked, then written with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import get_args

import apsw

from ...api import EntityInput, MemoryInput, NewRelation, Origin, RelationInput
from ...api.limits import ENTITIES_MAX, ENTITY_NAME_BYTES_MAX, RELATIONS_MAX
from ...errors import Invalid, NotFound
from ..checks import check_id, check_share, check_text
from ..protocols import Sealer
from . import edges, entities, notes
from .tables import present

__all__ = ["check_edge", "check_entities", "check_memory", "check_origin", "check_type", "write"]

# A plain word: it stands in the tables as it is, also where texts are sealed.
_TYPE = re.compile(r"[a-z][a-z0-9_]{0,39}")


def check_memory(given: MemoryInput) -> None:
    """Raise `Invalid` naming the field where relations or entities of a memory cannot be."""
    if len(given.relations) > RELATIONS_MAX:
        raise Invalid(
            f"relations has {len(given.relations):,} entries, at most {RELATIONS_MAX} are allowed; "
            "add the others with relations.add"
        )
    for place, one in enumerate(given.relations):
        check_edge(one, f"relations[{place}].")
        check_id(one.to)
    check_entities(given.entities)


def check_entities(given: Sequence[EntityInput]) -> None:
    """Raise `Invalid` where a name or a type cannot be, or there are too many."""
    if len(given) > ENTITIES_MAX:
        raise Invalid(
            f"entities has {len(given):,} entries, at most {ENTITIES_MAX} are allowed for a memory"
        )
    for place, one in enumerate(given):
        check_text(one.name, f"entities[{place}].name", ENTITY_NAME_BYTES_MAX)
        if not entities.canonical(one.name):
            raise Invalid(f"entities[{place}].name {one.name!r:.40} has no visible character")
        if one.type is not None:
            check_type(one.type, f"entities[{place}].type")


def check_edge(given: RelationInput | NewRelation, field: str = "") -> None:
    """Raise `Invalid` unless this can be an edge's type, weight and metadata."""
    check_type(given.type, f"{field}type")
    check_share(given.weight, f"{field}weight")
    if given.metadata is not None:
        notes.metadata_text(given.metadata, f"{field}metadata")


def check_type(value: str, field: str) -> None:
    """Raise `Invalid` unless this can be the type of an edge or an entity."""
    if not _TYPE.fullmatch(value):
        raise Invalid(
            f"{field} {value!r:.80} is no type: use 1 to 40 of a-z, 0-9 and _, beginning with a "
            "letter, like causal or person"
        )


def check_origin(value: Origin) -> None:
    """Raise `Invalid` for an origin that there is not."""
    if value not in get_args(Origin):
        raise Invalid(f"origin is {value!r:.80}; give one of {', '.join(get_args(Origin))}")


def write(
    connection: apsw.Connection,
    handle: int,
    given: MemoryInput,
    sealer: Sealer,
    id_key: bytes,
    now_ms: int,
) -> None:
    """Write what was given with a memory; `Invalid` naming an id that no memory has."""
    try:
        targets = [present(connection, one.to, now_ms) for one in given.relations]
    except NotFound as error:
        raise Invalid(f"relations: {error}") from error
    own = ""
    if any(one.metadata is not None for one in given.relations):
        own = connection.execute("SELECT id FROM __palimp_memories WHERE handle = ?", (handle,)).get
    new = [
        edges.NewEdge(
            handle,
            target,
            one.type,
            one.weight,
            notes.sealed(one.metadata, own, one.to, one.type, sealer),
        )
        for target, one in zip(targets, given.relations, strict=True)
    ]
    edges.add(connection, new, "given", now_ms)
    entities.link(connection, handle, given.entities, "given", sealer, id_key, now_ms)
