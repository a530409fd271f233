"""The catalog a cluster keeps in PostgreSQL, as something a link can lead to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from ..services import PostgreSQL


class Catalog(NamedTuple):
    """A new database: where its server listens (a Unix socket is a path), and as whom it is used."""

    target: tuple[str, int] | str
    user: str
    name: str

    def url(self, address: str) -> str:
        """Return its URL where the server is reached at another address."""
        return f"postgresql://{self.user}@{address}/{self.name}"


@contextlib.contextmanager
def catalog() -> Iterator[Catalog]:
    """A database on a PostgreSQL that is gone when the block is."""
    server = PostgreSQL()
    try:
        parts = urlsplit(server.database())
        user, _, host = parts.netloc.rpartition("@")
        folder = parse_qs(parts.query).get("host")
        if folder:
            target: tuple[str, int] | str = f"{folder[0]}/.s.PGSQL.{parts.port or 5432}"
        else:
            target = (host.partition(":")[0], parts.port or 5432)
        yield Catalog(target, user or "postgres", parts.path.strip("/"))
    finally:
        server.close()
