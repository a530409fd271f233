"""What a memory is worth by rules: golden values."""

from __future__ import annotations

import pytest

from palimp.profile.scores import WEIGHTS, Facts, consistency, decay, factors, importance

NOW = 1_700_000_000_000
HOUR, DAY = 3_600_000, 86_400_000
FACT = Facts("fact", None, "Alice drinks oolong tea at 7", NOW, NOW)


def test_the_weights_add_up() -> None:
    assert sum(WEIGHTS.values()) == pytest.approx(1.0)


def test_factors_of_a_new_fact() -> None:
    found = factors(FACT, NOW)
    # 28 of 400 characters; of six words `tea` and `at` are small ones.
    assert found == {
        "recency": 1.0,
        "frequency": 0.0,
        "type": 0.8,
        "source": 0.5,
        "size": 0.07,
        "density": 0.666667,
    }
    # 25 + 0 + 16 + 5 + 0.7 + 10.0
    assert importance(found) == 57


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts("event", "chat", "", NOW - 3650 * DAY, NOW), 14),
        (Facts("instruction", "Upload", "Oolong " * 60, NOW, NOW, NOW, 50), 85),
        (Facts("fact", None, None, NOW, NOW), 46),
    ],
)
def test_importance(facts: Facts, expected: int) -> None:
    assert importance(factors(facts, NOW)) == expected


@pytest.mark.parametrize(
    ("written", "read", "expected"),
    [
        (NOW, None, 1.0),
        (NOW - 30 * DAY, None, 0.5),
        (NOW - 60 * DAY, NOW - 30 * DAY, 0.5),
        (NOW - 60 * DAY, None, 0.25),
        (NOW - HOUR + 1, None, 1.0),
        (NOW + DAY, None, 1.0),
    ],
)
def test_decay_begins_with_the_last_use(written: int, read: int | None, expected: float) -> None:
    assert decay(Facts("fact", None, "x", written, written, read), NOW) == expected


@pytest.mark.parametrize(("count", "expected"), [(0, 1.0), (1, 0.8), (3, 0.4), (9, 0.0)])
def test_consistency(count: int, expected: float) -> None:
    assert consistency(count) == expected
