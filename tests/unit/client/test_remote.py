"""The line itself: proxies, forks, large bodies, an end."""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import palimp
from palimp.api import OPERATIONS, repeats
from palimp.http import create_app
from palimp.http.api import Limits
from palimp.node.serving import Served
from palimp.operations import HANDLERS, handler_of

from .gate import Gate, House, answer, silent_before

Connect = Callable[..., palimp.Client]


def test_a_node_under_a_path(gate: Gate, connect: Connect) -> None:
    with pytest.raises(palimp.NotFound):
        connect(gate.url + "/under/a%20path/").profile("alice").remember("x")
    assert gate.seen[0].path == "/under/a%20path/v1/memory/default/alice/memories"


def test_what_is_sent_is_what_the_table_says(gate: Gate, alice: palimp.Profile) -> None:
    alice.session("a/b ☃").append("user", "x")
    list(alice.list(tags=["a b", "c&d"], include_superseded=True))
    append, listed = gate.seen
    assert append.path == f"/v1/memory/default/{alice.name}/sessions/a%2Fb%20%E2%98%83/turns"
    assert append.headers["content-type"] == "application/json"
    assert append.body == b'{"turns":[{"role":"user","content":"x"}]}'
    query = "tags=a+b&tags=c%26d&include_superseded=true"
    assert (listed.method, listed.path.partition("?")[2]) == ("GET", query)


def test_filters_that_fit_no_url_are_refused_here(gate: Gate, alice: palimp.Profile) -> None:
    assert list(alice.list(tags=["x" * 500] * 60)) == []
    asked = len(gate.seen)
    with pytest.raises(
        palimp.Invalid, match=r"URL of 7\d,\d+ characters, at most 60,000"
    ) as caught:
        list(alice.list(tags=["x" * 500] * 140))
    assert caught.value.code == "payload_too_large"
    assert len(gate.seen) == asked


# Proxies


def test_a_proxy_is_not_asked_for_this_machine(
    gate: Gate, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, gate.url)
    for host in ("127.0.0.1", "localhost"):
        with palimp.connect(f"http://{host}:{house.port}") as mem:
            assert list(mem.profile("nobody").list()) == []
    assert gate.seen == []


def test_a_proxy_is_asked_for_elsewhere(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", gate.url)
    gate.script = [answer(404)]
    mem = palimp.connect("http://node.invalid/memory", retries=0)
    with pytest.raises(palimp.NotFound):
        list(mem.profile("nobody").list())
    mem.close()
    assert gate.seen[0].path.startswith("http://node.invalid/memory/v1/memory/default/nobody/")


@pytest.mark.parametrize(
    ("name", "value"), [("HTTPS_PROXY", "ftp://proxy"), ("SSL_CERT_FILE", "/nowhere/ca.pem")]
)
def test_surroundings_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    for connect in (palimp.connect, palimp.connect_async):
        with pytest.raises(palimp.Invalid, match=name):
            connect("https://node.invalid")


# Bodies


def test_a_large_file_goes_both_ways(gate: Gate, alice: palimp.Profile, tmp_path: Path) -> None:
    """In pieces, with its length said; the other colour too."""
    alice.ingest([{"text": f"{n} " + os.urandom(20_000).hex()} for n in range(60)])
    alice.export(tmp_path / "first.db")
    assert (tmp_path / "first.db").stat().st_size > 2 << 20
    alice.client.profile(alice.name + "-2").import_(tmp_path / "first.db")

    async def main() -> int:
        async with palimp.connect_async(gate.url) as mem:
            copy = mem.profile(alice.name + "-3")
            await copy.import_(tmp_path / "first.db")
            await copy.export(tmp_path / "third.db")
            return len([memory async for memory in copy.list()])

    assert asyncio.run(main()) == 60
    sent = [seen for seen in gate.seen if seen.path.endswith("/import")]
    assert len(sent) == 2
    for seen in sent:
        assert seen.body == (tmp_path / "first.db").read_bytes()
        assert "transfer-encoding" not in seen.headers


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_body_that_a_node_does_not_take(
    house: House, alice: palimp.Profile, tmp_path: Path, colour: str
) -> None:
    """It answers before it has read everything, and is heard."""
    node = house.node
    limits = msgspec.structs.replace(Limits.of(node.settings), body_bytes=100_000)
    listener = socket.create_server(("127.0.0.1", 0))
    served = Served(create_app(node, limits=limits), [listener], read_seconds=10)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    memory = {"text": "x", "content": "y" * 600_000}

    def plain() -> None:
        with palimp.connect(url, retries=0) as mem:
            mem.profile(alice.name).ingest([memory] * 30)

    async def awaited() -> None:
        async with palimp.connect_async(url, retries=0) as mem:
            await mem.profile(alice.name).ingest([memory] * 30)

    with pytest.raises(palimp.Invalid, match="at most 100,000") as caught:
        plain() if colour == "sync" else asyncio.run(awaited())
    assert caught.value.code == "payload_too_large"
    assert served.stop(10)
    listener.close()


# The end


def test_a_closed_client_sends_nothing(gate: Gate) -> None:
    mem = palimp.connect(gate.url)
    mem.close()
    mem.close()
    with pytest.raises(palimp.Unavailable, match="this client is closed; connect again"):
        mem.profile("alice").remember("x")
    assert gate.seen == []


def test_closing_ends_what_is_under_way(gate: Gate) -> None:
    mem = palimp.connect(gate.url, timeout=1.0, retries=1)
    gate.script = [silent_before] * 2
    raised: list[palimp.Error] = []

    def ask() -> None:
        try:
            mem.profile("alice").recall("x")
        except palimp.Error as error:
            raised.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while not gate.seen:
        threading.Event().wait(0.01)
    mem.close()
    thread.join(20)
    assert [type(one) for one in raised] == [palimp.Unavailable]


def test_connecting_sends_nothing_and_needs_no_node() -> None:
    with palimp.connect("http://127.0.0.1:9") as mem:
        assert mem.source is None
        assert mem.profile("alice") == mem.profile("alice")


FORK = """
import os, sys, palimp
mem = palimp.connect(sys.argv[1])
alice = mem.profile("forked")
alice.remember("before")
ready, go = os.pipe()
child = os.fork()
if child:
    os.write(go, b"x")
else:
    os.read(ready, 1)
who = "parent" if child else "child"
for n in range(40):
    # Whoever shares a connection reads the other's answers.
    assert alice.get(alice.remember(f"{who} {n}")).text == f"{who} {n}", who
if not child:
    mem.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0, "the child failed"
print(len(list(alice.list())))
mem.close()
"""


def test_a_forked_child_has_connections_of_its_own(house: House) -> None:
    url = f"http://127.0.0.1:{house.port}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORK, url], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("81\n", "")


LIGHT = """
import sys, palimp
mem = palimp.connect(sys.argv[1])
print(*sorted({"numpy", "starlette", "uvicorn", "httpx"} & set(sys.modules)))
"""


def test_a_client_of_a_node_brings_no_server() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, "http://node"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["httpx"]


@pytest.mark.parametrize("name", [name for name in HANDLERS if OPERATIONS[name].writes])
def test_what_is_repeated_by_its_id_is_known_by_it(name: str) -> None:
    """An operation that keeps no answer by the request id has to stand in `api/repeats.py`."""
    source, waiting = "", [handler_of(name)]
    seen = set(waiting)
    while waiting:
        part = waiting.pop()
        source += inspect.getsource(part)
        found = [vars(inspect.getmodule(part)).get(word) for word in part.__code__.co_names]
        fresh = {
            one for one in found if inspect.isfunction(one) and ".operations" in one.__module__
        }
        waiting += fresh - seen
        seen |= fresh
    # Or what it makes takes its own id from the request's.
    known = ("context.commit(", "context.repeat(", "context.options.request_id")
    by_id = any(word in source for word in known)
    assert by_id == (name not in repeats.WITHOUT_ID)
