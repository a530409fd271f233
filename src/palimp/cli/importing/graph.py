"""`mcp-jsonl`: the file of the reference MCP memory server, a knowledge graph, becomes facts.

A line is an entity with its observations, each of which is one fact, or a relation, which is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...api import MemoryInput, to_request
from ...errors import Error, Invalid
from .base import Item, Source, dedup_key
from .values import json_lines

__all__ = ["read_graph"]


def read_graph(source: Source) -> Iterator[Item]:
    """Yield a fact for every observation and every relation."""
    for number, value in json_lines(source.stream, source.name):
        try:
            if isinstance(value, Error):
                raise value
            if not isinstance(value, dict):
                raise Invalid(f"a line must be an object, not {type(value).__name__}")
            kind = value.get("type")
            if kind == "relation":
                yield Item(number, _relation(value))
            elif kind == "entity":
                yield from _entity(number, value)
            else:
                raise Invalid(f"type is {kind!r:.80}; known are 'entity' and 'relation'")
        except Error as error:
            yield Item(number, error)


def _entity(number: int, value: dict[str, Any]) -> Iterator[Item]:
    name, kind = _text(value, "name"), _text(value, "entityType")
    observations = value.get("observations")
    if not isinstance(observations, list):
        raise Invalid(f"entity {name!r:.80} has no list 'observations'")
    if not observations:
        yield Item(number, None)
    for place, observation in enumerate(observations):
        if isinstance(observation, str) and observation.strip():
            yield Item(number, _observation(name, kind, observation))
        else:
            yield Item(number, Invalid(f"observations[{place}] of {name!r:.80} is no text"))


def _observation(name: str, kind: str, text: str) -> MemoryInput:
    # Recall returns texts: one that does not say of whom it speaks would mean nothing there.
    spoken = text if name.casefold() in text.casefold() else f"{name}: {text}"
    fields = {
        "type": "fact",
        "kind": "entity",
        "text": spoken,
        "keywords": name,
        "tags": (kind,),
        "metadata": {"entity": name, "entity_type": kind},
        "dedup_key": dedup_key(f"entity|{name}"),
    }
    return to_request(MemoryInput, fields, "observation")


def _relation(value: dict[str, Any]) -> MemoryInput:
    parts = [_text(value, field) for field in ("from", "relationType", "to")]
    begin, relation, end = parts
    fields = {
        "type": "fact",
        "kind": "relationship",
        "text": " ".join(parts),
        "keywords": f"{begin} {end}",
        "tags": (relation,),
        "metadata": {"from": begin, "relation_type": relation, "to": end},
        # The words alone do not say where the name ends and the relation begins.
        "dedup_key": dedup_key("|".join(("relation", *parts))),
    }
    return to_request(MemoryInput, fields, "relation")


def _text(value: dict[str, Any], field: str) -> str:
    found = value.get(field)
    if not isinstance(found, str) or not found.strip():
        raise Invalid(f"{value['type']} without {field!r} as text")
    return found
