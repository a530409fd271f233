"""Branches against each other, whichever way they are asked for."""

from typing import Any

import pytest

import palimp


@pytest.fixture
def trial(do: Any, alice: Any) -> Any:
    """A branch of a profile with three facts: `seat` and `diet` on topics, `home` on none."""
    do(alice.remember("Prefers aisle seats", topic="seat"))
    do(alice.remember("Eats everything", topic="diet"))
    do(alice.remember("Lives in Lyon"))
    return do(alice.fork("trial"))


def texts(do: Any, profile: Any) -> list[str]:
    return sorted(memory.text for memory in do.all(profile.list()))


def by_text(do: Any, profile: Any, text: str) -> Any:
    return next(one for one in do.all(profile.list()) if one.text == text)


def test_a_diff_says_what_each_side_changed(do: Any, alice: Any, trial: Any) -> None:
    do(trial.remember("Prefers window seats", topic="seat"))
    do(trial.remember("Speaks French"))
    do(trial.forget(by_text(do, trial, "Lives in Lyon")))
    do(alice.remember("Works at night"))
    found = do(trial.diff(alice))
    assert found.counts == {
        "added": 1, "updated": 1, "removed": 1, "conflicts": 0, "behind": 1,
    }  # fmt: skip
    assert [one.new.text for one in found.added] == ["Speaks French"]
    (updated,) = found.updated
    assert (updated.old.text, updated.new.text) == ("Prefers aisle seats", "Prefers window seats")
    assert [one.old.text for one in found.removed] == ["Lives in Lyon"]
    assert [one.new.text for one in found.behind] == ["Works at night"]
    assert do(trial.diff(limit=0)).added == ()
    mirrored = do(alice.diff("trial"))
    assert [one.new.text for one in mirrored.added] == ["Works at night"]
    assert mirrored.counts["behind"] == 3


def test_what_was_written_and_superseded_on_a_branch_is_an_addition(do: Any, trial: Any) -> None:
    first = do(trial.remember("Has a cat"))
    second = do(trial.supersede(first, "Has two cats"))
    found = do(trial.diff())
    assert [one.id for one in found.added] == [second.id]
    assert found.counts["updated"] == found.counts["removed"] == 0


def test_a_merge_brings_everything_and_a_second_one_nothing(
    do: Any, alice: Any, trial: Any
) -> None:
    do(trial.remember("Prefers window seats", topic="seat"))
    do(trial.remember("Speaks French", tags=["language"]))
    do(trial.forget(by_text(do, trial, "Lives in Lyon")))
    do(alice.remember("Works at night"))
    tried = do(alice.merge(trial, dry_run=True))
    assert tried.dry_run
    assert tried.checkpoint is None
    assert "Speaks French" not in texts(do, alice)
    done = do(alice.merge(trial, expect_txid=tried.txid, expect_source_txid=tried.source_txid))
    assert (done.added, done.updated, done.removed) == (tried.added, tried.updated, tried.removed)
    assert (len(done.added), len(done.updated), len(done.removed)) == (1, 1, 1)
    assert done.txid > tried.txid
    expected = ["Eats everything", "Prefers window seats", "Speaks French", "Works at night"]
    assert texts(do, alice) == expected
    history = [memory.text for memory in do(alice.history(topic="seat"))]
    assert history == ["Prefers aisle seats", "Prefers window seats"]
    assert do(alice.recall("which language?"))[0].text == "Speaks French"
    again = do(alice.merge(trial))
    assert (again.added, again.updated, again.removed) == ((), (), ())
    assert (again.txid, again.checkpoint) == (done.txid, None)
    assert do(trial.diff(alice)).counts["added"] == 0
    do(alice.rewind(done.checkpoint))
    assert texts(do, alice) == [
        "Eats everything", "Lives in Lyon", "Prefers aisle seats", "Works at night",
    ]  # fmt: skip


def test_a_conflict_changes_nothing_until_it_is_decided(do: Any, alice: Any, trial: Any) -> None:
    do(trial.remember("Prefers window seats", topic="seat"))
    do(alice.remember("Prefers middle seats", topic="seat"))
    do(trial.remember("Speaks French"))
    before = texts(do, alice)
    with pytest.raises(palimp.Conflict, match="1 conflict between 'trial' and 'main'") as caught:
        do(alice.merge(trial))
    (told,) = caught.value.details["conflicts"]
    assert texts(do, alice) == before
    (conflict,) = do(alice.merge(trial, dry_run=True)).conflicts
    assert told["id"] == conflict.id
    assert conflict.base.text == "Prefers aisle seats"
    assert conflict.ours.text == "Prefers middle seats"
    assert conflict.theirs.text == "Prefers window seats"
    assert conflict.withheld == (by_text(do, trial, "Prefers window seats").id,)
    kept = do(alice.merge(trial, resolve={conflict.id: "ours"}))
    assert kept.kept[0] == conflict.id
    assert texts(do, alice) == sorted([*before, "Speaks French"])
    # What was decided is not asked again, until the other side changes it again.
    assert do(alice.merge(trial)).added == ()
    do(trial.remember("Prefers any seat", topic="seat"))
    with pytest.raises(palimp.Conflict, match="1 conflict"):
        do(alice.merge(trial))
    taken = do(alice.merge(trial, on_conflict="theirs"))
    assert by_text(do, alice, "Prefers any seat").id in {new for _, new in taken.replaced}
    assert "Prefers middle seats" not in texts(do, alice)
    assert do(alice.get(conflict.ours)).superseded_by == by_text(do, alice, "Prefers any seat").id


def test_a_topic_that_each_side_began_is_a_conflict(do: Any, alice: Any, trial: Any) -> None:
    do(trial.remember("Blue", topic="colour"))
    ours = do(alice.remember("Red", topic="colour"))
    (conflict,) = do(alice.merge(trial, dry_run=True)).conflicts
    assert (conflict.kind, conflict.base, conflict.ours.id) == ("topic", None, ours.id)
    do(alice.merge(trial, on_conflict="theirs"))
    assert [one.text for one in do(alice.history(topic="colour"))] == ["Red", "Blue"]


def test_removed_on_one_side_and_changed_on_the_other(do: Any, alice: Any, trial: Any) -> None:
    home = by_text(do, alice, "Lives in Lyon")
    do(trial.supersede(home, "Lives in Nice"))
    do(alice.forget(home))
    (conflict,) = do(alice.merge(trial, dry_run=True)).conflicts
    assert (conflict.kind, conflict.ours, conflict.theirs.text) == (
        "removed", None, "Lives in Nice",
    )  # fmt: skip
    do(alice.merge(trial, on_conflict="ours"))
    assert "Lives in Nice" not in texts(do, alice)
    do(alice.merge(trial, resolve={conflict.id: "theirs"}))
    assert "Lives in Nice" in texts(do, alice)
    assert "Lives in Lyon" not in texts(do, alice)


def test_the_same_learnt_on_both_sides_is_no_conflict(do: Any, alice: Any, trial: Any) -> None:
    do(trial.remember("Speaks French", source="a"))
    do(alice.remember("Speaks French", source="b"))
    assert do(alice.merge(trial)).added == ()
    assert by_text(do, alice, "Speaks French").source == "b"


def test_append_brings_only_what_was_added(do: Any, alice: Any, trial: Any) -> None:
    do(trial.forget(by_text(do, trial, "Lives in Lyon")))
    do(trial.remember("Prefers window seats", topic="seat"))
    do(trial.remember("Speaks French"))
    done = do(alice.merge(trial, strategy="append"))
    assert texts(do, alice) == [
        "Eats everything", "Lives in Lyon", "Prefers aisle seats", "Speaks French",
    ]  # fmt: skip
    assert [one.reason.split()[1] for one in done.skipped] == ["holds"]
    assert do(alice.merge(trial, strategy="append")).added == ()


def test_accept_lets_what_is_almost_the_same_take_its_place(
    do: Any, alice: Any, trial: Any
) -> None:
    old = do(
        alice.remember("The user likes strong black coffee in the morning", embedding=[1, 0, 0])
    )
    do(trial.remember("In the morning the user likes strong black coffee", embedding=[9, 1, 0]))
    do(trial.remember("Prefers window seats", topic="seat"))
    done = do(alice.merge(trial, strategy="accept"))
    assert old.id in {one for one, _ in done.replaced}
    assert len(done.replaced) == 2
    assert texts(do, alice) == [
        "Eats everything",
        "In the morning the user likes strong black coffee",
        "Lives in Lyon",
        "Prefers window seats",
    ]  # fmt: skip
    assert do(alice.merge(trial, strategy="accept")).added == ()


def test_apply_brings_what_is_chosen(do: Any, alice: Any, trial: Any) -> None:
    french = do(trial.remember("Speaks French"))
    do(trial.remember("Speaks Dutch"))
    seat = do(trial.remember("Prefers window seats", topic="seat"))
    home = by_text(do, trial, "Lives in Lyon")
    do(trial.forget(home))
    done = do(alice.apply(trial, [french, home, seat, "mem_" + "0" * 32]))
    assert done.added == (french.id,)
    assert done.removed == (home.id,)
    assert [new for _, new in done.updated] == [seat.id]
    assert [one.id for one in done.skipped] == ["mem_" + "0" * 32]
    assert "Speaks Dutch" not in texts(do, alice)
    assert [one.reason for one in do(alice.apply(trial, [french])).skipped] == [
        "it is here as it is there already"
    ]


def test_pick_by_id_by_range_and_by_query(do: Any, alice: Any, trial: Any) -> None:
    french = do(trial.remember("Speaks French"))
    do(trial.checkpoint("one"))
    do(trial.remember("Speaks Dutch"))
    do(trial.checkpoint("two"))
    do(trial.remember("Plays the violin"))
    assert do(alice.pick(trial, [french])).picked == (french.id,)
    assert do(alice.pick(trial, [french])).candidate_count == 0
    ranged = do(alice.pick(trial, since="one", until="two", dry_run=True))
    assert [one.memory.text for one in ranged.candidates] == ["Speaks Dutch"]
    assert "Speaks Dutch" not in texts(do, alice)
    do(alice.pick(trial, since="one", until="two"))
    assert "Speaks Dutch" in texts(do, alice)
    found = do(alice.pick(trial, query="who plays the violin?", k=1))
    assert [do(alice.get(one)).text for one in found.picked] == ["Plays the violin"]
    with pytest.raises(palimp.Invalid, match="in one way"):
        do(alice.pick(trial, [french], query="x"))
    with pytest.raises(palimp.Invalid, match="in one way"):
        do(alice.pick(trial))


def test_a_pick_of_what_differs_is_a_conflict(do: Any, alice: Any, trial: Any) -> None:
    seat = do(trial.remember("Prefers window seats", topic="seat"))
    mine = do(alice.remember("Prefers middle seats", topic="seat"))
    with pytest.raises(palimp.Conflict):
        do(alice.pick(trial, [seat]))
    tried = do(alice.pick(trial, [seat], dry_run=True))
    assert (tried.conflict_count, tried.candidates[0].outcome) == (1, "conflict")
    assert do(alice.pick(trial, [seat], on_conflict="ours")).picked == ()
    assert do(alice.pick(trial, [seat], on_conflict="theirs")).picked == (seat.id,)
    assert do(alice.get(mine)).superseded_by == seat.id


def test_revert_takes_back_and_keeps_what_is_newer(do: Any, alice: Any, trial: Any) -> None:
    before = texts(do, alice)
    do(alice.checkpoint("start"))
    do(alice.remember("Prefers window seats", topic="seat"))
    do(alice.forget(by_text(do, alice, "Lives in Lyon")))
    do(alice.remember("Hates jazz"))
    do(alice.checkpoint("end"))
    do(alice.remember("Speaks Dutch"))
    tried = do(alice.revert("start", "end", dry_run=True))
    done = do(alice.revert("start", "end"))
    assert (done.added, done.removed) == (tried.added, tried.removed)
    assert texts(do, alice) == sorted([*before, "Speaks Dutch"])
    assert do(alice.revert("start", "end")).checkpoint is None
    with pytest.raises(palimp.Invalid, match="after until"):
        do(alice.revert("end", "start"))


def test_bad_input_says_what_fits(do: Any, alice: Any, trial: Any) -> None:
    with pytest.raises(palimp.NotFound, match="there is main, trial"):
        do(alice.merge("nothing"))
    with pytest.raises(palimp.Invalid, match="with itself"):
        do(alice.merge("main"))
    with pytest.raises(palimp.Invalid, match="with itself"):
        do(trial.diff("trial"))
    with pytest.raises(palimp.Invalid, match="1 to 1,000"):
        do(alice.apply(trial, []))
    with pytest.raises(palimp.Invalid):
        do(alice.merge(trial, strategy="rebase"))
    with pytest.raises(palimp.Conflict, match="it moved on"):
        do(alice.merge(trial, expect_txid=1))
    with pytest.raises(palimp.Conflict, match="it moved on"):
        do(alice.merge(trial, expect_source_txid=99))


def test_a_repeat_gets_the_first_answer(do: Any, alice: Any, trial: Any) -> None:
    do(trial.remember("Speaks French"))
    first = do(alice.merge(trial, request_id="merge-1"))
    again = do(alice.merge(trial, request_id="merge-1"))
    assert len(first.added) == 1
    assert (again.added, again.txid) == (first.added, first.txid)


def test_siblings_and_grandchildren_are_merged_too(do: Any, alice: Any, trial: Any) -> None:
    other = do(alice.fork("other"))
    do(trial.remember("Speaks French"))
    do(other.remember("Plays chess"))
    leaf = do(trial.fork("leaf"))
    do(leaf.remember("Owns a boat"))
    assert len(do(other.merge(trial)).added) == 1
    assert len(do(alice.merge(leaf)).added) == 2
    do(alice.remember("Works at night"))
    assert "Works at night" in [do(leaf.get(one)).text for one in do(leaf.merge(alice)).added]


def test_what_was_superseded_there_is_picked_with_what_took_its_place(
    do: Any, alice: Any, trial: Any
) -> None:
    home = by_text(do, alice, "Lives in Lyon")
    mine = do(alice.supersede(home, "Lives in Nice"))
    theirs = do(trial.supersede(home, "Lives in Metz"))
    done = do(alice.pick(trial, [home], on_conflict="theirs"))
    assert theirs.id in done.picked
    assert "Lives in Metz" in texts(do, alice)
    assert "Lives in Nice" not in texts(do, alice)
    assert do(alice.get(mine)).superseded_by == theirs.id


def test_what_was_accepted_shows_as_superseded_there_and_no_more(
    do: Any, alice: Any, trial: Any
) -> None:
    home = by_text(do, alice, "Lives in Lyon")
    new = do(trial.supersede(home, "Lives in Metz"))
    do(alice.merge(trial, strategy="append"))
    (updated,) = do(trial.diff(alice)).updated
    assert (updated.old.id, updated.new.id) == (home.id, new.id)
