"""What an Arc answers, or does not, and what is made of it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from palimp.api.events import EventInput
from palimp.arc.binding import ArcBinding, ArcOptions, check_binding
from palimp.arc.client import ArcClient
from palimp.arc.codec import row_of
from palimp.arc.rows import Row
from palimp.clock import Clock
from palimp.errors import Invalid, Unavailable

from ...arc_double import ArcDouble, Fault
from ...services import free_port

TOKEN = "arc-secret-token"
AT = 1_767_225_600_000_000


def row(text: str = "b", at_us: int = AT) -> Row:
    return row_of(EventInput(agent="a", text=text), at_us)


@pytest.fixture
def arc(tmp_path: Path) -> Iterator[ArcDouble]:
    with ArcDouble(tmp_path / "arc.duckdb", token=TOKEN) as double:
        yield double


@pytest.fixture
def client(arc: ArcDouble) -> Iterator[ArcClient]:
    made = client_of(arc.url)
    yield made
    made.close()


def client_of(url: str, key: str = TOKEN, seconds: float = 5.0, **given: str) -> ArcClient:
    binding = ArcBinding("o", url, key, given.get("database", "db"))
    return ArcClient(binding, ArcOptions(query_timeout=seconds, connect_timeout=2.0), Clock())


def test_what_is_written_can_be_queried_and_found(arc: ArcDouble, client: ArcClient) -> None:
    assert client.write([row(), row("c", AT + 1)]).kind == "written"
    table = client.query("SELECT content, importance FROM events ORDER BY time")
    assert table.columns == ("content", "importance")
    assert table.column("content") == ["b", "c"]
    assert table.column("nothing") == []
    assert client.find([row(at_us=AT + 1), row(at_us=AT + 2), row()]) == [True, False, True]
    other = row()._replace(agent="z")
    assert client.find([other]) == [False]
    assert client.reachable is True


def test_headers_and_compression(arc: ArcDouble, client: ArcClient) -> None:
    client.write([row()])
    client.write([row("x" * 10_000)])
    small, large = arc.seen
    assert small[2]["x-api-key"] == TOKEN
    assert small[2]["x-arc-database"] == "db"
    assert small[2]["content-type"] == "application/msgpack"
    assert msgspec.msgpack.decode(small[3])["m"] == "events"
    assert len(large[3]) < 1_000
    assert msgspec.msgpack.decode(gzip.decompress(large[3]))["columns"]["content"] == ["x" * 10_000]
    arc.token = ""
    nobody = client_of(arc.url, key="")
    assert nobody.query("SELECT 1").data == ((1,),)
    assert "x-api-key" not in arc.seen[-1][2]
    assert "authorization" not in arc.seen[-1][2]
    nobody.ping()
    assert arc.seen[-1][:2] == ("GET", "/health")
    nobody.close()


def test_a_measurement_without_data_is_empty(client: ArcClient) -> None:
    table = client.query("SELECT COUNT(*) AS cnt FROM events")
    assert (table.columns, table.data) == ((), ())
    assert client.find([row()]) == [False]


def test_databases_are_apart(arc: ArcDouble, client: ArcClient) -> None:
    client.write([row()])
    other = client_of(arc.url, database="other")
    assert other.query("SELECT * FROM events").data == ()
    other.close()


@pytest.mark.parametrize(
    ("fault", "kind", "word"),
    [
        (Fault("write", status=200, body=""), "written", ""),
        (Fault("write", status=200, body="{}"), "written", ""),
        (Fault("write", status=200, body="<html>"), "doubt", "answer"),
        (Fault("write", status=200, body='{"error": "no"}'), "doubt", "answer"),
        (Fault("write", status=400), "refused", "400"),
        (Fault("write", status=400, body="<html>"), "waits", "settings"),
        (
            Fault("write", status=400, body='{"error": "invalid database name"}'),
            "waits",
            "settings",
        ),
        (Fault("write", status=401), "waits", "denied"),
        (Fault("write", status=403), "waits", "denied"),
        (Fault("write", status=404), "waits", "settings"),
        (Fault("write", status=307), "waits", "settings"),
        (Fault("write", status=413), "too_large", "413"),
        (Fault("write", status=429, retry_after="7"), "waits", "429"),
        (Fault("write", status=500), "doubt", "5xx"),
        (Fault("write", status=503), "doubt", "5xx"),
        (Fault("write", cut=True), "doubt", "cut"),
        (Fault("write", cut=True, after=True), "doubt", "cut"),
    ],
    ids=str,
)
def test_what_became_of_a_write(
    arc: ArcDouble, client: ArcClient, fault: Fault, kind: str, word: str
) -> None:
    arc.faults.append(fault)
    outcome = client.write([row()])
    assert (outcome.kind, outcome.word) == (kind, word)
    assert outcome.retry_after == (7.0 if word == "429" else 0.0)
    assert TOKEN not in repr(outcome)
    assert len(arc.rows()) == (1 if fault.after else 0)


def test_a_slow_write_is_in_doubt_and_a_refused_connection_is_not(arc: ArcDouble) -> None:
    client = client_of(arc.url, seconds=0.3)
    arc.faults.append(Fault("write", slow=1.0, after=True))
    assert client.write([row()])[:2] == ("doubt", "timeout")
    client.close()
    assert client.write([row()])[:2] == ("waits", "closed")
    away = client_of(f"http://127.0.0.1:{free_port()}")
    assert away.write([row()])[:2] == ("waits", "away")
    assert away.reachable is False
    assert away.ping() is False
    away.close()


@pytest.mark.parametrize(
    ("fault", "error", "code", "words"),
    [
        (Fault("query", status=200, body="<html>"), Unavailable, "unavailable", "no result"),
        (Fault("query", status=200, body='{"data": 7}'), Unavailable, "unavailable", "no result"),
        (
            Fault("query", status=200, body='{"success": false, "error": "broke"}'),
            Unavailable,
            "unavailable",
            "failed on the query: broke",
        ),
        (
            Fault("query", status=200, body='{"success": true, "data": [], "error": "late"}'),
            Unavailable,
            "unavailable",
            "late",
        ),
        (Fault("query", status=400), Invalid, "invalid_request", "refuses the query"),
        (Fault("query", status=401), Unavailable, "unavailable", "refuses the key of o"),
        (Fault("query", status=403), Unavailable, "unavailable", "add-arc"),
        (Fault("query", status=404), Unavailable, "unavailable", "check URL"),
        (Fault("query", status=307), Unavailable, "unavailable", "redirect"),
        (Fault("query", status=429, retry_after="9"), Unavailable, "overloaded", "in 9 s"),
        (Fault("query", status=500), Unavailable, "unavailable", "made up 500"),
        (Fault("query", status=503), Unavailable, "unavailable", "answered 503"),
        (Fault("query", status=504), Unavailable, "request_timeout", "narrow it"),
        (Fault("query", cut=True), Unavailable, "unavailable", "cut the connection"),
    ],
    ids=str,
)
def test_what_a_failed_query_is(
    arc: ArcDouble,
    client: ArcClient,
    fault: Fault,
    error: type[Unavailable | Invalid],
    code: str,
    words: str,
) -> None:
    arc.faults.append(fault)
    with pytest.raises(error, match=words) as caught:
        client.query("SELECT 1")
    assert caught.value.code == code
    assert TOKEN not in str(caught.value)


def test_a_query_that_takes_too_long(arc: ArcDouble) -> None:
    client = client_of(arc.url, seconds=0.2)
    arc.faults.append(Fault("query", slow=1.0))
    with pytest.raises(Unavailable, match=r"did not answer within 0\.2 s") as caught:
        client.query("SELECT 1")
    assert caught.value.code == "request_timeout"
    client.close()


def test_neither_the_key_nor_two_words_are_in_a_message(arc: ArcDouble, client: ArcClient) -> None:
    said = {"error": f"no ARC  Instance for {TOKEN}\nat all" + "x" * 1_000}
    arc.faults.append(Fault("query", status=500, body=json.dumps(said)))
    with pytest.raises(Unavailable) as caught:
        client.query("SELECT 1")
    message = str(caught.value)
    assert "arc instance" not in " ".join(message.lower().split())
    assert TOKEN not in message
    assert "no Arc for *** at all" in message
    assert len(message) < 300
    assert TOKEN not in repr(client) + repr(client.binding)


def test_a_wrong_key_and_a_key_that_may_only_read(arc: ArcDouble) -> None:
    wrong = client_of(arc.url, key="other")
    assert wrong.write([row()])[:2] == ("waits", "denied")
    with pytest.raises(Unavailable, match="refuses the key of o"):
        wrong.query("SELECT 1")
    wrong.close()
    arc.permissions = ("read",)
    reader = client_of(arc.url)
    assert reader.write([row()])[:2] == ("waits", "denied")
    assert reader.query("SELECT 1").data == ((1,),)
    reader.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://a", "URL"),
        ("a:8000", "URL"),
        ("http://", "URL"),
        ("http://[::1", "URL"),
        ("http://a:port", "URL"),
        ("http://user:secret@a", "user"),
        ("http://a/?p=secret", "query"),
        ("http://a/#x", "fragment"),
        ("http://a b", "space"),
    ],
)
def test_urls_that_are_refused_show_no_secret(url: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as caught:
        check_binding(ArcBinding("o", url, "", "db"))
    assert "secret" not in str(caught.value)


def test_bindings_have_one_form() -> None:
    found = check_binding(ArcBinding("o", "HTTP://Arc.Example.com:8000/base/", "k", "db"))
    assert found.url == "http://arc.example.com:8000/base"
    assert check_binding(ArcBinding("o", "http://[::1]:8000", "", "d")).url == "http://[::1]:8000"
    for database, measurement, key in [
        ("1db", "events", "k"),
        ("d" * 65, "events", "k"),
        ("db", "a.b", "k"),
        ("db", "events", "a\nb"),
    ]:
        with pytest.raises(Invalid):
            check_binding(ArcBinding("o", "http://a", key, database, measurement))
