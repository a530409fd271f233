"""Sealed rows through every transport, and what is shown of those that cannot be read."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palimp.errors import Conflict

KEY = base64.b64encode(b"k" * 32).decode()
ON = {"encryption": {"fields": True}}
SHOWN = "[REDACTED \u2014 DECRYPTION FAILED]"


@pytest.fixture
def sealed(do: Any, tmp_path: Path) -> Iterator[Any]:
    client = do.open(tmp_path / "memory", embed_provider="none", master_key=KEY)
    do(client.set_policy("default", ON))
    yield client
    do(client.close())


def test_rows_are_sealed_by_request(do: Any, sealed: Any) -> None:
    profile = sealed.profile("ann")
    do(profile.remember("hello wombat"))
    assert [hit.text for hit in do(profile.recall("wombats"))] == ["hello wombat"]
    done = do(profile.seal_fields())
    assert (done.sealed, done.remaining, done.unreadable) == (0, 0, 0)
    assert do(sealed.profile("nobody").seal_fields()).remaining == 0
    do(sealed.set_policy("default", {}))
    with pytest.raises(Conflict, match=r"encryption\.fields"):
        do(profile.seal_fields())


def test_the_past_and_branches_are_read_and_lost_keys_are_told(do: Any, sealed: Any) -> None:
    profile = sealed.profile("ann")
    first = do(profile.remember("an early wombat", topic="pet")).id
    do(profile.session("s").append("user", "a quokka"))
    do(profile.checkpoint("early"))
    do(profile.remember("a late wombat", topic="pet"))
    side = do(profile.fork("side"))
    assert do(side.get(first)).text == "an early wombat"
    past = profile.at("early")
    assert [hit.text for hit in do(past.recall("wombat"))] == ["an early wombat"]
    do(profile.rewind("early"))
    assert do(profile.get(first)).text == "an early wombat"
    do(profile.sync())
    do.all(sealed.rotate_keys("default"))
    do.all(sealed.retire_keys("default", force=True))
    for where in (profile, side, past):
        found = do(where.get(first))
        assert (found.text, found.decryption_failed, found.topic) == (SHOWN, True, "pet")
        (turn,) = do(where.session("s").window())
        assert (turn.content, turn.decryption_failed) == ({"text": SHOWN}, True)
    assert do(profile.recall(topic="pet")).as_context() == ""
    newer = do(profile.remember("a new pet", topic="pet"))
    assert newer.superseded == (first,)
    assert [one.text for one in do(profile.history(topic="pet"))] == [SHOWN, "a new pet"]
    assert do(profile.forget(first))
    assert do(profile.seal_fields()).unreadable
