"""The databases the catalog runs on, and what they need: a PostgreSQL from PyPI, a MariaDB of Debian.

Each is one a session. TEST_POSTGRES_URL and TEST_MYSQL_URL name other servers, on which databases
may be made; they are not killed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..services import MariaDB, PostgreSQL
from .store_backends import need

__all__ = ["BACKENDS", "MariaDB", "PostgreSQL", "mariadb", "postgres", "url"]

BACKENDS = ["sqlite", "postgresql", "mysql"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgreSQL]:
    need("psycopg", "psycopg")
    server = PostgreSQL()
    yield server
    server.close()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    server = MariaDB()
    yield server
    server.close()


@pytest.fixture(params=BACKENDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty catalog is."""
    need("alembic", "alembic")
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'catalog of tests.db'}"
    kind = {"postgresql": "postgres", "mysql": "mariadb"}[request.param]
    server: PostgreSQL | MariaDB = request.getfixturevalue(kind)
    return server.database()
