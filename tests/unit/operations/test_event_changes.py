"""What an annotation changed is sealed where rows are, and goes with its memory."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

import palimp

KEY = base64.b64encode(b"k" * 32).decode()
CHANGES = [{"metadata": ({"word": "wombat"}, {"word": "quokka"})}]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[palimp.Client]:
    with palimp.open(tmp_path / "memory", embed_provider="none", master_key=KEY) as client:
        client.set_policy("default", {"encryption": {"fields": True}})
        yield client


@pytest.fixture
def alice(client: palimp.Client) -> palimp.Profile:
    return client.profile("alice")


def annotated(alice: palimp.Profile) -> str:
    written = alice.remember("Saw one", metadata={"word": "wombat"}).id
    alice.annotate(written, metadata={"word": "quokka"})
    return written


def changes(alice: palimp.Profile, identity: str) -> list[object]:
    events = alice.lifecycle.events(identity)
    return [one.changes for one in events if one.event == "annotated"]


def stored(folder: Path) -> list[object]:
    (file,) = folder.glob("memory/hot/**/main.db")
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    found = [value for (value,) in connection.execute("SELECT changes FROM __palimp_events")]
    connection.close()
    return found


def test_changes_are_sealed(alice: palimp.Profile, tmp_path: Path) -> None:
    written = annotated(alice)
    assert changes(alice, written) == CHANGES
    (sealed,) = stored(tmp_path)
    assert isinstance(sealed, bytes)
    assert b"wombat" not in sealed
    assert b"quokka" not in sealed


def test_changes_are_read_under_a_new_key_and_not_without_their_own(
    client: palimp.Client, alice: palimp.Profile, tmp_path: Path
) -> None:
    written = annotated(alice)
    (before,) = stored(tmp_path)
    list(client.rotate_keys("default"))
    # The row of the memory and that of its event.
    assert alice.seal_fields().sealed == 2
    (after,) = stored(tmp_path)
    assert before != after
    assert changes(alice, written) == CHANGES
    list(client.rotate_keys("default"))
    list(client.retire_keys("default", force=True))
    assert changes(alice, written) == [None]
    assert [one.changes for one in alice.lifecycle.history()] == [None, None]


def test_changes_are_no_longer_there_when_their_memory_is_purged(
    client: palimp.Client, alice: palimp.Profile, tmp_path: Path
) -> None:
    client.set_policy("default", {"lifecycle": {"grace_days": 0}})
    written = annotated(alice)
    alice.lifecycle.delete(written)
    assert isinstance(stored(tmp_path)[0], str)
    alice.lifecycle.run()
    assert set(stored(tmp_path)) == {None}
