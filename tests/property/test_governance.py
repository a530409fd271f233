"""Whatever governance decides: nothing that nobody decided on stops holding, and nothing is lost."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from palimp.governance.rules import RULES
from palimp.governance.undoing import take_back
from palimp.profile import governed
from palimp.profile.memories.states import Act

from ..unit.governance.rules.rule_database import DAY, NOW, RUN, SEALER, Database

MEMORIES = st.fixed_dictionaries(
    {
        "kind": st.sampled_from([None, "working", "tool_result", "note"]),
        "type": st.sampled_from(["fact", "instruction", "event"]),
        "trust": st.sampled_from([None, "T1", "T2", "T3", "T4"]),
        "confidence": st.sampled_from([None, 0.05, 0.3, 0.9]),
        "session": st.sampled_from([None, "s1", "s2"]),
        "project": st.sampled_from([None, "p"]),
        "days": st.integers(0, 700),
        "angle": st.sampled_from([(1.0, 0.0), (0.96, 0.28), (0.0, 1.0)]),
        "held": st.booleans(),
    }
)
EDGES = st.tuples(st.integers(0, 7), st.integers(0, 7), st.sampled_from([0.5, 0.7, 1.0]))
# What each action makes of a row that held.
STATES = {"archive": "archived", "quarantine": "quarantined", "delete": "soft_deleted"}


def filled(given_: list[dict[str, Any]], edges: list[tuple[int, int, float]]) -> Database:
    database = Database()
    handles = []
    for number, one in enumerate(given_):
        fields = dict(one)
        days, angle = fields.pop("days"), fields.pop("angle")
        held = fields.pop("held")
        text = f"likes tea {'very ' * number}much"
        handle = database.write(text, observed_at=NOW - days * DAY, **fields)
        database.embed(handle, angle)
        handles.append(handle)
        if held:
            database.hold(handle)
    for source, target, weight in {(s, t): (s, t, w) for s, t, w in edges}.values():
        if source != target and max(source, target) < len(handles):
            database.relate(handles[source], handles[target], weight)
    return database


def holding(database: Database) -> set[int]:
    rows = database.connection.execute(
        """SELECT handle FROM __palimp_memories
        WHERE state = 'active' AND superseded_at IS NULL"""
    )
    return {handle for (handle,) in rows}


@settings(max_examples=80, deadline=None)
@given(
    st.lists(MEMORIES, min_size=1, max_size=6),
    st.lists(EDGES, max_size=6),
    st.lists(st.sampled_from(sorted(RULES)), min_size=1, max_size=8),
    st.integers(0, 40),
)
def test_what_nobody_decided_on_holds_and_all_of_it_comes_back(
    memories: list[dict[str, Any]],
    edges: list[tuple[int, int, float]],
    steps: list[str],
    days: int,
) -> None:
    database = filled(memories, edges)
    query = "SELECT * FROM __palimp_memories ORDER BY handle"
    rows = database.connection.execute(query).fetchall()
    before = holding(database)
    held = {handle for handle, one in zip(sorted(before), memories, strict=True) if one["held"]}
    for place, step in enumerate(steps):
        now_ms = NOW + place * days * DAY // len(steps)
        there = holding(database)
        done = database.do(step, now_ms)
        gone = {one.handle for one in done if one.action in (*STATES, "supersede")}
        assert not held & {one.handle for one in done}
        # What was not decided on holds; what was is where the decision says.
        assert holding(database) == there - gone
        for one in done:
            if one.action in STATES:
                assert database.state(one.handle) == STATES[one.action]
            if one.action == "supersede":
                assert one.other in holding(database)
        assert {handle for handle in before if database.state(handle) is None} == set()
    deeds = governed.latest_deeds(database.connection, RUN, 1 << 40, 1_000)
    assert take_back(database.connection, deeds, Act(NOW + 99 * DAY), SEALER) == len(deeds)
    assert database.connection.execute(query).fetchall() == rows
