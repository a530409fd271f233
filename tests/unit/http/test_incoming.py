"""What another node sends on, as it comes in: who may, in whose name, and of which release."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from palimp.api.wire import Call
from palimp.node import Node, load_settings
from palimp.node.peering import HEADER_PEER, Peering, cluster_secret
from palimp.operations import Principal
from palimp.security.keys import SigningKey

sys.path.insert(0, str(Path(__file__).parents[1] / "node"))

from town import KEY, House, Town

DB = "acme--alice"
PATH = "/v1/memory/acme/alice/memories"
PLATFORM = "the platform key of this test"


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path, 2)
    yield town
    town.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Town]:
    """Nodes that ask for credentials."""
    key = SigningKey.generate().export()
    town = Town(tmp_path, 2, auth="on", platform_key=PLATFORM, auth_key=key)
    yield town
    town.close()


def stranger(key: str = KEY) -> Peering:
    return Peering(cluster_secret(load_settings({"cluster_key": key}, {})), "stranger")


def send(house: House, call: Call) -> httpx.Response:
    return httpx.request(
        call.method, house.url + call.path, headers=call.headers, content=call.body, timeout=10
    )


def signed(to: str, key: str = KEY, **call: Any) -> Call:
    given = {"method": "GET", "path": PATH, "headers": {}, "body": b"", **call}
    return stranger(key).sign(Call(**given), to, operation="memories.list")


def test_a_node_of_the_cluster_is_let_in(town: Town) -> None:
    assert send(town.houses[0], signed("a")).status_code == 200


def test_a_header_that_is_not_signed_is_never_ignored(town: Town) -> None:
    house = town.houses[0]
    for value in ("", "x", "e30.00"):
        answer = httpx.get(house.url + PATH, headers={HEADER_PEER: value})
        assert answer.status_code == 403
        assert answer.json()["details"] == {"reason": "cluster_key", "node": "a"}
    assert not town.ledger.owners


def test_a_stranger_is_turned_away_before_the_body(guarded: Town) -> None:
    house = guarded.houses[0]
    head = [
        f"POST {PATH} HTTP/1.1", "host: x", f"{HEADER_PEER}: e30.00", "expect: 100-continue",
        "content-type: application/json", "content-length: 1000000", "", "",
    ]  # fmt: skip
    import socket

    with socket.create_connection(("127.0.0.1", int(house.url.rpartition(":")[2])), 10) as sock:
        sock.sendall("\r\n".join(head).encode())
        assert sock.recv(4096).startswith(b"HTTP/1.1 403")


def test_a_body_that_was_changed_on_the_way_is_refused(town: Town) -> None:
    how = {"content-type": "application/json"}
    call = signed("a", method="POST", headers=how, body=b'{"memories":[{"text":"a"}]}')
    answer = send(town.houses[0], call._replace(body=b'{"memories":[{"text":"b"}]}'))
    assert (answer.status_code, answer.json()["details"]["reason"]) == (403, "cluster_key")
    assert town.houses[0].counted("operations_done") == 0


def test_a_node_alone_is_in_no_cluster(tmp_path: Path) -> None:
    from starlette.testclient import TestClient

    from palimp.http import create_app

    node = Node(load_settings({"data_dir": tmp_path / "m", "embed_provider": "none"}, {}))
    with TestClient(create_app(node), base_url="http://127.0.0.1") as http:
        answer = http.get(PATH, headers=signed("a").headers)
    node.close()
    assert (answer.status_code, answer.json()["details"]["reason"]) == (403, "cluster_key")


def test_what_belongs_to_another_is_refused_and_not_sent_on(town: Town) -> None:
    a, b = town.houses
    town.give(DB, b)
    answer = send(a, signed("a"))
    assert answer.status_code == 503
    details = answer.json()["details"]
    assert (details["reason"], details["node"], details["address"]) == ("owned", "b", b.url)
    assert a.counted("requests_forwarded") == 0


def test_an_operation_of_a_newer_release_names_both(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palimp.node.peering.__version__", "9.9.9")
    calls = [
        signed("a", path="/v1/memory/acme/alice/dreams"),
        signed("a", method="PUT"),
        signed("a", path=PATH + "?mood=good"),
    ]
    monkeypatch.undo()
    for call in calls:
        answer = send(town.houses[0], call)
        found = answer.json()
        assert (answer.status_code, found["code"]) == (503, "unavailable")
        assert found["details"]["reason"] == "release"
        for word in ("node a", "9.9.9", "0.", "memories.list", "upgrade a"):
            assert word in found["error"]
    # Of the same release that is a wrong request.
    assert send(town.houses[0], signed("a", path=PATH + "?mood=good")).status_code == 400


def test_a_wrong_cluster_key_is_named_where_it_is_noticed(tmp_path: Path) -> None:
    town = Town(tmp_path, 1)
    try:
        a, b = town.houses[0], town.build("b", cluster_key="another key of it all")
        town.give(DB, b)
        answer = httpx.get(a.url + PATH)
        found = answer.json()
        assert (answer.status_code, found["details"]["reason"]) == (503, "cluster_key")
        for word in (f"node b ({b.url})", "PALIMP_CLUSTER_KEY differs"):
            assert word in found["error"]
    finally:
        town.close()


def test_an_address_that_is_another_nodes_is_named(town: Town) -> None:
    a, b = town.houses
    c = town.build("c")
    town.give(DB, b)
    import msgspec

    town.ledger.peers["b"] = msgspec.structs.replace(town.ledger.peers["b"], address=c.url)
    found = httpx.get(a.url + PATH).json()
    assert found["details"]["reason"] == "misrouted"
    for word in ("this is node c, not b", "PALIMP_ADVERTISE of b", c.url):
        assert word in found["error"]


def test_a_token_reaches_as_far_through_another_node(guarded: Town) -> None:
    a, b = guarded.houses
    guarded.give(DB, b)
    guarded.give("acme--bob", b)

    def mint(scope: str) -> dict[str, str]:
        answer = httpx.post(
            f"{a.url}/v1/databases/{DB}/tokens",
            json={"scope": scope},
            headers={"authorization": f"Bearer {PLATFORM}"},
        )
        return {"authorization": f"Bearer {answer.json()['token']}"}

    body = {"memories": [{"text": "aisle"}]}
    assert httpx.post(a.url + PATH, json=body).status_code == 401
    assert a.counted("requests_forwarded", operation="memories.ingest") == 0
    assert httpx.post(a.url + PATH, json=body, headers=mint("write")).status_code == 201
    refused = httpx.post(a.url + PATH, json=body, headers=mint("read"))
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    other = httpx.get(a.url + PATH.replace("alice", "bob"), headers=mint("write"))
    assert other.status_code == 403
    assert b.counted("operations_failed", code="forbidden") == 2
    assert a.counted("operations_failed") == 0


def test_who_is_refused_makes_no_node_take_a_database(guarded: Town) -> None:
    token = Principal("database", "read", "acme", "bob")
    call = Call("GET", PATH, {}, b"")
    answer = send(guarded.houses[0], stranger().sign(call, "a", principal=token))
    assert answer.status_code == 403
    assert not guarded.ledger.owners


def test_the_audit_of_the_owner_has_it_once(guarded: Town) -> None:
    a, b = guarded.houses
    guarded.give(DB, b)
    how = {"authorization": f"Bearer {PLATFORM}"}
    on = {"policy": {"audit": {"enabled": True}}}
    httpx.put(f"{b.url}/v1/namespaces/acme/policy", json=on, headers=how)
    httpx.post(a.url + PATH, json={"memories": [{"text": "aisle"}]}, headers=how)
    for house in (a, b):
        audit = house.node.context.audit
        assert audit is not None
        assert audit.flush(10)
    found = httpx.get(f"{a.url}/v1/namespaces/acme/audit", headers=how).json()
    written = [one["node"] for one in found["events"] if one["action"] == "memory.ingest"]
    assert written == ["b"], found
