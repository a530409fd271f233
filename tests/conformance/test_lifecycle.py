"""The states of memories through every transport: who sees what, and what leads where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from palimp.errors import Conflict, Invalid, NotFound


def _texts(do: Any, profile: Any, **filters: Any) -> list[str]:
    return sorted(memory.text for memory in do.all(profile.list(**filters)))


def _found(do: Any, profile: Any, query: str, **filters: Any) -> list[str]:
    return sorted(hit.text for hit in do(profile.recall(query, **filters)))


def test_an_archived_memory_can_be_read_and_nothing_else(do: Any, alice: Any) -> None:
    written = do(alice.remember("Likes oolong", topic="tea"))
    moved = do(alice.lifecycle.archive(written.id, reason="old"))
    assert (moved.before, moved.state, moved.held) == ("active", "archived", False)
    assert moved.txid > written.txid
    assert do(alice.get(written.id)).state == "archived"
    assert _texts(do, alice) == []
    assert _found(do, alice, "oolong") == []
    assert _texts(do, alice, state="archived") == ["Likes oolong"]
    assert _found(do, alice, "oolong", state="archived") == ["Likes oolong"]
    with pytest.raises(Conflict, match="is archived and cannot be changed"):
        do(alice.supersede(written.id, "Likes sencha"))
    with pytest.raises(Conflict, match="is archived; only one that is active becomes archived"):
        do(alice.lifecycle.archive(written.id))
    back = do(alice.lifecycle.restore(written.id))
    assert (back.before, back.state) == ("archived", "active")
    assert _found(do, alice, "oolong") == ["Likes oolong"]


def test_a_deleted_memory_is_seen_by_a_listing_that_asks_and_by_nothing_else(
    do: Any, alice: Any
) -> None:
    written = do(alice.remember("Likes oolong", topic="tea"))
    do(alice.remember("Likes rice"))
    moved = do(alice.lifecycle.delete(written.id, reason="asked"))
    assert (moved.state, moved.method) == ("soft_deleted", "user_request")
    assert moved.hard_delete_at - moved.deleted_at == 7 * 86_400_000
    for gone in (
        lambda: alice.get(written.id),
        lambda: alice.history(written.id),
        lambda: alice.history(topic="tea"),
        lambda: alice.supersede(written.id, "Likes sencha"),
        lambda: alice.lifecycle.lineage(written.id),
    ):
        with pytest.raises(NotFound):
            do(gone())
    assert do(alice.forget(written.id)) is False
    assert _texts(do, alice) == ["Likes rice"]
    assert _found(do, alice, "oolong") == []
    assert _texts(do, alice, state="soft_deleted") == ["Likes oolong"]
    with pytest.raises(Invalid, match="deleted memories are listed"):
        do(alice.recall("oolong", state="soft_deleted"))
    with pytest.raises(Invalid, match="state is 'gone'"):
        do.all(alice.list(state="gone"))
    do(alice.lifecycle.restore(written.id))
    assert _found(do, alice, "oolong") == ["Likes oolong"]
    assert [one.id for one in do(alice.history(topic="tea"))] == [written.id]


def test_what_is_restored_finds_its_neighbours_as_they_were(do: Any, alice: Any) -> None:
    said = ["We met in Valparaiso", "The telescope was stolen", "Everybody went home"]
    events = [
        {"type": "event", "text": text, "session": "s", "observed_at": 1_000 * place}
        for place, text in enumerate(said)
    ]
    written = do(alice.ingest(events))

    def ranking() -> list[Any]:
        return [
            (query, hit.text, round(hit.score, 6), hit.channels)
            for query in ("telescope", "Valparaiso", "went home")
            for hit in do(alice.recall(query))
        ]

    before = ranking()
    do(alice.lifecycle.delete(written[1].id))
    # Its words stood in the entries of both.
    assert _found(do, alice, "telescope") == []
    do(alice.lifecycle.restore(written[1].id))
    assert ranking() == before


def test_a_chain_that_lost_a_link_gets_it_back(do: Any, alice: Any) -> None:
    first, second, third = (
        do(alice.remember(text, topic="seat")) for text in ("Aisle", "Window", "Middle")
    )
    do(alice.lifecycle.delete(second.id))
    assert [one.text for one in do(alice.history(topic="seat"))] == ["Aisle", "Middle"]
    do(alice.lifecycle.restore(second.id))
    found = do(alice.history(third.id))
    assert [one.id for one in found] == [first.id, second.id, third.id]
    assert do(alice.get(second.id)).superseded_by == third.id


def test_a_chain_of_which_two_links_were_deleted_is_whole_again(do: Any, alice: Any) -> None:
    chain = [do(alice.remember(text, topic="seat")) for text in ("Aisle", "Window", "Middle")]
    for one in chain[:2]:
        do(alice.lifecycle.delete(one.id))
    for one in chain[:2]:
        do(alice.lifecycle.restore(one.id))
    assert [one.text for one in do(alice.history(chain[0].id))] == ["Aisle", "Window", "Middle"]


def test_what_stands_in_the_way_of_a_restore_is_named(do: Any, alice: Any) -> None:
    older = do(alice.remember("Aisle", topic="seat"))
    for step in (alice.lifecycle.archive, alice.lifecycle.delete):
        do(step(older.id))
        newer = do(alice.remember("Window", topic="seat"))
        assert newer.superseded == ()
        with pytest.raises(Conflict, match=newer.id):
            do(alice.lifecycle.restore(older.id))
        do(alice.forget(newer.id))
    again = do(alice.remember("Aisle", topic="seat"))
    assert (again.id, again.status) == (older.id, "created")
    with pytest.raises(Conflict, match="is active; only one that is archived or soft_deleted"):
        do(alice.lifecycle.restore(older.id))
    do(alice.forget(again.id))
    assert do(alice.lifecycle.restore(older.id)).before == "soft_deleted"


def test_events_say_who_did_what_and_when(do: Any, alice: Any) -> None:
    written = do(alice.remember("Aisle", topic="seat"))
    do(alice.lifecycle.archive(written.id, reason="old"))
    do(alice.remember("Aisle", topic="seat"))
    do(alice.lifecycle.hold(written.id, reason="claim 7"))
    do(alice.lifecycle.delete(written.id, method="gdpr_request"))
    status = do(alice.lifecycle.status(written.id))
    assert (status.state, status.held, status.method) == ("soft_deleted", True, "gdpr_request")
    events = do.all(alice.lifecycle.events(written.id))
    assert [one.event for one in events] == [
        "created", "archived", "restored", "held", "soft_deleted",
    ]  # fmt: skip
    assert [one.actor for one in events] == ["owner"] * 5
    assert (events[1].before, events[1].after, events[1].reason) == ("active", "archived", "old")
    assert events[4].method == "gdpr_request"
    newer = do(alice.remember("Window", topic="tea"))
    do(alice.remember("Middle", topic="tea"))
    told = [(one.event, one.actor) for one in do.all(alice.lifecycle.events(newer.id))]
    assert told == [("created", "owner"), ("superseded", "owner")]
    with pytest.raises(NotFound):
        do(alice.lifecycle.status("mem_nothing"))


def test_a_hold_keeps_a_memory_from_every_removal(do: Any, client: Any, alice: Any) -> None:
    policy = {"lifecycle": {"grace_days": 0}}
    do(client.set_policy("default", policy))
    written = do(alice.remember("Held", source="crm", session="s"))
    made = do(alice.remember("Made of it", derived_from=(written.id,)))
    task = do(alice.remember("A task", type="task", session="s"))
    for one in (written, made, task):
        assert do(alice.lifecycle.hold(one.id)).held
    assert do(alice.lifecycle.hold(written.id)).held
    for gone in (
        lambda: alice.forget(written.id),
        lambda: alice.forget_derived(memory=written.id),
    ):
        with pytest.raises(Conflict, match="under legal hold"):
            do(gone())
    assert do(alice.session("s").end()).tasks == 0
    do(alice.lifecycle.delete(written.id))
    do(client.maintain())
    assert _texts(do, alice, state="soft_deleted") == ["Held"]
    released = do(alice.lifecycle.release(written.id))
    assert (released.method, released.held) == ("legal_hold_release", False)
    with pytest.raises(Conflict, match="not under legal hold"):
        do(alice.lifecycle.release(written.id))
    assert do(client.maintain()).purged == 1
    with pytest.raises(Conflict, match="is purged"):
        do(alice.lifecycle.restore(written.id))
    with pytest.raises(Conflict, match="is purged"):
        do(alice.lifecycle.hold(written.id))
    status = do(alice.lifecycle.status(written.id))
    assert (status.state, status.method) == ("purged", "legal_hold_release")
    assert {one.reason for one in status.events} == {None}
    # To say it again is not to bring it back.
    assert do(alice.remember("Held")).status == "created"


def test_a_held_memory_blocks_its_erasure(do: Any, alice: Any) -> None:
    written = do(alice.remember("Held", topic="claim"))
    do(alice.fork("trial"))
    do(alice.branch("trial").lifecycle.hold(written.id))
    jobs = [do(alice.erase(written.id, grace=0)), do(alice.erase(topic="claim", grace=0))]
    for job in jobs:
        assert job.status == "blocked"
        assert {(one.kind, one.name) for one in job.blocked_by} == {
            ("hold", f"{written.id} on trial")
        }
    assert do(alice.erase(profile=True)).status == "blocked"
    assert _texts(do, alice) == ["Held"]
    do(alice.branch("trial").lifecycle.release(written.id))
    assert do(jobs[0].run()).status == "done"
    assert _texts(do, alice.branch("trial")) == []


def test_what_is_held_keeps_its_branch_and_its_profile(do: Any, client: Any, alice: Any) -> None:
    do(alice.remember("Likes rice"))
    trial = do(alice.fork("trial"))
    held = do(trial.remember("Likes oolong")).id
    do(trial.lifecycle.hold(held, reason="claim 7"))
    with pytest.raises(Conflict, match="1 memories under legal hold"):
        do(alice.delete_branch("trial"))
    with pytest.raises(Conflict, match="under legal hold"):
        do(client.delete_database("default--alice"))
    with pytest.raises(Conflict, match="under legal hold"):
        do(client.delete_namespace("default"))
    assert _texts(do, trial) == ["Likes oolong", "Likes rice"]
    do(trial.lifecycle.release(held))
    do(alice.delete_branch("trial"))
    do(client.delete_database("default--alice"))


def test_a_hold_that_is_set_while_an_erasure_waits_stops_it(do: Any, alice: Any) -> None:
    written = do(alice.remember("Was to go"))
    do(alice.remember("Stays"))
    do(alice.checkpoint("before"))
    with pytest.raises(NotFound):
        do(alice.lifecycle.hold("mem_nothing"))
    job = do(alice.erase(written.id, grace=0.2))
    assert job.status == "waiting"
    do(alice.lifecycle.hold(written.id))
    with pytest.raises(NotFound):
        do(alice.lifecycle.hold("mem_nothing"))
    while do(job.run()).status == "waiting":
        pass
    assert [one.kind for one in job.blocked_by] == ["hold"]
    do(job.cancel())
    do(alice.rewind("before"))
    assert _texts(do, alice) == ["Stays", "Was to go"]


def test_an_erasure_reaches_what_is_deleted_softly_and_what_is_left_of_the_purged(
    do: Any, client: Any, alice: Any, tmp_path: Path
) -> None:
    do(client.set_policy("default", {"lifecycle": {"grace_days": 0}}))
    purged = do(alice.remember("Xylophone one"))
    do(alice.lifecycle.delete(purged.id))
    assert do(client.maintain()).purged == 1
    written = do(alice.remember("Xylophone two", topic="music"))
    do(alice.lifecycle.delete(written.id, reason="xylophone"))
    for asked in ({"topic": "music"}, {"ids": (purged.id,)}):
        ids = asked.pop("ids", ())
        assert do(alice.erase(*ids, grace=0, **asked)).status == "done"
    data = b"".join(
        path.read_bytes() for path in (tmp_path / "memory").rglob("main.db*") if path.is_file()
    )
    for gone in (b"ylophone", purged.id.encode()):
        assert gone not in data
    for one in (purged, written):
        with pytest.raises(NotFound):
            do(alice.lifecycle.status(one.id))


def test_a_filter_moves_what_it_matches_page_by_page(do: Any, alice: Any) -> None:
    items = [{"text": f"From crm {number}", "source": "crm"} for number in range(5)]
    do(alice.ingest([*items, {"text": "From chat", "source": "chat"}]))
    move = alice.lifecycle.move
    for empty in ({}, {"include_superseded": True}):
        with pytest.raises(Invalid, match="needs a filter"):
            do(move("delete", **empty))
    with pytest.raises(Invalid, match="to restore memories that are 'active'"):
        do(move("restore", source="crm"))
    planned = do(move("delete", source="crm", dry_run=True))
    assert len(planned.ids) == 5
    assert len(_texts(do, alice)) == 6
    first = do(move("archive", source="crm", limit=3))
    assert len(first.ids) == 3
    second = do(move("archive", source="crm", limit=3, cursor=first.next_cursor))
    assert (len(second.ids), second.next_cursor) == (2, None)
    assert _texts(do, alice) == ["From chat"]
    assert sorted(do(move("delete", source="crm", state="archived")).ids) == sorted(planned.ids)
    do(alice.remember("From crm 0", source="other"))
    back = do(move("restore", source="crm", state="soft_deleted"))
    assert len(back.ids) == 4
    assert "is active" in back.skipped[0].reason
    held = do(move("hold", source="crm"))
    assert sorted(do(move("release", source="crm")).ids) == sorted(held.ids)


def test_lineage_goes_both_ways(do: Any, alice: Any) -> None:
    first = do(alice.remember("Said it", derived_from=("turn:s/1",)))
    second = do(alice.remember("Means it", derived_from=(first.id,)))
    third = do(alice.remember("Did it", derived_from=(second.id,)))
    found = do(alice.lifecycle.lineage(second.id))
    assert (found.sources, found.derived, found.derived_count) == (
        (first.id, "turn:s/1"),
        (third.id,),
        1,
    )


def test_any_type_can_have_an_end(do: Any, client: Any, alice: Any) -> None:
    for kind in ("fact", "event", "instruction", "task"):
        do(alice.remember(f"A {kind}", type=kind, expires_at="2001-01-01"))
        do(alice.remember(f"Another {kind}", type=kind, expires_at="2999-01-01"))
    assert _texts(do, alice) == [
        f"Another {kind}" for kind in ("event", "fact", "instruction", "task")
    ]
    # A task ends with its ttl all the same.
    (task,) = do.all(alice.list(type="task"))
    assert task.expires_at - task.created_at == 86_400_000
    assert do(client.maintain()).expired == 4


def test_a_policy_makes_every_forgetting_a_soft_deletion(do: Any, client: Any, alice: Any) -> None:
    do(client.set_policy("default", {"lifecycle": {"soft_delete": True, "grace_days": 30}}))
    written = do(alice.remember("Oolong"))
    assert do(alice.forget(written.id)) is True
    assert do(alice.forget(written.id)) is False
    status = do(alice.lifecycle.status(written.id))
    assert status.hard_delete_at - status.deleted_at == 30 * 86_400_000
    do(alice.lifecycle.restore(written.id))
    assert _texts(do, alice) == ["Oolong"]


def test_states_travel_with_a_fork_an_export_and_a_rewind(
    do: Any, client: Any, alice: Any, tmp_path: Path
) -> None:
    written = do(alice.remember("Oolong"))
    do(alice.checkpoint("before"))
    do(alice.lifecycle.delete(written.id))
    do(alice.checkpoint("after"))
    do(alice.export(tmp_path / "alice.db"))
    copy = client.profile("copy")
    do(copy.import_(tmp_path / "alice.db"))
    trial = do(alice.fork("trial"))
    for there in (copy, trial):
        do(there.lifecycle.restore(written.id))
        assert _found(do, there, "oolong") == ["Oolong"]
    do(alice.rewind("before"))
    assert _texts(do, alice) == ["Oolong"]
    do(alice.rewind("after"))
    assert _texts(do, alice) == []
    assert _texts(do, alice, state="soft_deleted") == ["Oolong"]


def test_a_repeat_of_a_step_gets_the_first_answer(do: Any, alice: Any) -> None:
    written = do(alice.remember("Oolong"))
    first = do(alice.lifecycle.archive(written.id, request_id="r1"))
    assert do(alice.lifecycle.archive(written.id, request_id="r1")) == first
    assert repr(alice.lifecycle).endswith("Lifecycle of <" + repr(alice)[1:] + ">")
