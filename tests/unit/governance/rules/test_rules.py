"""What each rule decides, at the edge of what it decides on, and what it never touches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from palimp.api import MemoryInput
from palimp.governance.rules import RULES, TASKS, Decision, carry_out, clusters, pollution
from palimp.governance.rules.pairs import weakened
from palimp.governance.undoing import take_back
from palimp.ids import PUBLIC_ID_KEY
from palimp.profile import governed, proposals
from palimp.profile.memories import Writer, draft, forget, ingest, states
from palimp.profile.memories.states import Act
from palimp.profile.trust import effective_confidence

from .rule_database import DAY, HOUR, LOOK, NOW, RUN, SEALER, Database


@pytest.fixture
def database() -> Database:
    return Database()


def handles(decisions: Sequence[Decision]) -> list[int]:
    return [one.handle for one in decisions]


# -- trust ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tier", "days"), [("T1", 569), ("T2", 261), ("T3", 71), ("T4", 21)])
def test_a_tier_is_quarantined_on_its_day_and_not_before(
    database: Database, tier: str, days: int
) -> None:
    handle = database.write("said", NOW, trust=tier)
    # Whole days count: a millisecond short of one is the day before.
    assert database.find("quarantine", NOW + days * DAY - 1) == []
    assert handles(database.do("quarantine", NOW + days * DAY)) == [handle]
    assert database.state(handle) == "quarantined"


@pytest.mark.parametrize(
    ("tier", "initial", "scale"),
    [("T1", 0.95, 365), ("T2", 0.85, 180), ("T3", 0.65, 60), ("T4", 0.40, 30)],
)
def test_what_is_left_of_a_confidence(tier: str, initial: float, scale: int) -> None:
    assert effective_confidence(None, tier, 0) == initial
    assert effective_confidence(None, tier, -5) == initial
    assert effective_confidence(0.5, tier, scale) == pytest.approx(0.5 / math.e)


def test_exactly_the_least_confidence_is_kept(database: Database) -> None:
    database.write("kept", trust="T4", confidence=0.2)
    gone = database.write("gone", trust="T4", confidence=0.1999)
    assert handles(database.find("quarantine")) == [gone]


def test_what_nobody_gave_a_tier_does_not_decay(database: Database) -> None:
    database.write("plain", 0, confidence=0.1)
    database.write("other", 0, trust="high", confidence=0.1)
    assert database.find("quarantine") == []


def test_what_was_restored_is_believed_anew(database: Database) -> None:
    handle = database.write("said", trust="T4", observed_at=NOW - 30 * DAY)
    assert handles(database.do("quarantine")) == [handle]
    identity = database.id(handle)
    states.change(database.connection, identity, "restore", Act(NOW + 1), SEALER)
    assert database.find("quarantine", NOW + 2) == []
    assert handles(database.find("quarantine", NOW + 25 * DAY)) == [handle]


def test_what_is_stated_again_comes_out_of_quarantine(database: Database) -> None:
    handle = database.write("said", trust="T4", observed_at=NOW - 30 * DAY)
    database.do("quarantine")
    given = draft(MemoryInput(text="said", trust="T4", observed_at=NOW - 30 * DAY))
    outcome = ingest(database.connection, [given], Writer(NOW + DAY, PUBLIC_ID_KEY, SEALER))
    assert (outcome.results[0].status, outcome.handles) == ("revived", [handle])
    assert database.state(handle) == "active"
    events = database.connection.execute("SELECT event, before FROM __palimp_events").fetchall()
    assert events == [("quarantined", "active"), ("restored", "quarantined")]


def scene(database: Database, text: str, sources: Sequence[int], at: int = NOW, **more: Any) -> int:
    given = {"trust": "T4", "confidence": 0.9, **more}
    derived = tuple(database.id(one) for one in sources)
    return database.write(text, at, tags=("reflection",), derived_from=derived, **given)


@pytest.mark.parametrize(
    ("tier", "confidence", "days", "sessions", "new"),
    [
        ("T4", 0.8, 7, 1, "T3"),
        ("T4", 0.8, 6, 1, None),
        ("T4", 0.79, 7, 1, None),
        ("T3", 0.85, 30, 3, "T2"),
        ("T3", 0.85, 30, 2, None),
        ("T3", 0.85, 29, 3, None),
        ("T3", 0.84, 30, 3, None),
        ("T3", 0.79, 60, 1, "T4"),
        ("T3", 0.79, 59, 1, None),
        ("T3", 0.8, 60, 1, None),
        ("T2", 0.69, 0, 1, "T3"),
        ("T2", 0.7, 0, 1, None),
        ("T1", 0.1, 900, 9, None),
    ],
)
def test_tiers_of_conclusions_are_won_and_lost(
    database: Database, tier: str, confidence: float, days: int, sessions: int, new: str | None
) -> None:
    sources = [database.write(f"source {n}", session=f"s{n}") for n in range(sessions)]
    handle = scene(database, "so", sources, trust=tier, confidence=confidence)
    done = database.do("trust", NOW + days * DAY)
    assert [one.value for one in done] == ([] if new is None else [new])
    assert database.row(handle, "trust") == (new or tier)
    # What somebody else said keeps the tier it was given.
    database.write("plain", trust=tier, confidence=confidence)
    assert len(database.find("trust", NOW + days * DAY)) <= 1


def test_a_conclusion_without_grounds_is_quarantined(database: Database) -> None:
    one, other = database.write("one"), database.write("other")
    handle = scene(database, "so", [one, other])
    forget(database.connection, database.id(one), SEALER, NOW)
    assert database.find("scenes") == []
    forget(database.connection, database.id(other), SEALER, NOW)
    assert handles(database.do("scenes")) == [handle]
    assert database.state(handle) == "quarantined"


# -- ages -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "given", "hours", "state"),
    [
        ("working", {"kind": "working"}, 24, "archived"),
        ("tool_results", {"type": "event", "kind": "tool_result"}, 72, "soft_deleted"),
    ],
)
def test_working_memory_and_results_of_tools_have_their_time(
    database: Database, step: str, given: dict[str, Any], hours: int, state: str
) -> None:
    handle = database.write("short", **given)
    plain = database.write("long")
    assert database.find(step, NOW + hours * HOUR - 1) == []
    assert handles(database.do(step, NOW + hours * HOUR)) == [handle]
    assert (database.state(handle), database.state(plain)) == (state, "active")


def test_archived_working_memory_goes_on_after_a_day(database: Database) -> None:
    handle = database.write("short", kind="working", observed_at=NOW - 2 * DAY)
    mine = database.write("mine", kind="working")
    states.change(database.connection, database.id(mine), "archive", Act(NOW, "me"), SEALER)
    database.do("working")
    assert database.find("stale", NOW + DAY - 1) == []
    # What somebody archived stays where it was put.
    assert handles(database.do("stale", NOW + DAY)) == [handle]
    assert database.state(handle) == "soft_deleted"
    assert database.find("stale", NOW + 900 * DAY) == []


def test_a_chain_that_is_whole_stays_and_a_broken_one_goes_after_a_day(database: Database) -> None:
    first = database.write("seat 1", topic="seat")
    second = database.write("seat 2", NOW + 1, topic="seat")
    third = database.write("seat 3", NOW + 2, topic="seat")
    assert database.find("stale", NOW + 900 * DAY) == []
    forget(database.connection, database.id(second), SEALER, NOW + 3)
    # Its successor's successor took its place.
    assert database.find("stale", NOW + 900 * DAY) == []
    forget(database.connection, database.id(third), SEALER, NOW + 3)
    assert database.find("stale", NOW + DAY) == []
    assert handles(database.do("stale", NOW + 1 + DAY)) == [first]


def test_what_a_deleted_memory_superseded_waits_for_it(database: Database) -> None:
    first = database.write("seat 1", topic="seat")
    second = database.write("seat 2", NOW + 1, topic="seat")
    identity = database.id(second)
    act = Act(NOW + 2, grace_ms=7 * DAY)
    states.change(database.connection, identity, "delete", act, SEALER)
    assert database.find("stale", NOW + 3 * DAY) == []
    for step, at in (("expire", 8), ("purge", 9)):
        found = states.find(database.connection, identity, NOW)
        assert found is not None
        states.advance(database.connection, [found], step, Act(NOW + at * DAY), SEALER)
    assert handles(database.find("stale", NOW + 10 * DAY)) == [first]


# -- likeness ---------------------------------------------------------------------------------

NEAR, FAR = [1.0, 0.0], [0.0, 1.0]
EDGE = [0.95, math.sqrt(1 - 0.95**2)]
BELOW = [0.949, math.sqrt(1 - 0.949**2)]


def pair(database: Database, one: Any = None, other: Any = None, second: Any = None) -> list[int]:
    found = [
        database.write("likes tea", NOW, **(one or {})),
        database.write("likes tea a lot", NOW + 1, **(other or {})),
    ]
    for handle, vector in zip(found, (NEAR, second or EDGE), strict=True):
        database.embed(handle, vector)
    return found


def test_the_newer_of_two_stays(database: Database) -> None:
    older, newer = pair(database)
    (done,) = database.do("redundancy")
    assert (done.handle, done.other) == (older, newer)
    assert database.row(older, "superseded_by") == newer
    assert database.row(newer, "superseded_at") is None
    assert database.find("redundancy") == []


@pytest.mark.parametrize(
    ("one", "other", "second"),
    [
        ({}, {}, BELOW),
        ({"kind": "a"}, {"kind": "b"}, NEAR),
        ({"project": "a"}, {}, NEAR),
        ({"environment": "a"}, {}, NEAR),
        ({"speaker": "a"}, {"speaker": "b"}, NEAR),
        ({"topic": "a"}, {"topic": "b"}, NEAR),
        ({"type": "event"}, {"type": "event"}, NEAR),
        ({"kind": "working"}, {"kind": "working"}, NEAR),
    ],
)
def test_what_is_not_the_same_stays(database: Database, one: Any, other: Any, second: Any) -> None:
    pair(database, one, other, second)
    assert database.find("redundancy") == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("leaves on 3 May", "leaves on 4 May"),
        ("likes tea", "does not like tea"),
        ("Ann owes Bob", "Bob owes Ann"),
    ],
)
def test_vectors_alone_do_not_decide(database: Database, one: str, other: str) -> None:
    for place, text in enumerate((one, other)):
        database.embed(database.write(text, NOW + place), NEAR)
    assert database.find("redundancy") == []


def test_what_is_older_than_thirty_days_is_not_compared(database: Database) -> None:
    pair(database)
    assert database.find("redundancy", NOW + 30 * DAY) == []
    assert len(database.find("redundancy", NOW + 30 * DAY - 1)) == 1


def test_of_many_that_say_the_same_the_newest_stays(database: Database) -> None:
    found = []
    for place in range(5):
        found.append(database.write(f"likes tea {'very ' * place}much", NOW + place))
        database.embed(found[-1], NEAR)
    done = database.do("redundancy")
    assert sorted(handles(done)) == found[:-1]
    assert {one.other for one in done} == {found[-1]}


# -- pairs ------------------------------------------------------------------------------------


def parted(database: Database, weight: float = 0.7, second: Any = FAR, **more: Any) -> list[int]:
    kind = {"type": "instruction"}
    found = [
        database.write("serve tea", NOW, session="s1", trust="T2", **kind),
        database.write("serve coffee", NOW + 1, **{"session": "s2", **kind, **more}),
    ]
    for handle, vector in zip(found, (NEAR, second), strict=True):
        database.embed(handle, vector)
    database.relate(found[1], found[0], weight)
    return found


def test_two_that_were_close_and_have_parted_are_proposed(database: Database) -> None:
    older, newer = parted(database)
    database.relate(older, newer, 0.9)
    (done,) = database.do("contradictions")
    assert (done.handle, done.other, done.confidence) == (older, newer, 0.9)
    assert database.row(older, "confidence") == 0.85 / 2
    assert database.row(newer, "confidence") is None
    rows = database.connection.execute(
        "SELECT kind, decision, memory, other FROM __palimp_proposals"
    ).fetchall()
    assert rows == [("contradiction", "pending", newer, older)]
    # Whatever is decided on it, it is not found again.
    assert database.find("contradictions") == []


@pytest.mark.parametrize(
    ("weight", "second", "more"),
    [
        (0.69, FAR, {}),
        (0.7, [0.41, math.sqrt(1 - 0.41**2)], {}),
        (0.7, FAR, {"session": "s1"}),
        (0.7, FAR, {"type": "event"}),
    ],
)
def test_what_has_not_parted_is_left_alone(
    database: Database, weight: float, second: Any, more: dict[str, Any]
) -> None:
    parted(database, weight, second, **more)
    assert database.find("contradictions") == []


def test_a_profile_without_relations_has_no_pairs(database: Database) -> None:
    assert database.find("contradictions") == []


@pytest.mark.parametrize(
    ("confidence", "trust", "half"), [(0.8, "T1", 0.4), (None, "T4", 0.2), (None, None, None)]
)
def test_half_of_what_is_known(
    confidence: float | None, trust: str | None, half: float | None
) -> None:
    assert weakened(confidence, trust) == half


# -- measures and clusters --------------------------------------------------------------------


def test_pollution_is_the_share_that_was_superseded_within_a_day(database: Database) -> None:
    assert pollution(database.connection, NOW) == 0
    for number in range(7):
        database.write(f"fact {number}")
    for number in range(4):
        database.write(f"seat {number}", NOW + number, topic="seat")
    assert pollution(database.connection, NOW + HOUR) == 3 / 11
    database.write("old", NOW - 3 * DAY)
    assert pollution(database.connection, NOW + HOUR) == 3 / 11
    assert pollution(database.connection, NOW + 2 * DAY) == 0


def test_clusters_by_relations_of_two_sessions_before_sessions(database: Database) -> None:
    found = [database.write(f"fact {n}", session="s1") for n in range(3)]
    (by_session,) = clusters(database.connection, LOOK)
    assert (by_session.signal, by_session.importance) == ("session", 0.5)
    assert by_session.handles == tuple(found)
    for one, other in pairwise(found):
        database.relate(one, other, 0.5, "causal")
    # Of one session, and so no more than that.
    assert clusters(database.connection, LOOK)[0].signal == "session"
    found.append(database.write("fact 3", session="s2"))
    database.relate(found[3], found[0], 0.5, "causal")
    (one,) = clusters(database.connection, LOOK)
    assert (one.signal, one.importance, one.handles) == ("semantic_cluster", 0.7, tuple(found))
    identity = proposals.pair_id(PUBLIC_ID_KEY, "contradiction", one.ids[0], one.ids[3])
    new = proposals.NewProposal(identity, "contradiction", "pending", memory=1, other=4)
    proposals.add(database.connection, [new], SEALER, NOW)
    assert clusters(database.connection, LOOK)[0].signal == "contradiction"


def test_without_relations_and_sessions_there_is_one_group(database: Database) -> None:
    for number in range(2):
        database.write(f"fact {number}")
    assert clusters(database.connection, LOOK) == []
    database.write("fact 2")
    assert [one.signal for one in clusters(database.connection, LOOK)] == ["session"]
    # Conclusions are not concluded from.
    scene(database, "so", [1])
    assert len(clusters(database.connection, LOOK)[0].handles) == 3


# -- holds, changes in between, undoing -------------------------------------------------------


def full(database: Database) -> dict[str, int]:
    """One row for every rule but the order of a chain."""
    old = {"observed_at": NOW - 30 * DAY}
    found = {
        "quarantine": database.write("doubtful", trust="T4", **old),
        "working": database.write("short", kind="working", **old),
        "tool_results": database.write("result", type="event", kind="tool_result", **old),
        "redundancy": pair(database)[0],
        "contradictions": parted(database)[0],
    }
    found["scenes"] = database.write(
        "so", tags=("reflection",), derived_from=("mem_gone",), trust="T2", confidence=0.9
    )
    source = database.write("a source")
    found["trust"] = scene(database, "and so", [source], trust="T2", confidence=0.6)
    database.write("seat 1", NOW - 9 * DAY, topic="seat")
    last = database.write("seat 2", NOW - 8 * DAY, topic="seat")
    forget(database.connection, database.id(last), SEALER, NOW)
    found["stale"] = last - 1
    return found


def test_what_is_under_legal_hold_is_never_touched(database: Database) -> None:
    wanted = full(database)
    assert {step: handles(database.find(step)) for step in wanted} == {
        step: [handle] for step, handle in wanted.items()
    }
    for handle in wanted.values():
        database.hold(handle)
    for step in wanted:
        assert database.find(step) == [], step


def test_a_hold_that_comes_between_looking_and_acting_counts(database: Database) -> None:
    wanted = full(database)
    found = {step: database.find(step) for step in wanted}
    for handle in wanted.values():
        database.hold(handle)
    for step, decisions in found.items():
        act = Act(NOW, reason=step)
        assert carry_out(database.connection, RUN, RULES[step], decisions, LOOK, act) == [], step


def test_taking_back_makes_every_row_what_it_was(database: Database) -> None:
    wanted = full(database)
    query = "SELECT * FROM __palimp_memories ORDER BY handle"
    before = database.connection.execute(query).fetchall()
    for step in RULES:
        assert handles(database.do(step)) == [wanted[step]], step
    assert database.connection.execute(query).fetchall() != before
    deeds = governed.latest_deeds(database.connection, RUN, 1 << 40, 100)
    assert len(deeds) == len(RULES)
    assert take_back(database.connection, deeds, Act(NOW + DAY), SEALER) == len(RULES)
    assert database.connection.execute(query).fetchall() == before
    assert database.connection.execute("SELECT count(*) FROM __palimp_proposals").get == 0
    # Nothing is left to be taken back.
    assert take_back(database.connection, deeds, Act(NOW + DAY), SEALER) == 0


def test_taking_back_leaves_what_was_changed_since(database: Database) -> None:
    wanted = full(database)
    for step in RULES:
        database.do(step)
    connection = database.connection
    restored = database.id(wanted["quarantine"])
    states.change(connection, restored, "restore", Act(NOW + 5), SEALER)
    forget(connection, database.id(wanted["working"]), SEALER, NOW)
    connection.execute(
        "UPDATE __palimp_memories SET trust = 'T1' WHERE handle = ?", (wanted["trust"],)
    )
    deeds = governed.latest_deeds(connection, RUN, 1 << 40, 100)
    assert take_back(connection, deeds, Act(NOW + DAY), SEALER) == len(RULES) - 3
    assert database.row(wanted["quarantine"], "activated_at") == NOW + 5
    assert database.row(wanted["trust"], "trust") == "T1"
    assert database.state(wanted["working"]) is None


def test_every_step_of_a_task_is_known() -> None:
    known = {*RULES, "pollution"}
    assert {step for steps in TASKS.values() for step in steps} == known
    assert set(TASKS["all"]) == known
