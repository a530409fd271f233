"""What is said about an edge is sealed, redacted, exported and erased as what memories say is."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

import palimp
from palimp.errors import Invalid

KEY = base64.b64encode(b"k" * 32).decode()
TABLE = "__palimp_relation_metadata"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[palimp.Client]:
    with palimp.open(tmp_path / "memory", embed_provider="none", master_key=KEY) as client:
        yield client


@pytest.fixture
def alice(client: palimp.Client) -> palimp.Profile:
    return client.profile("alice")


def related(alice: palimp.Profile, word: str = "wombat") -> tuple[str, str]:
    one, two = alice.remember("one").id, alice.remember("two").id
    alice.relations.add(one, two, metadata={"said": word})
    return one, two


def said(reading: Any) -> list[Any]:
    return [edge.metadata for edge in reading.relations.list()]


def stored(folder: Path) -> list[Any]:
    # The branch is forked later, and in a folder of its own.
    file = min(folder.glob("memory/hot/**/main.db"), key=lambda one: len(str(one)))
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    found = [value for (value,) in connection.execute(f"SELECT metadata FROM {TABLE}")]
    connection.close()
    return found


def test_it_is_sealed_under_the_key_of_now_and_read_on_every_branch(
    client: palimp.Client, alice: palimp.Profile, tmp_path: Path
) -> None:
    related(alice)
    assert stored(tmp_path) == ['{"said":"wombat"}']
    trial = alice.fork("trial")
    client.set_policy("default", {"encryption": {"fields": True}})
    assert alice.seal_fields().remaining == 0
    (first,) = stored(tmp_path)
    assert isinstance(first, bytes)
    assert b"wombat" not in first
    assert said(alice) == said(trial) == [{"said": "wombat"}]
    assert trial.diff(alice).updated == (), "sealed anew it is no difference"
    three, four = trial.remember("three"), trial.remember("four")
    trial.relations.add(three, four, metadata={"said": "quokka"})
    alice.merge(trial)
    assert {"said": "quokka"} in said(alice)
    list(client.rotate_keys("default"))
    assert alice.seal_fields().remaining == 0
    list(client.retire_keys("default", force=True))
    assert {"said": "quokka"} in said(alice)
    list(client.rotate_keys("default"))
    list(client.retire_keys("default", force=True))
    assert [one.decryption_failed for one in alice.relations.list()] == [True, True]
    assert said(alice) == [None, None]


@pytest.mark.parametrize("which", [0, 1])
def test_with_either_memory_it_goes_from_the_present_and_from_history(
    alice: palimp.Profile, tmp_path: Path, which: int
) -> None:
    ids = related(alice)
    alice.checkpoint("before")
    assert said(alice.at("before")) == [{"said": "wombat"}]
    done = alice.erase(ids[which], grace=0).wait(30)
    assert done.status == "done"
    assert stored(tmp_path) == []
    assert said(alice) == said(alice.at("before")) == []


def test_with_a_forgotten_memory_it_goes_and_comes_back_with_a_restored_one(
    alice: palimp.Profile, tmp_path: Path
) -> None:
    one, two = related(alice)
    alice.lifecycle.delete(one)
    assert said(alice) == []
    alice.lifecycle.restore(one)
    assert said(alice) == [{"said": "wombat"}]
    alice.forget(two)
    assert stored(tmp_path) == []


def test_it_is_exported_and_told_to_whom_it_is_about(
    client: palimp.Client, alice: palimp.Profile, tmp_path: Path
) -> None:
    related(alice)
    alice.export(tmp_path / "file.db")
    bob = client.profile("bob")
    bob.import_(tmp_path / "file.db")
    assert said(bob) == [{"said": "wombat"}]
    alice.export_subject(tmp_path / "subject")
    lines = (tmp_path / "subject" / "memories.jsonl").read_text().splitlines()
    edges = [json.loads(line).get("relations") for line in lines]
    assert [edge["metadata"] for found in edges if found for edge in found] == [{"said": "wombat"}]


def test_it_is_redacted_or_refused_as_the_policy_says(
    client: palimp.Client, alice: palimp.Profile
) -> None:
    one, two = related(alice)
    client.set_policy("default", {"redaction": {"personal": "redact"}})
    alice.relations.add(one, two, metadata={"by": "anna@example.com"})
    assert said(alice) == [{"by": "[email]"}]
    alice.remember("x", relations=[{"to": two, "metadata": {"by": "anna@example.com"}}])
    assert said(alice) == [{"by": "[email]"}] * 2
    client.set_policy("default", {"redaction": {"personal": "refuse"}})
    with pytest.raises(Invalid, match=r"redaction\.personal = refuse.*email"):
        alice.relations.add(one, two, metadata={"by": "anna@example.com"})
    with pytest.raises(Invalid, match=r"redaction\.personal = refuse.*email"):
        alice.remember("y", relations=[{"to": two, "metadata": {"by": "anna@example.com"}}])


def test_a_profile_from_before_has_no_such_table_and_needs_none(
    alice: palimp.Profile, tmp_path: Path
) -> None:
    one, two = alice.remember("one").id, alice.remember("two").id
    alice.relations.add(one, two)
    with pytest.raises(apsw.SQLError, match="no such table"):
        stored(tmp_path)
    assert said(alice) == [None]
    alice.relations.remove(one, two)
    alice.forget(one)
