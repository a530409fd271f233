"""The folder's socket: how it is named, when it begins to serve, what it leaves."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from palimp.errors import Invalid
from palimp.node import door as module
from palimp.node.door import SOCKET, Door, reachable


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers everything."""
    if scope["type"] == "lifespan":
        for answer in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{answer}.complete"})
        return
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def ask(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        with reachable(path / SOCKET) as address:
            sock.connect(address)
        sock.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        return sock.recv(1_000)


def test_a_short_path_is_its_own_name(tmp_path: Path) -> None:
    with reachable(Path("/x/socket")) as name:
        assert name == "/x/socket"


def test_a_long_path_has_another_name_for_a_while(tmp_path: Path) -> None:
    folder = tmp_path / ("ä" * 60)
    folder.mkdir()
    with reachable(folder / "socket") as name:
        assert len(os.fsencode(name)) <= module._PATH_BYTES_MAX
        Path(name).write_text("there")
    assert (folder / "socket").read_text() == "there"
    with pytest.raises(OSError, match="No such file"):
        Path(name).read_text()


def test_a_long_path_without_another_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_DESCRIPTORS", tmp_path / "none")
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(Invalid, match=r"has \d+ bytes, a socket's has at most 103") as caught:
        Door(folder)
    assert "use a shorter path" in str(caught.value)
    assert set(os.listdir("/proc/self/fd")) == before


def test_who_comes_before_it_opens_is_served_then(tmp_path: Path) -> None:
    door = Door(tmp_path)
    said: list[bytes] = []
    early = threading.Thread(target=lambda: said.append(ask(tmp_path)))
    early.start()
    door.open(lambda: app)
    early.join(20)
    assert said[0].startswith(b"HTTP/1.1 204")
    door.close(1)
    assert not (tmp_path / SOCKET).exists()


def test_without_visitors_no_app_is_made(tmp_path: Path) -> None:
    made: list[object] = []

    def make() -> object:
        made.append(1)
        return app

    door = Door(tmp_path)
    door.open(make)
    door.close(1)
    assert not made
    assert not door._thread.is_alive()  # type: ignore[union-attr]


def test_the_socket_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / SOCKET))
    door = Door(tmp_path)
    door.open(lambda: app)
    assert ask(tmp_path).startswith(b"HTTP/1.1 204")
    door.close(1)


def test_a_folder_that_went_away_does_not_keep_it_from_closing(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    door = Door(folder)
    door.open(lambda: app)
    folder.rename(tmp_path / "moved")
    door.close(1)


def test_closing_leaves_no_descriptor(tmp_path: Path) -> None:
    def once() -> None:
        door = Door(tmp_path)
        door.open(lambda: app)
        ask(tmp_path)
        door.close(1)

    once()
    before = len(os.listdir("/proc/self/fd"))
    once()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_forked_child_has_no_copy_of_it(tmp_path: Path) -> None:
    door = Door(tmp_path)
    door.open(lambda: app)
    # A connection that is open while the fork comes.
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(tmp_path / SOCKET))
        sock.settimeout(10)
        sock.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(1_000)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            links = [_link(name) for name in os.listdir("/proc/self/fd")]
            os.write(writing, f"{sum('socket:' in link for link in links)}".encode())
            os._exit(0)
        os.waitpid(child, 0)
        mine = sum("socket:" in _link(name) for name in os.listdir("/proc/self/fd"))
        # The listener, the pair that wakes, and the other end of the connection are not there.
        assert mine - int(os.read(reading, 100)) == 4
        for descriptor in (reading, writing):
            os.close(descriptor)
        sock.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(1_000)
    assert ask(tmp_path).startswith(b"HTTP/1.1 204")
    door.close(1)


def _link(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        return ""
