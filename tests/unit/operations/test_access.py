"""Every operation with every kind of credential: who may do what, and who may not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from palimp.api import OPERATIONS, Ingest, MemoryInput, Operation, Target
from palimp.api.routes import placeholders
from palimp.clock import ManualClock
from palimp.errors import Denied, Unavailable
from palimp.node import Node, load_settings
from palimp.operations import OWNER, Access, Principal, access
from palimp.security.keys import KeyRing, SigningKey
from palimp.security.tokens import Tokens

PLATFORM = "platform-key-of-the-tests"
HERE = Target("acme", "alice")
NAMES = sorted(OPERATIONS)


@pytest.fixture
def node(tmp_path: Path, clock: ManualClock) -> Iterator[Node]:
    settings = load_settings(
        {
            "data_dir": tmp_path / "m",
            "embed_provider": "none",
            "auth": "on",
            "platform_key": PLATFORM,
            "single_node": True,
        }
    )
    made = Node(settings, clock=clock)
    for namespace, profile in (("acme", "alice"), ("acme", "bob"), ("acme-x", "alice")):
        made.call(
            "memories.ingest",
            Target(namespace, profile),
            Ingest(memories=(MemoryInput(text="hello"),)),
        )
    yield made
    made.close()


def who(node: Node, namespace: str, profile: str | None, scope: Any, **more: Any) -> Principal:
    now = node.context.clock.now_ms() // 1000
    token = node.tokens.mint(namespace, profile, scope, now, **more)
    return node.context.access.authenticate(f"Bearer {token}")


def target_of(row: Operation) -> Target:
    """Return what a route can say of HERE."""
    names = placeholders(row.path)
    if "db" in names or "profile" in names:
        return HERE
    return Target("acme") if "namespace" in names else Target()


def judged(node: Node, principal: Principal, row: Operation, target: Target) -> str:
    try:
        node.context.access.authorize(principal, row, target, row.scope)
    except Denied as error:
        return error.code
    return "ok"


@pytest.mark.parametrize("name", NAMES)
def test_each_scope_reaches_what_it_says(node: Node, name: str) -> None:
    row = OPERATIONS[name]
    target = target_of(row)
    order = ("read", "write", "admin")
    for scope in order:
        enough = order.index(scope) >= order.index(row.scope) and not row.platform
        for holder, reaches in (
            (who(node, "acme", None, scope), target.namespace is not None),
            (who(node, "acme", "alice", scope), target.profile is not None),
        ):
            expected = (enough and reaches) or name == "node.info"
            assert (judged(node, holder, row, target) == "ok") == expected, (scope, holder.kind)


@pytest.mark.parametrize("name", NAMES)
def test_nobody_reaches_beyond_their_own(node: Node, name: str) -> None:
    row = OPERATIONS[name]
    if name == "node.info":
        return
    target = target_of(row)
    strangers = [
        # Sibling namespaces, of which one name begins with the other.
        who(node, "acme-x", None, "admin"),
        who(node, "acme-x", "alice", "admin"),
        who(node, "acm", None, "admin"),
        who(node, "acme", "bob", "admin"),
        who(node, "acme", "alic", "admin"),
    ]
    if target.profile is None:
        strangers.append(who(node, "acme", "alice", "admin"))
    for stranger in strangers:
        assert judged(node, stranger, row, target) == "forbidden", stranger


@pytest.mark.parametrize("name", NAMES)
def test_owner_and_platform_key_reach_everything(node: Node, name: str) -> None:
    row = OPERATIONS[name]
    platform = node.context.access.authenticate(f"bearer {PLATFORM}")
    assert platform.kind == "platform"
    for target in (target_of(row), Target(), Target("other", "x")):
        assert judged(node, platform, row, target) == "ok"
        assert judged(node, OWNER, row, target) == "ok"


@pytest.mark.parametrize(
    "header",
    [
        None, "", "Bearer", "Bearer ", "bearer  ", "Basic eDp5", PLATFORM, f"Basic {PLATFORM}",
        "Bearer " + PLATFORM[:-1], "Bearer " + PLATFORM + "x", "Bearer " + PLATFORM.upper(),
        "Bearer a.b.c", "Bearer \ud800", "Bearer ü", "Token x",
    ],
)  # fmt: skip
def test_no_credential_is_none(node: Node, header: str | None) -> None:
    with pytest.raises(Denied) as caught:
        node.context.access.authenticate(header)
    assert caught.value.code == "unauthorized"
    assert PLATFORM not in str(caught.value)


def test_an_expired_and_a_forged_one(node: Node, clock: ManualClock) -> None:
    now = clock.now_ms() // 1000
    token = node.tokens.mint("acme", None, "read", now, 60)
    forged = Tokens(KeyRing([SigningKey.generate()])).mint("acme", None, "admin", now)
    authenticate = node.context.access.authenticate
    assert authenticate(f"Bearer {token}").namespace == "acme"
    clock.advance(60)
    for one in (token, forged):
        with pytest.raises(Denied) as caught:
            authenticate(f"Bearer {one}")
        assert caught.value.code == "unauthorized"


def test_dispatch_asks_before_anything_happens(node: Node) -> None:
    stranger = who(node, "acme-x", None, "admin")
    request = Ingest(memories=(MemoryInput(text="x"),))
    with pytest.raises(Denied):
        node.call("memories.ingest", Target("acme", "carol"), request, principal=stranger)
    assert ("acme", "carol") not in node.context.engine.names()[0]


def test_a_deleted_databases_tokens_read_and_do_not_write(node: Node, clock: ManualClock) -> None:
    holders = [who(node, "acme", "alice", "admin"), who(node, "acme", None, "admin")]
    request = Ingest(memories=(MemoryInput(text="back again"),))
    clock.advance(5)
    for holder in holders:
        node.call("memories.ingest", HERE, request, principal=holder)
    platform = node.context.access.authenticate(f"Bearer {PLATFORM}")
    deletion = OPERATIONS["databases.delete"].request()
    node.call("databases.delete", HERE, deletion, principal=platform)
    for holder in holders:
        # Before it could make the database again.
        with pytest.raises(Denied, match="token revoked: it predates") as caught:
            node.call("memories.ingest", HERE, request, principal=holder)
        assert (caught.value.code, caught.value.details["reason"]) == ("forbidden", "revoked")
        listing = OPERATIONS["memories.list"].request()
        assert node.call("memories.list", HERE, listing, principal=holder).memories == ()  # type: ignore[attr-defined]
    # Its namespace's other databases are not concerned.
    node.call("memories.ingest", Target("acme", "bob"), request, principal=holders[1])
    clock.advance(1)
    fresh = who(node, "acme", "alice", "write")
    node.call("memories.ingest", HERE, request, principal=fresh)


def test_what_another_node_deleted_is_noticed_in_seconds(clock: ManualClock) -> None:
    revoked = [0]
    judge = Access(clock, verify=lambda *_: None, revoked_before=lambda *_: revoked[0])
    holder = Principal("database", "write", "acme", "alice", issued_ms=clock.now_ms())
    row = OPERATIONS["memories.ingest"]
    judge.authorize(holder, row, HERE, row.scope)
    revoked[0] = clock.now_ms()
    clock.advance(access._TOMBSTONE_SECONDS + 0.1)
    with pytest.raises(Denied):
        judge.authorize(holder, row, HERE, row.scope)
    # Who asks at the moment of the deletion is not let through either.
    judge.authorize(msgspec.structs.replace(holder, issued_ms=revoked[0] + 1), row, HERE, row.scope)


def test_where_the_store_is_away_nobody_is_shut_out(clock: ManualClock) -> None:
    def away(*_: str) -> int:
        raise Unavailable("the store is away")

    judge = Access(clock, verify=lambda *_: None, revoked_before=away)
    holder = Principal("database", "write", "acme", "alice", issued_ms=1)
    row = OPERATIONS["memories.ingest"]
    judge.authorize(holder, row, HERE, row.scope)


@pytest.mark.parametrize("scope", ["read", "write", "admin"])
def test_a_minted_token_never_exceeds_its_minter(node: Node, scope: Any) -> None:
    mint = OPERATIONS["tokens.mint_database"]
    platform = node.context.access.authenticate(f"Bearer {PLATFORM}")
    for wanted in ("read", "write", "admin"):
        request = mint.request(scope=wanted)
        holder = who(node, "acme", None, scope)
        if scope == "admin":
            made = node.call("tokens.mint_database", HERE, request, principal=holder)
            found = node.context.access.authenticate(f"Bearer {made.token}")  # type: ignore[attr-defined]
            assert (found.namespace, found.profile, found.scope) == ("acme", "alice", wanted)
        else:
            with pytest.raises(Denied):
                node.call("tokens.mint_database", HERE, request, principal=holder)
        for other in (who(node, "acme-x", None, "admin"), who(node, "acme", "alice", "admin")):
            with pytest.raises(Denied):
                node.call("tokens.mint_database", HERE, request, principal=other)
        node.call("tokens.mint_database", HERE, request, principal=platform)
        node.call(
            "tokens.mint_namespace", Target("acme"),
            OPERATIONS["tokens.mint_namespace"].request(scope=wanted), principal=platform,
        )  # fmt: skip


def test_who_holds_a_token_is_not_told_where_the_data_is(node: Node) -> None:
    request = OPERATIONS["node.info"].request()
    told = node.call("node.info", Target(), request, principal=who(node, "acme", None, "admin"))
    assert (told.folder, told.object_store, told.store_id) == ("", "", "")  # type: ignore[attr-defined]
    assert node.call("node.info", Target(), request).folder != ""  # type: ignore[attr-defined]


def test_without_authentication_everybody_is_the_owner(clock: ManualClock) -> None:
    judge = Access(clock, revoked_before=lambda *_: 0)
    assert judge.authenticate(None) is OWNER
    assert judge.authenticate("Bearer whatever") is OWNER
    assert not judge.on


def test_the_audit_knows_a_credential_by_a_name_that_says_nothing_of_it(node: Node) -> None:
    names = {
        who(node, "acme", None, "read").actor,
        who(node, "acme", None, "read").actor,
        node.context.access.authenticate(f"Bearer {PLATFORM}").actor,
    }
    assert len(names) == 3
    assert all(len(name) == 16 and name not in PLATFORM for name in names)
