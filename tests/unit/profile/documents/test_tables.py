"""How collections lie in the database: indexes that are used, names, what is made and when."""

from typing import Any

import apsw
import pytest

from palimp.api import DeleteDocuments, FindDocuments, UpdateDocuments
from palimp.api.limits import COLLECTIONS_MAX
from palimp.errors import Invalid
from palimp.profile import documents
from palimp.profile.documents import patience


@pytest.fixture
def connection() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    drafts = documents.draft([{"n": n, "seat": {"row": n % 7}} for n in range(50)])
    documents.insert(connection, "c", drafts, 0)
    return connection


def plan(connection: apsw.Connection, call: Any) -> str:
    """How SQLite carries out what is asked of the documents."""
    asked: list[tuple[str, Any]] = []
    connection.exec_trace = lambda _, sql, values: asked.append((sql, values)) or True
    call()
    connection.exec_trace = None
    sql, values = next(pair for pair in reversed(asked) if '"__palimp_docs_c" ' in pair[0])
    rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)
    return "\n".join(row[3] for row in rows)


@pytest.mark.parametrize(
    ("filter", "bounds"),
    [
        ({"seat.row": 3}, ["=?"]),
        ({"seat.row": {"$in": [1, 2, None]}}, ["=?"]),
        ({"seat.row": None}, ["=?"]),
        ({"seat.row": {"a": 1}}, ["=?"]),
        ({"seat.row": {"$gt": 3}}, [">? AND {}<?", "=?"]),
        ({"seat.row": {"$lte": "x"}}, [">? AND {}<?", "=?"]),
        ({"seat.row": {"$gte": 3, "$lt": 5}}, [">? AND {}<?", "=?"]),
        ({"seat.row": 3, "n": {"$gt": 1}}, ["=?"]),
    ],
    ids=str,
)
def test_filters_search_their_index(
    connection: apsw.Connection, filter: dict[str, Any], bounds: list[str]
) -> None:
    path = documents.parse_path("seat.row")

    def asked() -> Any:
        return documents.find(connection, FindDocuments(collection="c", filter=filter))

    before = asked()
    assert "SCAN d" in plan(connection, asked)
    documents.create_index(connection, "c", path)
    assert asked() == before
    found = plan(connection, asked)
    assert "SCAN d" not in found
    column = "p_" + b"seat.row".hex()
    for bound in bounds:
        assert f"({column}{bound.format(column)})" in found
    for call in (
        lambda: documents.count(connection, "c", filter),
        lambda: documents.delete(connection, DeleteDocuments(collection="c", filter=filter)),
        lambda: documents.update(
            connection, UpdateDocuments(collection="c", filter=filter, update={}), []
        ),
    ):
        assert "SCAN d" not in plan(connection, call)


def test_a_range_of_numbers_reads_only_its_part_of_the_index(connection: apsw.Connection) -> None:
    """Both bounds given are both bounds of the search, not those of all numbers."""
    documents.create_index(connection, "c", documents.parse_path("n"))
    asked: list[tuple[str, Any]] = []
    connection.exec_trace = lambda _, sql, values: asked.append((sql, values)) or True
    documents.count(connection, "c", {"n": {"$gte": 20, "$lt": 22}})
    connection.exec_trace = None
    assert "-9e999" not in asked[-1][0].partition(" OR ")[0]
    assert "< ''" not in asked[-1][0].partition(" OR ")[0]


@pytest.mark.parametrize("limit", [1, 100])
@pytest.mark.parametrize("way", [1, -1])
def test_sorts_read_their_index(connection: apsw.Connection, way: int, limit: int) -> None:
    documents.create_index(connection, "c", documents.parse_path("n"))
    request = FindDocuments(collection="c", sort={"n": way}, limit=limit)
    found = plan(connection, lambda: documents.find(connection, request))
    assert found == "SCAN d USING INDEX __palimp_docindex_c_6e"


def test_ids_are_searched_by_their_index(connection: apsw.Connection) -> None:
    for filter in ({"_id": "x"}, {"_id": {"$gt": "x"}}, {"_id": {"$in": ["x", "y"]}}):
        request = FindDocuments(collection="c", filter=filter)
        found = plan(connection, lambda: documents.find(connection, request))  # noqa: B023
        assert "SEARCH d USING" in found


def test_an_index_takes_no_room_in_the_documents_and_works_where_schemas_are_not_trusted() -> None:
    connection = apsw.Connection(":memory:")
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    documents.create_index(connection, "c", documents.parse_path("a.0.'b\"\\.c"))
    documents.insert(connection, "c", documents.draft([{"a": [{"'b\".c": 7}]}]), 0)
    assert documents.count(connection, "c", {"a.0.'b\"\\.c": 7}) == 1
    rows = connection.execute("SELECT handle, length(doc) FROM __palimp_docs_c").fetchall()
    assert len(rows[0]) == 2
    assert connection.execute("PRAGMA integrity_check").get == "ok"


def test_paths_that_differ_only_in_case_have_indexes_of_their_own(
    connection: apsw.Connection,
) -> None:
    for text in ("Name", "name", "NAME"):
        assert documents.create_index(connection, "c", documents.parse_path(text))
    assert documents.indexed_paths(connection, "c") == ("NAME", "Name", "name")


def test_collections_whose_names_look_alike_are_apart() -> None:
    connection = apsw.Connection(":memory:")
    for number, name in enumerate(("a", "a_61", "a-1", "a_b", "docs", "index", "a_61_61")):
        documents.insert(connection, name, documents.draft([{"a": number}]), 0)
        documents.create_index(connection, name, documents.parse_path("a"))
        assert documents.indexed_paths(connection, name) == ("a",)
    documents.drop(connection, "a")
    assert [(one.name, one.count) for one in documents.list_collections(connection)] == [
        (name, 1) for name in ("a-1", "a_61", "a_61_61", "a_b", "docs", "index")
    ]


def test_a_profile_has_a_bounded_number_of_collections() -> None:
    connection = apsw.Connection(":memory:")
    for number in range(COLLECTIONS_MAX):
        documents.insert(connection, f"c{number}", documents.draft([{}]), 0)
    with pytest.raises(Invalid, match="1,000 collections of documents"):
        documents.insert(connection, "more", documents.draft([{}]), 0)
    documents.insert(connection, "c0", documents.draft([{}]), 0)


def test_a_new_database_is_completed_to_the_letter(connection: apsw.Connection) -> None:
    documents.create_index(connection, "c", documents.parse_path("seat.row"))
    documents.create_index(connection, "c", documents.parse_path("a.0.b"))
    documents.create_index(connection, "other", documents.parse_path("n"))
    schema = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid"
    wanted = connection.execute(schema).fetchall()
    names = [
        *(name for _, name, _, _ in wanted),
        "__palimp_docs_NOT-A-NAME",
        "__palimp_docindex_c_zz",
        "__palimp_docindex_c_",
        "__palimp_docindex_",
        "__palimp_docindex_c_" + "61" * 600,
        "elsewhere",
    ]
    fresh = apsw.Connection(":memory:")
    documents.complete(fresh, names)
    assert fresh.execute(schema).fetchall() == wanted


def test_what_takes_too_long_is_ended_and_says_what_to_do(
    connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(0, 1_000, 3))
    slow = {"$or": [{f"a{n}": 1} for n in range(200)]}
    with (
        pytest.raises(Invalid, match=r"more than 5 s.*make an index"),
        patience.bounded(connection, lambda: float(next(seconds))),
    ):
        documents.count(connection, "c", slow)
    with patience.bounded(connection, lambda: 0.0):
        assert documents.count(connection, "c", slow) == 0
    # Interrupted by somebody else, it is not for us to say why.
    with pytest.raises(apsw.InterruptError), patience.bounded(connection, lambda: 0.0):
        raise apsw.InterruptError
    assert documents.count(connection, "c", slow) == 0
