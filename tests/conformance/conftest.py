"""Every client in one shape: `Plain` and `Awaited` give the two colours of the embedded one; others join here."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import palimp


class Plain:
    """Calls a synchronous client."""

    kind = "sync"

    def open(self, path: Path, **settings: Any) -> palimp.Client:
        return palimp.open(path, **settings)

    def __call__(self, value: Any) -> Any:
        assert not isinstance(value, Coroutine)
        return value

    def all(self, pages: Any) -> list[Any]:
        assert isinstance(pages, Iterator)
        return list(pages)

    def close(self) -> None:
        pass


class Awaited:
    """Calls an asynchronous client from a loop of its own."""

    kind = "async"

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def open(self, path: Path, **settings: Any) -> palimp.AsyncClient:
        return palimp.open_async(path, **settings)

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


@pytest.fixture(params=[Plain, Awaited], ids=lambda cls: cls.kind)
def do(request: pytest.FixtureRequest) -> Iterator[Any]:
    adapter = request.param()
    yield adapter
    adapter.close()


@pytest.fixture
def client(do: Any, tmp_path: Path) -> Iterator[Any]:
    client = do.open(tmp_path / "memory", embed_provider="none")
    yield client
    do(client.close())


@pytest.fixture
def alice(client: Any) -> Any:
    return client.profile("alice")
