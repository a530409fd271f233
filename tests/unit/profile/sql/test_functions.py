"""Vectors in BLOB columns: what the functions give, and what they refuse."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimp.api.limits import EMBEDDING_DIMENSIONS_MAX
from palimp.errors import Invalid
from palimp.profile.sql.functions import register


@pytest.fixture
def connection() -> Iterator[apsw.Connection]:
    connection = apsw.Connection(":memory:")
    register(connection)
    yield connection
    connection.close()


def blob(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def value(connection: apsw.Connection, expression: str, *params: Any) -> Any:
    return connection.execute(f"SELECT {expression}", params).get


def test_vectors_are_32_bit_floats_lowest_byte_first(connection: apsw.Connection) -> None:
    assert value(connection, "vector32('[1, -2.5, 0.1]')") == blob(1, -2.5, 0.1)
    assert value(connection, "vector32(?)", blob(1, 2)) == blob(1, 2)
    assert value(connection, "vector32(' [ 0 , 0 ] ')") == blob(0, 0)


def test_a_vector_is_shown_with_the_digits_it_needs(connection: apsw.Connection) -> None:
    assert value(connection, "vector_extract(vector32('[1, 0.1, -1e-9, 3e38]'))") == (
        "[1.0,0.1,-1e-09,3e+38]"
    )


def test_distances(connection: apsw.Connection) -> None:
    def cosine(a: Any, b: Any) -> Any:
        return value(connection, "vector_distance_cos(?, ?)", a, b)

    def l2(a: Any, b: Any) -> Any:
        return value(connection, "vector_distance_l2(?, ?)", a, b)

    assert cosine(blob(1, 0), blob(0, 2)) == pytest.approx(1)
    assert cosine(blob(1, 2), blob(3, 6)) == pytest.approx(0, abs=1e-6)
    assert cosine(blob(1, 2), blob(-1, -2)) == pytest.approx(2)
    assert l2(blob(0, 0), blob(3, 4)) == 5
    assert l2(blob(1), "[4]") == 3
    assert l2("[1]", "[1]") == 0
    # Either may be the one that stays the same.
    assert [l2(blob(n), blob(9)) for n in range(3)] == [9, 8, 7]
    assert [l2(blob(9), blob(n)) for n in range(3)] == [9, 8, 7]
    # Of one length as text and as a blob.
    assert l2("[12]", b"[12]") > 1
    assert l2(b"[12]", "[12]") > 1
    assert l2(blob(3e38), blob(-3e38)) == pytest.approx(6e38, rel=1e-6)


def test_null_is_null(connection: apsw.Connection) -> None:
    for expression in (
        "vector32(NULL)",
        "vector_extract(NULL)",
        "vector_distance_cos(NULL, vector32('[1]'))",
        "vector_distance_l2('[1]', NULL)",
    ):
        assert value(connection, expression) is None


NAN, INF = blob(math.nan, 1), blob(1, -math.inf)


@pytest.mark.parametrize(
    ("expression", "params", "words"),
    [
        ("vector32(?)", [b""], "0 bytes"),
        ("vector32(?)", [b"abc"], "3 bytes; give 4"),
        ("vector32(?)", ["[]"], "0 dimensions"),
        ("vector32(?)", [bytes(4 * EMBEDDING_DIMENSIONS_MAX + 4)], "8,193 dimensions"),
        ("vector32(?)", [""], "no JSON array"),
        ("vector32(?)", ["{}"], "no JSON array"),
        ("vector32(?)", ["[1, null]"], "no JSON array"),
        ("vector32(?)", ["[1, NaN]"], "no JSON array"),
        ("vector32(?)", ["[[1]]"], "no JSON array"),
        ("vector32(?)", ["[1, 1e39]"], "number 1 of a vector is inf"),
        ("vector32(?)", ["[1e999]"], "no JSON array|number 0"),
        ("vector32(?)", [NAN], "number 0 of a vector is nan"),
        ("vector32(?)", [1.5], "not 1.5"),
        ("vector_extract(?)", [INF], "number 1 of a vector is -inf"),
        ("vector_extract(?)", [5], "not 5"),
        ("vector_distance_cos(?, ?)", [blob(1), blob(1, 2)], "vectors of 1 and 2 dimensions"),
        ("vector_distance_l2(?, ?)", ["[1, 2]", "[1]"], "vectors of 2 and 1 dimensions"),
        ("vector_distance_cos(?, ?)", [blob(0, 0), blob(1, 2)], "all zeros or too large"),
        ("vector_distance_cos(?, ?)", [blob(1, 2), blob(0, 0)], "all zeros or too large"),
        ("vector_distance_cos(?, ?)", [blob(3e38, 3e38), blob(1, 0)], "all zeros or too large"),
        ("vector_distance_cos(?, ?)", [b"", blob(1)], "0 bytes"),
        ("vector_distance_cos(?, ?)", [b"abcde", blob(1)], "5 bytes"),
    ]
    + [
        (f"vector_distance_{metric}(?, ?)", params, "number . of a vector is")
        for metric in ("cos", "l2")
        for bad in (NAN, INF)
        for params in ([bad, blob(1, 2)], [blob(1, 2), bad], [bad, bad])
    ],
)
def test_what_is_no_vector_is_refused(
    connection: apsw.Connection, expression: str, params: list[Any], words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        value(connection, expression, *params)


def test_one_bad_row_of_a_scan_is_named(connection: apsw.Connection) -> None:
    connection.execute("CREATE TABLE t (v)")
    connection.executemany("INSERT INTO t VALUES (?)", [(blob(n, 1),) for n in range(5)] + [(NAN,)])
    with pytest.raises(Invalid, match="vector_distance_cos: number 0 of a vector is nan"):
        connection.execute("SELECT vector_distance_cos(v, ?) FROM t", (blob(1, 1),)).fetchall()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX i ON t (vector32(v))",
        "CREATE TABLE u (v, w AS (vector_extract(v)))",
        "CREATE TABLE u (v CHECK (vector32(v) IS NOT NULL))",
        "CREATE VIEW u AS SELECT vector32(v) FROM t; SELECT * FROM u",
    ],
)
def test_no_schema_needs_them(connection: apsw.Connection, statement: str) -> None:
    connection.execute("CREATE TABLE t (v)")
    with pytest.raises(apsw.SQLError, match="unsafe use of vector"):
        connection.execute(statement).fetchall()


floats = st.lists(
    st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20
)


@given(floats)
def test_every_vector_survives_being_shown(numbers: list[float]) -> None:
    connection = apsw.Connection(":memory:")
    register(connection)
    shown = value(connection, "vector_extract(?)", blob(*numbers))
    assert blob(*json.loads(shown)) == blob(*numbers)
    assert value(connection, "vector32(?)", shown) == blob(*numbers)
    assert value(connection, "vector_distance_l2(?, ?)", shown, blob(*numbers)) == 0
    connection.close()
