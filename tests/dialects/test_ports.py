"""`palimp serve --dialect`: a port of its own for a dialect, in a process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import palimp

EVENT = {"type": "event", "summary": "Booked LH 400", "content": {"flight": "LH 400"}}


def command(folder: Path, *words: str) -> list[str]:
    fixed = [sys.executable, "-m", "palimp", "serve", "--port", "0"]
    return [*fixed, "--data", str(folder), *words]


def environment(**settings: str) -> dict[str, str]:
    fixed = {"PALIMP_EMBED_PROVIDER": "none", "PALIMP_LOG_FORMAT": "json"}
    return {**os.environ, **fixed, **settings}


class Serving:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[dict[str, Any]] = []
        self.urls: list[str] = []

    def read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(json.loads(line))
            said = self.log[-1]["message"]
            found = re.match(r"(?:serving|speaking memoturn at) (http://[^\s,]+)", said)
            if found:
                self.urls.append(found[1])
                if len(self.urls) == 2:
                    return

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def serving(folder: Path, *words: str, **settings: str) -> Iterator[Serving]:
    with subprocess.Popen(
        command(folder, *words), stderr=subprocess.PIPE, text=True, env=environment(**settings)
    ) as process:
        try:
            made = Serving(process)
            made.read()
            assert len(made.urls) == 2, made.log
            yield made
        finally:
            if process.poll() is None:
                process.kill()


def test_both_ports_serve_one_folder_and_stop_together(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    with serving(folder, "--dialect", "memoturn=0") as node:
        ours, theirs = node.urls
        assert httpx.get(f"{theirs}/health").text == "ok"
        path = "/v1/memory/acme/alice/memories"
        assert httpx.post(theirs + path, json={"memories": [EVENT]}).status_code == 201
        (found,) = httpx.get(ours + path).json()["memories"]
        assert found["text"] == EVENT["summary"]
        again = httpx.get(f"{ours}/memoturn{path}/{found['id']}").json()
        assert again["summary"] == EVENT["summary"]
        # Not meant for this node: the name is one that a web page could have.
        refused = httpx.get(f"{theirs}/health", headers={"host": "example.com"})
        assert refused.status_code == 421
        assert node.stop() == 0
    with palimp.open(folder, embed_provider="none") as mem:
        assert [one.text for one in mem.profile("alice", namespace="acme").list()] == [
            EVENT["summary"]
        ]


def test_a_request_under_way_at_its_port_is_finished(tmp_path: Path) -> None:
    with serving(tmp_path / "m", "--dialect", "memoturn=0") as node:
        sent, stopping = threading.Event(), threading.Event()
        body = json.dumps({"memories": [EVENT]}).encode()
        answers: list[httpx.Response] = []

        def slowly() -> Iterator[bytes]:
            yield body[:20]
            sent.set()
            assert stopping.wait(20)
            yield body[20:]

        def ask() -> None:
            url = f"{node.urls[1]}/v1/memory/acme/alice/memories"
            kind = {"content-type": "application/json"}
            answers.append(httpx.post(url, content=slowly(), headers=kind, timeout=30))

        asking = threading.Thread(target=ask)
        asking.start()
        assert sent.wait(20)
        node.process.send_signal(signal.SIGTERM)
        assert node.process.stderr is not None
        for line in node.process.stderr:
            if "requests are under way" in line:
                break
        stopping.set()
        asking.join()
        assert [one.status_code for one in answers] == [201]
        assert node.process.wait(30) == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("memoturn", "give NAME=PORT"),
        ("memoturn=x", "give NAME=PORT"),
        ("memoturn=70000", "give NAME=PORT"),
        ("memotrun=0", "did you mean 'memoturn'"),
    ],
)
def test_what_is_no_dialect_and_no_port(tmp_path: Path, given: str, said: str) -> None:
    done = subprocess.run(
        command(tmp_path / "m", "--dialect", given),
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
    )
    assert done.returncode != 0
    assert said in done.stderr
    assert not (tmp_path / "m").exists()


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            command(tmp_path / "m", "--dialect", f"memoturn={port}"),
            capture_output=True,
            text=True,
            env=environment(),
            timeout=60,
        )
    assert done.returncode != 0
    assert f"port {port} cannot be listened on" in done.stderr
    assert not (tmp_path / "m").exists()


def test_an_environment_of_that_system(tmp_path: Path) -> None:
    theirs = {
        "MEMOTURN_AUTH": "on",
        "MEMOTURN_PLATFORM_KEY": "platform-key-of-the-tests",
        "MEMOTURN_SINGLE_NODE": "1",
        "MEMOTURN_DURABILITY": "standard",
        "MEMOTURN_GC_GRACE_SECS": "600",
    }
    with serving(tmp_path / "m", "--dialect", "memoturn=0", **theirs) as node:
        url = f"{node.urls[1]}/v1/memory/acme"
        assert httpx.get(url).status_code == 401
        headers = {"authorization": f"Bearer {theirs['MEMOTURN_PLATFORM_KEY']}"}
        assert httpx.get(url, headers=headers).json()["profiles"] == []
        warnings = [one["message"] for one in node.log if one["level"] == "warning"]
        assert any(one.startswith("MEMOTURN_GC_GRACE_SECS is not read") for one in warnings), (
            node.log
        )
        assert node.stop() == 0
