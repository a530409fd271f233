"""A process that serves, as somebody who moves starts it: its first key, its command line, its client."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import memtrace
import pytest

from .speaking import MASTER

PALIMP = [sys.executable, "-m", "palimp"]


class Serving(NamedTuple):
    mounted: str
    port: str
    log: str


def environment(folder: Path) -> dict[str, str]:
    found = {k: v for k, v in os.environ.items() if not k.startswith(("PALIMP_", "MEMTRACE_"))}
    found |= {"PALIMP_EMBED_PROVIDER": "none", "PALIMP_DATA_DIR": str(folder / "m")}
    return found | {"PALIMP_SINGLE_NODE": "1", "MEMTRACE_MASTER_KEY": MASTER}


@contextmanager
def serving(folder: Path) -> Iterator[Serving]:
    """A process that speaks it, mounted and at a port; it ends as it is told to."""
    log = folder / "log"
    words = [*PALIMP, "serve", "--port", "0", "--dialect", "memtrace=0"]
    # Into a file: of a pipe that nobody reads any more the process would come to a stand.
    with (
        log.open("wb") as said,
        subprocess.Popen(words, stderr=said, env=environment(folder)) as process,
    ):
        try:
            for _ in range(3_000):
                told = log.read_text("utf-8")
                found = dict(re.findall(r"(serving|speaking memtrace at) (http://[^\s,]+)", told))
                if len(found) == 2 or process.poll() is not None:
                    break
                threading.Event().wait(0.01)
            assert len(found) == 2, told
            yield Serving(f"{found['serving']}/memtrace", found["speaking memtrace at"], told)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            if process.poll() is None:
                process.kill()


def run(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [*PALIMP, *words], env=environment(folder), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_from_the_first_start_on(tmp_path: Path) -> None:
    with serving(tmp_path) as first:
        (key,) = re.findall(r"API Key: (mtk_\S{44})", first.log)
        for url in (first.port, first.mounted):
            with memtrace.Memtrace(url, key) as client:
                made = client.remember(f"agent_{len(url)}", "written before the restart")
                assert made.org_id == "org_default"
            with memtrace.Memtrace(url, "") as nobody, pytest.raises(memtrace.AuthenticationError):
                nobody.recall("agent_1")
    # Another organisation, made while nothing serves.
    created = run(tmp_path, "org", "create", "Acme Corp")
    org = re.findall(r"org_[0-9a-f]{24}", created)[0]
    made_key = run(tmp_path, "key", "create", "--org", org, "--name", "app")
    (acme,) = re.findall(r"mtk_\S{44}", made_key)
    with serving(tmp_path) as second:
        # Shown once.
        assert "API Key" not in second.log
        with memtrace.Memtrace(second.port, key) as client:
            found = client.list_memories(memtrace.ListOptions())
            assert [one.content for one in found.memories] == ["written before the restart"] * 2
        with memtrace.Memtrace(second.mounted, acme) as client:
            assert client.list_memories(memtrace.ListOptions()).memories == []
            assert client.register_agent(memtrace.RegisterAgentRequest(name="a")).org_id == org
    listed = run(tmp_path, "org", "list", "--json")
    assert org in json.dumps(json.loads(listed))
