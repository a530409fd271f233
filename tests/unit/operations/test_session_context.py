"""The text of a session, byte for byte."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimp.api.events import Event
from palimp.operations.session_context import summed_up

# 2026-02-07T20:15:00.123456Z
AT = 1_770_495_300_123_456
TIME = "2026-02-07T20:15:00.123456Z"
HEAD = "## Session Context (s1)\n\n"


def event(text: str = "did it", **fields: Any) -> Event:
    return Event(**{"agent": "ann", "text": text, "at_us": AT, **fields})


def text(*events: Event, max_tokens: int | None = None) -> str:
    return summed_up("s1", events, max_tokens).text


def test_nothing_is_the_heading_and_an_empty_line() -> None:
    found = summed_up("s1", (), None)
    assert (found.text, found.found, found.shown, found.tokens) == (HEAD, 0, 0, 7)


@pytest.mark.parametrize(
    ("kind", "what", "section", "end"),
    [
        ("episodic", "general", "Recent Actions", "\n"),
        ("episodic", "error", "Recent Actions", "\n"),
        ("decision", "general", "Decisions Made", "\n"),
        ("decision", "error", "Decisions Made", "\n"),
        ("session", "error", "Errors", "\n"),
        ("mine", "error", "Errors", "\n"),
        ("session", "general", "Other", ""),
        ("entity", "error", "Other", ""),
        ("mine", "general", "Other", ""),
    ],
)
def test_each_section_alone(kind: str, what: str, section: str, end: str) -> None:
    wanted = f"{HEAD}### {section} (1)\n- [{TIME}] {what}: did it\n{end}"
    assert text(event(kind=kind, event=what)) == wanted


def test_all_four_in_their_order_and_the_newest_first_in_each() -> None:
    events = [
        event("o1", kind="entity", at_us=AT + 8),
        event("d1", kind="decision", at_us=AT + 7),
        event("a1", at_us=AT + 6),
        event("e1", kind="session", event="error", at_us=AT + 5),
        event("a2", event="tool_call", at_us=1_770_495_300_000_000),
        event("o2", kind="session", at_us=1_770_495_299_500_000),
    ]
    assert text(*events) == (
        "## Session Context (s1)\n"
        "\n"
        "### Recent Actions (2)\n"
        "- [2026-02-07T20:15:00.123462Z] general: a1\n"
        "- [2026-02-07T20:15:00Z] tool_call: a2\n"
        "\n"
        "### Decisions Made (1)\n"
        "- [2026-02-07T20:15:00.123463Z] general: d1\n"
        "\n"
        "### Errors (1)\n"
        "- [2026-02-07T20:15:00.123461Z] error: e1\n"
        "\n"
        "### Other (2)\n"
        "- [2026-02-07T20:15:00.123464Z] general: o1\n"
        "- [2026-02-07T20:14:59.5Z] general: o2\n"
    )


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 80 + "..."),
        ("\u00e9" * 40, "\u00e9" * 40),
        ("\u00e9" * 41, "\u00e9" * 40 + "..."),
        ("x" + "\u00e9" * 40, "x" + "\u00e9" * 39 + "..."),
        ("xx" + "\U0001f600" * 20, "xx" + "\U0001f600" * 19 + "..."),
        ("a\nb\n\n### Errors (9)", "a\nb\n\n### Errors (9)"),
    ],
    ids=ascii,
)
def test_a_hint_has_80_bytes_and_whole_characters(content: str, hint: str) -> None:
    assert text(event(content)) == f"{HEAD}### Recent Actions (1)\n- [{TIME}] general: {hint}\n\n"


def test_more_than_a_hundred() -> None:
    found = summed_up("s1", [event(f"e{n}") for n in range(250)], None)
    assert (found.found, found.shown) == (250, 250)
    assert "### Recent Actions (250)\n" in found.text
    assert found.text.count("\n- [") == 250


def test_a_budget_leaves_out_the_oldest_and_counts_what_is_left() -> None:
    events = [event("new"), event("middle", kind="decision"), event("old")]
    whole = summed_up("s1", events, None)
    exact = summed_up("s1", events, whole.tokens)
    assert exact == whole
    less = summed_up("s1", events, whole.tokens - 1)
    assert (less.found, less.shown) == (3, 2)
    assert less.text == text(*events[:2])
    assert "### Recent Actions (1)" in less.text
    assert less.tokens <= whole.tokens - 1
    head = summed_up("s1", events, 1)
    assert (head.text, head.shown, head.found) == (HEAD, 0, 3)


_EVENTS = st.lists(
    st.builds(
        event,
        st.text(max_size=120),
        kind=st.sampled_from(["episodic", "decision", "entity", "session", "x"]),
        event=st.sampled_from(["general", "error"]),
    ),
    max_size=30,
)


@given(_EVENTS, st.integers(1, 900))
def test_a_budget_is_honoured_and_used(events: list[Event], max_tokens: int) -> None:
    found = summed_up("s1", events, max_tokens)
    assert found.tokens == -(-len(found.text.encode()) // 4)
    assert found.text == text(*events[: found.shown])
    if found.shown:
        assert found.tokens <= max_tokens
    if found.shown < len(events):
        assert summed_up("s1", events[: found.shown + 1], None).tokens > max_tokens
