"""The links and the store in front of moto do what a schedule asks of them."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from ..conformance.store_backends import QuietServer
from .links import Link, Network
from .stores import Manifests


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.heard.append(body)  # type: ignore[attr-defined]
        self.send_response_only(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[QuietServer]:
    made = QuietServer(_Echo)
    made.heard = []  # type: ignore[attr-defined]
    yield made
    made.stop()


@pytest.fixture
def link(server: QuietServer) -> Iterator[Link]:
    network = Network()
    yield network.link("a-b", ("127.0.0.1", server.server_port))
    network.close()


def said(link: Link, body: bytes, timeout: float = 0.3) -> bytes | None:
    """Return the echo of a body, None where there is none in time."""
    connection = http.client.HTTPConnection("127.0.0.1", link.port, timeout=timeout)
    try:
        connection.request("POST", "/", body)
        return connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def again(connection: http.client.HTTPConnection) -> None:
    """Use an open connection once more."""
    connection.request("POST", "/", b"x")
    connection.getresponse()


def test_an_open_link_passes_everything(link: Link, server: QuietServer) -> None:
    large = bytes(range(256)) * 4_096
    assert said(link, large, 10) == large
    assert said(link, b"x", 10) == b"x"


@pytest.mark.parametrize(("way", "arrives"), [("both", False), ("there", False), ("back", True)])
def test_a_cut_link_holds_what_goes_that_way(
    link: Link, server: QuietServer, way: str, arrives: bool
) -> None:
    link.cut(way)
    assert said(link, b"x") is None
    assert server.heard == ([b"x"] if arrives else [])  # type: ignore[attr-defined]
    link.heal()
    assert said(link, b"y", 10) == b"y"


def test_what_was_held_arrives_late(link: Link, server: QuietServer) -> None:
    answers: list[bytes | None] = []
    assert said(link, b"before", 10) == b"before"
    link.cut("there")
    waiting = threading.Thread(target=lambda: answers.append(said(link, b"late", 10)))
    waiting.start()
    assert said(link, b"x") is None
    link.heal()
    waiting.join(10)
    assert answers == [b"late"]


def test_a_link_that_refuses_resets_what_is_open(link: Link) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", link.port, timeout=10)
    connection.request("POST", "/", b"x")
    connection.getresponse().read()
    link.refuse()
    with pytest.raises((OSError, http.client.HTTPException)):
        again(connection)
    connection.close()
    assert said(link, b"x", 10) is None
    link.heal()
    assert said(link, b"y", 10) == b"y"


def version(number: int, **more: Any) -> bytes:
    """A version of a manifest in epoch 1, with a segment for every txid."""
    segments = [{"key": f"{n}.ltx", "epoch": 1} for n in range(1, number + 1)]
    owner = {"node": "a", "nonce": "n"}
    fields = {"version": number, "epoch": 1, "owner": owner, "txid": number, "segments": segments}
    return json.dumps({**fields, **more}).encode()


@pytest.mark.parametrize(
    ("second", "what"),
    [
        (version(2), None),
        (version(2, epoch=2, owner={"node": "b", "nonce": "m"}, segments=[]), None),
        (version(3), "follows version 1"),
        (version(2, epoch=0, segments=[]), "follows epoch 1"),
        (version(2, owner={"node": "b", "nonce": "m"}), "the one before of"),
        (version(2, txid=0), "the one before at 1"),
        (version(2, segments=[{"key": "x.ltx", "epoch": 2}]), "for the first time"),
    ],
)
def test_versions_of_a_manifest_follow_each_other(second: bytes, what: str | None) -> None:
    manifests = Manifests()
    manifests.landed("m", version(1))
    manifests.landed("m", second)
    assert len(manifests.broken) == (what is not None)
    assert what is None or what in manifests.broken[0]
