"""What counts how much: golden values of each factor, sets of weights, feedback, and tiers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import palimp
from palimp.api import Policy, SetProfilePolicy, to_request
from palimp.client.transports.embedded import Embedded
from palimp.clock import ManualClock
from palimp.errors import Invalid
from palimp.governance.document import effective, loosened, strictest
from palimp.node import Node, load_settings
from palimp.profile.ranking import FACTORS, SETS, TIER_MULTIPLIERS, ranking_of
from palimp.profile.recall.candidates import Candidate
from palimp.profile.recall.factors import (
    HALF_LIFE_HOURS,
    cluster,
    min_max,
    recency,
    tiered,
    usage,
)
from palimp.profile.recall.features import Signals
from palimp.profile.recall.words import recency_intent

HOUR_MS = 3_600_000


def texts(found: palimp.Recall) -> list[str]:
    return [hit.text for hit in found]


def explained(hit: palimp.Hit) -> dict[str, Any]:
    assert hit.explain is not None
    return {feature.name: feature for feature in hit.explain.features}


# -- the published ranker (spec/memorysync.md 3.2 and 5.3) -------------------------------------------


def test_recency_is_halved_with_each_half_life() -> None:
    ages = np.array([0.0, 72.0, 144.0, -5.0, 24.0]) * HOUR_MS
    assert recency(ages, HALF_LIFE_HOURS["medium"]).round(9).tolist() == [
        1.0,
        0.5,
        0.25,
        1.0,
        round(0.5 ** (1 / 3), 9),
    ]
    assert recency(np.array([24.0 * HOUR_MS]), HALF_LIFE_HOURS["high"])[0] == pytest.approx(0.5)
    assert recency(np.array([168.0 * HOUR_MS]), HALF_LIFE_HOURS["low"])[0] == pytest.approx(0.5)


def test_usage_is_the_logarithm_of_reads_up_to_one() -> None:
    values = usage(np.array([0.0, 1.0, 147.0, 148.0, 10_000.0]))
    assert values[0] == 0.0
    assert values[1] == pytest.approx(math.log(2) / 5)
    assert values[2] == pytest.approx(0.9994, abs=5e-5)
    assert values[3:].tolist() == [1.0, 1.0]


def test_a_factor_is_spread_and_one_that_is_the_same_for_all_counts_half() -> None:
    assert min_max(np.array([0.4, 0.9, 0.65])).round(9).tolist() == [0.0, 1.0, 0.5]
    assert min_max(np.array([0.7, 0.7 + 1e-10])).tolist() == [0.5, 0.5]
    assert min_max(np.array([0.7])).tolist() == [0.5]
    assert min_max(np.array([])).tolist() == []


def test_a_cluster_is_as_near_as_its_centroid() -> None:
    vectors = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    values = cluster(np.array([1.0, 0.0]), vectors, ["a", "a", "b", "c", "c"])
    half = (math.sqrt(0.5) + 1) / 2
    # c's members are opposites: their centroid is nowhere.
    assert values.round(9).tolist() == [round(half, 9), round(half, 9), 0.0, 0.5, 0.5]


@pytest.mark.parametrize(
    ("query", "intent"),
    [
        ("what is she working on now?", "high"),
        ("the LATEST plan", "high"),
        ("which seat does she like?", "medium"),
        ("has she ever been to Pico?", "low"),
        ("where did she originally come from", "low"),
        ("what has she always wanted, and now?", "medium"),
        ("snow", "medium"),
    ],
)
def test_what_a_question_is_after(query: str, intent: str) -> None:
    assert recency_intent(query) == intent


@pytest.fixture
def golden(timed: palimp.Client, clock: ManualClock) -> palimp.Profile:
    """Three memories of which every raw factor is known."""
    profile = timed.profile("golden")
    profile.remember("old", embedding=[1.0, 0.0], importance=0.9, kind="k")
    clock.advance(72 * 3600)
    profile.remember("new", embedding=[0.6, 0.8], importance=0.1, kind="k")
    profile.remember("third", embedding=[0.8, 0.6], importance=0.5)
    return profile


def test_the_published_set_to_the_digit(golden: palimp.Profile) -> None:
    found = golden.recall(embedding=[1.0, 0.0], weights="memorysync", explain=True)
    centroid = np.array([0.8, 0.4]) / np.linalg.norm([0.8, 0.4])
    near = (centroid[0] + 1) / 2
    lone = 0.9
    spread = lone - near if lone > near else near - lone
    assert spread > 0
    of_k, of_third = (1.0, 0.0) if near > lone else (0.0, 1.0)
    # semantic 1.0/0.6/0.8, recency 0.5/1/1, importance 0.9/0.1/0.5, nobody was read.
    expected = {
        "old": 0.4 * 1.0 + 0.2 * of_k + 0.15 * 0.0 + 0.15 * 1.0 + 0.1 * 0.5,
        "new": 0.4 * 0.0 + 0.2 * of_k + 0.15 * 1.0 + 0.15 * 0.0 + 0.1 * 0.5,
        "third": 0.4 * 0.5 + 0.2 * of_third + 0.15 * 1.0 + 0.15 * 0.5 + 0.1 * 0.5,
    }
    assert {hit.text: round(hit.score, 6) for hit in found} == {
        name: round(score, 6) for name, score in expected.items()
    }
    assert texts(found) == sorted(expected, key=expected.__getitem__, reverse=True)
    old = explained(next(hit for hit in found if hit.text == "old"))
    assert old["recency"].raw == pytest.approx(0.5)
    assert old["semantic"].raw == pytest.approx(1.0, abs=1e-6)
    assert old["cluster"].raw == pytest.approx(near, abs=1e-6)
    assert {name: round(old[name].weight, 9) for name in old} == SETS["memorysync"].weights


def test_shares_add_up_to_the_score_whatever_was_done_to_it(golden: palimp.Profile) -> None:
    for weights in ("default", "memorysync", {"semantic": 3, "recency": 1}):
        for hit in golden.recall(embedding=[1.0, 0.2], weights=weights, explain=True):
            total = sum(feature.share for feature in explained(hit).values())
            assert total == pytest.approx(hit.score)


def test_weights_of_a_request_are_divided_by_their_sum(golden: palimp.Profile) -> None:
    one = golden.recall(embedding=[1.0, 0.0], weights={"semantic": 1, "recency": 3}, explain=True)
    other = golden.recall(embedding=[1.0, 0.0], weights={"semantic": 2, "recency": 6})
    assert [hit.score for hit in one] == [hit.score for hit in other]
    assert {name: feature.weight for name, feature in explained(one[0]).items()} == {
        "semantic": 0.25,
        "recency": 0.75,
    }
    assert texts(one) == ["third", "new", "old"]


def test_a_session_that_is_asked_for_adds_a_little_and_says_so(timed: palimp.Client) -> None:
    profile = timed.profile("alice")
    profile.remember("a ferry", session="june")
    found = profile.recall("ferry", session="june", weights="memorysync", explain=True)
    boost = explained(found[0])["boost"]
    assert (boost.raw, boost.weight) == (0.05, 0.0)
    assert found[0].score == pytest.approx(0.55)


def test_equal_scores_always_come_in_one_order(timed: palimp.Client, clock: ManualClock) -> None:
    profile = timed.profile("alice")
    for number in range(4):
        profile.remember(f"ferry {number}")
    clock.advance(1)
    profile.remember("ferry 9")
    weights = {"importance": 1.0}
    # The newest first; of the same time the first written first.
    expected = ["ferry 9", "ferry 0", "ferry 1", "ferry 2", "ferry 3"]
    for _ in range(3):
        assert texts(profile.recall("ferry", weights=weights)) == expected


@pytest.mark.parametrize("weights", [{"importance": 1}, {"recency": 1, "usage": 2}, "memorysync"])
def test_the_same_importance_on_all_adds_nothing_to_the_order(
    timed: palimp.Client, weights: Any
) -> None:
    for name, importance in (("ones", 1.0), ("halves", 0.5)):
        timed.profile(name).ingest(
            [{"text": f"ferry to island {number}", "importance": importance} for number in range(5)]
        )
    found = [timed.profile(name).recall("ferry", weights=weights) for name in ("ones", "halves")]
    assert texts(found[0]) == texts(found[1])
    assert [hit.score for hit in found[0]] == [hit.score for hit in found[1]]


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("best", "give default or memorysync"),
        ({"semantics": 1}, "no factor 'semantics'; factors are semantic, keyword"),
        ({"semantic": -0.1}, "semantic is -0.1; give a number, 0 to 1000"),
        ({"semantic": math.nan}, "semantic is nan"),
        ({"semantic": math.inf}, "semantic is inf"),
        ({"semantic": 0, "usage": 0}, "are all 0, which ranks nothing"),
        ({}, "are all 0"),
    ],
)
def test_weights_that_cannot_be_meant_are_refused(
    profile: palimp.Profile, weights: Any, said: str
) -> None:
    with pytest.raises(Invalid, match=said):
        profile.recall("x", weights=weights)


def test_every_factor_can_be_weighed_alone(golden: palimp.Profile) -> None:
    for name in FACTORS:
        found = golden.recall("old", embedding=[1.0, 0.0], topic="t", weights={name: 1.0}, k=3)
        assert len(found) == 3
        assert all(0.0 <= hit.score <= 1.0 for hit in found)


def test_where_nothing_is_found_nothing_is_weighed(timed: palimp.Client) -> None:
    profile = timed.profile("alice")
    profile.remember("ferry")
    for weights in ("memorysync", {"usage": 1, "cluster": 1}):
        assert texts(profile.recall("unheard", weights=weights)) == []


def test_the_default_is_what_it_is_without_a_word(golden: palimp.Profile) -> None:
    said = golden.recall("old", embedding=[1.0, 0.0], weights="default", explain=True)
    unsaid = golden.recall("old", embedding=[1.0, 0.0], explain=True)
    assert said == unsaid
    assert not explained(said[0]).keys() & {"importance", "recency", "usage", "feedback", "boost"}


# -- tiers ---------------------------------------------------------------------------------------------

tiers = st.sampled_from([None, "warm", "cold"])


@settings(deadline=None, max_examples=200)
@given(
    rows=st.lists(st.tuples(st.sampled_from("ab"), tiers, st.floats(0, 1)), min_size=1, max_size=8)
)
def test_of_the_same_text_a_colder_one_never_has_more(rows: list[Any]) -> None:
    candidates = [
        Candidate(n, "fact", None, None, text, 0, tier) for n, (text, tier, _) in enumerate(rows)
    ]
    scores = np.array([score for _, _, score in rows])
    after = tiered(Signals(), scores, candidates)
    rank = {None: 0, "warm": 1, "cold": 2}
    for one, left in zip(candidates, after, strict=True):
        assert left <= scores[one.handle] * TIER_MULTIPLIERS[one.tier or "hot"]
        for other, right in zip(candidates, after, strict=True):
            if one.text == other.text and rank[one.tier] < rank[other.tier]:
                assert left >= right


def test_scores_without_tiers_are_left_as_they_are() -> None:
    scores = np.array([0.1, 0.7])
    signals = Signals()
    rows = [Candidate(n, "fact", None, None, "x", 0) for n in range(2)]
    assert tiered(signals, scores, rows) is scores
    assert not signals.changes


def age(client: palimp.Client, clock: ManualClock) -> palimp.Profile:
    """Return a profile with one text cold with importance 1.0, warm with 0.9, hot with 0.4."""
    profile = client.profile("alice")
    set_policy(profile, {"lifecycle": {"warm_days": 30, "cold_days": 180}})
    for days, key, importance in ((200, "cold", 1.0), (40, "warm", 0.9), (0, "hot", 0.4)):
        profile.remember("Takes the ferry to Pico", dedup_key=key, importance=importance, kind=key)
        clock.advance(days * 86_400)
    assert client.maintain().cooled == 2
    return profile


@pytest.fixture
def aged(timed: palimp.Client, clock: ManualClock) -> palimp.Profile:
    return age(timed, clock)


@pytest.fixture(scope="module")
def aged_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[palimp.Profile]:
    clock = ManualClock()
    folder = tmp_path_factory.mktemp("aged")
    found = load_settings({"data_dir": folder / "m", "embed_provider": "none"}, {})
    with palimp.Client(Embedded(Node(found, clock=clock))) as client:
        yield age(client, clock)


def set_policy(profile: palimp.Profile, policy: Any) -> None:
    request = SetProfilePolicy(policy=to_request(Policy, policy, "policy"))
    profile.client.call("policy.set_profile", profile.target, request)


@settings(deadline=None, max_examples=60)
@given(weights=st.dictionaries(st.sampled_from(FACTORS), st.floats(0, 10), min_size=1))
def test_the_tier_comes_first_and_importance_second(
    weights: dict[str, float], aged_once: palimp.Profile
) -> None:
    if not math.fsum(weights.values()):
        weights = {"importance": 1.0}
    for depth in ("low", "medium", "high"):
        found = aged_once.recall("ferry Pico", depth=depth, weights=weights)
        assert [hit.kind for hit in found] == ["hot", "warm", "cold"]


@pytest.mark.parametrize("weights", ["default", "memorysync", {"importance": 1}, {"usage": 1}])
def test_a_tier_is_seen_in_what_is_explained(aged: palimp.Profile, weights: Any) -> None:
    found = aged.recall("ferry", weights=weights, explain=True)
    assert [(hit.kind, hit.memory_tier) for hit in found] == [
        ("hot", None),
        ("warm", "warm"),
        ("cold", "cold"),
    ]
    multipliers = [explained(hit)["tier multiplier"].raw for hit in found]
    assert multipliers == [1.0, 0.85, 0.6]
    for hit in found:
        assert sum(one.share for one in explained(hit).values()) == pytest.approx(hit.score)


def test_a_depth_searches_its_tiers_and_wider_where_that_is_too_little(
    aged: palimp.Profile,
) -> None:
    def asked(depth: Any, k: int) -> tuple[list[Any], bool, list[str]]:
        found = aged.recall("ferry", depth=depth, k=k, explain=True)
        said = [one.what for one in found.dropped if one.what.startswith("depth")]
        return [hit.kind for hit in found], found.widened, said

    assert asked("low", 1) == (["hot"], False, [])
    assert asked("low", 2) == (["hot", "warm"], True, ["depth low"])
    assert asked("low", 3) == (["hot", "warm", "cold"], True, ["depth low", "depth medium"])
    assert asked("medium", 2) == (["hot", "warm"], False, [])
    assert asked("medium", 3)[1:] == (True, ["depth medium"])
    assert asked("high", 8)[1:] == (False, [])
    assert asked(None, 8)[1:] == (False, [])


def test_a_tier_is_searched_alone(aged: palimp.Profile) -> None:
    for tier in ("hot", "warm", "cold"):
        found = aged.recall("ferry", tier=tier)
        assert [hit.kind for hit in found] == [tier]
        assert not found.widened
        assert [memory.kind for memory in aged.list(tier=tier)] == [tier]
    with pytest.raises(Invalid, match="a depth or a tier, not both"):
        aged.recall("ferry", tier="cold", depth="low")
    with pytest.raises(Invalid, match="give low, medium or high"):
        aged.recall("ferry", depth="deep")
    with pytest.raises(Invalid, match="give hot, warm or cold"):
        aged.recall("ferry", tier="tepid")


# -- policies ------------------------------------------------------------------------------------------


def test_the_policy_of_a_profile_says_what_is_weighed(golden: palimp.Profile) -> None:
    by_request = golden.recall(embedding=[1.0, 0.0], weights="memorysync")
    set_policy(golden, {"ranking": {"weights": "memorysync"}})
    assert [hit.score for hit in golden.recall(embedding=[1.0, 0.0])] == [
        hit.score for hit in by_request
    ]
    unasked = golden.recall(embedding=[1.0, 0.0], weights="default")
    assert [hit.score for hit in unasked] != [hit.score for hit in by_request]
    set_policy(golden, {"ranking": {"weights": {"recency": 1}}})
    assert texts(golden.recall(embedding=[1.0, 0.0]))[-1] == "old"
    with pytest.raises(
        Invalid, match=r"ranking\.weights is .*; give default or memorysync or memoria, or"
    ):
        set_policy(golden, {"ranking": {"weights": {"recency": -1}}})


def test_a_profile_may_weigh_otherwise_than_its_namespace() -> None:
    above: dict[str, Any] = {"ranking.weights": "memorysync"}
    own: dict[str, Any] = {"ranking.weights": {"recency": 1.0}}
    assert loosened(own, above) == []
    assert effective(strictest(above, own)).ranking_weights == {"recency": 1.0}
    assert effective(strictest(above, {})).counts_reads
    assert not effective(strictest(above, own)).counts_reads


def test_no_name_and_a_mapping_mean_a_ranking() -> None:
    assert ranking_of(None).weights is None
    assert ranking_of({"usage": 1}).counts_usage
    assert not ranking_of({"usage": 0, "topic": 1}).counts_usage
