"""Extraction, proposals, reviews and lineage over every transport; the model has a script."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palimp.errors import Conflict, Denied, Invalid, NotFound, Unavailable, Unconfigured

from ..model_server import ModelServer

SAID = [{"role": "user", "speaker": "Alice", "content": "I moved to Munich last week."}]
HOME = "person:alice/home"


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def extracting(do: Any, tmp_path: Path, server: ModelServer) -> Iterator[Any]:
    client = do.open(
        tmp_path / "extracting", extract_provider="openai", extract_base_url=server.url
    )
    yield client
    do(client.close())


@pytest.fixture
def bob(extracting: Any) -> Any:
    return extracting.profile("bob")


def item(text: str, **fields: Any) -> dict[str, Any]:
    plain = {"category": "identity", "type": "fact", "text": text, "confidence": 0.9, "turn": 1}
    return {**plain, **fields}


def munich(**fields: Any) -> dict[str, Any]:
    plain = {"key": HOME, "single_valued": True, "quote": "moved to Munich", **fields}
    return {"memories": [item("Alice lives in Munich", **plain)]}


def present(do: Any, profile: Any) -> list[str]:
    return sorted(memory.text for memory in do.all(profile.list()))


def test_turns_become_memories_with_their_lineage(do: Any, bob: Any, server: ModelServer) -> None:
    old = do(bob.remember("Alice lives in Berlin", topic=HOME))
    server.say({"memories": [*munich()["memories"], item("ok")]})
    done = do(bob.extract(SAID, session="s1", source="chat", project="p", wait="embedded"))
    created, filler = done
    assert (created.decision, filler.decision) == ("created", "discarded_low_signal")
    assert (created.extracted_key, created.turn, created.span) == (HOME, 1, (2, 17))
    assert old.id in created.reason
    assert (done.model, done.tokens, done.notes, done.review) == (
        "openai:gpt-4o-mini",
        50,
        (),
        None,
    )
    memory = do(bob.get(created.memory))
    assert (memory.text, memory.topic, memory.project) == ("Alice lives in Munich", HOME, "p")
    assert (memory.source, memory.session, memory.speaker) == ("chat", "s1", "Alice")
    assert (memory.derived_from, memory.source_span) == (("session:s1", "source:chat"), (2, 17))
    assert do(bob.get(old)).superseded_by == memory.id
    assert [one.id for one in do.all(bob.proposals())] == [filler.id, created.id]
    assert do(bob.proposal(created)) == do.all(bob.proposals(decision="created"))[0]
    assert do(bob.embed_status()).pending_memories == 0


def test_the_same_turns_again_duplicate_nothing(do: Any, bob: Any, server: ModelServer) -> None:
    server.say(munich(), munich())
    first = do(bob.extract(SAID))
    again = do(bob.extract(SAID))
    assert (first[0].decision, again[0].decision) == ("created", "discarded_redundant")
    assert again[0].other == first[0].memory
    assert present(do, bob) == ["Alice lives in Munich"]
    assert [one.decision for one in do.all(bob.proposals())] == ["created"]


def test_a_repeat_is_answered_without_a_model(do: Any, bob: Any, server: ModelServer) -> None:
    server.say(munich())
    first = do(bob.extract(SAID, request_id="r1"))
    again = do(bob.extract(SAID, request_id="r1"))
    assert (again.proposals, again.txid) == (first.proposals, first.txid)
    assert len(server.seen) == 1
    with pytest.raises(Conflict, match="r1"):
        do(bob.extract([*SAID, *SAID], request_id="r1"))


def test_stored_turns_are_named_by_number(do: Any, bob: Any, server: ModelServer) -> None:
    session = bob.session("s1")
    for words in ("Good morning!", "I moved to Munich", "I like tea"):
        do(session.append("user", words))
    server.say({"memories": [item("The user lives in Munich", turn=2)]})
    (created,) = do(bob.extract(session="s1", from_seq=2, to_seq=2))
    assert do(bob.get(created.memory)).derived_from == ("turn:s1/2",)
    asked = server.seen[0].json["messages"][-1]["content"]
    assert "Munich" in asked
    assert "tea" not in asked
    assert "morning" not in asked


def test_rules_need_no_model_and_nothing_leaves(do: Any, bob: Any, server: ModelServer) -> None:
    done = do(bob.extract([{"role": "user", "content": "I prefer window seats."}], method="rules"))
    (one,) = done
    assert (one.decision, one.category, done.model) == ("created", "preference", None)
    assert server.seen == []


def test_a_dry_run_writes_nothing(do: Any, bob: Any, server: ModelServer) -> None:
    server.say(munich(), munich())
    done = do(bob.extract(SAID, dry_run=True))
    assert (done[0].decision, done.txid) == ("created", 0)
    assert do.all(bob.proposals()) == []
    assert present(do, bob) == []
    txid = do(bob.remember("Alice lives in Berlin", topic=HOME, wait="embedded")).txid
    txid = do(bob.recall("x")).txid
    done = do(bob.extract(SAID, dry_run=True))
    assert (done[0].decision, done.txid) == ("created", txid)
    assert do(bob.recall("x")).txid == txid
    assert present(do, bob) == ["Alice lives in Berlin"]


def test_without_a_model_it_says_what_to_do(do: Any, alice: Any) -> None:
    with pytest.raises(Unconfigured, match=r"PALIMP_EXTRACT_API_KEY.*method='rules'.*ingest"):
        do(alice.extract(SAID))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "turns, or the session"),
    "no turns": ({"turns": []}, "no turns"),
    "a range of given turns": ({"turns": SAID, "session": "s", "from_seq": 1}, "from_seq"),
    "a range before the first": ({"session": "s", "from_seq": 0}, "from_seq"),
    "a session nobody has": ({"session": "nobody"}, "nobody"),
    "an unsure number": ({"turns": SAID, "min_confidence": 2}, "min_confidence"),
    "both": ({"turns": SAID, "dry_run": True, "review": True}, "dry run"),
    "a method of nobody": ({"turns": SAID, "method": "magic"}, "method"),
    "a bad turn": ({"turns": [*SAID, {"role": "", "content": ""}]}, r"turns\[1\]"),
    "a long session": ({"turns": SAID, "session": "s" * 481}, "480"),
    "too many": ({"turns": SAID * 1_001}, "1,000"),
    "too much": ({"turns": [{"role": "user", "content": "x" * 262_145}]}, "262,144"),
    "unknown": ({"turns": SAID, "branch": "x"}, "branch"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_asked(do: Any, bob: Any, server: ModelServer, case: str) -> None:
    fields, words = WRONG[case]
    with pytest.raises((Invalid, NotFound), match=words):
        do(bob.extract(**fields))
    assert server.seen == []


def test_turns_without_words_ask_nobody(do: Any, bob: Any, server: ModelServer) -> None:
    done = do(bob.extract([{"role": "user", "content": " "}, {"role": "user", "content": {}}]))
    assert (tuple(done), done.txid, server.seen) == ((), 0, [])


def test_the_past_is_not_written(do: Any, bob: Any, server: ModelServer) -> None:
    do(bob.remember("x"))
    at = do(bob.checkpoint("then"))
    past = bob.at(at)
    with pytest.raises(Invalid, match="fork a branch"):
        do(bob.client.call("extract", past.target, _request()))
    assert do.all(past.proposals()) == []


def _request() -> Any:
    from palimp.api import Extract, TurnInput

    return Extract(turns=(TurnInput(role="user", content="x"),))


def test_a_policy_denies_before_a_byte_leaves(do: Any, bob: Any, server: ModelServer) -> None:
    do(bob.client.set_policy("default", {"ai_egress": {"extract": "deny"}}))
    with pytest.raises(Denied, match=r"ai_egress.extract = deny for namespace 'default'"):
        do(bob.extract(SAID))
    assert server.seen == []
    assert do.all(bob.proposals()) == []
    do(bob.extract([{"role": "user", "content": "I prefer window seats."}], method="rules"))


def test_an_answer_of_no_use_is_kept_and_named(do: Any, bob: Any, server: ModelServer) -> None:
    server.say("first", "second", "third")
    with pytest.raises(Unavailable) as error:
        do(bob.extract(SAID, session="s1"))
    (failed,) = do.all(bob.proposals(kind="failed"))
    assert failed.id in str(error.value)
    assert (failed.text, failed.decision) == ("first\n\nsecond\n\nthird", "pending")
    assert len(server.seen) == 3
    with pytest.raises(Invalid, match="nothing to accept"):
        do(bob.accept(failed))
    assert do(bob.dismiss(failed)).proposal.decision == "dismissed"


def pending(do: Any, bob: Any, server: ModelServer) -> tuple[Any, str]:
    """Return a proposal that waits because it contradicts a memory of another key."""
    old = do(bob.remember("Alice loves Berlin"))
    server.say({"memories": [item("Alice dislikes Berlin", replaces=[old.id])]})
    (one,) = do(bob.extract([{"role": "user", "content": "I dislike Berlin"}]))
    assert (one.kind, one.decision, one.other) == ("contradiction", "pending", old.id)
    assert [side.text for side in one.sides] == ["Alice loves Berlin"]
    assert present(do, bob) == ["Alice loves Berlin"]
    return one, old.id


def test_a_contradiction_waits_and_is_accepted(do: Any, bob: Any, server: ModelServer) -> None:
    one, old = pending(do, bob, server)
    with pytest.raises(Invalid, match=old):
        do(bob.accept(one, keep="mem_x"))
    done = do(bob.accept(one))
    assert (done.changed, done.superseded, done.proposal.decision) == (True, (old,), "accepted")
    assert present(do, bob) == ["Alice dislikes Berlin"]
    assert do(bob.get(old)).superseded_by == done.proposal.memory
    again = do(bob.accept(one))
    assert (again.changed, again.superseded) == (False, ())
    with pytest.raises(Conflict, match="accepted"):
        do(bob.dismiss(one))


def test_or_the_older_side_is_kept(do: Any, bob: Any, server: ModelServer) -> None:
    one, old = pending(do, bob, server)
    assert do(bob.accept(one, keep=old)).proposal.decision == "dismissed"
    assert present(do, bob) == ["Alice loves Berlin"]
    # It does not come back.
    server.say({"memories": [item("Alice dislikes Berlin", replaces=[old])]})
    (again,) = do(bob.extract([{"role": "user", "content": "I dislike Berlin"}]))
    assert (again.id, again.decision) == (one.id, "discarded_redundant")
    assert do(bob.proposal(one)).decision == "dismissed"


def test_a_proposal_goes_with_what_it_is_about(do: Any, bob: Any, server: ModelServer) -> None:
    one, old = pending(do, bob, server)
    do(bob.forget(old))
    for call in (bob.accept, bob.dismiss, bob.proposal):
        with pytest.raises(NotFound, match=one.id):
            do(call(one))


def test_what_was_discarded_can_be_accepted(do: Any, bob: Any, server: ModelServer) -> None:
    server.say({"memories": [item("Alice may like tea", confidence=0.1)]})
    (one,) = do(bob.extract(SAID))
    assert one.decision == "discarded_low_signal"
    assert do(bob.accept(one)).proposal.decision == "created"
    assert present(do, bob) == ["Alice may like tea"]


def test_nothing_is_proposed_in_an_empty_profile(do: Any, bob: Any) -> None:
    assert do.all(bob.proposals()) == []
    for call in (bob.accept, bob.dismiss, bob.proposal):
        with pytest.raises(NotFound, match="prop_x"):
            do(call("prop_x"))


def review(do: Any, bob: Any, server: ModelServer) -> tuple[Any, str]:
    old = do(bob.remember("Alice lives in Berlin", topic=HOME))
    server.say({"memories": [*munich()["memories"], item("Alice likes beer"), item("ok")]})
    return do(bob.extract(SAID, review=True, session="s1")).review, old.id


def test_a_review_is_shown_merged_and_gone(do: Any, bob: Any, server: ModelServer) -> None:
    shown, old = review(do, bob, server)
    assert [memory.text for memory in shown.added] == ["Alice lives in Munich", "Alice likes beer"]
    ((older, newer),) = [(pair.older.id, pair.newer.text) for pair in shown.superseded]
    assert (older, newer) == (old, "Alice lives in Munich")
    assert (shown.conflicts, len(shown.proposals)) == ((), 3)
    assert present(do, bob) == ["Alice lives in Berlin"]
    assert do(bob.review(shown.review).show()) == shown
    done = do(bob.review(shown.review).merge())
    assert (done.merged, done.superseded, done.conflicts) == (True, (old,), ())
    assert done.added == tuple(memory.id for memory in shown.added)
    assert present(do, bob) == ["Alice likes beer", "Alice lives in Munich"]
    assert {one.decision for one in do.all(bob.proposals())} == {"created", "discarded_low_signal"}
    assert [one.name for one in do(bob.branches())] == ["main"]
    again = do(bob.review(shown.review).merge())
    assert (again.merged, again.added, again.txid) == (False, done.added, done.txid)
    with pytest.raises(NotFound, match=shown.review):
        do(bob.review(shown.review).show())


def test_a_review_is_dropped(do: Any, bob: Any, server: ModelServer) -> None:
    shown, _ = review(do, bob, server)
    do(bob.review(shown.review).drop())
    assert present(do, bob) == ["Alice lives in Berlin"]
    with pytest.raises(NotFound, match="was merged more than a day ago, dropped"):
        do(bob.review(shown.review).merge())
    with pytest.raises(NotFound):
        do(bob.review(shown.review).drop())


def test_what_is_changed_in_a_review_is_merged(do: Any, bob: Any, server: ModelServer) -> None:
    shown, _ = review(do, bob, server)
    place = bob.review(shown.review)
    do(place.branch.forget(shown.added[1]))
    do(place.branch.remember("Alice likes pretzels", keywords="food", metadata={"a": 1}))
    done = do(place.merge())
    assert len(done.added) == 2
    assert present(do, bob) == ["Alice likes pretzels", "Alice lives in Munich"]
    (pretzels,) = [one for one in do.all(bob.list()) if "pretzels" in one.text]
    assert (pretzels.keywords, pretzels.metadata) == ("food", {"a": 1})


def test_a_repeat_finds_the_review_it_made(do: Any, bob: Any, server: ModelServer) -> None:
    server.say(munich())
    first = do(bob.extract(SAID, review=True, request_id="r1"))
    again = do(bob.extract(SAID, review=True, request_id="r1"))
    assert (again.review, again.proposals) == (first.review, first.proposals)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "name", ["main", "review-", "review-nobody", "Review-x", "review-" + "x" * 200]
)
def test_what_is_no_review(do: Any, bob: Any, name: str) -> None:
    do(bob.remember("x"))
    for call in (bob.review(name).show, bob.review(name).merge):
        with pytest.raises((Invalid, NotFound), match="review"):
            do(call())


def test_an_ordinary_branch_is_no_review(do: Any, bob: Any) -> None:
    do(bob.remember("x"))
    do(bob.fork("review-mine"))
    with pytest.raises(NotFound, match="review-mine"):
        do(bob.review("review-mine").merge())
    assert len(do(bob.branches())) == 2


def test_what_was_derived_from_a_source_goes_together(
    do: Any, bob: Any, server: ModelServer
) -> None:
    server.say(munich())
    (created,) = do(bob.extract(SAID, session="s1", source="chat"))
    do(bob.remember("Alice pays rent in Munich", derived_from=[created.memory]))
    do(bob.remember("By hand", source="chat", session="s1"))
    planned = do(bob.forget_derived(source="chat", dry_run=True))
    assert (len(planned), planned.remaining) == (2, 0)
    assert len(present(do, bob)) == 3
    done = do(bob.forget_derived(session="s1"))
    assert sorted(done) == sorted(planned)
    assert present(do, bob) == ["By hand"]
    assert do.all(bob.proposals()) == []
    assert tuple(do(bob.forget_derived(session="s1"))) == ()
    with pytest.raises(Invalid, match="one of them"):
        do(bob.forget_derived(session="s1", source="chat"))


def test_forgetting_what_was_derived_makes_no_profile(do: Any, bob: Any) -> None:
    assert do(bob.forget_derived(source="x")).txid == 0
    assert do.all(bob.client.profiles()) == []
