"""Every client in one shape: a world says how a client reaches a folder, a colour how it is called.

Another transport joins with a world of its own in `WORLDS`: `open`, `open_async` and `end`.
"""

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp.http import create_app
from palimp.http.app import App
from palimp.node import Node, load_settings
from palimp.node.serving import Served


class Embedded:
    """The node in this process."""

    name = "embedded"

    def __init__(self, request: pytest.FixtureRequest) -> None:
        pass

    def open(self, path: Path, **settings: Any) -> palimp.Client:
        return palimp.open(path, **settings)

    def open_async(self, path: Path, **settings: Any) -> palimp.AsyncClient:
        return palimp.open_async(path, **settings)

    def end(self, client: Any) -> None:
        """End what stands behind a client that is closed."""

    def close(self) -> None:
        """End what stands behind every client."""


class House:
    """Many nodes behind one port, each under a path of its own, as a proxy would put them."""

    def __init__(self) -> None:
        self.apps: dict[str, App] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._served = Served(self, [self._listener], read_seconds=10)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for moment in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{moment}.complete"})
            return
        _, node, rest = scope["raw_path"].split(b"/", 2)
        inner = {**scope, "raw_path": b"/" + rest, "path": "/" + scope["path"].split("/", 2)[2]}
        await self.apps[node.decode()](inner, receive, send)

    def close(self) -> None:
        assert self._served.stop(10)
        self._listener.close()


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    house = House()
    yield house
    house.close()


class Remote:
    """A node of its own for every client, over HTTP."""

    name = "remote"

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._house: House = request.getfixturevalue("house")
        self._nodes: dict[Any, tuple[str, Node]] = {}

    def open(self, path: Path, *, source: str | None = None, **settings: Any) -> palimp.Client:
        place, node = self._serve(path, settings)
        client = palimp.connect(f"{self._house.url}/{place}", source=source)
        self._nodes[client] = place, node
        return client

    def open_async(
        self, path: Path, *, source: str | None = None, **settings: Any
    ) -> palimp.AsyncClient:
        place, node = self._serve(path, settings)
        client = palimp.connect_async(f"{self._house.url}/{place}/", source=source)
        self._nodes[client] = place, node
        return client

    def end(self, client: Any) -> None:
        place, node = self._nodes.pop(client)
        self._house.apps.pop(place).api.close()
        node.close()

    def close(self) -> None:
        for client in list(self._nodes):
            self.end(client)

    def _serve(self, path: Path, settings: dict[str, Any]) -> tuple[str, Node]:
        node = Node(load_settings({"data_dir": path, **settings}))
        place = f"node-{id(node)}"
        self._house.apps[place] = create_app(node)
        return place, node


class Visitor:
    """A folder that another client in this process owns: reached over its socket."""

    name = "visitor"

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._owners: dict[Any, palimp.Client] = {}

    def open(self, path: Path, *, source: str | None = None, **settings: Any) -> palimp.Client:
        owner = palimp.open(path, **settings)
        client = palimp.open(path, source=source, **settings)
        self._owners[client] = owner
        return client

    def open_async(
        self, path: Path, *, source: str | None = None, **settings: Any
    ) -> palimp.AsyncClient:
        owner = palimp.open(path, **settings)
        client = palimp.open_async(path, source=source, **settings)
        self._owners[client] = owner
        return client

    def end(self, client: Any) -> None:
        self._owners.pop(client).close()

    def close(self) -> None:
        for client in list(self._owners):
            self.end(client)


WORLDS: tuple[Any, ...] = (Embedded, Visitor, Remote)


class Plain:
    """Calls a synchronous client."""

    kind = "sync"
    # The client that tests of a module share.
    kept: Any = None

    def __init__(self, world: Any) -> None:
        self.world = world

    def open(self, path: Path, **settings: Any) -> palimp.Client:
        return self.world.open(path, **settings)

    def end(self, client: Any) -> None:
        """Close a client, and end what stands behind it."""
        self(client.close())
        self.world.end(client)

    def __call__(self, value: Any) -> Any:
        assert not isinstance(value, Coroutine)
        return value

    def all(self, pages: Any) -> list[Any]:
        assert isinstance(pages, Iterator)
        return list(pages)

    def close(self) -> None:
        pass


class Awaited(Plain):
    """Calls an asynchronous client from a loop of its own."""

    kind = "async"

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self._runner = asyncio.Runner()

    def open(self, path: Path, **settings: Any) -> palimp.AsyncClient:
        return self.world.open_async(path, **settings)

    def __call__(self, value: Any) -> Any:
        assert isinstance(value, Coroutine)
        return self._runner.run(value)

    def all(self, pages: Any) -> list[Any]:
        assert isinstance(pages, AsyncIterator)

        async def gather() -> list[Any]:
            return [item async for item in pages]

        return self._runner.run(gather())

    def close(self) -> None:
        self._runner.close()


@pytest.fixture(params=WORLDS, ids=lambda cls: cls.name)
def world(request: pytest.FixtureRequest) -> Iterator[Any]:
    world = request.param(request)
    yield world
    world.close()


# What a test asks for that is only its own.
_OWN = {"client", "tmp_path", "tmp_path_factory", "monkeypatch", "caplog"}
_numbers = itertools.count()


@pytest.fixture(scope="module")
def kept(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Any]]:
    """Adapters with a client that stays open: most tests look at no more than one profile of it."""
    made: dict[tuple[Any, Any], Any] = {}

    def of(world: Any, colour: Any) -> Any:
        if (world, colour) not in made:
            adapter = made[world, colour] = colour(world(request))
            path = tmp_path_factory.mktemp("kept") / "memory"
            adapter.kept = adapter.open(path, embed_provider="none", hot_cap=16)
        return made[world, colour]

    yield of
    for adapter in made.values():
        adapter.end(adapter.kept)
        adapter.close()


@pytest.fixture(params=(Plain, Awaited), ids=lambda cls: cls.kind)
def do(request: pytest.FixtureRequest, world: Any) -> Iterator[Any]:
    if "alice" in request.fixturenames and not _OWN & set(request.fixturenames):
        yield request.getfixturevalue("kept")(type(world), request.param)
        return
    adapter = request.param(world)
    yield adapter
    adapter.close()


@pytest.fixture
def client(do: Any, tmp_path: Path) -> Iterator[Any]:
    client = do.open(tmp_path / "memory", embed_provider="none")
    yield client
    do(client.close())


@pytest.fixture
def alice(request: pytest.FixtureRequest, do: Any) -> Any:
    """A profile of its own, in a namespace of its own where the client is shared."""
    if do.kept is not None:
        return do.kept.profile("alice", namespace=f"shared-{next(_numbers)}")
    return request.getfixturevalue("client").profile("alice")
