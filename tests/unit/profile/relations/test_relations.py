"""The tables of relations and entities: what is written, what goes with a row, what is copied."""

from collections.abc import Iterator
from typing import Any

import apsw
import pytest

from palimp.api import EntityInput, MemoryInput, RelationInput
from palimp.api.relations import ListEntities, ListRelations
from palimp.errors import Invalid
from palimp.profile import PlainSealer, complete, prepare, relations, resealing
from palimp.profile.memories import Writer, draft, forget, ingest, lifecycle, states
from palimp.profile.memories.states import Act
from palimp.profile.relations import edges, entities, naming, pages, tables
from palimp.sealing import PLACEHOLDER, header

KEY = b"key"
SEALER = PlainSealer()
TABLES = (tables.RELATIONS, tables.ENTITIES, tables.LINKS)


class Reversing(PlainSealer):
    """Stores texts backwards, so that one that was not sealed is found."""

    def seal(self, text: str, *_place: str) -> str:
        return text[::-1]

    def unseal(self, stored: Any, *_place: str) -> str:
        return stored[::-1]


@pytest.fixture
def connection() -> Iterator[apsw.Connection]:
    connection = apsw.Connection(":memory:")
    prepare(connection)
    yield connection
    connection.close()


def write(connection: apsw.Connection, text: str, **fields: Any) -> tuple[int, str]:
    given = draft(MemoryInput(text=text, **fields))
    done = ingest(connection, [given], Writer(1, KEY, SEALER))
    return done.handles[0], done.results[0].id


def link(
    connection: apsw.Connection, handle: int, *names: str, origin: Any = "given", kind: Any = None
) -> entities.Counted:
    given = [EntityInput(name=name, type=kind) for name in names]
    return entities.link(connection, handle, given, origin, SEALER, KEY, 1)


def relate(connection: apsw.Connection, one: int, other: int, kind: str = "causal") -> None:
    edges.add(connection, [edges.NewEdge(one, other, kind, 0.5)], "given", 1)


def named(connection: apsw.Connection, **fields: Any) -> list[tuple[str, str, int]]:
    page = pages.list_entities(connection, ListEntities(**fields), SEALER, KEY, 1)
    return [(one.name, one.type, one.memories) for one in page]


def related(connection: apsw.Connection) -> int:
    return len(pages.list_relations(connection, ListRelations(), SEALER, 1))


def rows(connection: apsw.Connection, table: str) -> int:
    count: int = connection.execute(f"SELECT count(*) FROM {table}").get
    return count


def test_a_profile_that_uses_none_has_no_tables(connection: apsw.Connection) -> None:
    handle, _ = write(connection, "a")
    assert named(connection) == []
    assert related(connection) == 0
    assert relations.of(connection, handle) == relations.Given()
    relations.take(connection, handle, relations.Given(), {}.get)
    relations.drop(connection, [handle])
    assert edges.remove(connection, 1, 2, None) == 0
    assert link(connection, handle) == (0, 0, 0)
    assert not tables.is_made(connection)


def test_what_comes_with_a_memory_is_written_with_it(connection: apsw.Connection) -> None:
    _, first = write(connection, "a")
    _, second = write(
        connection,
        "b",
        relations=(RelationInput(to=first, type="causal", weight=0.25),),
        entities=(EntityInput(name="Anna", type="person"), EntityInput(name="x")),
    )
    (edge,) = pages.list_relations(connection, ListRelations(), SEALER, 1)
    assert (edge.source, edge.target, edge.type) == (second, first, "causal")
    assert (edge.weight, edge.origin) == (0.25, "given")
    assert named(connection) == [("Anna", "person", 1), ("x", "concept", 1)]


def test_a_duplicate_brings_nothing(connection: apsw.Connection) -> None:
    write(connection, "a")
    write(connection, "a", entities=(EntityInput(name="Anna"),))
    assert named(connection) == []


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no such memory": ({"relations": (RelationInput(to="mem_0"),)}, "relations: no memory 'mem_0'"),
    "too many names": (
        {"entities": tuple(EntityInput(name=f"n{n}") for n in range(65))},
        "entities has 65 entries, at most 64",
    ),
    "too many edges": (
        {"relations": tuple(RelationInput(to=f"m{n}") for n in range(65))},
        "relations has 65 entries, at most 64",
    ),
    "a type in capitals": (
        {"entities": (EntityInput(name="x", type="Person"),)},
        r"entities\[0\]\.type 'Person' is no type",
    ),
    "a long type": ({"relations": (RelationInput(to="m", type="a" * 41),)}, "is no type"),
    "a type with a line": ({"relations": (RelationInput(to="m", type="a\n"),)}, "is no type"),
    "too heavy": ({"relations": (RelationInput(to="m", weight=1.5),)}, r"weight is 1\.5"),
    "no number": ({"relations": (RelationInput(to="m", weight=float("nan")),)}, "weight is nan"),
    "a huge name": ({"entities": (EntityInput(name="x" * 513),)}, "has 513 bytes"),
    "an empty name": ({"entities": (EntityInput(name=" \n"),)}, r"entities\[0\]\.name is empty"),
    "half a character": ({"entities": (EntityInput(name="\ud800"),)}, "surrogate"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_is_refused(kind: str, connection: apsw.Connection) -> None:
    fields, words = BAD[kind]
    with pytest.raises(Invalid, match=words):
        write(connection, "b", **fields)


def test_a_name_is_one_entity_however_it_is_spelled(connection: apsw.Connection) -> None:
    handle, _ = write(connection, "a")
    other, _ = write(connection, "b")
    assert link(connection, handle, "Anna  Li", "Straße", "ﬁn") == (3, 0, 3)
    assert link(connection, other, "anna li", "STRASSE", "FIN") == (0, 3, 3)
    assert named(connection) == [
        ("Anna Li", "concept", 2),
        ("Straße", "concept", 2),
        ("ﬁn", "concept", 2),
    ]
    assert named(connection, name="ANNA LI") == [("Anna Li", "concept", 2)]


def test_the_last_word_on_a_link_counts_but_not_a_rules(connection: apsw.Connection) -> None:
    handle, _ = write(connection, "a")
    link(connection, handle, "Anna", origin="rule", kind="tech")
    found = relations.of(connection, handle).entities
    assert [(one.origin, one.weight, one.type) for one in found] == [("rule", 0.8, "tech")]
    link(connection, handle, "Anna", origin="model", kind="person")
    link(connection, handle, "Anna", origin="rule", kind="tech")
    found = relations.of(connection, handle).entities
    assert [(one.origin, one.weight, one.type) for one in found] == [("model", 0.9, "person")]


def test_an_edge_again_has_the_new_weight_unless_a_rule_says_so(
    connection: apsw.Connection,
) -> None:
    one, _ = write(connection, "a")
    other, _ = write(connection, "b")
    edge = edges.NewEdge(one, other, "association", 0.5)
    assert edges.add(connection, [edge], "rule", 1) == (1, 0)
    assert edges.add(connection, [edge._replace(weight=0.6)], "rule", 1) == (0, 1)
    assert edges.add(connection, [edge._replace(weight=0.7)], "given", 1) == (0, 1)
    assert edges.add(connection, [edge._replace(weight=0.8)], "rule", 1) == (0, 1)
    (found,) = pages.list_relations(connection, ListRelations(), SEALER, 1)
    assert (found.weight, found.origin) == (0.7, "given")
    with pytest.raises(Invalid, match="to itself"):
        edges.add(connection, [edge._replace(target=one)], "given", 1)


def test_with_a_forgotten_memory_its_edges_links_and_lonely_names_go(
    connection: apsw.Connection,
) -> None:
    one, first = write(connection, "a")
    other, _ = write(connection, "b")
    link(connection, one, "Anna", "Bob")
    link(connection, other, "Bob")
    relate(connection, one, other)
    relate(connection, other, one)
    forget(connection, first, SEALER, 1)
    assert [rows(connection, table) for table in TABLES] == [0, 1, 1]
    assert named(connection) == [("Bob", "concept", 1)]
    lifecycle.remove(connection, [other], SEALER)
    assert [rows(connection, table) for table in TABLES] == [0, 0, 0]


def test_a_deleted_memory_hides_its_edges_and_brings_them_back(connection: apsw.Connection) -> None:
    later = Act(1, grace_ms=10)
    one, first = write(connection, "a")
    other, _ = write(connection, "b")
    link(connection, one, "Anna")
    relate(connection, one, other)
    before = relations.of(connection, other)
    states.change(connection, first, "delete", later, SEALER)
    assert (named(connection), related(connection)) == ([], 0)
    assert relations.of(connection, other) == relations.Given()
    states.change(connection, first, "restore", later, SEALER)
    assert (named(connection), related(connection)) == ([("Anna", "concept", 1)], 1)
    assert relations.of(connection, other) == before
    states.change(connection, first, "delete", later, SEALER)
    found = states.find(connection, first, 1)
    assert found is not None
    for step in ("expire", "purge"):
        (moved,) = states.advance(connection, [found], step, later, SEALER)
        found = found._replace(state=moved.state)
    assert [rows(connection, table) for table in TABLES] == [0, 0, 0]


def test_what_is_taken_to_another_state_is_the_same_there(connection: apsw.Connection) -> None:
    ids = dict(write(connection, text)[::-1] for text in ("a", "b", "c"))
    one, other, third = ids.values()
    link(connection, one, "Anna", "Bob")
    relate(connection, one, other)
    relate(connection, third, one, "temporal")
    there = apsw.Connection(":memory:")
    prepare(there)
    # Other handles, and one of the three is not there.
    write(there, "z")
    known = dict(write(there, text)[::-1] for text in ("b", "a"))
    here = known[next(iter(ids))]
    for _ in range(2):
        relations.take(there, here, relations.of(connection, one), known.get)
    found, wanted = relations.of(there, here), relations.of(connection, one)
    assert found.entities == wanted.entities
    assert sorted(edge.type for edge in wanted.edges) == ["causal", "temporal"]
    assert list(found.edges) == [edge for edge in wanted.edges if edge.type == "causal"]
    # The third one brings its own along.
    known |= dict([write(there, "c")[::-1]])
    third_id = list(ids)[2]
    relations.take(there, known[third_id], relations.of(connection, third), known.get)
    assert relations.of(there, here) == wanted
    there.close()


def test_names_are_sealed(connection: apsw.Connection) -> None:
    handle, _ = write(connection, "a")
    given = [EntityInput(name="Anna Li", type="person")]
    entities.link(connection, handle, given, "given", Reversing(), KEY, 1)
    (row,) = connection.execute(f"SELECT * FROM {tables.ENTITIES}").fetchall()
    assert "iL annA" in row
    assert not any("Anna" in str(value) or "anna" in str(value) for value in row)
    (found,) = pages.list_entities(connection, ListEntities(), Reversing(), KEY, 1)
    assert found.name == "Anna Li"
    assert list(pages.entities_of(connection, handle, Reversing())) == [
        {"name": "Anna Li", "type": "person", "origin": "given", "weight": 1.0}
    ]


class Closing(PlainSealer):
    """Seals what it is given, and reads what is plain."""

    def seal(self, text: str, *_place: str) -> bytes:
        return header(1) + text[::-1].encode()


def test_names_that_were_plain_are_sealed_later(connection: apsw.Connection) -> None:
    handle, _ = write(connection, "a")
    link(connection, handle, "Anna", "Bob")
    (part,) = [one for one in resealing.parts(connection) if one.table == tables.ENTITIES]
    assert resealing.count(connection, part, header(1)) == 2
    done = resealing.reseal(connection, part, Closing(), header(1), None, 10)
    assert (done.sealed, done.unreadable, done.last) == (2, 0, None)
    assert resealing.count(connection, part, header(1)) == 0
    stored = connection.execute(f"SELECT name FROM {tables.ENTITIES} ORDER BY entity").fetchall()
    assert stored == [(header(1) + b"annA",), (header(1) + b"boB",)]
    # Without the key the names are not shown, and the links still count.
    assert named(connection) == [(PLACEHOLDER, "concept", 1)] * 2


def test_a_file_from_elsewhere_is_held_against_the_same_tables(connection: apsw.Connection) -> None:
    handle, _ = write(connection, "a")
    link(connection, handle, "Anna")
    schema = "SELECT name, sql FROM sqlite_schema WHERE name LIKE '__palimp_%' ORDER BY name"
    expected = apsw.Connection(":memory:")
    prepare(expected)
    complete(expected, [name for name, _ in connection.execute(schema).fetchall()])
    assert expected.execute(schema).fetchall() == connection.execute(schema).fetchall()
    expected.close()


def test_rules_link_rows_that_are_still_there_and_note_how_far_they_came(
    connection: apsw.Connection,
) -> None:
    one, first = write(connection, "a")
    other, _ = write(connection, "b")
    assert naming.rows(connection, 0, 10, SEALER) == [(one, "a"), (other, "b")]
    forget(connection, first, SEALER, 1)
    found = [(one, (EntityInput(name="Anna"),)), (other, (EntityInput(name="Bob"),))]
    assert naming.note(connection, found, other, SEALER, KEY, 1) == 1
    assert named(connection) == [("Bob", "concept", 1)]
    assert naming.mark(connection) == other
    assert naming.rows(connection, naming.mark(connection), 10, SEALER) == []
    # A mark never goes back.
    naming.note(connection, [], one, SEALER, KEY, 1)
    assert naming.mark(connection) == other
