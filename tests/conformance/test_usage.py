"""Usage through every client, and with a catalog that is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import palimp
from palimp.api import Target
from palimp.api.usage import ReadUsage
from palimp.client.transports.embedded import Embedded
from palimp.errors import Invalid, NotFound, Unavailable, Unconfigured
from palimp.http import create_app
from palimp.node import Node, load_settings

from .catalog_backends import PostgreSQL, postgres
from .store_backends import need

__all__ = ["postgres"]

NOBODY = "postgresql://u:s3cret@127.0.0.1:1/palimp"
ALICE = Target("default", "alice")
NOTHING = {"bytes": 0, "memories": 0, "branches": 0, "writes": 0, "recalls": 0, "model_tokens": 0}
EMPTY = [{"day": day, **NOTHING} for day in ("2026-01-01", "2026-01-02")]


@pytest.fixture
def counted(do: Any, tmp_path: Path) -> Iterator[Any]:
    need("alembic", "alembic")
    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    client = do.open(tmp_path / "memory", embed_provider="none", catalog_url=url)
    yield client
    do(client.close())


def test_what_was_used_today(do: Any, counted: Any) -> None:
    alice = counted.profile("alice")
    do(alice.remember("Prefers aisle seats"))
    do(alice.remember("Booked LH 400"))
    do(alice.recall("seats"))
    do(counted.profile("bob").remember("one"))
    found = do(counted.call("usage.database", ALICE, ReadUsage()))
    assert found.name == "default--alice"
    assert len(found) == 30
    today = found[-1]
    assert (today.writes, today.recalls, today.memories, today.branches) == (2, 1, 2, 1)
    assert today.bytes > 0
    both = do(counted.call("usage.namespace", Target("default"), ReadUsage()))
    assert (both.namespace, both.databases) == ("default", 2)
    assert (both[-1].writes, both[-1].memories, both[-1].branches) == (3, 3, 2)
    one = do(counted.call("usage.namespace", Target("default"), ReadUsage(from_=today.day)))
    assert one.days == both.days[-1:]


def test_what_is_refused(do: Any, counted: Any) -> None:
    with pytest.raises(NotFound):
        do(counted.call("usage.database", ALICE, ReadUsage()))
    with pytest.raises(Invalid, match="from is 'yesterday'"):
        do(counted.call("usage.database", ALICE, ReadUsage(from_="yesterday")))
    with pytest.raises(Invalid, match="names a branch"):
        do(counted.call("usage.database", Target("default", "alice", "trial"), ReadUsage()))


def test_data_needs_no_catalog(do: Any, tmp_path: Path) -> None:
    need("psycopg", "psycopg")
    client = do.open(tmp_path / "memory", embed_provider="none", catalog_url=NOBODY)
    alice = client.profile("alice")
    do(alice.remember("Prefers aisle seats"))
    assert len(do(alice.recall("seats"))) == 1
    if do.world.name != "remote":
        # That client would repeat it for a while.
        with pytest.raises(Unavailable) as caught:
            do(client.call("usage.database", ALICE, ReadUsage()))
        assert caught.value.code == "unavailable"
        assert caught.value.details["reason"] == "catalog"
        assert "s3cret" not in str(caught.value)
    do(client.close())


def test_the_routes(tmp_path: Path) -> None:
    need("alembic", "alembic")
    settings = {"data_dir": tmp_path / "m", "embed_provider": "none"}
    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    node = Node(load_settings({**settings, "catalog_url": url}, {}))
    app = create_app(node)
    with TestClient(app, "http://127.0.0.1") as http:
        memories = {"memories": [{"text": "one"}]}
        assert http.post("/v1/memory/acme/alice/memories", json=memories).status_code == 201
        found = http.get("/v1/databases/acme--alice/usage?from=2026-01-01&to=2026-01-02")
        assert found.json() == {"name": "acme--alice", "days": EMPTY}
        found = http.get("/v1/namespaces/acme/usage")
        assert found.json()["databases"] == 1
        assert found.json()["days"][-1]["writes"] == 1
        assert http.get("/v1/namespaces/acme-x/usage").status_code == 404
        assert http.get("/v1/namespaces/acme/usage?since=2026-01-01").status_code == 400
        Path(tmp_path / "catalog.db").write_bytes(b"somebody wrote over it" * 100)
        found = http.get("/v1/namespaces/acme/usage")
        assert (found.status_code, found.json()["code"]) == (503, "unavailable")
        assert found.headers["retry-after"] == "5"
        assert http.post("/v1/memory/acme/alice/memories", json=memories).status_code == 201
    app.api.close()
    node.close()


def test_a_node_outlives_its_postgresql(postgres: PostgreSQL, tmp_path: Path) -> None:
    settings = {"data_dir": tmp_path / "m", "embed_provider": "none"}
    node = Node(load_settings({**settings, "catalog_url": postgres.database()}, {}))
    mem = palimp.Client(Embedded(node))
    alice = mem.profile("alice")
    alice.remember("before")
    assert mem.call("usage.database", ALICE, ReadUsage())[-1].writes == 1
    postgres.kill()
    try:
        alice.remember("in the middle")
        assert len(alice.recall("middle")) == 1
        with pytest.raises(Unavailable, match="data is read and written without it"):
            mem.call("usage.database", ALICE, ReadUsage())
    finally:
        postgres.start()
    alice.remember("after")
    today = mem.call("usage.database", ALICE, ReadUsage())[-1]
    assert (today.writes, today.recalls) == (3, 1)
    mem.close()


def test_without_a_catalog_nothing_is_counted(do: Any, client: Any) -> None:
    with pytest.raises(Unconfigured, match="PALIMP_CATALOG_URL"):
        do(client.call("usage.database", ALICE, ReadUsage()))
