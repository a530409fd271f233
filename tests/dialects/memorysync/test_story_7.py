"""Story 7, decryption: a row whose key is gone is shown as such, beside all that can be read."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import memorysync
import pytest

from palimp.clock import ManualClock
from palimp.engine import Address

from .speaking import House

REDACTED = "[REDACTED — DECRYPTION FAILED]"
SETTINGS = {"master_key": base64.b64encode(b"k" * 32).decode(), "embed_provider": "bundled"}
OLD, NEW = "The wombats sleep in burrows", "The penguins walk at dusk"
FIELDS: dict[str, Any] = {"tags": ["zoo"], "importance": 0.7, "source": "crm"}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    found = House(tmp_path, ManualClock(), **SETTINGS)
    found.node._background.wake = lambda address: None  # type: ignore[method-assign]
    found.add_policy({"encryption": {"fields": True}, "audit": {"enabled": True}})
    yield found
    found.close()


def _key(house: House) -> Path:
    (found,) = (house.folder / "objects" / "v1" / "keys" / "db").iterdir()
    return found


def _lose_key(house: House) -> Path:
    """Rotate, and expire the version that sealed what there is; return what brings it back."""
    house.profile().sync()
    raw = house.raw(None)
    assert raw.post("/admin/encryption/rotate").is_success
    copy = house.folder.parent / "key-copy"
    shutil.copy(_key(house), copy)
    kept = raw.post("/admin/encryption/keys/1/expire")
    # Rows still need it: that is said, unless it is forced.
    assert kept.status_code == 409, kept.text
    assert raw.post("/admin/encryption/keys/1/expire", json={"force": True}).is_success
    house.node.context.keys.forget(_key(house).stem)
    return copy


def _bring_back(house: House, copy: Path) -> None:
    shutil.copy(copy, _key(house))
    house.node.context.keys.forget(_key(house).stem)


def _ways(house: House, identity: int) -> list[dict[str, Any]]:
    """Return the row in every way it is read; each is a 200."""
    raw = house.raw()
    answers = [
        raw.get(f"/memory/{identity}"),
        raw.get("/memory/export"),
        raw.post("/memory/query", json={"query": "where do wombats sleep", "k": 10}),
        raw.post("/memory/retrieve", json={"query": "where do wombats sleep", "k": 10}),
    ]
    assert [one.status_code for one in answers] == [200] * 4
    first, *rest = (one.json() for one in answers)
    return [first, *[row for one in rest for row in one["memories"] if row["id"] == identity]]


def _unreadable(house: House, identity: int) -> None:
    found = _ways(house, identity)
    assert len(found) >= 2
    for one in found:
        assert (one["text"], one["decryption_failed"]) == (REDACTED, True)
        assert (one["tags"], one["importance"], one["source"]) == (["zoo"], 0.7, "crm")
        assert one["summary"] in (None, REDACTED)
        assert one["created_at"].endswith("+00:00")


def _flags(house: House) -> list[str]:
    house.node.context.audit.flush(10.0)
    namespace = house.profile().target.namespace
    return [one.row for one in house.mem.audit(namespace, action="fields.unreadable")]


def test_an_expired_key_is_a_placeholder_until_it_is_back(house: House) -> None:
    client = house.client()
    old = client.add(OLD, **FIELDS)
    assert type(old) is memorysync.Memory
    house.mem.maintain()
    copy = _lose_key(house)
    new = client.add(NEW, **FIELDS)
    assert type(new) is memorysync.Memory
    house.mem.maintain()
    for _ in range(2):
        _unreadable(house, old.id)
    assert client.get(new.id).text == NEW
    assert len(_flags(house)) == 1
    composed = client.compose("{memories}", recall_k=10)
    assert REDACTED not in composed.composed_prompt
    who = {"tenant_id": "org_acme", "user_id": "eve"}
    recalled = client.recall(**who, prompt="where do wombats sleep", k=10)
    assert REDACTED not in recalled["context"]
    # Its labels can be changed, and nothing is written over what cannot be read.
    assert client.update(old.id, tags=["zoo"]).text == REDACTED
    assert client.add(REDACTED) is not None
    house.mem.maintain()
    _bring_back(house, copy)
    assert {one["text"] for one in _ways(house, old.id)} == {OLD}
    assert not any(one.get("decryption_failed") for one in _ways(house, old.id))


@pytest.mark.parametrize("how", ["altered", "swapped"])
def test_altered_and_swapped_rows_behave_the_same(house: House, how: str) -> None:
    client = house.client()
    old, new = client.add(OLD, **FIELDS), client.add(NEW, **FIELDS)
    assert type(old) is type(new) is memorysync.Memory
    rows = _on_rows(house, lambda c: c.execute(
        "SELECT handle, text FROM __palimp_memories ORDER BY handle").fetchall())  # fmt: skip
    (handle, good), (_, other) = rows
    bad = good[:-1] + bytes([good[-1] ^ 1]) if how == "altered" else other
    _on_rows(house, lambda c: c.execute(
        "UPDATE __palimp_memories SET text = ? WHERE handle = ?", (bad, handle)).fetchall())  # fmt: skip
    house.mem.maintain()
    _unreadable(house, old.id)
    assert client.get(new.id).text == NEW
    vectors = _on_rows(house, lambda c: c.execute(
        "SELECT count(*) FROM __palimp_memories_vectors").fetchall())  # fmt: skip
    # The placeholder is no text to embed.
    assert vectors == [(1,)]
    kept = _on_rows(house, lambda c: c.execute(
        "SELECT text FROM __palimp_memories WHERE handle = ?", (handle,)).fetchall())  # fmt: skip
    assert kept == [(bad,)]


def _on_rows(house: House, work: Callable[[Any], Any]) -> Any:
    target = house.profile().target
    with house.node.context.engine.use(
        Address(target.namespace, target.profile), create=False
    ) as branch:
        assert branch is not None
        return branch.write(work).value
