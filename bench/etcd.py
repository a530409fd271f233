"""An etcd of one's own for a measurement: one member, on free ports, in an empty folder."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

_START_SECONDS = 30
_STOP_SECONDS = 30
_LOOK_SECONDS = 0.05
# Room for a million keys and their history.
_QUOTA_BYTES = 4 << 30


class Etcd(NamedTuple):
    """Where it listens, and its process."""

    url: str
    pid: int


def is_there() -> bool:
    """Return whether etcd is installed."""
    return shutil.which("etcd") is not None


@contextmanager
def running(path: Path) -> Iterator[Etcd]:
    """Run one member with its data below `path`; end it afterwards."""
    client, peer = (f"http://127.0.0.1:{port}" for port in _free_ports(2))
    command = [
        *("etcd", "--name", "bench", "--data-dir", str(path / "etcd")),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
        *("--initial-cluster", f"bench={peer}", "--quota-backend-bytes", str(_QUOTA_BYTES)),
    ]
    with (path / "etcd.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait(client, process)
        yield Etcd(client, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            if "true" in httpx.get(f"{url}/health", trust_env=False).text:
                return
        except httpx.TransportError:
            pass
        time.sleep(_LOOK_SECONDS)
    raise RuntimeError("etcd did not come up")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
