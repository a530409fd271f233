"""`palimp serve` and `palimp init` as processes: starting, refusing to start, stopping."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import palimp

MARK = "MarkedSecretText"


def palimp_command(*words: object) -> list[str]:
    return [sys.executable, "-m", "palimp", *map(str, words)]


class Serving:
    """A process that serves, and what it logs."""

    def __init__(self, folder: Path, *words: object, **settings: str) -> None:
        environment = {**os.environ, "PALIMP_EMBED_PROVIDER": "none", "PALIMP_LOG_FORMAT": "json"}
        self.process = subprocess.Popen(
            palimp_command("serve", "--port", 0, "--data", folder, *words),
            stderr=subprocess.PIPE,
            text=True,
            env={**environment, **settings},
        )
        assert self.process.stderr is not None
        self.log: list[dict[str, Any]] = []
        for line in self.process.stderr:
            self.log.append(json.loads(line))
            found = re.match(r"serving (http://\S+),", self.log[-1]["message"])
            if found:
                self.url = found[1]
                break
        else:
            raise AssertionError(self.log)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(json.loads(line))

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(30)
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code

    def ask(self, path: str, body: Any = None, **headers: str) -> Any:
        data = None if body is None else json.dumps(body).encode()
        kind = {"content-type": "application/json"}
        request = urllib.request.Request(self.url + path, data, {**kind, **headers})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())


@contextmanager
def serving(folder: Path, *words: object, **settings: str) -> Iterator[Serving]:
    one = Serving(folder, *words, **settings)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.process.kill()
            one.wait()


def refused(*words: object, **settings: str) -> str:
    done = subprocess.run(
        palimp_command("serve", *words),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **settings},
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def text_of(log: list[dict[str, Any]]) -> str:
    return "\n".join(one["message"] for one in log)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_written_is_in_the_store_after_a_stop(tmp_path: Path, number: int) -> None:
    store = (tmp_path / "store").as_uri()
    slow = {"PALIMP_SHIP_INTERVAL": "3600"}
    with serving(tmp_path / "m", "--object-store", store, **slow) as one:
        for i in range(5):
            body = {"memories": [{"text": f"memory {i}"}]}
            one.ask("/v1/memory/default/alice/memories", body)
        assert one.stop(number) == 0
    assert "everything that was written is in the store" in text_of(one.log)
    with palimp.open(tmp_path / "elsewhere", object_store=store, embed_provider="none") as mem:
        texts = {memory.text for memory in mem.profile("alice").list()}
    assert texts == {f"memory {i}" for i in range(5)}


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with serving(tmp_path / "m") as one:
        host, port = one.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as sock:
            # A request that stays under way: its body does not come.
            sock.sendall(
                b"POST /v1/memory/default/a/memories HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n"
            )
            while one.ask("/ready")["in_flight"] == 0:
                time.sleep(0.01)
            one.process.send_signal(signal.SIGTERM)
            while "under way" not in text_of(one.log):
                time.sleep(0.01)
            assert one.stop() == 1
    # Not by the end of the time for stopping.
    assert "cut short" not in text_of(one.log)


def test_what_takes_longer_than_the_time_for_stopping_is_cut_short(tmp_path: Path) -> None:
    with serving(tmp_path / "m", PALIMP_SHUTDOWN_TIMEOUT="4") as one:
        host, port = one.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as sock:
            sock.sendall(
                b"POST /v1/memory/default/a/memories HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n"
            )
            while one.ask("/ready")["in_flight"] == 0:
                time.sleep(0.01)
            assert one.stop() == 1
            answer = sock.recv(65536)
    assert answer.startswith(b"HTTP/1.1 503")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "unavailable"
    assert "cut short" in text_of(one.log)


def test_no_text_and_no_token_is_logged(tmp_path: Path) -> None:
    with serving(tmp_path / "m", PALIMP_LOG_LEVEL="debug") as one:
        token = {"authorization": f"Bearer {MARK}"}
        memories = "/v1/memory/default/alice/memories"
        one.ask(memories, {"memories": [{"text": MARK, "topic_key": MARK}]}, **token)
        session = f"/v1/memory/default/alice/sessions/{MARK}/turns"
        one.ask(session, {"turns": [{"role": "user", "content": MARK}]})
        one.ask(f"/v1/memory/default/alice/history?topic_key={MARK}")
        bad = {"memories": [{"text": MARK, MARK: 1}]}
        for path, body in [
            (f"/v1/memory/default/{MARK}/memories", None),
            (f"/v1/{MARK}", None),
            (f"/{MARK}", None),
            (f"{memories}?{MARK}=1", None),
            (memories, bad),
        ]:
            with pytest.raises(urllib.error.HTTPError):
                one.ask(path, body)
        host, port = one.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as sock:
            sock.sendall(f"{MARK}\r\n\r\n".encode())
            assert sock.recv(65536).startswith(b"HTTP/1.1 400")
        assert one.stop() == 0
    lines = [json.dumps(entry) for entry in one.log]
    assert not [line for line in lines if MARK.lower() in line.lower()]
    calls = [entry for entry in one.log if entry["logger"] == "palimp.http"]
    assert [entry["message"] for entry in calls if "memories.ingest" in entry["message"]]
    assert all(re.fullmatch("req_[0-9a-f]{32}", entry["request"]) for entry in calls)
    times = [entry["time"] for entry in one.log]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time) for time in times)


def test_only_a_trusted_proxy_says_who_asks(tmp_path: Path) -> None:
    forwarded = {"x-forwarded-for": "203.0.113.7"}
    for trusted, client in [("127.0.0.0/8", "203.0.113.7"), ("10.0.0.1", "127.0.0.1")]:
        with serving(tmp_path / "m", PALIMP_TRUSTED_PROXIES=trusted) as one:
            one.ask("/v1/node", **forwarded)
            one.stop()
        (call,) = [entry for entry in one.log if "node.info" in entry["message"]]
        assert call["message"].startswith(client + " ")


def test_mcp_is_served_beside_it(tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    with serving(tmp_path / "m") as one:
        body = {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {}}
        accept = {"accept": "application/json, text/event-stream"}
        for path in ("/mcp", "/mcp/default/alice"):
            assert one.ask(path, body, **accept)["id"] == 1


def test_other_processes_on_the_folder_reach_it(tmp_path: Path) -> None:
    with serving(tmp_path / "m") as one:
        with palimp.open(tmp_path / "m", embed_provider="none") as mem:
            mem.profile("alice").remember("from beside")
        found = one.ask("/v1/memory/default/alice/memories")["memories"]
        assert [memory["text"] for memory in found] == ["from beside"]


def test_what_cannot_be_served_is_refused_with_what_to_do(tmp_path: Path) -> None:
    folder = ("--data", tmp_path / "m")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused("--port", port, *folder)
    assert f"127.0.0.1 port {port} cannot be listened on: Address already in use" in said
    assert "is not a loopback address" in refused("--host", "0.0.0.0", *folder)
    assert "is not a loopback address" in refused("--host", "::", *folder)
    assert "is not a loopback address" in refused("--host", "example.com", *folder)
    assert "HOST:PORT" in refused(*folder, PALIMP_LISTEN="8080")
    assert "is not a loopback address" in refused(*folder, PALIMP_LISTEN="10.1.2.3:8080")
    assert "PALIMP_LISTEN" in refused(*folder, PALIMP_LISTN="127.0.0.1:0")
    assert "give 0.1 to" in refused(*folder, PALIMP_READ_TIMEOUT="0")
    assert "'loud'" in refused(*folder, PALIMP_LOG_LEVEL="loud")
    assert "no address and no network" in refused(*folder, PALIMP_TRUSTED_PROXIES="127.0.0.1,*")
    assert not (tmp_path / "m").exists()


def test_a_folder_that_is_served_is_not_served_twice(tmp_path: Path) -> None:
    with serving(tmp_path / "m") as one:
        said = refused("--port", 0, "--data", tmp_path / "m", PALIMP_EMBED_PROVIDER="none")
        assert f"process {one.process.pid}" in said


def test_init_says_what_there_is_and_what_to_do(tmp_path: Path) -> None:
    def init(*words: object) -> Any:
        done = subprocess.run(
            palimp_command("init", *words),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PALIMP_EMBED_PROVIDER": "none"},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    found = json.loads(init("--data", tmp_path / "m", "--json"))
    assert found["folder"] == str(tmp_path / "m")
    assert set(found["extras"]) == {"cloud", "mcp", "server"}
    with serving(tmp_path / "m") as one:
        remote = json.loads(init("--url", one.url, "--json"))
        assert (remote["url"], remote["process"]) == (one.url, one.process.pid)
        text = init("--url", one.url)
        assert "PALIMP_TOKEN is not set" in text
        assert f"--url {one.url}" in text
