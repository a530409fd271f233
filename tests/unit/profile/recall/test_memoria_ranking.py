"""The set of weights `memoria`: golden values computed by hand from its published formula."""

from __future__ import annotations

import math
from typing import Any

import pytest

import palimp
from palimp.clock import ManualClock
from palimp.errors import Invalid
from palimp.profile.trust import effective_confidence

DAY = 86_400


def explained(hit: palimp.Hit) -> dict[str, Any]:
    assert hit.explain is not None
    return {feature.name: feature for feature in hit.explain.features}


@pytest.mark.parametrize(
    ("confidence", "trust", "days", "left"),
    [
        (0.95, "T1", 0, 0.95),
        (0.95, "T1", 365, 0.349485),
        (0.85, "T2", 90, 0.515551),
        (0.65, "T3", 60, 0.239122),
        (0.4, "T4", 21, 0.198634),
        (None, "T4", 21, 0.198634),
        (0.8, None, 1_000, 0.8),
        (0.8, "gold", 1_000, 0.8),
        (None, None, 1_000, 0.5),
        (0.9, "T4", -3, 0.9),
    ],
)
def test_what_is_left_of_a_confidence(
    confidence: float | None, trust: str | None, days: float, left: float
) -> None:
    assert effective_confidence(confidence, trust, days) == pytest.approx(left, abs=1e-6)


def test_the_score_to_the_digit(timed: palimp.Client, clock: ManualClock) -> None:
    profile = timed.profile("golden")
    profile.remember("a ferry", embedding=[0.6, 0.8], trust="T3", confidence=0.65)
    clock.advance(3 * DAY)
    profile.remember("a ferry and a boat", embedding=[1.0, 0.0], trust="T1", confidence=0.95)
    profile.remember("no vector, a ferry", trust="T2", confidence=0.85)
    profile.remember("far off", embedding=[-1.0, 0.0], trust="T4", confidence=0.4)
    asked: dict[str, Any] = {"embedding": [1.0, 0.0], "explain": True}
    usual = profile.recall("ferry", **asked)
    words = {hit.text: explained(hit)["keyword"].raw for hit in usual}
    assert words["far off"] == 0.0
    found = profile.recall("ferry", weights="memoria", **asked)
    near = {"a ferry": 0.527864, "a ferry and a boat": 1.0, "no vector, a ferry": 0.0,
            "far off": 1 / 3}  # fmt: skip
    # exp(-72 / 168) after three days, and 0.65 * exp(-3 / 60).
    new = {"a ferry": 0.651439}
    sure = {"a ferry": 0.618299, "a ferry and a boat": 0.95, "no vector, a ferry": 0.85,
            "far off": 0.4}  # fmt: skip
    for hit in found:
        k = words[hit.text] / (words[hit.text] + 1)
        parts = {
            "semantic": near[hit.text],
            "keyword": k,
            "recency": new.get(hit.text, 1.0),
            "confidence": sure[hit.text],
        }
        score = sum(
            parts[name] * weight
            for name, weight in
            {"semantic": 0.3, "keyword": 0.2, "recency": 0.2, "confidence": 0.3}.items()
        )  # fmt: skip
        assert hit.score == pytest.approx(score, abs=1e-6)
        values = {name: feature.value for name, feature in explained(hit).items()}
        assert values == pytest.approx(parts, abs=1e-6)
    assert len(found) == 4
    assert found[0].text == "a ferry and a boat"


@pytest.mark.parametrize(
    ("signals", "multiplier"),
    [
        ({"useful": 3}, 1.3),
        ({"wrong": 2}, 0.9),
        ({"useful": 2, "wrong": 3}, 1.05),
        ({"irrelevant": 1, "outdated": 1, "useful": 1}, 1.0),
        ({"useful": 11}, 2.0),
        ({"wrong": 11}, 0.5),
    ],
)
def test_what_callers_said_multiplies_the_score(
    timed: palimp.Client, signals: dict[Any, int], multiplier: float
) -> None:
    profile = timed.profile("alice")
    written = profile.remember("a ferry", trust="T1")
    before = profile.recall("ferry", weights="memoria")[0].score
    for signal, times in signals.items():
        for _ in range(times):
            profile.feedback(written, signal)
    (hit,) = profile.recall("ferry", weights="memoria", explain=True)
    assert hit.score / before == pytest.approx(multiplier)
    change = explained(hit)["feedback multiplier"]
    assert (change.raw, change.weight) == (pytest.approx(multiplier), 0.0)
    assert sum(one.share for one in explained(hit).values()) == pytest.approx(hit.score)


def test_a_request_says_how_much_feedback_counts(timed: palimp.Client) -> None:
    profile = timed.profile("alice")
    profile.feedback(profile.remember("a ferry", trust="T1"), "useful")
    scores = [
        profile.recall("ferry", weights="memoria", feedback_weight=weight)[0].score
        for weight in (0.0, 0.1, 0.2)
    ]
    assert [one / scores[0] for one in scores] == pytest.approx([1.0, 1.1, 1.2])
    assert profile.recall("ferry", weights="memoria")[0].score == scores[1]
    with pytest.raises(Invalid, match="feedback_weight is for the weights memoria"):
        profile.recall("ferry", feedback_weight=0.2)
    with pytest.raises(Invalid, match=r"feedback_weight is 1\.5"):
        profile.recall("ferry", weights="memoria", feedback_weight=1.5)


def test_what_is_hardly_believed_is_left_out(timed: palimp.Client, clock: ManualClock) -> None:
    profile = timed.profile("alice")
    profile.remember("a ferry", trust="T4", confidence=0.4)
    clock.advance(62 * DAY)
    assert 0.4 * math.exp(-62 / 30) > 0.05 > 0.4 * math.exp(-63 / 30)
    assert len(profile.recall("ferry", weights="memoria")) == 1
    clock.advance(DAY)
    found = profile.recall("ferry", weights="memoria", explain=True)
    assert list(found) == []
    assert [(one.what, one.count) for one in found.dropped][-1] == ("candidates", 1)
    assert len(profile.recall("ferry")) == 1


def test_it_goes_by_when_something_was_true(timed: palimp.Client, clock: ManualClock) -> None:
    profile = timed.profile("alice")
    profile.remember("a ferry", trust="T1", observed_at=clock.now_ms() - 168 * 3_600_000)
    (hit,) = profile.recall("ferry", weights="memoria", explain=True)
    assert explained(hit)["recency"].value == pytest.approx(math.exp(-1))


def test_confidence_can_be_weighed_beside_others(timed: palimp.Client) -> None:
    profile = timed.profile("alice")
    for text, confidence in (("one ferry", 0.2), ("two ferry", 0.9), ("ferry three", 0.5)):
        profile.remember(text, confidence=confidence)
    found = profile.recall("ferry", weights={"confidence": 1}, explain=True)
    assert [hit.text for hit in found] == ["two ferry", "ferry three", "one ferry"]
    assert [round(hit.score, 6) for hit in found] == [1.0, round(3 / 7, 6), 0.0]


def test_a_policy_may_name_it_and_nothing_found_is_nothing(timed: palimp.Client) -> None:
    timed.set_policy("default", {"ranking": {"weights": "memoria"}})
    profile = timed.profile("alice")
    profile.remember("a ferry", trust="T1")
    assert list(profile.recall("unheard")) == []
    (hit,) = profile.recall("ferry", feedback_weight=0.2, explain=True)
    assert {"semantic", "keyword", "recency", "confidence"} == set(explained(hit))
