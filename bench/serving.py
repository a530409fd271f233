"""Servers that are measured, each a process of its own: a node, and the floors beside it."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
from harness import environment

NAMESPACE = "bench"
_START_SECONDS = 60
_STOP_SECONDS = 60
_LOOK_SECONDS = 0.02
_ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")
_PLATFORM_KEY = "the-platform-key-of-a-benchmark"
_AUTH = {
    "PALIMP_AUTH": "on",
    "PALIMP_PLATFORM_KEY": _PLATFORM_KEY,
    "PALIMP_SINGLE_NODE": "1",
}


class At(NamedTuple):
    """Where a server is, the Authorization header it wants, if any, and its process."""

    port: int
    credential: str = ""
    pid: int = 0

    @property
    def url(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> httpx.Client:
        """Return what asks it for what is not measured."""
        headers = {"authorization": self.credential} if self.credential else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)


@contextmanager
def node(path: Path, *, auth: bool = False) -> Iterator[At]:
    """Serve a folder as `palimp serve` does by default, its log of every request included."""
    command = (sys.executable, "-m", "palimp", "serve", "--port", "0", "--data", str(path))
    with served(command, path.with_suffix(".log"), _AUTH if auth else {}) as at:
        yield at._replace(credential=f"Bearer {_token(at)}") if auth else at


@contextmanager
def served(command: Sequence[str], log: Path, more: Mapping[str, str] = {}) -> Iterator[At]:
    """Run a program that says on standard error where it listens, and end it afterwards."""
    with (
        log.open("wb") as said,
        subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=said, env={**environment(), **more}
        ) as process,
    ):
        try:
            yield At(_port(process, log), pid=process.pid)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        found = _ADDRESS.search(log.read_text("utf-8"))
        if found:
            return int(found[1])
        time.sleep(_LOOK_SECONDS)
    raise RuntimeError(f"a measured server did not come up: {log.read_text('utf-8')[-500:]}")


def _token(at: At) -> str:
    """Mint what every request of a measurement shows; first make sure that it is asked for."""
    path = f"/v1/namespaces/{NAMESPACE}/tokens"
    wanted = {"scope": "write"}
    with at.client() as client:
        status = client.post(path, json=wanted).status_code
        if status != 401:
            raise RuntimeError(f"a request without a credential was answered with {status}")
        shown = {"authorization": f"Bearer {_PLATFORM_KEY}"}
        return str(client.post(path, json=wanted, headers=shown).raise_for_status().json()["token"])
