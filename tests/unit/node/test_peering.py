"""What nodes show to each other: who signed, what is under the signature, for whom it is."""

from __future__ import annotations

import msgspec
import pytest

from palimp.api.wire import Call
from palimp.errors import Denied, Error, Invalid, Unavailable
from palimp.node import load_settings
from palimp.node.peering import HEADER_PEER, Peering, Said, cluster_secret
from palimp.operations import OWNER, Principal

SECRET = b"of this cluster"
CALL = Call(
    "POST",
    "/v1/memory/acme/alice/memories?branch=trial",
    {"content-type": "application/json", "palimp-request-id": "r1", "user-agent": "x"},
    b'{"memories": []}',
)
TOKEN = Principal("database", "write", "acme", "alice", 1_000, "a1b2")


def refused(
    call: Call, body: bytes | None = None, *, secret: bytes = SECRET, node: str = "b"
) -> Error:
    peering = Peering(secret, node)

    def look() -> None:
        said = peering.verify(call.method, call.path, call.headers)
        peering.check_body(said, call.body if body is None else body)

    with pytest.raises(Error) as caught:
        look()
    return caught.value


def test_what_is_said_arrives() -> None:
    sent = Peering(SECRET, "a").sign(
        CALL, "b", operation="memories.ingest", principal=TOKEN, seconds=2.5
    )
    receiver = Peering(SECRET, "b")
    said = receiver.verify(sent.method, sent.path, sent.headers)
    receiver.check_body(said, sent.body)
    assert (said.sender, said.to, said.operation) == ("a", "b", "memories.ingest")
    assert (said.principal, said.seconds) == (TOKEN, 2.5)


def test_the_owner_is_the_owner() -> None:
    sent = Peering(SECRET, "a").sign(CALL, "b")
    assert Peering(SECRET, "b").verify(sent.method, sent.path, sent.headers).principal is OWNER


def test_what_proxies_add_changes_nothing() -> None:
    sent = Peering(SECRET, "a").sign(CALL, "b")
    headers = {**sent.headers, "x-forwarded-for": "10.0.0.1", "user-agent": "y", "host": "b"}
    Peering(SECRET, "b").verify(sent.method, sent.path, headers)


CHANGED = {
    "method": lambda sent: sent._replace(method="PUT"),
    "path": lambda sent: sent._replace(path=sent.path.replace("alice", "bob")),
    "query": lambda sent: sent._replace(path=sent.path.replace("trial", "main")),
    "request id": lambda sent: _with(sent, "palimp-request-id", "r2"),
    "a header of ours": lambda sent: _with(sent, "palimp-min-txid", "0"),
    "content type": lambda sent: _with(sent, "content-type", "text/plain"),
    "trace": lambda sent: _with(sent, "traceparent", "00-1-2-01"),
    "another's code": lambda sent: _with(sent, HEADER_PEER, sent.headers[HEADER_PEER][:-1] + "x"),
    "no code": lambda sent: _with(sent, HEADER_PEER, sent.headers[HEADER_PEER].partition(".")[0]),
    "said": lambda sent: _with(sent, HEADER_PEER, "e30." + sent.headers[HEADER_PEER][-64:]),
    "nothing": lambda sent: _with(sent, HEADER_PEER, ""),
    "no letters": lambda sent: _with(sent, HEADER_PEER, "\xe4.\xe4"),
}


def _with(sent: Call, name: str, value: str) -> Call:
    return sent._replace(headers={**sent.headers, name: value})


@pytest.mark.parametrize("what", CHANGED)
def test_whatever_is_changed_is_refused(what: str) -> None:
    sent = CHANGED[what](Peering(SECRET, "a").sign(CALL, "b"))
    found = refused(sent)
    assert isinstance(found, Denied)
    assert (found.code, found.details) == ("forbidden", {"reason": "cluster_key", "node": "b"})
    assert "PALIMP_CLUSTER_KEY" in found.message
    assert SECRET.decode() not in found.message


def test_a_body_that_is_another_is_refused() -> None:
    sent = Peering(SECRET, "a").sign(CALL, "b")
    assert refused(sent, b"{}").details["reason"] == "cluster_key"


def test_another_key_is_refused() -> None:
    sent = Peering(b"of another cluster", "a").sign(CALL, "b")
    assert refused(sent).details["reason"] == "cluster_key"


def test_what_is_for_another_node_is_refused() -> None:
    sent = Peering(SECRET, "a").sign(CALL, "c")
    found = refused(sent)
    assert isinstance(found, Denied)
    assert found.details == {"reason": "misrouted", "node": "b"}
    assert "this is node b, not c: PALIMP_ADVERTISE of c" in found.message


def test_what_a_later_release_says_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(msgspec.Struct):
        sender: str
        to: list[str]

    sender = Peering(SECRET, "a")
    monkeypatch.setattr("palimp.node.peering.Said", lambda **_: Later("a", ["b"]))
    sent = sender.sign(CALL, "b")
    monkeypatch.undo()
    found = refused(sent)
    assert isinstance(found, Unavailable)
    assert found.details["reason"] == "release"


def test_what_a_later_release_adds_is_ignored() -> None:
    said = Said(sender="a", to="b", release="9.9.9", digest="")
    plain = {**msgspec.to_builtins(said), "more": 1}
    assert msgspec.convert(plain, Said) == said


def test_the_secret_comes_of_the_cluster_key_else_of_the_platform_key() -> None:
    one = cluster_secret(load_settings({"cluster_key": "k" * 16}, {}))
    other = cluster_secret(load_settings({"cluster_key": "l" * 16}, {}))
    platform = cluster_secret(load_settings({"platform_key": "k" * 16}, {}))
    both = {"cluster_key": "l" * 16, "platform_key": "k" * 16}
    assert len({one, other}) == 2
    # What is signed with it says nothing about the platform key.
    assert platform != b"k" * 16
    assert cluster_secret(load_settings(both, {})) == other
    with pytest.raises(Invalid, match="PALIMP_CLUSTER_KEY"):
        cluster_secret(load_settings({"leases": "etcd", "etcd": "http://127.0.0.1:1"}, {}))
