"""The stores the conformance suite runs on, and what they need: moto's S3 behind a proxy of ours.

moto does not promise that its conditional puts are atomic; the proxy lets one put of a key through
at a time, which makes them so. It also counts requests and can lose or falsify an answer.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from palimp.clock import Clock, ManualClock
from palimp.ids import random_id
from palimp.store import CountingStore, ObjectStore, VolatileStore
from palimp.store.connecting import connect
from palimp.store.directory import DirectoryStore
from palimp.store.faulty import Chance, FaultyStore
from palimp.store.remote import RemoteStore
from palimp.store.sealed import ObjectKey, SealedStore, sealed_size

BUCKET = "palimp-tests"
BACKENDS = ["volatile", "weak", "directory", "faulty", "counting", "obstore-memory", "s3"]
BACKENDS += ["sealed", "all-sealed"]


def need(module: str, service: str) -> None:
    """Skip, naming what is missing; in CI a skip is a failure."""
    if importlib.util.find_spec(module) is None:
        missing = f"{service} is not installed (pip install '{service}')"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)


class QuietServer(ThreadingHTTPServer):
    """A server on a free loopback port that says nothing about connections a client dropped."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join()


class S3Proxy(QuietServer):
    """Passes requests on to moto, one put of a key at a time."""

    def __init__(self, upstream_port: int) -> None:
        self.upstream_port = upstream_port
        self.requests: Counter[str] = Counter()
        # Of the next puts: "lose" passes on and drops the answer, a number answers with it.
        self.faults: list[str | int] = []
        self.locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self.guard = threading.Lock()
        self.connections = threading.local()
        super().__init__(_ProxyHandler)

    def lock_of(self, path: str) -> threading.Lock:
        with self.guard:
            return self.locks[path]


class _ProxyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # an answer of two packets would wait 40 ms for the second
    server: S3Proxy

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = self.path.partition("?")[0]
        puts = self.command == "PUT"
        with self.server.guard:
            self.server.requests[self.command] += 1
            fault = self.server.faults.pop(0) if puts and self.server.faults else None
        if isinstance(fault, int):
            self._answer(fault, [], b"")
            return
        lock = self.server.lock_of(path) if puts or self.command == "DELETE" else None
        with lock or contextlib.nullcontext():
            status, headers, answer = self._upstream(body)
        if fault == "lose":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._answer(status, headers, answer)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass

    def _upstream(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.upstream_port, timeout=30)
        try:
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        length = str(len(body))
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            elif name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def s3_service() -> Iterator[S3Proxy]:
    """moto's server in a process of its own, with a bucket, behind the proxy."""
    port = _free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _make_bucket(server, port)
        proxy = S3Proxy(port)
        try:
            yield proxy
        finally:
            proxy.stop()
    finally:
        server.kill()
        server.wait()


def _make_bucket(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        assert server.poll() is None, "moto_server ended"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("PUT", f"/{BUCKET}")
            assert connection.getresponse().status == 200
            return
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "moto_server does not come up"
            time.sleep(0.05)
        finally:
            connection.close()


def s3_store(proxy: S3Proxy, clock: Clock | None = None) -> RemoteStore:
    return connect(
        "s3",
        BUCKET,
        random_id("run"),
        clock=clock or Clock(),
        config={
            "endpoint": proxy.url,
            "access_key_id": "test",
            "secret_access_key": "test",
            "region": "us-east-1",
        },
        client_options={"allow_http": "true"},
    )


def listed_size(store: ObjectStore, key: str, size: int) -> int:
    """Return what a listing says of an object of so many bytes: its size as it is stored."""
    sealed = isinstance(store, SealedStore) and store.database_of(key) is not None
    return sealed_size(size) if sealed else size


class OneKey:
    """The same key for every database."""

    def sealing(self, db_id: str) -> ObjectKey:
        return ObjectKey(1, b"k" * 32)

    def opening(self, db_id: str, version: int) -> bytes | None:
        return b"k" * 32 if version == 1 else None


class AllSealed(SealedStore):
    """Seals every object, so that all of the contract is asked of sealed ones."""

    def database_of(self, key: str) -> str | None:
        return "every"


def make_store(kind: str, folder: Path, request: pytest.FixtureRequest) -> ObjectStore:
    if kind == "volatile":
        return VolatileStore()
    if kind == "weak":
        return VolatileStore(weak_versions=True)
    if kind == "directory":
        return DirectoryStore(folder / "objects")
    if kind == "faulty":
        return FaultyStore(VolatileStore(), Chance(random.Random(1)), ManualClock())
    if kind == "counting":
        return CountingStore(DirectoryStore(folder / "objects"))
    if kind == "sealed":
        return SealedStore(DirectoryStore(folder / "objects"), OneKey())
    if kind == "all-sealed":
        return AllSealed(VolatileStore(), OneKey())
    need("obstore", "obstore")
    if kind == "obstore-memory":
        from obstore.store import MemoryStore

        memory = MemoryStore()
        return RemoteStore("s3", "memory://obstore", memory, memory, clock=Clock())
    assert kind == "s3"
    return s3_store(request.getfixturevalue("s3"))
