"""Documents over HTTP as a stranger's client would send them: raw bodies, statuses, bad input."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from palimp.api.limits import BODY_BYTES_QUERY_MAX, DOCUMENT_BYTES_MAX
from palimp.http import create_app
from palimp.node import Node, load_settings
from palimp.node.serving import Served

DOCS = "/v1/db/default--alice/docs"
TRIPS = DOCS + "/trips"
Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Ask]:
    node = Node(load_settings({"data_dir": tmp_path / "m", "embed_provider": "none"}))
    app = create_app(node)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    served = Served(app, [listener], read_seconds=10)

    def ask(method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        kind = {} if sent is None else {"content-type": "application/json"}
        connection.request(method, path, sent, {**kind, **headers})
        response = connection.getresponse()
        text = response.read()
        connection.close()
        return response.status, json.loads(text) if text else None

    yield ask
    assert served.stop(10)
    app.api.close()
    node.close()
    listener.close()


def test_every_route_answers_as_it_is_described(ask: Ask) -> None:
    status, done = ask("POST", f"{TRIPS}/insert", {"docs": [{"_id": "a", "n": 1}, {"n": 2}]})
    assert (status, done["ids"][0], done["txid"]) == (200, "a", 1)
    status, page = ask("POST", f"{TRIPS}/find", {"filter": {"n": 1}})
    assert (status, page) == (200, {"docs": [{"_id": "a", "n": 1}], "next_cursor": None, "txid": 1})
    status, page = ask("POST", f"{TRIPS}/find", {"sort": {"n": -1}, "limit": 1})
    assert [one["n"] for one in page["docs"]] == [2]
    body = {"sort": {"n": -1}, "limit": 1, "cursor": page["next_cursor"]}
    status, page = ask("POST", f"{TRIPS}/find", body)
    assert ([one["n"] for one in page["docs"]], page["next_cursor"]) == ([1], None)
    assert ask("POST", f"{TRIPS}/find")[1]["docs"][0]["_id"] == "a"
    assert ask("POST", f"{TRIPS}/count", {})[1] == {"count": 2, "txid": 1}
    update = {"filter": {}, "update": {"$inc": {"n": 1}}, "multi": True}
    updated = {"matched": 2, "modified": 2, "txid": 2, "note": None}
    assert ask("POST", f"{TRIPS}/update", update) == (200, updated)
    assert ask("POST", f"{TRIPS}/indexes", {"path": "n"})[1] == {
        "path": "n",
        "created": True,
        "txid": 3,
    }
    assert ask("GET", f"{TRIPS}/indexes") == (200, {"paths": ["n"], "txid": 3})
    assert ask("POST", f"{TRIPS}/delete", {"filter": {"n": 3}}) == (200, {"deleted": 1, "txid": 4})
    listed = {"collections": [{"name": "trips", "count": 1}], "txid": 4}
    assert ask("GET", DOCS) == (200, listed)
    assert ask("DELETE", TRIPS) == (204, None)
    status, error = ask("DELETE", TRIPS)
    assert (status, error["code"]) == (404, "not_found")


def test_a_branch_and_a_point_are_named_in_the_path_and_the_query(ask: Ask) -> None:
    ask("POST", f"{TRIPS}/insert", {"docs": [{"n": 1}]})
    ask("POST", "/v1/db/default--alice/branches/main/checkpoint", {"name": "before"})
    ask("POST", f"{TRIPS}/insert", {"docs": [{"n": 2}]})
    assert ask("GET", f"{DOCS}?at=before")[1]["collections"][0]["count"] == 1
    ask("POST", "/v1/db/default--alice/branches", {"name": "trial"})
    ask("POST", "/v1/db/default--alice@trial/docs/trips/insert", {"docs": [{"n": 3}]})
    assert ask("GET", f"{DOCS}?branch=trial")[1]["collections"][0]["count"] == 3
    assert ask("GET", DOCS)[1]["collections"][0]["count"] == 2


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("insert", b'{"docs": [' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"]}"),
        ("insert", b'{"docs": [{"a": ' + b"[" * 40 + b"]" * 40 + b"}]}"),
        ("insert", b'{"docs": [{"a": 1e400}]}'),
        ("insert", b'{"docs": [{"a": 18446744073709551616}]}'),
        ("insert", b'{"docs": [{"a": NaN}]}'),
        ("insert", b'{"docs": [{"a": "\\ud800"}]}'),
        ("insert", b'{"docs": [{"a": "\xff"}]}'),
        ("insert", b'{"docs": {"a": 1}}'),
        ("insert", b'{"docs": ["a"]}'),
        ("insert", b"{}"),
        ("insert", b'{"docs": [], "collection": "other"}'),
        ("find", b'{"filter": ' + b'{"$not":' * 10_000 + b"{}" + b"}" * 10_000 + b"}"),
        ("find", b'{"filter": ' + b'{"$not":' * 33 + b"{}" + b"}" * 33 + b"}"),
        ("find", b'{"filter": [1]}'),
        ("find", b'{"sort": {"a": "asc"}}'),
        ("find", b'{"sort": [["a", 1]]}'),
        ("find", b'{"limit": 1001}'),
        ("find", b'{"filtre": {}}'),
        ("delete", b"{}"),
        ("delete", b'{"multi": true}'),
        ("update", b'{"filter": {}}'),
        ("update", b'{"filter": {}, "update": {"$set": ' + b'{"a":' * 9_999 + b"1" + b"}" * 10_001),
        ("indexes", b'{"path": "a..b"}'),
        ("indexes", b'{"path": 7}'),
    ],
    ids=lambda one: one if isinstance(one, str) else one[:40].decode("utf-8", "replace"),
)
def test_what_cannot_be_is_a_bad_request(ask: Ask, call: str, body: bytes) -> None:
    ask("POST", f"{TRIPS}/insert", {"docs": [{"n": 1}]})
    status, error = ask("POST", f"{TRIPS}/{call}", body)
    assert (status, error["code"]) == (400, "invalid_request"), error
    assert ask("GET", DOCS)[1] == {"collections": [{"name": "trips", "count": 1}], "txid": 1}


def test_what_is_too_large_is_refused_before_it_is_read(ask: Ask) -> None:
    large = {"docs": [{"a": "x" * DOCUMENT_BYTES_MAX}]}
    assert ask("POST", f"{TRIPS}/insert", large)[1]["code"] == "payload_too_large"
    question = {"filter": {"a": "x" * BODY_BYTES_QUERY_MAX}}
    assert ask("POST", f"{TRIPS}/find", question)[0] == 413
    # A gigabyte is refused by what is said of it: only its first bytes were ever sent.
    status, error = ask("POST", f"{TRIPS}/insert", b"{", **{"content-length": f"{1 << 30}"})
    assert (status, error["code"]) == (413, "payload_too_large")
    assert ask("GET", DOCS)[1]["collections"] == []


@pytest.mark.parametrize(
    "name", ["A", "a%22", "a%20b", "%2e%2e", "a%2Fb", "a%00", "%C3%BC", "a" * 65, "a'--"]
)
def test_names_that_no_collection_has_make_nothing(ask: Ask, name: str) -> None:
    status, error = ask("POST", f"{DOCS}/{name}/insert", {"docs": [{}]})
    assert (status, error["code"]) == (400, "invalid_request")
    assert ask("GET", DOCS)[1]["collections"] == []
