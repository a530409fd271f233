"""Houses by store of events, and in each of them an organisation for every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import memtrace
import pytest

from palimp.clock import ManualClock

from .speaking import ArcHouse, House

# Where organisations keep their events: by each the whole suite is run.
STORES: dict[str, Callable[..., House]] = {
    "profile": House,
    "arc": ArcHouse,
}


class Org(NamedTuple):
    """An organisation of one test alone: a key, the published client with it, and a plain one."""

    house: House
    id: str
    key: str
    client: memtrace.Memtrace
    raw: httpx.Client

    def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return self.raw.post(f"/api/v1/{path}", json=body, headers=headers)

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.raw.get(f"/api/v1/{path}", params=query)

    def add(self, content: str = "Booked LH 400", agent: str = "agent_1", **fields: Any) -> Any:
        """Write a memory."""
        done = self.post("memories", {"agent_id": agent, "content": content, **fields})
        assert done.status_code == 201, done.text
        return done.json()

    def contents(self, **query: Any) -> list[str]:
        """Return what the listed memories say."""
        found = self.get("memories", **query)
        assert found.status_code == 200, found.text
        return [one["content"] for one in found.json()["memories"]]


def new_org(house: House) -> Org:
    org = house.new_org()
    key = house.new_key(org)
    return Org(house, org, key, house.client(key), house.raw(key))


def refused(answer: httpx.Response, status: int, said: str) -> None:
    """Check the status of an error, that it has the one shape, and what it says."""
    assert (answer.status_code, answer.json()) == (status, {"error": said})


@pytest.fixture(scope="module", params=list(STORES))
def house(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    found = STORES[request.param](tmp_path_factory.mktemp("memtrace"), ManualClock())
    yield found
    found.close()


@pytest.fixture
def org(house: House) -> Org:
    return new_org(house)


@pytest.fixture
def other(house: House) -> Org:
    """Another organisation of the same node."""
    return new_org(house)


@pytest.fixture
def speaks(tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Make houses with other settings."""
    made: list[House] = []

    def make(**settings: Any) -> House:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(House(folder, ManualClock(), **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()
