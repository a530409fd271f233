"""The channel `relation`: what it finds, what that is worth, and that it changes nothing else."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

import palimp
from palimp.errors import Invalid

FILLER = [f"A note about the number {n} and nothing else" for n in range(90)]


@pytest.fixture
def ids(timed: palimp.Client) -> dict[str, str]:
    """Without an embedder, so that words alone find a memory."""
    alice = timed.profile("alice")
    texts = ("The deploy failed on Friday", "A disk was full", "Anna was on call", *FILLER)
    done = alice.ingest([{"text": text} for text in texts])
    return dict(zip(texts, (one.id for one in done.results), strict=True))


@pytest.fixture
def alice(timed: palimp.Client, ids: dict[str, str]) -> palimp.Profile:
    return timed.profile("alice")


def relate(alice: palimp.Profile, ids: dict[str, str], **fields: Any) -> None:
    alice.relations.add(ids["A disk was full"], ids["The deploy failed on Friday"], **fields)


def shown(found: palimp.Recall) -> list[tuple[str, tuple[str, ...]]]:
    return [(hit.text, hit.channels) for hit in found]


def worth(hit: palimp.Hit) -> float:
    assert hit.explain is not None
    (found,) = [one for one in hit.explain.features if one.name == "relation"]
    assert found.weight == 0.15
    return found.value


def test_without_relations_that_matter_nothing_is_changed(
    alice: palimp.Profile, ids: dict[str, str]
) -> None:
    before = alice.recall("deploy", explain=True).memories
    alice.relations.add(ids[FILLER[0]], ids[FILLER[1]])
    alice.relations.link(ids[FILLER[2]], "Rome")
    assert alice.recall("deploy", explain=True).memories == before


def test_a_neighbour_is_found_by_its_edge_in_either_direction(
    alice: palimp.Profile, ids: dict[str, str]
) -> None:
    assert shown(alice.recall("deploy")) == [("The deploy failed on Friday", ("keyword",))]
    relate(alice, ids, type="causal")
    assert shown(alice.recall("deploy")) == [
        ("The deploy failed on Friday", ("keyword",)),
        ("A disk was full", ("relation",)),
    ]
    assert shown(alice.recall("disk")) == [
        ("A disk was full", ("keyword",)),
        ("The deploy failed on Friday", ("relation",)),
    ]


def test_a_causal_edge_is_worth_twice_an_association(
    alice: palimp.Profile, ids: dict[str, str]
) -> None:
    found = []
    for kind, weight in (("causal", 0.8), ("association", 0.8), ("whatever", 0.4)):
        relate(alice, ids, type=kind, weight=weight)
        found.append(worth(alice.recall("deploy", explain=True)[1]))
        alice.relations.remove(ids["A disk was full"], ids["The deploy failed on Friday"])
    assert found[0] == pytest.approx(2 * found[1]) == pytest.approx(4 * found[2])
    assert 0.0 < found[0] <= 1.0


def test_scores_and_shares_stay_what_they_say(alice: palimp.Profile, ids: dict[str, str]) -> None:
    for text in FILLER[:40]:
        alice.relations.add(ids["The deploy failed on Friday"], ids[text], type="causal")
    for hit in alice.recall("deploy", k=50, explain=True):
        assert 0.0 <= hit.score <= 1.0
        assert hit.explain is not None
        assert sum(one.share for one in hit.explain.features) == pytest.approx(hit.score)


def test_what_both_name_relates_them(alice: palimp.Profile, ids: dict[str, str]) -> None:
    for text in ("The deploy failed on Friday", "Anna was on call"):
        alice.relations.link(ids[text], "release 7")
    assert shown(alice.recall("deploy"))[1:] == [("Anna was on call", ("relation",))]
    few = worth(alice.recall("deploy", explain=True)[1])
    # The more name it, the less it says.
    for text in FILLER[:20]:
        alice.relations.link(ids[text], "Release 7")
    many = alice.recall("deploy", k=50, explain=True)
    assert len(many) == 22
    assert all(worth(hit) < few / 2 for hit in many[1:])


def test_what_a_question_names_is_found_without_its_words(
    alice: palimp.Profile, ids: dict[str, str]
) -> None:
    alice.relations.link(ids["Anna was on call"], "Project Zebra", "Ünïcode", "@kim", "C++")
    for query in (
        "what of project  zebra's status?",
        "(Project Zebra)",
        "ÜNÏCODE?",
        "did @kim...",
        "is Kim’s here",
        "the C++!",
    ):
        assert shown(alice.recall(query, k=1)) == [("Anna was on call", ("relation",))], query
    assert shown(alice.recall("zebra project")) == []
    asked = alice.recall("Project Zebra", channels=["relation"])
    assert shown(asked) == [("Anna was on call", ("relation",))]
    assert shown(alice.recall("Project Zebra", channels=["keyword"])) == []


def test_filters_decide_who_is_seen(alice: palimp.Profile, ids: dict[str, str]) -> None:
    relate(alice, ids)
    (event,) = alice.ingest([{"text": "Somebody laughed", "type": "event"}]).results
    alice.relations.add(event.id, ids["The deploy failed on Friday"])
    found = alice.recall("deploy", type="event")
    assert shown(found) == []
    assert len(alice.recall("deploy")) == 3
    alice.lifecycle.archive(event.id)
    newer = alice.supersede(ids["A disk was full"], "Two disks were full")
    # An edge of what was superseded stays with it.
    assert len(alice.recall("deploy")) == 1
    alice.relations.add(newer.id, ids["The deploy failed on Friday"])
    assert shown(alice.recall("deploy"))[1][0] == "Two disks were full"


def test_weights_of_a_callers_own_say_whether_relations_count(
    alice: palimp.Profile, ids: dict[str, str]
) -> None:
    relate(alice, ids)
    assert len(alice.recall("deploy", weights={"keyword": 1})) == 1
    assert len(alice.recall("deploy", weights="memorysync")) == 1
    found = alice.recall("deploy", weights={"keyword": 1, "relation": 1}, explain=True)
    assert [hit.text for hit in found] == ["The deploy failed on Friday", "A disk was full"]
    assert found[1].score == pytest.approx(0.5)
    with pytest.raises(Invalid, match="no factor 'relations'"):
        alice.recall("deploy", weights={"relations": 1})


def test_hubs_are_bounded(alice: palimp.Profile, ids: dict[str, str]) -> None:
    texts = [f"row {n} of a long table" for n in range(300)]
    done = alice.ingest([{"text": text, "entities": ["Everything"]} for text in texts])
    hub = ids["The deploy failed on Friday"]
    alice.relations.add_many([{"source": hub, "target": one.id} for one in done.results])
    # Of one memory 64 edges, and of what more than 256 name nothing.
    assert len(alice.recall("deploy", k=1000)) == 65
    assert shown(alice.recall("Everything", k=1000)) == []


# -- several steps ---------------------------------------------------------------------------------


def chain(alice: palimp.Profile, ids: dict[str, str], *texts: str, **fields: Any) -> None:
    for one, other in pairwise(texts):
        alice.relations.add(ids[one], ids[other], **{"type": "causal", **fields})


FAILED, FULL, CALL = "The deploy failed on Friday", "A disk was full", "Anna was on call"


def test_steps_follow_relations_so_far_and_each_counts_less(
    alice: palimp.Profile, ids: dict[str, str]
) -> None:
    chain(alice, ids, FAILED, FULL, CALL, FILLER[0], FILLER[1])
    way = [FAILED, FULL, CALL, FILLER[0]]
    assert [hit.text for hit in alice.recall("deploy")] == way[:2]
    for steps in (1, 2, 3):
        found = alice.recall("deploy", steps=steps, explain=True)
        assert [hit.text for hit in found] == way[: steps + 1]
        worths = [worth(hit) for hit in found[1:]]
        assert all(later <= one / 2 for one, later in pairwise(worths))
        assert all(one > 0.0 for one in worths)


def test_one_step_said_is_one_step_not_said(alice: palimp.Profile, ids: dict[str, str]) -> None:
    chain(alice, ids, FAILED, FULL, CALL)
    alice.relations.link(ids[FULL], "Rome")
    alice.relations.link(ids[FILLER[3]], "Rome")
    for query in ("deploy", "disk", "rome", "a note"):
        plain = alice.recall(query, k=50, explain=True)
        assert alice.recall(query, k=50, explain=True, steps=1) == plain


def test_a_circle_ends_and_lifts_nothing_by_itself(
    alice: palimp.Profile, ids: dict[str, str]
) -> None:
    chain(alice, ids, FAILED, FULL, CALL, FAILED)
    once, thrice = (alice.recall("deploy", steps=n, explain=True) for n in (1, 3))
    assert once[0].text == thrice[0].text == FAILED
    assert {hit.text: worth(hit) for hit in once} == {hit.text: worth(hit) for hit in thrice}


def test_a_name_is_gone_through_once(alice: palimp.Profile, ids: dict[str, str]) -> None:
    for text in (FAILED, FULL, CALL):
        alice.relations.link(ids[text], "release 7")
    alice.relations.link(ids[CALL], "Anna")
    alice.relations.link(ids[FILLER[0]], "Anna")
    once = {hit.text: worth(hit) for hit in alice.recall("deploy", explain=True)}
    twice = {hit.text: worth(hit) for hit in alice.recall("deploy", steps=2, explain=True)}
    assert {text: value for text, value in twice.items() if text != FILLER[0]} == once
    assert 0.0 < twice[FILLER[0]] < once[CALL] / 2


def test_what_may_not_be_seen_leads_nowhere(timed: palimp.Client) -> None:
    alice = timed.profile("alice")
    done = alice.ingest(
        [
            {"text": "The deploy failed", "project": "A"},
            {"text": "Hidden between", "project": "B"},
            {"text": "Anna was on call", "project": "A"},
        ]
    )
    one, hidden, last = (result.id for result in done.results)
    alice.relations.add(one, hidden)
    alice.relations.add(hidden, last)
    assert [hit.id for hit in alice.recall("deploy", steps=3)] == [one, hidden, last]
    assert [hit.id for hit in alice.recall("deploy", steps=3, project="A")] == [one]
    alice.lifecycle.archive(hidden)
    assert [hit.id for hit in alice.recall("deploy", steps=3)] == [one]


def test_many_ways_are_bounded(timed: palimp.Client) -> None:
    alice = timed.profile("alice")
    done = alice.ingest([{"text": "The deploy failed"}, *({"text": f"n {n}"} for n in range(600))])
    ids = [result.id for result in done.results]
    edges = [{"source": ids[0], "target": one} for one in ids[1:301]]
    edges += [{"source": ids[1 + n % 300], "target": ids[301 + n % 300]} for n in range(600)]
    alice.relations.add_many(edges)
    found = alice.recall("deploy", steps=3, k=1_000)
    assert 64 < len(found) <= 1 + 256 + 32


def test_steps_said_ask_of_relations_whatever_counts(
    alice: palimp.Profile, ids: dict[str, str]
) -> None:
    chain(alice, ids, FAILED, FULL, CALL)
    for weights in ("memorysync", {"importance": 1}):
        assert [hit.text for hit in alice.recall("deploy", weights=weights)] == [FAILED]
        found = alice.recall("deploy", weights=weights, steps=2)
        assert {hit.text for hit in found} == {FAILED, FULL, CALL}


@pytest.mark.parametrize("steps", [0, 4, -1])
def test_steps_are_one_to_three(alice: palimp.Profile, steps: int) -> None:
    with pytest.raises(Invalid, match=rf"steps.*{steps}"):
        alice.recall("deploy", steps=steps)
