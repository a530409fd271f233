"""A visitor's connection: what it believes, how long it waits, and what it keeps."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from palimp.api import NO_OPTIONS, GetNode, Target
from palimp.client.transports import socket as transport
from palimp.client.transports.socket import Gone, Silent, SocketClient
from palimp.clock import Clock
from palimp.errors import Invalid, NotFound

Handler = Callable[[socket.socket, int], None]

REFUSED = b'{"error":"too much","code":"payload_too_large"}'
ABOUT = (
    b'{"release":"1","api":1,"node":"n","process":1,"folder":"/f","object_store":"s",'
    b'"store_id":"i","durability":"local","settings":{}}'
)


def answer(body: bytes = ABOUT, status: int = 200, *, head: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Server:
    """Lets a handler deal with each connection, in a thread, in turn."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.accepted = 0
        self.handler: Handler = lambda sock, number: None
        self._over = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(100)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(self.path))
        self._thread.join(10)
        self._listener.close()

    def wait(self) -> None:
        """Do nothing until the test is over."""
        self._over.wait(30)

    def _serve(self) -> None:
        threads = []
        while True:
            sock, _ = self._listener.accept()
            if self._over.is_set():
                sock.close()
                break
            self.accepted += 1
            threads.append(threading.Thread(target=self._handle, args=(sock, self.accepted)))
            threads[-1].start()
        for thread in threads:
            thread.join(10)

    def _handle(self, sock: socket.socket, number: int) -> None:
        with sock:
            self.handler(sock, number)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "s")
    yield made
    made.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lose patience sooner."""
    monkeypatch.setattr(transport, "SILENT_SECONDS", 0.5)


@pytest.fixture
def client(server: Server) -> Iterator[SocketClient]:
    made = SocketClient(server.path, clock=Clock())
    yield made
    made.close()


def ask(client: SocketClient) -> object:
    return client.call("node.info", Target(), GetNode(), NO_OPTIONS)


def read_head(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(1 << 16)
        if not piece:
            return b""
        data += piece
    return data


def test_one_connection_serves_one_call_after_the_other(
    server: Server, client: SocketClient
) -> None:
    def handle(sock: socket.socket, _: int) -> None:
        while read_head(sock):
            sock.sendall(answer())

    server.handler = handle
    for _ in range(5):
        assert ask(client)
    client.close()
    assert server.accepted == 1


def test_an_answer_in_pieces_is_put_together(server: Server, client: SocketClient) -> None:
    def handle(sock: socket.socket, _: int) -> None:
        while read_head(sock):
            for place in range(len(answer())):
                sock.sendall(answer()[place : place + 1])

    server.handler = handle
    assert ask(client) == ask(client)
    client.close()


def test_an_error_is_raised_as_what_it_is(server: Server, client: SocketClient) -> None:
    def handle(sock: socket.socket, _: int) -> None:
        read_head(sock)
        sock.sendall(answer(b'{"error":"none there","code":"not_found"}', 404))

    server.handler = handle
    with pytest.raises(NotFound, match="none there"):
        ask(client)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        answer()[:-1],
        answer()[:20],
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"x" * 99_999,
    ],
    ids=["nothing", "most", "half a head", "nonsense", "no length", "no end"],
)
def test_whoever_breaks_off_or_talks_strangely_is_gone(
    server: Server, client: SocketClient, said: bytes
) -> None:
    def handle(sock: socket.socket, _: int) -> None:
        read_head(sock)
        sock.sendall(said)

    server.handler = handle
    with pytest.raises(Gone) as caught:
        ask(client)
    assert caught.value.sent


def test_nobody_at_the_socket_is_gone_and_heard_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s"
    client = SocketClient(path, clock=Clock())
    for _ in range(2):
        with pytest.raises(Gone) as caught:
            ask(client)
        assert not caught.value.sent
        if not path.exists():
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(path))


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("said", [b"", answer()[:30]], ids=["nothing", "half an answer"])
def test_whoever_falls_silent_is_asked_and_given_up(
    server: Server, client: SocketClient, said: bytes
) -> None:
    def handle(sock: socket.socket, _: int) -> None:
        read_head(sock)
        sock.sendall(said)
        server.wait()

    server.handler = handle
    with pytest.raises(Silent):
        ask(client)
    # The call and the question.
    assert server.accepted == 2


@pytest.mark.usefixtures("hasty")
def test_whoever_says_that_he_is_there_is_waited_for(server: Server, client: SocketClient) -> None:
    asked = threading.Semaphore(0)

    def handle(sock: socket.socket, number: int) -> None:
        read_head(sock)
        if number == 1:
            for _ in range(3):
                asked.acquire(timeout=10)
            sock.sendall(answer())
        else:
            sock.sendall(answer(b"ok"))
            asked.release()

    server.handler = handle
    assert ask(client)
    assert server.accepted >= 4


@pytest.mark.usefixtures("hasty")
def test_a_request_that_is_not_read_is_given_up(server: Server, client: SocketClient) -> None:
    server.handler = lambda sock, number: server.wait()
    with pytest.raises(Silent):
        large(client)


def test_a_refusal_is_heard_while_the_request_is_still_sent(
    server: Server, client: SocketClient
) -> None:
    def handle(sock: socket.socket, _: int) -> None:
        read_head(sock)
        sock.sendall(answer(REFUSED, 413, head="Connection: close\r\n"))

    server.handler = handle
    for _ in range(2):
        with pytest.raises(Invalid, match="too much"):
            large(client)
    assert server.accepted == 2


def large(client: SocketClient) -> None:
    from palimp.api import Import

    client.call("import", Target("default", "a"), Import(data=bytes(4 << 20)), NO_OPTIONS)


def test_a_connection_that_was_closed_meanwhile_is_not_used(
    server: Server, client: SocketClient
) -> None:
    closed = threading.Event()

    def handle(sock: socket.socket, _: int) -> None:
        read_head(sock)
        sock.sendall(answer())
        sock.shutdown(socket.SHUT_RDWR)
        closed.set()

    server.handler = handle
    for _ in range(3):
        assert ask(client)
        assert closed.wait(10)
        closed.clear()
    assert server.accepted == 3


def test_few_connections_are_kept(server: Server, client: SocketClient) -> None:
    count = transport._IDLE_MAX + 8
    together = threading.Barrier(count)

    def handle(sock: socket.socket, _: int) -> None:
        read_head(sock)
        together.wait(10)
        sock.sendall(answer())
        read_head(sock)

    server.handler = handle
    threads = [threading.Thread(target=ask, args=(client,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(client._idle) == transport._IDLE_MAX
    assert not client._busy
    client.close()
    assert not client._idle


def test_a_closed_client_keeps_nothing_of_what_was_under_way(
    server: Server, client: SocketClient
) -> None:
    def handle(sock: socket.socket, _: int) -> None:
        read_head(sock)
        client.close()
        sock.sendall(answer())

    server.handler = handle
    assert ask(client)
    assert not client._idle


def test_an_abandoned_client_has_no_connections_left(server: Server, client: SocketClient) -> None:
    seen: list[bytes] = []

    def handle(sock: socket.socket, _: int) -> None:
        while head := read_head(sock):
            seen.append(head)
            sock.sendall(answer())

    server.handler = handle
    ask(client)
    client.abandon()
    assert not client._idle
    ask(client)
    client.close()
    assert server.accepted == 2
    assert all(head.startswith(b"GET /v1/node HTTP/1.1\r\n") for head in seen)
