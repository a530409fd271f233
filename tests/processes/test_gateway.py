"""`palimp gateway` in front of nodes that share a store, as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from crew import wait
from serves import PALIMP, Command, Writers, turns

import palimp

pytest.importorskip("uvicorn")
pytest.importorskip("sqlalchemy")

Start = Callable[..., Command]


@pytest.fixture
def shared(tmp_path: Path) -> dict[str, Any]:
    return {
        "object_store": (tmp_path / "store").as_uri(),
        "catalog_url": f"sqlite:///{tmp_path}/catalog.db",
        "leases": "sql",
        "lease_ttl": 2,
        "cluster_key": "c" * 20,
    }


@pytest.fixture
def start(tmp_path: Path, shared: dict[str, Any]) -> Iterator[Start]:
    """Start `serve` on the folder of a name, or `gateway`."""
    started: list[Command] = []

    def make(name: str, **more: Any) -> Command:
        words = ["gateway"] if name == "gateway" else ["serve", "--data", str(tmp_path / name)]
        log = tmp_path / f"log-{name}-{len(started)}"
        started.append(Command(log, *words, "--port", "0", **{**shared, **more}))
        return started[-1]

    yield make
    for one in started:
        if one.running:
            one.kill()


def ready(place: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"{place}/ready", timeout=10) as answer:
            return json.load(answer)  # type: ignore[no-any-return]
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)  # type: ignore[no-any-return]


def test_nodes_come_and_go_behind_a_gateway(start: Start) -> None:
    gateway = start("gateway")
    place = gateway.url("passing on")
    assert ready(place)["status"] == "no nodes"
    nodes = [start("a"), start("b")]
    wait(lambda: ready(place)["nodes"] == 2, "the nodes are not found", 60)
    writers = Writers(place, 10, 3)
    wait(lambda: len(writers.done) > 40 or bool(writers.errors), "they do not write", 60)
    nodes[0].kill()
    killed_at = len(writers.done)
    wait(lambda: len(writers.done) > killed_at + 60 or bool(writers.errors), "they stopped", 60)
    nodes.append(start("c"))
    wait(lambda: "serving" in nodes[2].log, "the third does not serve", 60)
    assert nodes[1].stop() == 0, nodes[1].log
    stopped_at = len(writers.done)
    wait(lambda: len(writers.done) > stopped_at + 40 or bool(writers.errors), "they stopped", 60)
    writers.finish()
    assert not writers.errors
    with palimp.connect(place) as client:
        for profile in {profile for profile, _, _ in writers.done}:
            there = turns(client, profile)
            assert len(there) == len(set(there))
            durable = {t for p, t, level in writers.done if p == profile and level == "durable"}
            assert durable <= set(there)
    assert gateway.stop() == 0, gateway.log


def test_what_would_stand_open_or_finds_no_nodes_is_refused(shared: dict[str, Any]) -> None:
    refusals = {
        "is not a loopback address": (["--host", "0.0.0.0"], shared),
        "by the object store that they share": ([], {**shared, "object_store": ""}),
        "nothing says which node has what": ([], {**shared, "leases": ""}),
        "needs PALIMP_CATALOG_URL": ([], {**shared, "catalog_url": ""}),
    }
    for said, (words, given) in refusals.items():
        done = subprocess.run(
            [*PALIMP, "gateway", "--port", "0", *words],
            env={**os.environ, **{f"PALIMP_{n.upper()}": str(v) for n, v in given.items()}},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1
        assert said in done.stderr


def test_a_gateway_with_credentials_shows_nothing_of_nodes_without(start: Start) -> None:
    node = start("a")
    node.url("serving")
    gateway = start("gateway", auth="on", platform_key="p" * 20)
    place = gateway.url("passing on")
    wait(lambda: ready(place)["nodes"] == 1, "the node is not found", 60)
    for host in ("127.0.0.1", "localhost", "memories.example"):
        asked = urllib.request.Request(
            f"{place}/v1/memory/default/alice/memories", headers={"host": host}
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(asked, timeout=10)
        assert caught.value.code == 421
        caught.value.close()
