"""Tenants of other systems' clients: for every client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palimp.errors import Conflict, Invalid, NotFound

pytest.importorskip(
    "sqlalchemy", reason="sqlalchemy is not installed (pip install 'palimp[server]')"
)


@pytest.fixture
def client(do: Any, tmp_path: Path) -> Iterator[Any]:
    found = do.open(
        tmp_path / "memory", embed_provider="none", catalog_url=f"sqlite:///{tmp_path}/catalog.db"
    )
    yield found
    do(found.close())


def test_a_tenant_is_made_listed_and_deleted_with_its_keys(do: Any, client: Any) -> None:
    made = do(client.create_tenant("memorysync", "org_b"))
    do(client.create_tenant("memorysync", "org_a"))
    assert (made.dialect, made.name) == ("memorysync", "org_b")
    with pytest.raises(Conflict, match="there is a tenant 'org_b'"):
        do(client.create_tenant("memorysync", "org_b"))
    assert [one.name for one in do.all(client.tenants("memorysync"))] == ["org_a", "org_b"]
    key = do(client.create_credential("memorysync", "org_b", "app"))
    assert key.secret.startswith("ms_live_")
    store = client.profile("alice", namespace="x-ms_3aorg_5fb")
    do(store.remember("Likes oolong"))
    done = do(client.delete_tenant("memorysync", "org_b"))
    assert (done.name, done.keys, done.databases) == ("org_b", 1, 1)
    assert do.all(client.credentials(dialect="memorysync", subject="org_b")) == []
    [gone] = do.all(client.credentials(dialect="memorysync", subject="org_b", revoked=True))
    assert gone.id == key.id
    assert gone.revoked_at is not None
    assert [one.name for one in do.all(client.tenants("memorysync"))] == ["org_a"]
    with pytest.raises(NotFound, match="no tenant 'org_b'"):
        do(client.delete_tenant("memorysync", "org_b"))


def test_what_cannot_be_a_tenant_or_its_key_is_refused(do: Any, client: Any) -> None:
    for name in ("", "a:staging", "a b", "x" * 129):
        with pytest.raises(Invalid, match="is not 1 to 128 of"):
            do(client.create_tenant("memorysync", name))
    with pytest.raises(Invalid, match="is not 1 to 128 of"):
        do(client.create_credential("memorysync", "a:staging", "app"))
    with pytest.raises(Invalid, match="no dialect 'memoria' has tenants; give memorysync"):
        do(client.create_tenant("memoria", "org_a"))
    with pytest.raises(Invalid, match="there is no environment 'live'"):
        do(client.create_credential("memorysync", "a", "k", detail={"environment": "live"}))
