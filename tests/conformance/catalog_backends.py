"""The databases the catalog runs on, and what they need: a PostgreSQL from PyPI, one a session.

TEST_POSTGRES_URL names another server, on which databases may be made; it is not killed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..services import PostgreSQL
from .store_backends import need

__all__ = ["BACKENDS", "PostgreSQL", "postgres", "url"]

BACKENDS = ["sqlite", "postgresql"]


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
