"""The double of Arc does what the specification says of Arc."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from ...arc_double import ArcDouble, Fault, unit_to_us

NS = 1_767_225_600_123_456_789


@pytest.fixture
def arc(tmp_path: Path) -> Iterator[ArcDouble]:
    with ArcDouble(tmp_path / "arc.duckdb") as double:
        yield double


def send(arc: ArcDouble, columns: dict[str, Any], **more: Any) -> httpx.Response:
    body = msgspec.msgpack.encode({"m": more.pop("m", "events"), "columns": columns})
    if more.pop("zipped", False):
        body = gzip.compress(body)
    return httpx.post(
        f"{arc.url}/api/v1/write/msgpack",
        content=body,
        trust_env=False,
        headers={"x-arc-database": "db", **more},
    )


def ask(arc: ArcDouble, sql: Any, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{arc.url}/api/v1/query",
        json={"sql": sql},
        trust_env=False,
        headers={"x-arc-database": "db", **headers},
    )


@pytest.mark.parametrize("zipped", [False, True])
def test_writes_are_truncated_to_microseconds(arc: ArcDouble, zipped: bool) -> None:
    assert (
        send(arc, {"time": [NS], "a": ["x"], "n": [0.0], "i": [7]}, zipped=zipped).status_code
        == 204
    )
    found = ask(arc, "SELECT * FROM events").json()
    assert found["success"] is True
    assert dict(zip(found["columns"], found["data"][0], strict=True)) == {
        "time": "2026-01-01T00:00:00.123456Z",
        "a": "x",
        "n": 0,
        "i": 7,
    }
    assert found["row_count"] == 1


def test_units_are_guessed_from_the_first() -> None:
    assert unit_to_us([1_767_225_600, 10**12]) == [1_767_225_600_000_000, 10**18]
    assert unit_to_us([1_767_225_600_123]) == [1_767_225_600_123_000]
    assert unit_to_us([1_767_225_600_123_456]) == [1_767_225_600_123_456]
    assert unit_to_us([NS]) == [NS // 1000]


@pytest.mark.parametrize(
    "columns",
    [
        {"time": ["2026-01-01"], "a": ["x"]},
        {"time": [None], "a": ["x"]},
        {"time": [NS, NS], "a": ["x"]},
        {"time": [], "a": []},
        {"time": [NS, NS], "a": [1, "x"]},
        {"time": [NS, NS], "a": [1, 0.5]},
    ],
)
def test_bad_columns_are_refused(arc: ArcDouble, columns: dict[str, Any]) -> None:
    answer = send(arc, columns)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}


def test_integers_in_a_column_of_floats_are_converted_and_columns_are_added(arc: ArcDouble) -> None:
    assert send(arc, {"time": [NS, NS + 1000], "n": [0.5, 1]}).status_code == 204
    assert send(arc, {"time": [NS + 2000], "n": [2.5], "late": ["x"]}).status_code == 204
    assert ask(arc, "SELECT n, late FROM events ORDER BY time").json()["data"] == [
        [0.5, None],
        [1, None],
        [2.5, "x"],
    ]
    # A type that another write decided is not taken.
    assert send(arc, {"time": [NS], "n": ["text"]}).status_code == 500


def test_rows_are_shown_late_and_after_a_flush(arc: ArcDouble) -> None:
    arc.delay = 60.0
    send(arc, {"time": [NS], "a": ["x"]})
    assert ask(arc, "SELECT * FROM events").json()["data"] == []
    assert len(arc.rows()) == 1
    httpx.post(f"{arc.url}/api/v1/write/line-protocol/flush", trust_env=False)
    assert len(ask(arc, "SELECT * FROM events").json()["data"]) == 1


@pytest.mark.parametrize(
    ("sql", "status"),
    [
        ("", 400),
        (None, 400),
        ("SELECT '" + "x" * 10_000 + "'", 400),
        ("SELECT 1; SELECT 2", 400),
        ("DROP TABLE events", 400),
        ("SELECT * FROM read_csv('x')", 400),
        ("SELECT * FROM other.events", 400),
        (
            "SELECT 1 FROM events WHERE a LIKE '%x%' ESCAPE '\\' AND a LIKE '%load%' ESCAPE '\\'",
            400,
        ),
        ("SELECT * FROM events WHERE time > 'no time'", 500),
        ("SELECT nothing FROM events", 500),
        ("SELECT 'drop; load it''s' AS a;", 200),
        ("SELECT * FROM unknown", 200),
    ],
)
def test_queries_are_checked(arc: ArcDouble, sql: Any, status: int) -> None:
    send(arc, {"time": [NS], "a": ["x"]})
    answer = ask(arc, sql)
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["success"] is (status == 200)
    assert ("error" in body) is (status != 200)
    if sql == "SELECT * FROM unknown":
        assert (body["columns"], body["data"], body["row_count"]) == ([], [], 0)


def test_databases_are_apart_and_named_well(arc: ArcDouble) -> None:
    send(arc, {"time": [NS], "a": ["x"]})
    assert ask(arc, "SELECT * FROM events", **{"x-arc-database": "no-data"}).json()["data"] == []
    assert send(arc, {"time": [NS]}, **{"x-arc-database": "1x"}).status_code == 400
    assert send(arc, {"time": [NS]}, m="a.b").status_code == 400
    assert ask(arc, "SELECT 1", **{"x-arc-database": "a;b"}).status_code == 400


def test_tokens_and_permissions(arc: ArcDouble) -> None:
    arc.token, arc.permissions = "t", ("read",)
    assert ask(arc, "SELECT 1").json() == {"success": False, "error": "Authentication required"}
    assert ask(arc, "SELECT 1", **{"x-api-key": "no"}).status_code == 401
    for headers in ({"x-api-key": "t"}, {"authorization": "Bearer t"}, {"authorization": "t"}):
        assert ask(arc, "SELECT 1", **headers).status_code == 200
    answer = send(arc, {"time": [NS]}, **{"x-api-key": "t"})
    assert (answer.status_code, answer.json()["error"]) == (
        403,
        "Permission denied: write required",
    )
    assert httpx.get(f"{arc.url}/health", trust_env=False).json()["status"] == "ok"


def test_faults_poison_and_an_outage(arc: ArcDouble) -> None:
    arc.faults += [Fault("query", status=503, times=2), Fault("write", cut=True, after=True)]
    assert [ask(arc, "SELECT 1").status_code for _ in range(3)] == [503, 503, 200]
    with pytest.raises(httpx.TransportError):
        send(arc, {"time": [NS], "content": ["x"]})
    assert len(arc.rows()) == 1
    arc.poison = "bad"
    assert send(arc, {"time": [NS, NS], "content": ["good", "bad"]}).status_code == 400
    assert len(arc.rows()) == 1
    arc.stop()
    with pytest.raises(httpx.ConnectError):
        ask(arc, "SELECT 1")
    arc.start()
    assert len(ask(arc, "SELECT * FROM events").json()["data"]) == 1


def test_rows_survive_the_process(tmp_path: Path) -> None:
    for count in (1, 2):
        with ArcDouble(tmp_path / "arc.duckdb") as arc:
            send(arc, {"time": [NS], "a": ["x"]})
            assert len(ask(arc, "SELECT * FROM events").json()["data"]) == count
