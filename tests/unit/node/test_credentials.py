"""Signing keys by their order, rotation with overlap, and starts that are refused."""

from __future__ import annotations

import json
import logging
import stat
from pathlib import Path
from typing import Any

import pytest

from palimp.addresses import is_loopback
from palimp.clock import ManualClock
from palimp.errors import Denied, Internal, Invalid, Unavailable, Unconfigured
from palimp.node import load_settings
from palimp.node.credentials import check_exposure, hash_keys, load_keys, rotate
from palimp.security.keys import SigningKey
from palimp.security.tokens import Tokens
from palimp.store import VolatileStore

SECRET = "a platform key of the tests"


@pytest.fixture
def store() -> VolatileStore:
    return VolatileStore()


def keys(path: Path, store: VolatileStore, clock: ManualClock, **settings: Any) -> list[str]:
    ring = load_keys(load_settings(settings, {}), path, store, clock)
    return [key.id for key in ring]


def test_the_environment_comes_first_and_its_first_key_signs(
    tmp_path: Path, store: VolatileStore, clock: ManualClock
) -> None:
    a, b = SigningKey.generate(), SigningKey.generate()
    given = f"{a.export()}, {b.export()}"
    load_keys(load_settings({"single_node": True}, {}), tmp_path, store, clock)
    assert keys(tmp_path, store, clock, auth_key=given) == [a.id, b.id]
    with pytest.raises(Invalid, match="PALIMP_AUTH_KEY is not"):
        keys(tmp_path, store, clock, auth_key=f"{a.export()},nonsense")


def test_the_folder_comes_before_the_store(
    tmp_path: Path, store: VolatileStore, clock: ManualClock
) -> None:
    in_store = keys(tmp_path, store, clock, persist_auth_key=True)
    assert not (tmp_path / "keys").exists()
    assert keys(tmp_path / "other", store, clock, persist_auth_key=True) == in_store
    in_folder = keys(tmp_path, store, clock, single_node=True)
    assert in_folder != in_store
    assert keys(tmp_path, store, clock, persist_auth_key=True) == in_folder


def test_one_is_made_only_for_a_single_node_and_with_a_warning(
    tmp_path: Path, store: VolatileStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Invalid, match="PALIMP_AUTH=on needs a signing key") as caught:
        keys(tmp_path, store, clock)
    for word in ("PALIMP_AUTH_KEY", "palimp keygen", "PERSIST_AUTH_KEY=1", "SINGLE_NODE=1"):
        assert word in str(caught.value)
    with caplog.at_level(logging.WARNING):
        made = keys(tmp_path, store, clock, single_node=True)
    assert "no signing key is set" in caplog.text
    assert keys(tmp_path, store, clock) == made
    path = tmp_path / "keys" / "signing.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert json.loads(path.read_text())["keys"][0]["key"] not in caplog.text


@pytest.mark.parametrize("where", ["folder", "store"])
def test_after_a_rotation_old_tokens_hold_for_the_overlap(
    tmp_path: Path, store: VolatileStore, clock: ManualClock, where: str
) -> None:
    settings = load_settings(
        {"persist_auth_key": True} if where == "store" else {"single_node": True}, {}
    )

    def tokens() -> Tokens:
        return Tokens(load_keys(settings, tmp_path, store, clock))

    def now() -> int:
        return clock.now_ms() // 1000

    old = tokens().mint("acme", None, "read", now(), 86_400)
    rotate(settings, tmp_path, store, clock, overlap_seconds=3_600)
    new = tokens().mint("acme", None, "read", now(), 86_400)
    assert tokens().verify(old, now()).key_id != tokens().verify(new, now()).key_id
    rotate(settings, tmp_path, store, clock, overlap_seconds=7_200)
    assert len(list(load_keys(settings, tmp_path, store, clock))) == 3
    clock.advance(3_601)
    with pytest.raises(Denied, match="does not know"):
        tokens().verify(old, now())
    assert tokens().verify(new, now()).scope == "read"
    clock.advance(3_600)
    with pytest.raises(Denied, match="does not know"):
        tokens().verify(new, now())


def test_the_environments_keys_are_rotated_there(
    tmp_path: Path, store: VolatileStore, clock: ManualClock
) -> None:
    settings = load_settings({"auth_key": SigningKey.generate().export()}, {})
    with pytest.raises(Invalid, match="put a new one before it"):
        rotate(settings, tmp_path, store, clock, overlap_seconds=60)


def test_damaged_and_newer_keys(tmp_path: Path, store: VolatileStore, clock: ManualClock) -> None:
    keys(tmp_path, store, clock, single_node=True)
    path = tmp_path / "keys" / "signing.json"
    path.write_text("{")
    with pytest.raises(Internal, match=r"signing\.json is damaged"):
        keys(tmp_path, store, clock)
    path.write_text('{"format": 2, "keys": []}')
    with pytest.raises(Unavailable, match="has format 2"):
        keys(tmp_path, store, clock)
    path.write_text('{"format": 1, "keys": []}')
    with pytest.raises(Invalid, match="needs a signing key"):
        keys(tmp_path, store, clock)


@pytest.mark.parametrize(
    ("settings", "host", "problem"),
    [
        ({"auth": "on"}, "127.0.0.1", "PALIMP_AUTH=on requires PALIMP_PLATFORM_KEY to be set"),
        ({"auth": "on"}, "0.0.0.0", "PALIMP_AUTH=on requires PALIMP_PLATFORM_KEY to be set"),
        (
            {"auth": "on", "platform_key": SECRET},
            "127.0.0.1",
            "no lease store configured but this looks like a multi-node deployment",
        ),
        (
            {"platform_key": SECRET, "cluster_key": SECRET},
            "127.0.0.1",
            "PALIMP_CLUSTER_KEY must differ from PALIMP_PLATFORM_KEY",
        ),
        ({"single_node": True}, "0.0.0.0", "0.0.0.0 is not a loopback address"),
        ({"single_node": True}, "::", "is not a loopback address"),
        ({"single_node": True}, "node.example", "is not a loopback address"),
    ],
)
def test_starts_that_would_expose_something_are_refused(
    settings: dict[str, Any], host: str, problem: str
) -> None:
    with pytest.raises(Invalid) as caught:
        check_exposure(load_settings(settings, {}), host)
    assert problem in str(caught.value)
    assert SECRET not in str(caught.value)


def test_starts_that_are_fine() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "[::1]", "127.8.8.8"):
        assert is_loopback(host)
        check_exposure(load_settings({}, {}), host)
    safe = load_settings({"auth": "on", "platform_key": SECRET, "single_node": True}, {})
    for host in ("0.0.0.0", "127.0.0.1", "node.example"):
        check_exposure(safe, host)


def test_settings_never_show_a_secret() -> None:
    given = {"platform_key": SECRET, "cluster_key": SECRET + "2", "auth_key": "abc"}
    shown = repr(load_settings(given, {}))
    assert "platform_key=***" in shown
    for secret in given.values():
        assert f"'{secret}'" not in shown
    with pytest.raises(Invalid, match="PALIMP_PLATFORM_KEY has fewer than 16") as caught:
        load_settings({}, {"PALIMP_PLATFORM_KEY": "short-one"})
    assert "short-one" not in str(caught.value)


# -- what keys of other systems' clients are hashed with ------------------------------------------


def hashing(tmp_path: Path, **given: Any) -> list[bytes]:
    settings = load_settings({"data_dir": str(tmp_path), **given}, {})
    return hash_keys(settings, tmp_path, VolatileStore(), ManualClock())


def test_a_secret_that_is_set_is_all_that_hashes(tmp_path: Path) -> None:
    [one] = hashing(tmp_path, api_key_secret="s" * 16)
    assert len(one) == 32
    assert hashing(tmp_path, api_key_secret="s" * 16, auth_key=SigningKey.generate().export()) == [
        one
    ]
    assert hashing(tmp_path, api_key_secret="t" * 16) != [one]
    assert not (tmp_path / "keys").exists()


def test_without_one_the_key_that_signs_does_and_older_ones_still_hold(tmp_path: Path) -> None:
    old, new = SigningKey.generate().export(), SigningKey.generate().export()
    before = hashing(tmp_path, auth_key=old)
    assert len(before) == 1
    after = hashing(tmp_path, auth_key=f"{new},{old}")
    assert after[1:] == before
    assert after[0] != before[0]


def test_a_folder_without_any_has_one_that_goes_on_holding(tmp_path: Path) -> None:
    alone = hashing(tmp_path)
    assert hashing(tmp_path) == alone
    # It signs from now on: what was hashed before is found all the same.
    signing = hashing(tmp_path, single_node=True)
    assert signing[1:] == alone


def test_several_nodes_need_one_that_all_of_them_have(tmp_path: Path) -> None:
    with pytest.raises(Unconfigured, match="set PALIMP_API_KEY_SECRET to one secret"):
        hashing(tmp_path, etcd="http://127.0.0.1:9")
    assert hashing(tmp_path, etcd="http://127.0.0.1:9", auth_key=SigningKey.generate().export())
