"""What says almost the same: with the embedder of the package, with one that is blind, with none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
import pytest

from ...model_server import ModelServer, broken
from .conftest import Spoken
from .test_memories import listed, stored


class Blind:
    """For it all texts are the same."""

    name, dimensions, local, egress = "blind", 4, True, "none"

    def embed(self, texts: Sequence[str], *, query: bool = False, spending: Any = None) -> Any:
        return np.full((len(texts), 4), 0.5, np.float32)

    def of(self, name: str) -> Any:
        return None

    def close(self) -> None:
        pass


@pytest.fixture(params=["bundled", "blind", "none"])
def ann(request: pytest.FixtureRequest, speaks: Any) -> httpx.Client:
    embedder = Blind() if request.param == "blind" else None
    provider = "bundled" if request.param == "bundled" else "none"
    spoken: Spoken = speaks(embedder=embedder, embed_provider=provider)
    return spoken.master("ann")


def test_what_was_written_is_found_at_once(ann: httpx.Client) -> None:
    notes = [{"content": f"test memory of the day {n}: the build took {n} minutes"}
             for n in range(60)]  # fmt: skip
    assert ann.post("/v1/memories/batch", json={"memories": notes}).status_code == 201
    made = stored(ann, "test memory sdk_e2e_0a1b2c3d")
    body = {"query": "sdk_e2e_0a1b2c3d", "top_k": 5}
    found = ann.post("/v1/memories/retrieve", json=body).json()
    assert made["memory_id"] in [one["memory_id"] for one in found]


def test_working_memory_takes_no_place(ann: httpx.Client) -> None:
    for number in (1, 2):
        stored(ann, f"working mem {number}", memory_type="working", session_id="s")
    asked = {"session_id": "s", "memory_types": ["working"]}
    assert ann.post("/v1/memories/purge", json=asked).json()["purged"] == 2


@pytest.fixture
def bundled(speaks: Any) -> httpx.Client:
    spoken: Spoken = speaks(embed_provider="bundled")
    return spoken.master("ann")


def test_the_newer_one_takes_its_place_at_once(bundled: httpx.Client) -> None:
    said = "the user prefers dark mode in the editor"
    old = stored(bundled, said)
    new = stored(bundled, f"{said}!", extra_metadata={"a": 1})
    assert new["memory_id"] != old["memory_id"]
    assert [one["memory_id"] for one in listed(bundled)] == [new["memory_id"]]
    versions = bundled.get(f"/v1/memories/{new['memory_id']}/history").json()["versions"]
    assert [(one["memory_id"], one["superseded_by"]) for one in versions] == [
        (old["memory_id"], new["memory_id"]), (new["memory_id"], None),
    ]  # fmt: skip
    # Another subject, another number, another type, a batch: each stays.
    stored(bundled, f"{said}.", subject_id="p")
    stored(bundled, f"{said}?", memory_type="profile")
    many = [{"content": f"{said}, {n}"} for n in (1, 2)]
    assert bundled.post("/v1/memories/batch", json={"memories": many}).status_code == 201
    assert len(listed(bundled)) == 5


def test_a_model_that_is_away_holds_nothing_up(speaks: Any) -> None:
    with ModelServer() as server:
        server.standing = broken(500)
        spoken: Spoken = speaks(embed_provider="openai", embed_base_url=server.url, embed_model="m")
        ann = spoken.master("ann")
        made = stored(ann, "kept without a vector")
        found = ann.post("/v1/memories/retrieve", json={"query": "vector"}).json()
        assert [one["memory_id"] for one in found] == [made["memory_id"]]
        server.standing = None
