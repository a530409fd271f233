"""What the gateway's answers mean, from a server that says what a test wants."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from palimp.clock import Clock
from palimp.errors import Unavailable
from palimp.lease.etcd_gateway import CompactedError, EtcdGateway, _lines
from palimp.lease.keeping import LeaseGoneError

from ...conformance.store_backends import QuietServer


class Saying(QuietServer):
    """Answers every request with the next of `answers`, the last again and again."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.asked: list[tuple[str, Any]] = []
        super().__init__(_Handler)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["content-length"]))
        server.asked.append((self.path, json.loads(body)))
        status, content = server.answers[0]
        if len(server.answers) > 1:
            del server.answers[0]
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Saying]:
    server = Saying()
    yield server
    server.stop()


@pytest.fixture
def gateway(server: Saying) -> Iterator[EtcdGateway]:
    gateway = EtcdGateway(server.url, Clock())
    yield gateway
    gateway.close()


def failure(status: int, code: int, said: str) -> tuple[int, bytes]:
    return status, json.dumps({"error": said, "message": said, "code": code}).encode()


def test_a_renewal_without_a_time_is_of_a_lease_that_is_gone(
    server: Saying, gateway: EtcdGateway
) -> None:
    server.answers = [(200, b'{"result":{"ID":"7","TTL":"10"}}\n'), (200, b'{"result":{"ID":"7"}}')]
    assert gateway.renew(7)
    assert not gateway.renew(7)
    assert server.asked[0] == ("/v3/lease/keepalive", {"ID": "7"})


@pytest.mark.parametrize(
    "answer",
    [
        failure(503, 14, "etcdserver: no leader"),
        failure(500, 2, "etcdserver: request timed out"),
        (200, b'{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader"}}'),
        (502, b"<html>a proxy</html>"),
        (404, b"page not found"),
        (200, b"<html>a console</html>"),
        (200, b"\xff\xfe"),
    ],
)
def test_an_answer_that_is_none_is_unavailable(
    server: Saying, gateway: EtcdGateway, answer: tuple[int, bytes]
) -> None:
    server.answers = [answer]
    with pytest.raises(Unavailable) as caught:
        gateway.renew(7)
    assert caught.value.details == {"reason": "lease"}
    assert server.url in str(caught.value)


def test_another_member_is_asked_and_stays_preferred(server: Saying) -> None:
    other = Saying()
    server.answers = [failure(503, 14, "etcdserver: no leader")]
    other.answers = [(200, b'{"result":{"ID":"7","TTL":"10"}}')]
    gateway = EtcdGateway(f"{server.url},{other.url}", Clock())
    assert gateway.renew(7)
    assert gateway.renew(7)
    assert (len(server.asked), len(other.asked)) == (1, 2)
    gateway.close()
    other.stop()


def test_a_lease_or_revision_that_is_gone_is_decided(server: Saying, gateway: EtcdGateway) -> None:
    server.answers = [failure(404, 5, "etcdserver: requested lease not found")]
    with pytest.raises(LeaseGoneError):
        gateway.transact([], [], [])
    gateway.revoke(7)
    server.answers = [failure(400, 11, "etcdserver: mvcc: required revision has been compacted")]
    with pytest.raises(CompactedError):
        gateway.range({"key": "AA=="})


def test_lines_are_whole_however_they_come() -> None:
    pieces = [b'{"a"', b":1}\n{", b'"b":2}\n\n', b"{}", b"\n", b"unended"]
    assert list(_lines(pieces)) == [b'{"a":1}', b'{"b":2}', b"{}"]
