"""Erasing through every transport: from the present, from history, from every branch, for good."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp import ltx
from palimp.api import Policy, to_request
from palimp.errors import Conflict, Invalid, NotFound
from palimp.security.receipts import encode_receipt, verify_receipt

SECRET = "xylophone"


def _everything(folder: Path) -> bytes:
    """Return every byte of every file, those of segments unpacked too."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            found.append(data)
            if path.suffix == ".ltx":
                # The directory store puts a line of its own before an object.
                whole = data[data.index(b"LTX1") :]
                header = ltx.Header.decode(whole)
                found += [page for _, page in ltx.trusted_pages(whole, header)]
    return b"\n".join(found)


def _texts(do: Any, profile: Any) -> list[str]:
    return sorted(memory.text for memory in do.all(profile.list()))


@pytest.fixture
def told(do: Any, alice: Any) -> Any:
    """A secret in the present, in a checkpoint, and on a branch."""
    written = do(alice.remember(f"The {SECRET} code is 4711", topic="code"))
    do(alice.remember("Likes tea"))
    do(alice.checkpoint("before"))
    do(alice.fork("trial"))
    do(alice.remember("Likes coffee"))
    return written


def test_a_memory_is_erased_from_everything(
    do: Any, client: Any, alice: Any, told: Any, tmp_path: Path
) -> None:
    assert SECRET.encode() in _everything(tmp_path / "memory")
    job = do(alice.erase(told.id, grace=0, reason="asked for it"))
    assert (job.status, job.blocked_by) == ("done", ())
    assert _texts(do, alice) == ["Likes coffee", "Likes tea"]
    assert _texts(do, alice.branch("trial")) == ["Likes tea"]
    assert _texts(do, alice.at("before")) == ["Likes tea"]
    assert SECRET.encode() not in _everything(tmp_path / "memory")
    # The words of the index too: FTS5 keeps them stemmed.
    assert SECRET[:6].encode() not in _everything(tmp_path / "memory")
    again = do(alice.erasure(job.id))
    assert again.receipt == job.receipt
    assert verify_receipt(encode_receipt(job.receipt))["rows"] == 2
    assert job.receipt["objects_removed"]
    do(alice.rewind("before"))
    assert _texts(do, alice) == ["Likes tea"]


def test_within_its_grace_nothing_shows_it_and_it_can_be_called_off(
    do: Any, alice: Any, told: Any
) -> None:
    job = do(alice.erase(told.id, grace=3600))
    assert job.status == "waiting"
    assert job.receipt is None
    assert _texts(do, alice) == ["Likes coffee", "Likes tea"]
    assert _texts(do, alice.at("before")) == ["Likes tea"]
    made = do(alice.fork("later", at="before"))
    assert _texts(do, made) == ["Likes tea"]
    assert do(job.run()).status == "waiting"
    with pytest.raises(palimp.Unavailable, match=r"was not done within 0\.01 s"):
        do(job.wait(timeout=0.01))
    assert do(job.cancel()).status == "cancelled"
    assert do(job.cancel()).status == "cancelled"
    assert len(_texts(do, alice.at("before"))) == 2
    do(alice.rewind("before"))
    assert len(_texts(do, alice)) == 2
    assert [one.status for one in do.all(alice.erasures())] == ["cancelled"]


def test_a_topic_goes_with_all_that_was_ever_on_it(do: Any, alice: Any, tmp_path: Path) -> None:
    do(alice.remember(f"Code {SECRET} one", topic="code"))
    do(alice.remember(f"Code {SECRET} two", topic="code"))
    do(alice.remember("Seat aisle", topic="seat"))
    planned = do(alice.erase(topic="code", dry_run=True))
    assert (planned.status, planned.state.rows, planned.id) == ("planned", 2, "")
    assert len(do(alice.history(topic="code"))) == 2
    job = do(alice.erase(topic="code", grace=0))
    assert do(job.wait()).status == "done"
    with pytest.raises(NotFound):
        do(alice.history(topic="code"))
    assert _texts(do, alice) == ["Seat aisle"]
    assert SECRET.encode() not in _everything(tmp_path / "memory")
    assert "code" not in json.dumps(job.receipt)


def test_a_session_goes_with_its_transcript_and_leaves_its_neighbours(
    do: Any, alice: Any, tmp_path: Path
) -> None:
    do(alice.session("s1").append("user", f"my {SECRET} is broken"))
    do(alice.ingest([{"type": "event", "text": f"{SECRET} repair", "session": "s1"}]))
    do(alice.session("s2").append("user", "hello"))
    job = do(alice.erase(session="s1", grace=0))
    assert job.status == "done"
    assert [one.id for one in do.all(alice.sessions())] == ["s2"]
    assert SECRET.encode() not in _everything(tmp_path / "memory")


def test_of_a_topic_one_type_and_of_a_session_the_memories_only(do: Any, alice: Any) -> None:
    do(alice.remember("Seat aisle", topic="seat"))
    do(alice.remember("Always ask about the seat", topic="seat", type="instruction"))
    assert do(alice.erase(topic="seat", type="fact", grace=0)).status == "done"
    assert _texts(do, alice) == ["Always ask about the seat"]
    do(alice.session("s1").append("user", "hello"))
    do(alice.ingest([{"type": "event", "text": "Came by", "session": "s1"}]))
    assert do(alice.erase(session="s1", turns=False, grace=0)).status == "done"
    assert [turn.content for turn in do(alice.session("s1").window())] == ["hello"]
    assert _texts(do, alice) == ["Always ask about the seat"]
    with pytest.raises(Invalid, match="type goes with a topic"):
        do(alice.erase(session="s1", type="fact"))
    with pytest.raises(Invalid, match="turns goes with a session"):
        do(alice.erase(topic="seat", turns=False))


def test_what_was_made_of_it_blocks_unless_it_goes_too(do: Any, alice: Any) -> None:
    first = do(alice.remember("Told me about the xylophone"))
    second = do(alice.remember("Owns an instrument", derived_from=(first.id,)))
    third = do(alice.remember("Is musical", derived_from=(second.id,)))
    job = do(alice.erase(first.id, grace=0))
    assert job.status == "blocked"
    assert {one.kind for one in job.blocked_by} == {"derived"}
    assert second.id in job.blocked_by[0].name
    do(alice.forget(second.id))
    do(alice.forget(third.id))
    # What is left of it stands in history only, and what blocks is looked at again.
    assert do(job.run()).status == "done"


def test_with_what_was_made_of_it(do: Any, alice: Any, tmp_path: Path) -> None:
    first = do(alice.remember("Told me about the instrument"))
    second = do(alice.remember(f"Owns a {SECRET}", derived_from=(first.id,)))
    do(alice.remember(f"Is good at the {SECRET}", derived_from=(second.id,)))
    do(alice.checkpoint("all"))
    do(alice.remember("Likes tea"))
    job = do(alice.erase(first.id, include_derived=True, grace=0))
    assert job.status == "done"
    assert _texts(do, alice) == ["Likes tea"]
    assert _texts(do, alice.at("all")) == []
    assert SECRET.encode() not in _everything(tmp_path / "memory")


def test_a_whole_profile(do: Any, client: Any, alice: Any, told: Any, tmp_path: Path) -> None:
    do(client.profile("bob").remember("Stays"))
    job = do(alice.erase(profile=True))
    assert job.status == "done"
    assert SECRET.encode() not in _everything(tmp_path / "memory")
    assert [one.name for one in do.all(client.profiles())] == ["bob"]
    assert do(alice.erasure(job.id)).receipt["means"] == "deleted"
    verify_receipt(encode_receipt(job.receipt))


def test_a_repeat_of_the_request_is_the_same_erasure(do: Any, alice: Any, told: Any) -> None:
    first = do(alice.erase(told.id, grace=60, request_id="r1"))
    again = do(alice.erase(told.id, grace=60, request_id="r1"))
    assert again.id == first.id
    assert again.state.not_before == first.state.not_before
    assert len(do.all(alice.erasures())) == 1


def test_no_byte_of_a_receipt_can_be_changed(do: Any, alice: Any, told: Any) -> None:
    data = encode_receipt(do(alice.erase(told.id, grace=0)).receipt)
    fields = verify_receipt(data + b"\n", json.loads(data)["public_key"])
    assert fields["database"] == str(alice)
    for place in range(0, len(data), 7):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(Invalid):
            verify_receipt(changed)
    with pytest.raises(Invalid, match="not with the one given"):
        verify_receipt(data, "AAAA")


def test_what_cannot_be_erased_says_why(do: Any, client: Any, alice: Any, told: Any) -> None:
    for asked in ({}, {"topic": "a", "session": "b"}, {"topic": "a", "profile": True}):
        with pytest.raises(Invalid, match="an erasure is of one thing"):
            do(alice.erase(**asked))
    with pytest.raises(Invalid, match="grace is -1"):
        do(alice.erase(told.id, grace=-1))
    with pytest.raises(Invalid, match="erased at once"):
        do(alice.erase(profile=True, grace=5))
    with pytest.raises(Invalid, match="names a branch"):
        do(alice.branch("trial").erase(told.id))
    with pytest.raises(NotFound):
        do(client.profile("nobody").erase(told.id))
    job = do(alice.erase(told.id, grace=60))
    do(client.profile("bob").remember("hello"))
    with pytest.raises(NotFound, match="no erasure"):
        do(client.profile("bob").erasure(job.id))
    for strange in ("", "x", "../../names/default/alice", f"{job.id}x", "é.x"):
        with pytest.raises((NotFound, Invalid)):
            do(alice.erasure(strange))
    done = do(alice.erase(topic="seat", grace=0))
    with pytest.raises(Conflict, match="nothing takes it back"):
        do(done.cancel())


def test_a_policy_makes_every_forgetting_an_erasure(
    do: Any, client: Any, alice: Any, told: Any, tmp_path: Path
) -> None:
    rules = {"erasure": {"purge_on_forget": True, "grace_secs": 0}}
    do(client.set_policy("default", to_request(Policy, rules, "policy")))
    do(alice.forget(told.id))
    (job,) = do.all(alice.erasures())
    assert job.status == "done"
    assert SECRET.encode() not in _everything(tmp_path / "memory")


def test_what_is_written_during_the_grace_is_another_matter(do: Any, alice: Any) -> None:
    do(alice.remember(f"Code {SECRET}", topic="code"))
    do(alice.checkpoint("before"))
    job = do(alice.erase(topic="code", grace=0.2))
    assert job.status == "waiting"
    do(alice.remember("Code 1234", topic="code"))
    assert do(job.wait()).status == "done"
    assert _texts(do, alice) == ["Code 1234"]
    assert _texts(do, alice.at("before")) == []


def test_what_was_made_of_a_topic_blocks_though_the_topic_is_gone(do: Any, alice: Any) -> None:
    first = do(alice.remember(f"Plays the {SECRET}", topic="hobby"))
    made = do(alice.remember("Is musical", derived_from=(first.id,)))
    job = do(alice.erase(topic="hobby", grace=0))
    assert job.status == "blocked"
    assert [one.name for one in job.blocked_by] == [f"{made.id} on main"]
    assert _texts(do, alice) == ["Is musical"]
    do(alice.forget(made.id))
    assert do(job.run()).status == "done"
    assert job.receipt["rows"] == 1


def test_an_erasure_of_a_profile_that_is_deleted_is_done_with_it(
    do: Any, client: Any, alice: Any, told: Any, tmp_path: Path
) -> None:
    job = do(alice.erase(told.id, grace=3600))
    do(client.delete_database("default--alice"))
    # Of another database under the same name it is not.
    do(alice.remember("hello"))
    assert do(job.run()).status == "done"
    verify_receipt(encode_receipt(job.receipt))
    assert SECRET.encode() not in _everything(tmp_path / "memory")
    assert _texts(do, alice) == ["hello"]


def test_a_fork_made_during_the_grace_stays_without_it(do: Any, alice: Any, told: Any) -> None:
    job = do(alice.erase(told.id, grace=3600))
    fork = do(alice.fork("later", at="before"))
    do(fork.remember("On the fork"))
    do(job.cancel())
    # It never had it, so there is nothing to come back.
    assert _texts(do, fork) == ["Likes tea", "On the fork"]
    assert len(_texts(do, alice.at("before"))) == 2
