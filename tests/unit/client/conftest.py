"""A node on a port, a gate before it, and a client whose pauses take no time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import palimp
from palimp.client.settings import connection
from palimp.client.transports.remote import Remote
from palimp.clock import ManualClock
from palimp.node import Node, load_settings

from .gate import Gate, House


class Pauses(ManualClock):
    """Time passes at once; `all` are the pauses that were made, `meanwhile` what happens in one."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[float] = []
        self.meanwhile: Callable[[], Any] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.all.append(seconds)
        self.meanwhile()
        super().sleep(seconds)


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house") / "memory"
    node = Node(load_settings({"data_dir": folder, "embed_provider": "none"}, {}))
    house = House(node)
    yield house
    house.close()
    node.close()


@pytest.fixture
def gate(house: House) -> Iterator[Gate]:
    gate = Gate(house.port)
    yield gate
    gate.close()


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def connect(gate: Gate, pauses: Pauses) -> Iterator[Callable[..., palimp.Client]]:
    """What `palimp.connect` does, with pauses that take no time."""
    made: list[palimp.Client] = []

    def connect(url: str | None = None, **settings: Any) -> palimp.Client:
        settings.setdefault("timeout", 5.0)
        made.append(palimp.Client(Remote(connection(url or gate.url, **settings), clock=pauses)))
        return made[-1]

    yield connect
    for client in made:
        client.close()


@pytest.fixture
def alice(connect: Callable[..., palimp.Client], request: pytest.FixtureRequest) -> palimp.Profile:
    """A profile that no other test uses."""
    return connect().profile(f"p{abs(hash(request.node.nodeid))}")
