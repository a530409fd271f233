"""What the kernel is told to drop is dropped, and comes through after that."""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from .namespaces import HOST, Namespace, Wire, bridge, missing

_PORT = 8300
# Says who asked, and that it was asked.
_SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print("heard", flush=True)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.client_address[0].encode())
    def log_message(self, *more):
        pass
http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""


@pytest.fixture
def served() -> Iterator[tuple[Namespace, subprocess.Popen[str]]]:
    """A namespace in which something serves a port."""
    why = missing()
    if why is not None:
        pytest.skip(why)
    with bridge():
        space = Namespace(9)
        command = [*space.command, sys.executable, "-c", _SERVER, space.host, str(_PORT)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            end = time.monotonic() + 20
            while asked(space.host) is None:
                assert time.monotonic() < end, "nothing is served in the namespace"
            yield space, server
        finally:
            server.kill()
            server.communicate(timeout=20)
            space.close()


def asked(host: str, seconds: float = 0.5) -> bytes | None:
    """Return what is answered, None where nothing is."""
    connection = http.client.HTTPConnection(host, _PORT, timeout=seconds)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


@pytest.mark.parametrize("way", ["there", "back", "both"])
def test_a_cut_drops_packets_until_it_heals(
    served: tuple[Namespace, subprocess.Popen[str]], way: str
) -> None:
    space, _ = served
    wire: Wire = space.serves(_PORT, [HOST])
    assert asked(space.host) == HOST.encode()
    wire.cut(way)
    assert asked(space.host) is None
    wire.heal()
    assert asked(space.host, 10) == HOST.encode()


def test_a_cut_from_others_does_not_touch_the_host(
    served: tuple[Namespace, subprocess.Popen[str]],
) -> None:
    space, _ = served
    space.serves(_PORT, ["10.99.7.8"]).cut()
    assert asked(space.host, 10) == HOST.encode()
