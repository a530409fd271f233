"""A node that speaks Memoria at a port of its own, its master, and users with keys."""

from __future__ import annotations

import itertools
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from palimp.http import create_app
from palimp.node import Node, load_settings
from palimp.node.serving import Served

MASTER = "platform-key-of-the-tests"
_NUMBERS = itertools.count(1)
# A client that makes its own takes 40 ms for it, though nothing here is encrypted.
_TLS = ssl.create_default_context()


class Spoken:
    """A node with a catalog and a master key; `url` is the dialect's port, `mounted` our own."""

    def __init__(self, folder: Path, *, embedder: Any = None, **settings: Any) -> None:
        given: dict[str, Any] = {"platform_key": MASTER, "single_node": True}
        given |= {"control_rate": 10_000, "auth_failure_rate": 1_000_000}
        given |= {"catalog_url": f"sqlite:///{folder}/catalog.db", "embed_provider": "none"}
        loaded = load_settings({"data_dir": folder / "m", **given, **settings})
        self.node = Node(loaded, embedder=embedder)
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        ports = [one.getsockname()[1] for one in listeners]
        self.ours = f"http://127.0.0.1:{ports[0]}"
        self.url, self.mounted = f"http://127.0.0.1:{ports[1]}", f"{self.ours}/memoria"
        self.app = create_app(self.node, ports={ports[1]: "memoria"})
        self.served = Served(self.app, listeners, read_seconds=10)
        self._clients: list[httpx.Client] = []

    def client(self, secret: str | None = MASTER, **headers: str) -> httpx.Client:
        """Return a client that shows a secret (None: nothing)."""
        if secret is not None:
            headers["authorization"] = f"Bearer {secret}"
        made = httpx.Client(base_url=self.url, headers=headers, timeout=30, verify=_TLS)
        self._clients.append(made)
        return made

    def master(self, user: str) -> httpx.Client:
        """Return a client of the master in a user's place."""
        return self.client(**{"x-user-id": user})

    def key(self, user: str) -> str:
        """Return a new key of a user."""
        answer = self.client().post("/auth/keys", json={"user_id": user, "name": "test"})
        assert answer.status_code == 201, answer.text
        found: str = answer.json()["raw_key"]
        return found

    def user(self, user: str) -> httpx.Client:
        """Return a client with a key of a user."""
        return self.client(self.key(user))

    def close(self) -> None:
        for one in self._clients:
            one.close()
        assert self.served.stop(5)
        self.node.close()


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spoken]:
    made = Spoken(tmp_path_factory.mktemp("memoria"))
    yield made
    made.close()


@pytest.fixture
def speaks(tmp_path: Path) -> Iterator[Callable[..., Spoken]]:
    """Make nodes with other settings."""
    made: list[Spoken] = []

    def make(**settings: Any) -> Spoken:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Spoken(folder, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def name() -> str:
    """The id of a user of this test alone, which is no name of ours."""
    return f"User.{next(_NUMBERS)}@example.com"


@pytest.fixture
def http(spoken: Spoken, name: str) -> httpx.Client:
    """That user, by the master in their place."""
    return spoken.master(name)


@pytest.fixture
def master(spoken: Spoken) -> httpx.Client:
    """The master, in nobody's place."""
    return spoken.client()


@pytest.fixture
def new_user(spoken: Spoken) -> Callable[..., httpx.Client]:
    """Make users with keys, each another one unless named."""

    def make(user: str | None = None) -> httpx.Client:
        return spoken.user(user or f"user {next(_NUMBERS)}")

    return make


@pytest.fixture
def user(new_user: Callable[..., httpx.Client]) -> httpx.Client:
    """A user with a key."""
    return new_user()
