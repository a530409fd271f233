"""What is named in memories: people, projects, tools, each once, whatever its spelling.

The words of a name are users' text and are stored as texts of memories are. An entity is found by
its id, a keyed hash of its name; its type is a plain word, as a memory's kind is.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

import apsw

from ...api import EntityInput, Origin
from ...ids import memory_id
from ..protocols import Sealer
from .tables import ENTITIES, LINKS, prepare

__all__ = [
    "LINK_WEIGHTS",
    "NAME_FIELD",
    "TABLE",
    "TYPE",
    "Counted",
    "canonical",
    "entity_id",
    "link",
]

# By who says that a memory names something: a caller, a model, a rule.
LINK_WEIGHTS: dict[Origin, float] = {"given": 1.0, "model": 0.9, "rule": 0.8}
# Of what was given without a type.
TYPE = "concept"
# The place of a sealed name, with the id between the two.
TABLE, NAME_FIELD = "entities", "name"


class Counted(NamedTuple):
    """How many entities were made and were there, and how many links are new."""

    created: int = 0
    reused: int = 0
    links: int = 0

    def plus(self, other: Counted) -> Counted:
        """Return the sum of both."""
        return Counted(*(a + b for a, b in zip(self, other, strict=True)))


def canonical(name: str) -> str:
    """Return what two spellings of one name share; `@anna` is Anna."""
    words = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    return words.lstrip("@") or words


def entity_id(id_key: bytes, name: str) -> str:
    """Return the id of what is called that; it gives no word away."""
    content = b"entity\0" + canonical(name).encode("utf-8", "surrogatepass")
    return "ent_" + memory_id(id_key, content).removeprefix("mem_")


def link(
    connection: apsw.Connection,
    handle: int,
    given: Iterable[EntityInput],
    origin: Origin,
    sealer: Sealer,
    id_key: bytes,
    now_ms: int,
) -> Counted:
    """Link a memory with what it names; said again, origin and weight are those of the last word.

    A rule changes nothing that a caller or a model said.
    """
    done = Counted()
    for one in given:
        prepare(connection)
        mark = entity_id(id_key, one.name)
        entity = connection.execute(f"SELECT entity FROM {ENTITIES} WHERE mark = ?", (mark,)).get
        created = entity is None
        if created:
            name = sealer.seal(" ".join(one.name.split()), TABLE, mark, NAME_FIELD)
            entity = connection.execute(
                f"""INSERT INTO {ENTITIES} (mark, name, type, created_at) VALUES (?, ?, ?, ?)
                RETURNING entity""",
                (mark, name, one.type or TYPE, now_ms),
            ).get
        elif one.type is not None and origin != "rule":
            connection.execute(
                f"UPDATE {ENTITIES} SET type = ?1 WHERE entity = ?2 AND type != ?1",
                (one.type, entity),
            )
        key = (handle, entity)
        known = connection.execute(
            f"SELECT origin FROM {LINKS} WHERE handle = ? AND entity = ?", key
        ).get
        if known is None or origin != "rule":
            connection.execute(
                f"INSERT OR REPLACE INTO {LINKS} VALUES (?, ?, ?, ?, ?)",
                (*key, origin, LINK_WEIGHTS[origin], now_ms),
            )
        done = done.plus(Counted(int(created), int(not created), int(known is None)))
    return done
