"""What is a duplicate of what: request, content, key within a window, extracted key; in that order."""

from __future__ import annotations

from typing import Any

import pytest

import palimp
from palimp.clock import ManualClock
from palimp.errors import Invalid


@pytest.fixture
def alice(timed: palimp.Client) -> palimp.Profile:
    return timed.profile("alice")


def texts(profile: palimp.Profile) -> list[str]:
    return sorted(memory.text for memory in profile.list())


def test_within_the_window_whatever_has_the_key_is_a_duplicate(
    alice: palimp.Profile, clock: ManualClock
) -> None:
    first = alice.remember("Standup: all well", dedup_key="standup", dedup_window=3600)
    clock.advance(3599)
    other = alice.remember("Standup: one ill", dedup_key="standup", dedup_window=3600)
    assert (other.id, other.status) == (first.id, "duplicate")
    assert texts(alice) == ["Standup: all well"]
    # Not begun anew by what was a duplicate.
    clock.advance(1)
    later = alice.remember("Standup: all well", dedup_key="standup", dedup_window=3600)
    assert (later.id != first.id, later.status) == (True, "created")
    assert texts(alice) == ["Standup: all well", "Standup: all well"]
    clock.advance(3599)
    again = alice.remember("Standup", dedup_key="standup", dedup_window=3600)
    assert (again.id, again.status) == (later.id, "duplicate")


def test_a_window_is_of_one_key_type_project_and_environment(alice: palimp.Profile) -> None:
    given: list[dict[str, Any]] = [
        {"dedup_key": "a"},
        {"dedup_key": "b"},
        {"dedup_key": "a", "type": "event"},
        {"dedup_key": "a", "project": "x"},
        {"dedup_key": "a", "environment": "x"},
    ]
    for fields in given:
        assert alice.remember("hello", dedup_window=60, **fields).status == "created"
    for fields in given:
        assert alice.remember("goodbye", dedup_window=60, **fields).status == "duplicate"
    assert texts(alice) == ["hello"] * 5


def test_a_clock_that_is_set_back_shortens_no_window(
    alice: palimp.Profile, clock: ManualClock
) -> None:
    alice.remember("one", dedup_key="k", dedup_window=60)
    clock.advance(-3600)
    assert alice.remember("two", dedup_key="k", dedup_window=60).status == "duplicate"


def test_what_was_forgotten_or_has_expired_is_no_duplicate(
    alice: palimp.Profile, clock: ManualClock
) -> None:
    first = alice.remember("one", dedup_key="k", dedup_window=600)
    alice.forget(first)
    assert alice.remember("one", dedup_key="k", dedup_window=600).status == "created"
    task = alice.remember("task", type="task", ttl=10, dedup_key="t", dedup_window=600)
    clock.advance(11)
    again = alice.remember("task", type="task", ttl=10, dedup_key="t", dedup_window=600)
    assert (again.status, again.id != task.id) == ("created", True)


def test_in_a_batch_the_first_of_a_key_is_written(alice: palimp.Profile) -> None:
    done = alice.ingest(
        [{"text": f"text {n}", "dedup_key": "k", "dedup_window": 60} for n in range(5)]
    )
    assert [one.status for one in done] == ["created"] + ["duplicate"] * 4
    assert len({one.id for one in done}) == 1
    assert texts(alice) == ["text 0"]


@pytest.mark.parametrize("same", ["Alice is the CTO", "alice  is the\nCTO.", "ALICE IS THE CTO!"])
def test_the_same_value_of_an_extracted_key_is_a_duplicate(
    alice: palimp.Profile, same: str
) -> None:
    first = alice.remember("Alice is the CTO", extracted_key="company.cto")
    again = alice.remember(same, extracted_key="company.cto", importance=0.9)
    assert (again.id, again.status, again.superseded) == (first.id, "duplicate", ())
    assert alice.get(first).importance is None


def test_another_value_supersedes_and_the_old_one_can_come_back(alice: palimp.Profile) -> None:
    first = alice.remember("Alice is the CTO", extracted_key="company.cto")
    second = alice.remember("Bob is the CTO", extracted_key="company.cto")
    assert (second.status, second.superseded) == ("created", (first.id,))
    assert texts(alice) == ["Bob is the CTO"]
    third = alice.remember("Alice is the CTO", extracted_key="company.cto")
    assert (third.id, third.status, third.superseded) == (first.id, "revived", (second.id,))
    assert [memory.text for memory in alice.history(second)][-1] == "Alice is the CTO"
    # In other words, after it came back.
    assert alice.remember("alice is the cto", extracted_key="company.cto").status == "duplicate"


def test_an_extracted_key_is_of_one_type_project_and_environment(alice: palimp.Profile) -> None:
    given: list[dict[str, Any]] = [
        {},
        {"type": "instruction"},
        {"project": "x"},
        {"environment": "x"},
        {"project": "x", "environment": "x"},
    ]
    for fields in given:
        assert alice.remember("the value", extracted_key="k", **fields).status == "created"
    for fields in given:
        assert alice.remember("The value.", extracted_key="k", **fields).status == "duplicate"
    done = alice.remember("another", extracted_key="k", project="x")
    assert len(done.superseded) == 1
    assert texts(alice) == ["another"] + ["the value"] * 4


def test_values_with_content_are_compared_by_it(alice: palimp.Profile) -> None:
    first = alice.remember("CTO", content={"b": 1, "a": "Alice"}, extracted_key="cto")
    again = alice.remember("the CTO", content={"a": "Alice", "b": 1}, extracted_key="cto")
    assert (again.id, again.status) == (first.id, "duplicate")
    assert alice.remember("CTO", content={"a": "Bob"}, extracted_key="cto").superseded == (
        first.id,
    )


def test_one_that_holds_both_topic_and_key_is_superseded_once(alice: palimp.Profile) -> None:
    first = alice.remember("Alice", topic="cto", extracted_key="cto")
    other = alice.remember("Bob", topic="cfo", extracted_key="cfo")
    second = alice.remember("Carol", topic="cto", extracted_key="cto")
    assert second.superseded == (first.id,)
    third = alice.remember("Dan", topic="cto", extracted_key="cfo")
    assert set(third.superseded) == {second.id, other.id}
    assert texts(alice) == ["Dan"]


def test_superseding_by_hand_moves_the_key_too(alice: palimp.Profile) -> None:
    first = alice.remember("Alice", extracted_key="cto")
    second = alice.supersede(first, "Bob", extracted_key="cto")
    assert second.superseded == (first.id,)
    assert alice.remember("bob", extracted_key="cto").id == second.id


def test_a_request_id_comes_before_all_keys(alice: palimp.Profile) -> None:
    fields: dict[str, Any] = {"dedup_key": "k", "dedup_window": 60, "extracted_key": "e"}
    first = alice.remember("one", request_id="r1", **fields)
    alice.remember("unrelated")
    assert alice.remember("one", request_id="r1", **fields) == first


def test_the_same_content_comes_before_an_extracted_key(alice: palimp.Profile) -> None:
    first = alice.remember("one", extracted_key="e")
    assert alice.remember("one", extracted_key="e").id == first.id
    # Without its key it is another memory, as it was before there were such keys.
    plain = alice.remember("one")
    assert (plain.status, plain.id != first.id) == ("created", True)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"dedup_window": 60}, "dedup_window without a dedup_key"),
        ({"dedup_key": "k", "dedup_window": 0}, "give more than 0, at most 315,360,000"),
        ({"dedup_key": "k", "dedup_window": -1}, "give more than 0"),
        ({"dedup_key": "k", "dedup_window": float("nan")}, "dedup_window"),
        ({"extracted_key": ""}, "extracted_key is empty"),
        ({"extracted_key": "x" * 513}, "extracted_key has 513 bytes"),
    ],
)
def test_keys_that_cannot_be_meant(alice: palimp.Profile, fields: Any, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        alice.remember("x", **fields)
    assert texts(alice) == []


def test_nothing_of_a_key_is_left_of_what_was_forgotten(
    alice: palimp.Profile, tmp_path: Any
) -> None:
    written = alice.remember("one", extracted_key="hyperborea", dedup_key="k", dedup_window=60)
    alice.forget(written)
    alice.export(tmp_path / "alice.db")
    assert b"hyperborea" not in (tmp_path / "alice.db").read_bytes()


def test_an_export_with_such_tables_can_be_imported(alice: palimp.Profile, tmp_path: Any) -> None:
    seat = alice.remember("one", extracted_key="e", dedup_key="k", dedup_window=60)
    alice.feedback(seat, "useful")
    alice.export(tmp_path / "alice.db")
    copy = alice.client.profile("copy")
    copy.import_(tmp_path / "alice.db")
    assert copy.remember("One.", extracted_key="e").status == "duplicate"
    assert copy.feedback(seat, "useful").counts == {"useful": 2}
