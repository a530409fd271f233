"""A node whose embedder is behind an endpoint: found by meaning, outages, and keys nowhere shown."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp.errors import Unavailable
from palimp.node import Node, load_settings

from ...model_server import ModelServer, broken, unauthorized

KEY = "sk-" + "s3cret" * 4


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(key=KEY) as running:
        yield running


def settings(server: ModelServer, **given: Any) -> dict[str, Any]:
    url = f"{server.url}?key={KEY}"
    return {"embed_provider": "openai", "embed_base_url": url, "embed_model": "m", **given}


def until(condition: Callable[[], object]) -> None:
    for _ in range(1_000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came to that")


def channels(profile: Any, query: str) -> set[str]:
    return {name for hit in profile.recall(query).hits for name in hit.channels}


def test_what_is_remembered_is_found_by_the_vectors_of_the_endpoint(
    server: ModelServer, tmp_path: Path
) -> None:
    with palimp.open(tmp_path / "m", **settings(server)) as mem:
        alice = mem.profile("alice")
        alice.remember("The cat sleeps on the sofa")
        until(lambda: "vector" in channels(alice, "where does the feline rest"))
    asked = [seen.json["input"] for seen in server.seen]
    assert ["where does the feline rest"] in asked
    assert any("The cat sleeps on the sofa" in text for texts in asked for text in texts)
    # The same question again is one that was asked: nothing leaves.
    assert asked.count(["where does the feline rest"]) == 1


def test_an_outage_costs_vectors_and_nothing_else(server: ModelServer, tmp_path: Path) -> None:
    server.standing = broken(500)
    with palimp.open(tmp_path / "m", **settings(server, embed_dim=256)) as mem:
        alice = mem.profile("alice")
        written = alice.remember("The cat sleeps on the sofa")
        until(lambda: server.seen)
        assert [hit.id for hit in alice.recall("cat").hits] == [written.id]
        assert channels(alice, "cat") == {"keyword"}


@pytest.mark.parametrize("fault", [None, broken(500), unauthorized()])
def test_no_key_is_shown_anywhere(
    server: ModelServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fault: Any,
) -> None:
    caplog.set_level(logging.DEBUG)
    server.standing = fault
    given = {"data_dir": tmp_path / "m", **settings(server, embed_api_key=KEY)}
    node = Node(load_settings(given, {}))
    embedder = node.context.embedder
    assert embedder is not None
    shown = [repr(node.settings), json.dumps(node.context.about.settings), repr(embedder)]
    try:
        if fault is None:
            assert embedder.embed(["tea"]).any()
        else:
            with pytest.raises(palimp.Error) as caught:
                embedder.embed(["tea"])
            shown += [str(caught.value), repr(caught.value.details)]
        shown.append(json.dumps(node.context.metrics.snapshot()))
    finally:
        node.close()
    assert node.context.about.settings["embed_base_url"] == server.url
    assert server.seen
    assert not [text for text in (*shown, caplog.text) if KEY in text]


def test_a_closed_node_has_no_connections(server: ModelServer, tmp_path: Path) -> None:
    given = {"data_dir": tmp_path / "m", **settings(server)}
    node = Node(load_settings(given, {}))
    embedder = node.context.embedder
    assert embedder is not None
    assert embedder.egress == "self_hosted"
    embedder.embed(["tea"])
    node.close()
    with pytest.raises(Unavailable, match="closed"):
        embedder.embed(["rain"])


def test_opening_asks_nobody(server: ModelServer, tmp_path: Path) -> None:
    with palimp.open(tmp_path / "m", **settings(server)) as mem:
        assert mem.profile("alice").recall("x").hits == ()
    assert server.seen == []
