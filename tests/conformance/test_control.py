"""The control plane behaves the same over every transport, in both colours of the client."""

from datetime import timedelta
from typing import Any

import pytest

from palimp.errors import Conflict, Invalid, NotFound


@pytest.fixture
def client(do: Any, tmp_path: Any) -> Any:
    made = do.open(tmp_path / "memory", embed_provider="none", single_node=True)
    yield made
    do.end(made)


def test_a_database_is_made_listed_written_and_deleted(do: Any, client: Any) -> None:
    made = do(client.create_database("acme--alice"))
    assert (made.name, made.uuid[:2]) == ("acme--alice", "n_")
    with pytest.raises(Conflict, match="'alice' exists already in 'acme'") as caught:
        do(client.create_database("acme--alice"))
    assert caught.value.code == "already_exists"
    alice = client.profile("alice", namespace="acme")
    do(alice.remember("hello"))
    do(alice.fork("trial"))
    do(client.profile("bob", namespace="acme-x").remember("hello"))
    assert [one.name for one in do.all(client.databases())] == ["acme-x--bob", "acme--alice"]
    assert do.all(client.databases())[1] == made
    do(client.delete_database("acme--alice"))
    assert [one.name for one in do.all(client.databases())] == ["acme-x--bob"]
    assert do.all(alice.list()) == []
    with pytest.raises(NotFound) as missing:
        do(client.delete_database("acme--alice"))
    assert missing.value.code == "database_not_found"
    again = do(client.create_database("acme--alice"))
    assert again.uuid != made.uuid


def test_namespaces_are_those_with_databases(do: Any, client: Any) -> None:
    assert do.all(client.namespaces()) == []
    for name in ("acme--a", "acme--b", "acme-x--a", "b--a"):
        do(client.create_database(name))
    assert sorted(do.all(client.namespaces())) == ["acme", "acme-x", "b"]
    assert do(client.delete_namespace("acme")) == 2
    assert sorted(do.all(client.namespaces())) == ["acme-x", "b"]
    with pytest.raises(NotFound, match="no databases in namespace 'acme'"):
        do(client.delete_namespace("acme"))


@pytest.mark.parametrize("name", ["", "alice", "acme--", "--a", "acme--a--b", "ACME--a", "a--b@c"])
def test_names_that_are_none(do: Any, client: Any, name: str) -> None:
    with pytest.raises(Invalid):
        do(client.create_database(name))
    with pytest.raises(Invalid):
        do(client.delete_database(name))


def test_tokens_are_minted_for_databases_and_namespaces(do: Any, client: Any) -> None:
    one = do(client.create_token("acme--alice", "write", expires_in=timedelta(minutes=5)))
    two = do(client.create_namespace_token("acme", "admin"))
    assert one.token.count(".") == two.token.count(".") == 2
    assert 54 * 60_000 < two.expires_at - one.expires_at <= 56 * 60_000
    assert one.token not in repr(one)
    for call in (
        lambda: client.create_token("acme--alice", "root"),
        lambda: client.create_token("acme--alice", "read", expires_in=0),
        lambda: client.create_token("acme", "read"),
        lambda: client.create_namespace_token("acme--alice", "read"),
    ):
        with pytest.raises(Invalid):
            do(call())


def test_a_node_says_what_it_is(do: Any, client: Any) -> None:
    about = do(client.node())
    assert (about.api, about.settings["embed_provider"]) == (1, "none")
    assert about.release
