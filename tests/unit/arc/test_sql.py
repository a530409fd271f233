"""Every value that can be asked for finds what it says, and nothing else, in a real DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimp.api.events import ListTimeline
from palimp.arc.sql import (
    SQL_CHARS_MAX,
    count_kinds,
    count_since,
    find_instants,
    find_keys,
    like,
    listing,
    literal,
    table,
)
from palimp.errors import Invalid

from ...arc_double import check_sql, mask

NASTY = [
    "plain",
    "it's",
    "''",
    "a\\",
    "\\",
    "\\'",
    "\\\\'; DROP TABLE events; --",
    "' OR 1=1 --",
    "100%",
    "a_b",
    "!",
    "!%_!",
    "set copy load; attach",
    "nul\x00inside",
    "\x00",
    "🜁 emoji",
    "ESCAPE '\\'",
    "line\nbreak",
    "chr(92)",
    "/* x */ -- y",
    "$$",
    ",",
]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text(
    "'\\%_!;\x00a,", max_size=12
)


@pytest.fixture(scope="module")
def db() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def one(db: duckdb.DuckDBPyConnection, sql: str) -> Any:
    # Arc lets it pass, whatever stands in its literals.
    return db.execute(check_sql(sql)).fetchall()[0][0]


@pytest.mark.parametrize("text", NASTY)
def test_a_literal_is_its_text(db: duckdb.DuckDBPyConnection, text: str) -> None:
    assert one(db, f"SELECT {literal(text)}") == text
    assert "\\" not in literal(text)
    assert "\x00" not in literal(text)


@pytest.mark.parametrize("text", NASTY)
def test_like_finds_exactly_what_has_the_text(db: duckdb.DuckDBPyConnection, text: str) -> None:
    inside = [text, *(one for other in NASTY for one in (other, f"before {text} {other}"))]
    found = [f"{literal(one)} LIKE {like(text)}" for one in inside]
    for sql in found:
        # Arc lets it pass, also what stands behind it.
        check_sql(f"SELECT {sql} AND 'x' LIKE {like('y')}")
    rows = db.execute("SELECT " + ", ".join(found)).fetchall()
    assert list(rows[0]) == [text in one for one in inside]


def test_any_text_is_its_literal(db: duckdb.DuckDBPyConnection) -> None:
    @given(texts, texts)
    def check(text: str, other: str) -> None:
        assert one(db, f"SELECT {literal(text)}") == text
        sql = f"SELECT {literal(other)} LIKE {like(text)}, {literal(text)}"
        assert db.execute(check_sql(sql)).fetchall() == [(text in other, text)]

    check()


def test_a_scanner_that_takes_backslashes_for_escapes_loses_no_track() -> None:
    sql = listing("events", "o", ListTimeline(tags=("a\\",), contains="x'; copy set load \\' \\"))
    seen = mask(sql)
    assert "copy" not in seen
    assert ";" not in seen
    assert "LIMIT" in seen
    # The trap is real: written as others do it is not let pass.
    trap = "SELECT 1 FROM t WHERE a LIKE '%x%' ESCAPE '\\' AND b LIKE '%copy%' ESCAPE '\\'"
    with pytest.raises(Exception, match="Dangerous"):
        check_sql(trap)


@pytest.fixture
def rows(db: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    db.execute(
        "CREATE OR REPLACE TABLE events (time TIMESTAMPTZ, org_id VARCHAR, agent_id VARCHAR, "
        "session_id VARCHAR, memory_type VARCHAR, event_type VARCHAR, content VARCHAR, "
        "tags_csv VARCHAR, dedup_key VARCHAR, importance DOUBLE)"
    )
    for second, (org, agent, kind, tags, key) in enumerate(
        [
            ("o", "a", "episodic", "a,ab", "k\\'"),
            ("o", "a", "decision", "ab", "k"),
            ("o", "b", "episodic", "a", ""),
            ("p", "a", "episodic", "a", "k"),
        ]
    ):
        db.execute(
            "INSERT INTO events VALUES (?::TIMESTAMPTZ, ?, ?, 's', ?, 'general', 'c', ?, ?, 0.5)",
            [f"2026-01-01T00:00:{second:02d}.000001Z", org, agent, kind, tags, key],
        )
    return db


def count(db: duckdb.DuckDBPyConnection, request: ListTimeline, **times: int) -> int:
    sql = listing("events", "o", request, **times)
    return len(db.execute(check_sql(sql).replace("*", "content", 1)).fetchall())


BEGIN = 1_767_225_600_000


def test_conditions_are_exact(rows: duckdb.DuckDBPyConnection) -> None:
    assert count(rows, ListTimeline()) == 3
    assert count(rows, ListTimeline(agent="a")) == 2
    assert count(rows, ListTimeline(tags=("a",))) == 2
    assert count(rows, ListTimeline(tags=("a", "ab"))) == 1
    assert count(rows, ListTimeline(tags=("b",))) == 0
    assert count(rows, ListTimeline(kinds=("decision", "session"))) == 1
    assert count(rows, ListTimeline(session="s", events=("general",), contains="c")) == 3
    assert count(rows, ListTimeline(contains="C")) == 0
    assert count(rows, ListTimeline(dedup_key="k\\'")) == 1
    assert count(rows, ListTimeline(importance_min=0.5)) == 3
    assert count(rows, ListTimeline(importance_min=0.500001)) == 0
    assert count(rows, ListTimeline(), since_us=BEGIN * 1000) == 3
    first, last = (BEGIN + 1) * 1000, (BEGIN + 2_001) * 1000
    assert count(rows, ListTimeline(), since_us=first, until_us=last) == 2
    assert count(rows, ListTimeline(), until_us=(BEGIN + 1_000) * 1000) == 1
    # One more than the page, which says whether there is more.
    assert count(rows, ListTimeline(limit=1)) == 2
    assert count(rows, ListTimeline(limit=1, offset=2)) == 1


def test_counts_and_lookups_are_of_one_organisation(rows: duckdb.DuckDBPyConnection) -> None:
    assert sorted(rows.execute(count_kinds("events", "o", None)).fetchall()) == [
        ("decision", 1),
        ("episodic", 2),
    ]
    assert one(rows, count_since("events", "o", "a", BEGIN)) == 2
    assert one(rows, count_since("events", "o", None, BEGIN, event="error")) == 0
    [sql] = find_keys("events", "o", ["k", "k\\'", "none"], BEGIN * 1000)
    assert sorted(rows.execute(check_sql(sql)).fetchall()) == [("k", 1), ("k\\'", 1)]
    [sql] = find_instants("events", "o", [BEGIN * 1000 + 1, BEGIN * 1000 + 3_000_001])
    assert (
        one(
            rows,
            sql.replace("time", "COUNT(*)", 1).replace(", agent_id, event_type, dedup_key", ""),
        )
        == 1
    )


def test_many_values_become_several_queries() -> None:
    keys = ["\\" * 512 + str(number) for number in range(100)]
    queries = list(find_keys("events", "o", keys, 0))
    assert len(queries) > 10
    assert max(map(len, queries)) <= SQL_CHARS_MAX
    assert len(list(find_instants("events", "o", range(10**15, 10**15 + 1_000)))) == 5


def test_a_query_that_is_too_long_is_refused_with_its_numbers() -> None:
    with pytest.raises(Invalid, match=r"of 1\d,\d{3} characters, and Arc takes no more than 9,999"):
        listing("events", "o", ListTimeline(kinds=tuple("x" * 20 for _ in range(500))))


@pytest.mark.parametrize(
    ("name", "shown"),
    [("events", "events"), ("my-events", '"my-events"'), ("Order", '"Order"'), ("e_1", "e_1")],
)
def test_measurements_are_quoted_where_they_have_to_be(name: str, shown: str) -> None:
    assert table(name) == shown
    assert shown in count_kinds(name, "o", None)


@pytest.mark.parametrize("name", ["", "1a", "a b", 'a"b', "a;b", "a.b", "ä", "a" * 129, "a\n"])
def test_what_is_no_measurement_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="no name"):
        table(name)
