"""moto's S3 behind a proxy that makes its puts atomic and does to requests what a seed says."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..conformance import store_backends
from ..conformance.store_backends import S3Proxy
from .links import free_port

BUCKET = store_backends.BUCKET
# What a node is told to wait for an answer; a late put lands after that.
CLIENT_SECONDS = 2.0


class Chances(NamedTuple):
    """How often, of requests: slow; dropped before it was carried out; cut after; landing late."""

    slow: float = 0.0
    drop: float = 0.0
    cut: float = 0.0
    late: float = 0.0
    refuse: float = 0.0


CALM = Chances()
ROUGH = Chances(slow=0.1, drop=0.02, cut=0.02, late=0.02, refuse=0.02)


class Manifests:
    """Every version of every manifest as it landed: linked one to the other, by one owner each.

    `broken` says where they are not. What a version names for the first time was written in its own
    epoch, but for the first version of a fork, which names what its parent had.
    """

    def __init__(self) -> None:
        self.versions = 0
        self.broken: list[str] = []
        self._last: dict[str, Any] = {}
        self._lock = threading.Lock()

    def landed(self, key: str, data: bytes) -> None:
        """Take down that a put of a manifest was carried out."""
        new = json.loads(data)
        with self._lock:
            self.versions += 1
            old, self._last[key] = self._last.get(key), new
            if old is not None:
                self.broken += [f"{key}: {what}" for what in _unlinked(old, new)]


def _unlinked(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    place = f"version {new['version']}, epoch {new['epoch']}"
    if new["version"] != old["version"] + 1:
        yield f"{place} follows version {old['version']}"
    if new["epoch"] < old["epoch"]:
        yield f"{place} follows epoch {old['epoch']}"
    if new["epoch"] == old["epoch"] and new["owner"] != old["owner"] and old["owner"]:
        yield f"{place} is of {new['owner']}, the one before of {old['owner']}"
    if new["txid"] < old["txid"]:
        yield f"{place} ends at txid {new['txid']}, the one before at {old['txid']}"
    known = {ref["key"] for ref in _references(old)}
    for ref in _references(new):
        if ref["key"] not in known and ref["epoch"] != new["epoch"]:
            yield f"{place} names {ref['key']} for the first time"


def _references(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in (manifest.get("snapshot"), *manifest.get("segments", ())) if one]


class RoughStore(S3Proxy):
    """An S3 proxy whose requests fail by a seed. While it is `down` nothing is carried out."""

    def __init__(self, upstream_port: int, seed: int) -> None:
        self.chances = CALM
        self.down = False
        self.late = 0
        self.manifests = Manifests()
        self._rng = random.Random(seed)
        self._dice = threading.Lock()
        super().__init__(upstream_port)
        self.RequestHandlerClass = _RoughHandler

    def draw(self, puts: bool) -> tuple[str, float]:
        """Return what happens to the next request, and a number of seconds that goes with it."""
        with self._dice:
            roll, share = self._rng.random(), self._rng.random()
        if self.down:
            return "refuse" if roll < 0.5 else "drop", 0.0
        for what, chance in self.chances._asdict().items():
            if roll < chance:
                if what == "slow":
                    return what, 0.05 + share * 0.4
                if what == "late":
                    return what if puts else "slow", CLIENT_SECONDS + 0.2 + share * 3
                return what, 0.0
            roll -= chance
        return "", 0.0


class _RoughHandler(store_backends._ProxyHandler):
    server: RoughStore

    def _pass(self) -> None:
        what, seconds = self.server.draw(self.command == "PUT")
        if what in ("slow", "late"):
            self.server.late += what == "late"
            time.sleep(seconds)
        if what in ("drop", "refuse"):
            self.rfile.read(int(self.headers.get("content-length") or 0))
        if what == "drop":
            self._cut()
        elif what == "refuse":
            self._answer(503, [], b"<Error><Code>SlowDown</Code></Error>")
        elif what == "cut" and self.command == "PUT":
            self.server.faults.append("lose")
            super()._pass()
        else:
            with contextlib.suppress(OSError):
                super()._pass()

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass

    def _upstream(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        answer = super()._upstream(body)
        path = self.path.partition("?")[0]
        if self.command == "PUT" and answer[0] == 200 and path.endswith("/manifest.json"):
            # Of one key, one after the other: the lock of the put is held.
            self.server.manifests.landed(path, body)
        return answer

    def _cut(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def rough_store(seed: int) -> Iterator[RoughStore]:
    """moto's server in a process of its own, with a bucket, behind the proxy."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        store_backends._make_bucket(server, port)
        proxy = RoughStore(port, seed)
        try:
            yield proxy
        finally:
            proxy.stop()
    finally:
        server.kill()
        server.wait()
