"""Leases in etcd: restarts, leftovers, endpoints, users, compaction; in the long form three members."""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palimp.clock import Clock
from palimp.errors import Invalid, Unavailable
from palimp.ids import random_id
from palimp.lease.etcd import EtcdLeases, EtcdPlacement
from palimp.lease.etcd_gateway import EtcdGateway
from palimp.observe import Metrics

from ..services import Etcd, free_port, need_etcd
from .lease_backends import TTL, World, etcd, eventually, key64, make_world, peer

__all__ = ["etcd"]

NAME = "acme--alice"


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    world = make_world(request, "etcd")
    yield world
    world.close()


def put(etcd: Etcd, key: str, value: str, **more: str) -> None:
    assert etcd.ask("kv/put", {"key": key64(key), "value": key64(value), **more})


def test_a_restart_gives_every_lease_its_full_time_again(etcd: Etcd, world: World) -> None:
    dead, a = world.child("dead"), world.node("a")
    a.claim("acme--a")
    assert dead.ask("claim", NAME) == "mine"
    dead.stop()
    stopped = Clock().boottime()
    etcd.kill()
    eventually(lambda: Clock().boottime() > stopped + 1.5 * TTL)
    etcd.restart()
    # Its lease would have ended; a claim that came through is not to be had yet.
    assert eventually(lambda: _holder(a, NAME)) == "dead"
    assert eventually(lambda: _holder(a, "acme--a")) == "a"
    assert a.grant == 1
    eventually(lambda: _holder(a, NAME) == "a")


def _holder(leases: Any, name: str) -> str | None:
    try:
        holder = leases.claim(name)
    except Unavailable:
        return None
    return leases.node if holder is None else holder.node


def test_what_is_not_ours_to_read_is_passed_over(
    etcd: Etcd, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    root = f"/palimp/{world.cluster}/"
    newer = '{"format": 2, "node": "b"}'
    for key, value in (
        ("nodes/x", "no JSON"),
        ("nodes/y", '{"format": 2}'),
        ("owners/acme--bad", "\x00"),
        ("owners/acme--new", newer),
        ("other", "thing"),
    ):
        put(etcd, root + key, value)
    more = '"since": 1, "more": 1, "peer": {"node": "z", "address": "http://z", "release": "9", '
    more += '"api": 1, "process": "p", "home": "h", "much": []}'
    put(etcd, f"{root}nodes/z", f'{{"format": 1, {more}}}')
    a = world.node("a")
    eventually(lambda: [one.node for one in a.peers()] == ["a", "z"])
    put(etcd, root + "owners/acme--bad", "still")
    a.claim(NAME)
    eventually(lambda: a.held() == 1)
    assert a.holder("acme--new") is None
    with pytest.raises(Unavailable, match="acme--new holds nothing that this release can read"):
        a.claim("acme--new")
    warnings = [record.message for record in caplog.records if "passed over" in record.message]
    assert len(warnings) == 1


def test_a_record_that_nobody_keeps_is_replaced(etcd: Etcd, world: World) -> None:
    put(etcd, f"/palimp/{world.cluster}/nodes/a", "left by somebody")
    put(etcd, f"/palimp/{world.cluster}/owners/{NAME}", '{"format": 1, "node": "a"}')
    a, b = world.node("a"), world.node("b")
    # A key of an earlier lease of ours is not anybody else's.
    assert b.claim(NAME) == peer("a")
    assert a.claim(NAME) is None
    a.close()
    assert b.claim(NAME) is None


def test_a_holder_without_a_record_has_no_address(etcd: Etcd, world: World) -> None:
    put(etcd, f"/palimp/{world.cluster}/owners/{NAME}", '{"format": 1, "node": "gone"}')
    a = world.node("a")
    holder = a.claim(NAME)
    assert holder is not None
    assert (holder.node, holder.address) == ("gone", "")
    assert a.ask(NAME) == holder


def test_changes_that_were_dropped_are_read_again(etcd: Etcd, world: World) -> None:
    a, other = world.node("a"), world.placement()
    a.claim(NAME)
    a.claim("acme--bob")
    eventually(lambda: other.held() == 2)
    # As if it had been cut off at the start.
    followed: Any = other
    followed.known.replace({}, {"acme--old": "x"}, 1)
    revision = etcd.ask("kv/range", {"key": "AA=="})["header"]["revision"]  # type: ignore[index]
    assert etcd.ask("kv/compaction", {"revision": revision})
    followed._watch.cancel()
    eventually(lambda: other.held() == 2)
    assert (other.holder(NAME), other.holder("acme--old")) == (peer("a"), None)
    a.release([NAME])
    eventually(lambda: other.held() == 1)


def test_an_etcd_that_began_anew_is_read_again(etcd: Etcd, world: World, tmp_path: Path) -> None:
    a, b = world.node("a"), world.node("b")
    for number in range(50):
        assert a.claim(f"acme--p{number}") is None
    assert eventually(lambda: b.holder("acme--p49"))
    etcd.kill()
    etcd.wipe()
    etcd.restart()
    # Their leases are gone, and everything is counted from the beginning again.
    eventually(lambda: a.grant == 2 and b.grant == 2)
    eventually(lambda: [one.node for one in b.peers()] == ["a", "b"] and b.held() == 0)
    assert eventually(lambda: _holder(a, NAME)) == "a"
    eventually(lambda: (found := b.holder(NAME)) is not None and found.node == "a")
    a.close()
    eventually(lambda: [one.node for one in b.peers()] == ["b"])


def test_a_watch_that_says_nothing_is_asked_again(
    etcd: Etcd, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palimp.lease.etcd_placement._IDLE_SECONDS", 0.2)
    opened: list[int] = []
    real = EtcdGateway.open_stream

    def counted(self: EtcdGateway, *given: Any) -> Any:
        opened.append(1)
        return real(self, *given)

    monkeypatch.setattr(EtcdGateway, "open_stream", counted)
    other = world.placement()
    eventually(lambda: len(opened) > 2)
    a = world.node("a")
    a.claim(NAME)
    eventually(lambda: other.holder(NAME) == peer("a"))


def test_the_record_is_written_again_now_and_then(
    etcd: Etcd, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palimp.lease.etcd._REWRITE_SECONDS", 0.1)
    a = world.node("a")
    key = key64(f"/palimp/{world.cluster}/nodes/a")

    def version() -> int:
        return int(etcd.ask("kv/range", {"key": key})["kvs"][0]["version"])  # type: ignore[index]

    eventually(lambda: version() > 2)
    assert a.grant == 1


def test_a_member_that_is_away_is_passed_by(etcd: Etcd) -> None:
    endpoints = f"http://127.0.0.1:{free_port()}, {etcd.endpoints}/"
    world = World("etcd", random_id("st"), endpoints)
    try:
        a, other = world.node("a"), world.placement()
        assert a.claim(NAME) is None
        eventually(lambda: other.holder(NAME) == peer("a"))
    finally:
        world.close()


def test_a_paused_member_answers_nothing_and_is_not_waited_for(etcd: Etcd, world: World) -> None:
    a = world.node("a")
    eventually(lambda: a.peers())
    etcd.pause()
    try:
        with pytest.raises(Unavailable, match="gives no answer") as caught:
            a.claim(NAME)
        assert caught.value.details["reason"] == "lease"
    finally:
        etcd.go_on()
    eventually(lambda: _holder(a, NAME) == "a")


@pytest.mark.parametrize(
    "endpoints",
    ["", "127.0.0.1:2379", "ftp://h:1", "http://u:sesame@:1", "http://u:sesame@h:port",
     "http://h:1,http://u:sesame@h:2/path", "http://[::1:2379"],
)  # fmt: skip
def test_what_is_no_endpoint_is_refused_without_showing_it(endpoints: str) -> None:
    with pytest.raises(Invalid, match="PALIMP_ETCD is no URL of an etcd") as caught:
        EtcdLeases(endpoints, "st", "a", TTL, Clock(), Metrics())
    assert "sesame" not in str(caught.value)


def test_a_user_of_etcd(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    need_etcd()
    etcd = Etcd(tmp_path / "etcd", arguments=["--auth-token-ttl", "1"])
    etcd.start()
    user = etcd.endpoints.replace("http://", "http://node:open%20sesame@")
    try:
        # Before users are asked for.
        before = EtcdLeases(user, "st_1", "a", TTL, Clock(), Metrics())
        before.start(peer("a"))
        for path, body in (
            ("auth/user/add", {"name": "root", "password": "r"}),
            ("auth/user/add", {"name": "node", "password": "open sesame"}),
            ("auth/role/add", {"name": "root"}),
            ("auth/role/add", {"name": "palimp"}),
            ("auth/role/grant", {"name": "palimp", "perm": {
                "permType": "READWRITE", "key": key64("/palimp/"), "range_end": key64("/palimp0")}}),
            ("auth/user/grant", {"user": "root", "role": "root"}),
            ("auth/user/grant", {"user": "node", "role": "palimp"}),
            ("auth/enable", {}),
        ):  # fmt: skip
            assert etcd.ask(path, body) is not None, path
        assert eventually(lambda: _holder(before, NAME)) == "a"
        other = EtcdPlacement(user, "st_1", Clock())
        eventually(lambda: other.holder(NAME) == peer("a"))
        # A token ends when it is not used.
        Clock().sleep(2.5)
        assert before.claim("acme--bob") is None
        eventually(lambda: other.held() == 2)
        wrong = EtcdLeases(etcd.endpoints, "st_1", "b", TTL, Clock(), Metrics())
        with pytest.raises(Unavailable, match="the right to read and write keys under /palimp/"):
            wrong.start(peer("b"))
        for one in (wrong, other, before):
            one.close()
    finally:
        etcd.close()
    assert "sesame" not in caplog.text


@pytest.mark.skipif(not os.environ.get("LONG"), reason="LONG=1: three members, 20 s")
def test_the_leader_of_three_is_killed(tmp_path: Path) -> None:
    need_etcd()
    etcd = Etcd(tmp_path / "etcd", members=3)
    etcd.start()
    world = World("etcd", random_id("st"), etcd.endpoints)
    try:
        a, b, other = world.node("a"), world.node("b"), world.placement()
        for round_ in range(3):
            name = f"acme--{round_}"
            assert a.claim(name) is None
            leader = etcd.leader()
            etcd.kill(leader)
            assert eventually(lambda name=name: _holder(b, name)) == "a"
            eventually(lambda name=name: _holder(a, f"{name}-after") == "a")
            eventually(lambda name=name: other.holder(f"{name}-after") == peer("a"))
            etcd.restart(leader)
        assert a.grant == 1
        # A member that hears nothing of the others: its watch says nothing, and is left.
        away = (etcd.leader() + 1) % 3
        etcd.pause(away)
        assert eventually(lambda: _holder(a, "acme--last")) == "a"
        eventually(lambda: other.holder("acme--last") == peer("a"))
        etcd.go_on(away)
    finally:
        world.close()
        etcd.close()


def test_keys_are_where_the_documentation_says(etcd: Etcd, world: World) -> None:
    a = world.node("a")
    a.claim(NAME)
    root = f"/palimp/{world.cluster}/"
    found = etcd.ask("kv/range", {"key": key64(root), "range_end": key64(root[:-1] + "0")})
    keys = [b64decode(pair["key"]).decode() for pair in found["kvs"]]  # type: ignore[index]
    assert keys == [f"{root}nodes/a", f"{root}owners/{NAME}"]
    assert len({pair["lease"] for pair in found["kvs"]}) == 1  # type: ignore[index]
