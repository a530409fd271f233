"""Actors that are gone when the test is, and a folder for them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from actors import Actor


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "memory"


@pytest.fixture
def act(folder: Path) -> Iterator[Callable[..., Actor]]:
    """Make an actor on the folder, or on another."""
    actors: list[Actor] = []

    def make(path: Path | None = None, **more: Any) -> Actor:
        opened = more.pop("opened", True)
        actor = Actor(path or folder, opened=False, **more)
        actors.append(actor)
        if opened:
            actor.run("open_folder()")
        return actor

    yield make
    for actor in actors:
        actor.end()


@pytest.fixture
def sound(folder: Path) -> Iterator[None]:
    """At the end SQLite finds nothing wrong with any file of the folder."""
    yield
    files = list((folder / "hot").glob("*/*/*/main.db"))
    assert files
    for path in files:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        assert connection.execute("PRAGMA integrity_check").get == "ok", path
        connection.close()
