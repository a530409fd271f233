"""Encryption keys through every transport: status, rotation, storing again, retirement, erasure."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palimp.errors import Invalid, Unconfigured

KEY = base64.b64encode(b"k" * 32).decode()


@pytest.fixture
def sealed(do: Any, tmp_path: Path) -> Iterator[Any]:
    client = do.open(tmp_path / "memory", embed_provider="none", master_key=KEY)
    yield client
    do(client.close())


def segments(folder: Path) -> list[Path]:
    return list((folder / "memory" / "objects").rglob("*.ltx"))


def test_without_a_master_key_there_are_none(do: Any, client: Any, alice: Any) -> None:
    found = do(client.keys())
    assert (found.on, found.masters, found.namespaces) == (False, (), ())
    for call in (
        lambda: do.all(client.rotate_keys("default")),
        lambda: do.all(client.profile_keys("default")),
        lambda: do.all(client.retire_keys("default")),
        lambda: do(client.retire_master_keys()),
        lambda: do(alice.reencrypt()),
    ):
        with pytest.raises(Unconfigured, match="PALIMP_MASTER_KEY"):
            call()


def test_keys_are_rotated_and_segments_stored_again(do: Any, sealed: Any, tmp_path: Path) -> None:
    profiles = [sealed.profile(name) for name in ("alice", "bob")]
    for profile in profiles:
        do(profile.remember(f"a wombat of {profile.name}"))
        do(profile.checkpoint("first"))
    status = do(sealed.keys())
    assert [(one.namespace, one.versions) for one in status.namespaces] == [("default", (1,))]
    assert [(one.current, one.namespaces) for one in status.masters] == [(True, 1)]
    (done,) = do.all(sealed.rotate_keys("default"))
    assert (done.version, done.profiles) == (2, 2)
    found = do.all(sealed.profile_keys("default"))
    assert [(one.profile, one.versions, one.under) for one in found] == [
        ("alice", (2, 1), 2), ("bob", (2, 1), 2)
    ]  # fmt: skip
    (done,) = do.all(sealed.rotate_keys("default", rewrap_only=True))
    assert (done.version, done.profiles) == (3, 2)
    (kept,) = do.all(sealed.retire_keys("default"))
    assert {(one.name, one.version) for one in kept.kept} == {
        ("alice", 1), ("bob", 1), ("", 2), ("", 1)
    }  # fmt: skip
    before = set(segments(tmp_path))
    for profile in profiles:
        again = do(profile.reencrypt())
        assert again.stored > 0
        assert (again.remaining, again.objects_left) == (0, 0)
        assert again.objects_deleted == again.stored
        assert do(profile.reencrypt()).stored == 0
        assert do.all(profile.at("first").list())
        assert not do(profile.verify()).findings
    assert not before & set(segments(tmp_path))


def test_forced_retirement_gives_up_what_was_sealed(do: Any, sealed: Any) -> None:
    alice = sealed.profile("alice")
    do(alice.remember("one"))
    do(alice.sync())
    do.all(sealed.rotate_keys("default"))
    (done,) = do.all(sealed.retire_keys("default", force=True))
    assert (done.profile_keys, done.namespace_keys) == (1, 1)
    assert all("retired or destroyed" in one.what for one in do(alice.verify()).findings)
    assert len(do(alice.verify()).findings) > 0


def test_bad_requests_are_refused(do: Any, sealed: Any) -> None:
    with pytest.raises(Invalid, match="limit"):
        do(sealed.profile("alice").reencrypt(limit=0))
    with pytest.raises(Invalid, match="namespace"):
        do.all(sealed.rotate_keys("No Name"))
    assert do(sealed.profile("nobody").reencrypt()).stored == 0


def test_erasing_a_profile_destroys_its_key_first(do: Any, sealed: Any, tmp_path: Path) -> None:
    alice, bob = sealed.profile("alice"), sealed.profile("bob")
    for profile in (alice, bob):
        do(profile.remember("the wombat"))
        do(profile.sync())
    record = tmp_path / "memory" / "objects" / "v1" / "keys" / "db" / f"{db_of(tmp_path)}.json"
    assert b"wrapped" in record.read_bytes()
    job = do(alice.erase(profile=True, grace=0))
    state = do(job.wait())
    assert state.status == "done"
    assert state.receipt["means"] == "key destroyed and deleted"
    assert b"wrapped" not in record.read_bytes()
    assert not [path for path in segments(tmp_path) if record.stem in str(path)]
    # Another profile is as it was, and the name is free again.
    assert len(do.all(bob.list())) == 1
    do(alice.remember("someone new"))
    do(alice.sync())
    assert not do(alice.verify()).findings


def db_of(folder: Path) -> str:
    path = folder / "memory" / "objects" / "v1" / "names" / "default" / "alice.json"
    found: str = json.loads(path.read_bytes())["db_id"]
    return found
