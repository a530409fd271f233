"""Owners tell who reads their branches: nodes on ports, and what one of them is sent."""

from __future__ import annotations

import base64
import hashlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from palimp.api.wire import Call
from palimp.clock import Clock
from palimp.engine.protocol import Manifest
from palimp.engine.protocol.records import SegmentRef, encode
from palimp.node import load_settings
from palimp.node.peering import Peering, cluster_secret
from palimp.node.pushing import FOLLOW_PATH, PUSH_PATH, Follow, Pushing, Told, _Mail
from palimp.store import open_store

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

from engines import until

from .town import KEY, House, Town

DB = "acme--alice"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told is applied, however long the one before it took."""
    monkeypatch.setattr("palimp.engine.local_copy._REST_TIMES", 0)


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    # Nobody looks in the store by himself while a test runs.
    town = Town(tmp_path, staleness_secs=3_600, ship_interval=3_600)
    town.give(DB, town.houses[0])
    yield town
    town.close()


def pushing(house: House) -> Pushing:
    found = house.node.pushing
    assert found is not None
    return found


def write(house: House, text: str) -> None:
    house.profile(DB).remember(text, durability="durable")


def cached(house: House) -> list[str]:
    """Return what a node says without asking another."""
    client = httpx.get(
        f"{house.url}/v1/memory/acme/alice/memories",
        headers={"palimp-consistency": "cached"},
        timeout=10,
    )
    assert client.status_code == 200, client.text
    return sorted(one["text"] for one in client.json()["memories"])


def followers(house: House) -> set[str]:
    return {node for told in pushing(house)._followers.values() for node in told}


def test_who_reads_what_another_owns_is_told_of_it(town: Town) -> None:
    a, b = town.houses
    write(a, "one")
    assert cached(b) == ["one"]
    pushing(b).ask_others()
    assert followers(a) == {"b"}
    write(a, "two")
    until(lambda: cached(b) == ["one", "two"])
    assert b.counted("replicas_followed", how="segments") >= 1
    assert b.counted("replicas_followed", how="whole") == 0
    assert a.counted("pushes_sent") >= 1
    assert b.counted("pushes_received") >= 1
    assert b.counted("requests_forwarded") == 0


def test_a_node_asks_by_itself_while_it_reads(town: Town) -> None:
    a, b = town.houses
    write(a, "one")

    def follows() -> bool:
        assert cached(b) == ["one"]
        return followers(a) == {"b"}

    until(follows)
    # And nobody asks for what is not read, or is its own.
    assert followers(b) == set()


def test_it_ends_when_nobody_asks_any_more(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    a = town.houses[0]
    told: list[str] = []
    monkeypatch.setattr(pushing(a), "_send", lambda peer, *_: told.append(peer.node) or True)
    write(a, "one")
    town.build("c")
    pushing(a).follow("b", Follow("", -1.0, (a_key(a),)))
    pushing(a).follow("c", Follow("", 60.0, (a_key(a),)))
    write(a, "two")
    write(a, "three")
    until(lambda: "c" in told and pushing(a)._next() is None)
    assert "b" not in told
    pushing(a)._forget()
    assert followers(a) == {"c"}


def test_nobody_asks_himself(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = town.houses
    write(a, "one")
    cached(b)
    asked: list[str] = []
    monkeypatch.setattr(pushing(b), "_send", lambda peer, *_: asked.append(peer.node) or True)
    town.ledger.owners[DB] = "b"
    pushing(b).ask_others()
    assert "b" not in asked


def a_key(house: House) -> tuple[str, str]:
    (branch,) = house.node.context.engine._residents.all()
    return branch.key


def test_a_push_is_a_look_only_of_a_time_before_it_was_written(town: Town) -> None:
    a, b = town.houses
    clock = b.node.context.clock
    write(a, "one")
    cached(b)
    (branch,) = b.node.context.engine._residents.all()
    looked_at = branch.copy.looked_at
    pushing(b).ask_others()
    write(a, "two")
    until(lambda: cached(b) == ["one", "two"])
    # What was asked before the first may have been asked after it was written.
    assert branch.copy.looked_at == looked_at
    before = clock.monotonic()
    pushing(b).ask_others()
    write(a, "three")
    until(lambda: cached(b) == ["one", "three", "two"])
    assert looked_at < branch.copy.looked_at < before
    asked = clock.monotonic()
    write(a, "four")
    until(lambda: "four" in cached(b))
    assert before < branch.copy.looked_at < asked


def test_what_is_encrypted_in_the_store_is_not_sent_along(tmp_path: Path) -> None:
    town = Town(tmp_path, staleness_secs=3_600, master_key=base64.b64encode(bytes(32)).decode())
    sent: list[bytes] = []
    try:
        a, b = town.houses
        town.give(DB, a)
        write(a, "first words")
        cached(b)
        real = pushing(a)._send
        pushing(a)._send = lambda *args: sent.append(args[-1]) or real(*args)
        pushing(b).ask_others()
        write(a, "harbour seat")
        until(lambda: "harbour seat" in cached(b))
    finally:
        town.close()
    told = [one for body in sent for one in msgspec.msgpack.decode(body, type=list[Told])]
    assert told
    assert all(one.segments == () for one in told)


def test_an_owner_that_is_told_of_its_own_refuses(town: Town) -> None:
    a, b = town.houses
    write(a, "one")
    (branch,) = a.node.context.engine._residents.all()
    assert branch.manifest is not None
    told = Told(branch.key, "", encode(branch.manifest), ())
    pushing(b)._send(town.ledger.peers["a"], PUSH_PATH, msgspec.msgpack.encode([told]))
    assert a.counted("pushes_received") == 1
    assert a.counted("pushes_refused", reason="owner") == 1
    pushing(b)._send(town.ledger.peers["b"], PUSH_PATH, msgspec.msgpack.encode([told]))
    assert b.counted("pushes_refused", reason="unknown") == 1


def test_shipping_does_not_wait_for_a_node_that_is_gone(town: Town) -> None:
    a, b = town.houses
    write(a, "one")
    cached(b)
    pushing(b).ask_others()
    b.vanish()
    write(a, "two")
    until(lambda: a.counted("pushes_failed", reason="unreachable") == 1)
    # It is told of nothing more before it asks again.
    assert followers(a) == set()


def test_a_slow_node_holds_nobody_up(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    a = town.houses[0]
    write(a, "one")
    gone = threading.Event()
    told: list[Any] = []

    def send(peer: Any, _path: str, body: bytes) -> bool:
        if peer.node == "b":
            gone.wait(10)
        told.append((peer.node, msgspec.msgpack.decode(body, type=list[Told])))
        return True

    c = town.build("c")
    monkeypatch.setattr(pushing(a), "_send", send)
    for node in ("b", "c"):
        pushing(a).follow(node, Follow("", 60.0, (a_key(a),)))
    for text in ("two", "three", "four"):
        write(a, text)
    until(lambda: len(told) >= 1)
    assert {node for node, _ in told} == {"c"}
    gone.set()
    until(lambda: pushing(a)._next() is None and len([1 for node, _ in told if node == "b"]) >= 2)
    # What waited for it came as one.
    of_b = [one for node, letters in told if node == "b" for one in letters]
    assert len(of_b) < 3
    assert sum(len(one.segments) for one in of_b) == 3
    assert c.counted("pushes_received") == 0


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({}, 204, ""),
        ({"key": "another key, of 16 or more"}, 403, "cluster key"),
        ({"to": "b"}, 403, "this is node a, not b"),
        ({"body": b"\xc1"}, 400, "is not understood"),
        ({"path": "/cluster/other"}, 404, "do not send"),
        ({"method": "GET"}, 404, "do not send"),
        ({"tampered": True}, 403, "is not the one it signed"),
        ({"unsigned": True}, 403, "for the nodes of one cluster"),
    ],
)
def test_who_may_tell(town: Town, change: dict[str, Any], status: int, said: str) -> None:
    a = town.houses[0]
    given = {"method": "POST", "path": PUSH_PATH, "body": msgspec.msgpack.encode([]), **change}
    secret = cluster_secret(load_settings({"cluster_key": given.get("key", KEY)}, {}))
    call = Call(given["method"], given["path"], {}, given["body"])
    if not given.get("unsigned"):
        call = Peering(secret, "b").sign(call, given.get("to", "a"), operation="push")
    body = call.body + b"x" if given.get("tampered") else call.body
    answer = httpx.request(call.method, a.url + call.path, headers=call.headers, content=body)
    assert answer.status_code == status
    assert said in answer.text


def test_a_node_in_no_cluster_has_no_such_route(tmp_path: Path) -> None:
    from palimp.http import create_app
    from palimp.node import Node

    settings = load_settings({"data_dir": tmp_path / "m", "embed_provider": "none"}, {})
    node = Node(settings, store=open_store((tmp_path / "store").as_uri()))
    try:
        paths = [getattr(one, "path", "") for one in create_app(node)._beside.routes]
    finally:
        node.close()
    assert "/health" in paths
    assert not [path for path in paths if path.startswith("/cluster")]


# -- what waits to be sent ----------------------------------------------------------------------------


def manifest(*segments: bytes) -> Manifest:
    refs = tuple(
        SegmentRef(
            min=n, max=n, epoch=1, pages=1, bytes=1, key="", sha256=hashlib.sha256(data).hexdigest()
        )
        for n, data in enumerate(segments, 2)
    )
    return Manifest(version=len(refs), nonce="n", epoch=1, owner=None, segments=refs)


def test_mail_of_one_branch_is_one_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    mail, key = _Mail(), ("db", "main")
    assert mail.add(key, manifest(b"1"), b"1", "x") == 0
    assert mail.add(key, manifest(b"1", b"2"), b"2", "y") == 0
    ((_, letter),) = mail.take()
    told = letter.told(key)
    assert (told.segments, told.ask) == ((b"1", b"2"), "y")
    assert (mail.size, mail.take()) == (0, [])


def test_what_was_folded_meanwhile_stays_out_of_a_letter() -> None:
    mail, key = _Mail(), ("db", "main")
    mail.add(key, manifest(b"1"), b"1", "")
    mail.add(key, manifest(), None, "")
    mail.add(key, manifest(b"2"), b"2", "")
    ((_, letter),) = mail.take()
    assert letter.told(key).segments == (b"2",)


def test_mail_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from palimp.node import pushing

    monkeypatch.setattr(pushing, "_WAITING_BYTES", 10)
    monkeypatch.setattr(pushing, "_WAITING_BRANCHES", 3)
    mail = _Mail()
    one = b"12345678"
    assert mail.add(("a", "main"), manifest(one), one, "") == 0
    assert mail.add(("b", "main"), manifest(one), one, "") == 1
    assert mail.size == 8
    assert mail.add(("c", "main"), manifest(), None, "") == 0
    assert mail.add(("d", "main"), manifest(), None, "") == 1
    letters = dict(mail.take())
    assert list(letters) == [("b", "main"), ("c", "main"), ("d", "main")]
    assert letters["b", "main"].segments == [one]


def test_asks_are_kept_for_a_while(town: Town) -> None:
    b = town.houses[1]
    write(town.houses[0], "one")
    cached(b)
    for _ in range(20):
        pushing(b).ask_others()
    assert 8 <= len(pushing(b)._asks) <= 9
    assert max(pushing(b)._asks.values()) <= Clock().monotonic()


def test_the_path_to_follow_is_what_a_node_asks_by(town: Town) -> None:
    a, b = town.houses
    body = msgspec.msgpack.encode(Follow("x", 1.0, (("db", "main"),)))
    assert pushing(b)._send(town.ledger.peers["a"], FOLLOW_PATH, body)
    assert followers(a) == {"b"}
