"""Sessions: turns in order with numbers that are never given twice, listing, and ending."""

from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp.clock import ManualClock


@pytest.fixture
def profile(timed: palimp.Client) -> palimp.Profile:
    return timed.profile("alice")


@pytest.fixture
def session(profile: palimp.Profile) -> palimp.Session:
    return profile.session("s1")


def fill(session: palimp.Session, count: int) -> None:
    session.extend([{"role": "user", "content": f"turn {n}"} for n in range(1, count + 1)])


def contents(turns: Any) -> list[Any]:
    return [turn.content for turn in turns]


# Append and window


def test_an_appended_turn_is_read_back(session: palimp.Session, clock: ManualClock) -> None:
    done = session.append("user", "hello", speaker="Alice", at="2026-03-02T08:41:00Z")
    assert (done.seq, done.seqs, done.notes) == (1, (1,), ())
    turns = session.window()
    assert turns.txid == done.txid
    (turn,) = turns
    assert (turn.session, turn.seq, turn.role, turn.content) == ("s1", 1, "user", "hello")
    assert (turn.speaker, turn.at, turn.created_at) == ("Alice", 1_772_440_860_000, clock.now_ms())


def test_turns_are_numbered_from_one_in_each_session(profile: palimp.Profile) -> None:
    one, two = profile.session("one"), profile.session("two")
    assert [one.append("user", str(n)).seq for n in range(3)] == [1, 2, 3]
    assert two.append("user", "x").seq == 1
    assert one.append("assistant", "y").seq == 4


def test_several_turns_are_one_transaction(session: palimp.Session) -> None:
    first = session.append("user", "zero")
    done = session.extend(
        [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    )
    assert (done.seqs, done.seq, done.txid) == ((2, 3), 3, first.txid + 1)
    assert [(turn.seq, turn.role) for turn in session.window()] == [
        (1, "user"),
        (2, "user"),
        (3, "assistant"),
    ]


def test_the_same_words_again_are_another_turn(session: palimp.Session) -> None:
    assert [session.append("user", "yes").seq for _ in range(2)] == [1, 2]
    assert contents(session.window()) == ["yes", "yes"]


@pytest.mark.parametrize(
    "content",
    [
        "text",
        "",
        {"b": 1, "a": [None, True, {"c": "d"}]},
        [{"type": "text", "text": "hi"}, {"type": "tool_use", "input": {"x": 1.5}}],
        None,
        False,
        0,
        "emoji \U0001f600 and NUL \0",
    ],
    ids=ascii,
)
def test_content_is_any_json(session: palimp.Session, content: Any) -> None:
    session.append("tool", content)
    stored = session.window()[0].content
    assert stored == content
    assert type(stored) is type(content)


def test_the_window_is_the_last_turns_oldest_first(session: palimp.Session) -> None:
    fill(session, 30)
    assert [turn.seq for turn in session.window()] == list(range(11, 31))
    assert [turn.seq for turn in session.window(3)] == [28, 29, 30]
    assert [turn.seq for turn in session.window(100)] == list(range(1, 31))


def test_a_window_may_end_before_a_turn(session: palimp.Session) -> None:
    fill(session, 10)
    assert [turn.seq for turn in session.window(3, before=8)] == [5, 6, 7]
    assert [turn.seq for turn in session.window(3, before=2)] == [1]
    assert list(session.window(3, before=1)) == []
    assert [turn.seq for turn in session.window(2, before=1_000)] == [9, 10]


def test_a_window_of_nothing_is_empty(timed: palimp.Client, session: palimp.Session) -> None:
    assert list(session.window()) == []
    assert list(timed.profiles()) == []
    fill(session, 1)
    assert list(session.profile.session("other").window()) == []


def test_turns_and_memories_of_a_session_are_apart(profile: palimp.Profile) -> None:
    profile.session("s1").append("user", "said")
    profile.remember("learnt", session="s1")
    assert contents(profile.session("s1").window()) == ["said"]
    assert [memory.text for memory in profile.list(session="s1")] == ["learnt"]


# Search


def test_search_finds_turns_of_its_session_only(profile: palimp.Profile) -> None:
    one, two = profile.session("one"), profile.session("two")
    one.append("user", "the red bicycle is broken")
    one.append("assistant", {"text": "I am sorry"})
    one.append("user", "we had pasta for dinner")
    two.append("user", "a red bicycle again")
    found = one.search("red bicycle", k=1)
    assert contents(found) == ["the red bicycle is broken"]
    assert found[0].seq == 1
    assert "keyword" in found[0].channels
    assert 0 < found[0].score <= 1
    assert {turn.session for turn in one.search("red bicycle", k=10)} == {"one"}


def test_search_reads_the_texts_inside_json(session: palimp.Session) -> None:
    session.append("user", [{"type": "text", "text": "the kettle is on"}])
    session.append("tool", {"result": {"note": "the marmalade is empty"}})
    assert session.search("kettle", k=1)[0].seq == 1
    assert session.search("marmalade", k=1)[0].seq == 2


def test_search_by_a_vector_of_one_s_own(session: palimp.Session) -> None:
    for name, vector in (("east", [1.0, 0.0]), ("north", [0.0, 1.0])):
        assert session.append("user", name, embedding=vector).notes == ()
    found = session.search(embedding=[0.1, 0.9], k=2)
    assert contents(found) == ["north", "east"]
    assert found[0].distance == pytest.approx(1 - 0.9 / 0.82**0.5, abs=1e-6)


def test_a_turn_whose_vector_does_not_fit_is_kept_and_noted(session: palimp.Session) -> None:
    session.append("user", "two numbers", embedding=[1.0, 0.0])
    done = session.append("user", "three numbers", embedding=[1.0, 0.0, 0.0])
    assert len(done.notes) == 1
    assert "turns[0]" in done.notes[0]
    assert "3 dimensions" in done.notes[0]
    assert contents(session.window()) == ["two numbers", "three numbers"]


def test_search_of_nothing_is_empty(session: palimp.Session) -> None:
    assert list(session.search("anything")) == []


def test_search_where_only_memories_have_vectors_is_empty(mem: palimp.Client) -> None:
    profile = mem.profile("bob")
    profile.remember("the kettle is on", session="s1")
    mem.maintain()
    assert list(profile.session("s1").search("kettle")) == []


# Listing


def test_the_most_recently_active_comes_first(profile: palimp.Profile, clock: ManualClock) -> None:
    started = clock.now_ms()
    for name in ("one", "two", "three"):
        profile.session(name).append("user", "x")
        clock.advance(1)
    profile.remember("a fact", session="one")
    sessions = list(profile.sessions())
    assert [session.id for session in sessions] == ["one", "three", "two"]
    assert (sessions[0].created_at, sessions[0].last_active_at) == (started, started + 3_000)
    assert [session.ended_at for session in sessions] == [None] * 3


def test_turns_and_memories_are_counted(profile: palimp.Profile) -> None:
    fill(profile.session("s1"), 3)
    profile.ingest([{"text": "a", "session": "s1"}, {"text": "b", "session": "s2"}, {"text": "c"}])
    counts = {session.id: (session.turns, session.memories) for session in profile.sessions()}
    assert counts == {"s1": (3, 1), "s2": (0, 1)}


def test_more_than_one_page_of_sessions(profile: palimp.Profile, clock: ManualClock) -> None:
    """Most of them were active in the same millisecond, so that pages cannot go by time alone."""
    profile.ingest([{"text": f"m {n}", "session": f"session:{n:03}"} for n in range(250)])
    clock.advance(1)
    profile.session("session:007").append("user", "again")
    names = [session.id for session in profile.sessions()]
    assert names[0] == "session:007"
    assert sorted(names) == [f"session:{n:03}" for n in range(250)]


def test_sessions_belong_to_their_profile(timed: palimp.Client, profile: palimp.Profile) -> None:
    fill(profile.session("s1"), 1)
    other = timed.profile("bob")
    assert list(other.sessions()) == []
    assert list(other.session("s1").window()) == []


# End


def test_ending_removes_tasks_and_keeps_what_was_learnt(
    profile: palimp.Profile, clock: ManualClock
) -> None:
    for type_ in ("fact", "event", "instruction", "task"):
        profile.remember(type_, type=type_, session="s1")
    profile.remember("another task", type="task", session="s2")
    profile.remember("a free task", type="task")
    fill(profile.session("s1"), 2)
    ended = profile.session("s1").end()
    assert (ended.session, ended.tasks, ended.turns) == ("s1", 1, 0)
    left = [memory.text for memory in profile.list()]
    assert left == ["a free task", "another task", "instruction", "event", "fact"]
    assert contents(profile.session("s1").window()) == ["turn 1", "turn 2"]
    info = next(session for session in profile.sessions() if session.id == "s1")
    assert (info.turns, info.memories, info.ended_at) == (2, 3, clock.now_ms())


def test_ending_with_turns_drops_the_transcript_and_the_listing(profile: palimp.Profile) -> None:
    session = profile.session("s1")
    fill(session, 3)
    fact = profile.remember("a fact", session="s1")
    profile.session("s2").append("user", "stays")
    ended = session.end(turns=True)
    assert (ended.tasks, ended.turns) == (0, 3)
    assert list(session.window()) == []
    assert list(session.search("turn")) == []
    assert [info.id for info in profile.sessions()] == ["s2"]
    assert profile.get(fact).session == "s1"
    assert contents(profile.session("s2").window()) == ["stays"]


def test_a_session_can_be_ended_with_turns_later(profile: palimp.Profile) -> None:
    session = profile.session("s1")
    fill(session, 2)
    assert session.end().turns == 0
    assert session.end(turns=True).turns == 2
    with pytest.raises(palimp.NotFound, match="'s1'"):
        session.end(turns=True)


def test_an_unknown_session_cannot_be_ended(timed: palimp.Client, session: palimp.Session) -> None:
    with pytest.raises(palimp.NotFound, match="no session 's1'"):
        session.end()
    assert list(timed.profiles()) == []
    session.profile.remember("elsewhere", session="s2")
    with pytest.raises(palimp.NotFound, match="no session 's1'"):
        session.end()


@pytest.mark.parametrize("turns", [False, True])
def test_an_ended_session_may_go_on_with_new_numbers(profile: palimp.Profile, turns: bool) -> None:
    session = profile.session("s1")
    fill(session, 3)
    session.end(turns=turns)
    assert session.append("user", "back again").seq == 4
    (info,) = profile.sessions()
    assert (info.id, info.ended_at, info.turns) == ("s1", None, 1 if turns else 4)
    assert [turn.seq for turn in session.window()] == ([4] if turns else [1, 2, 3, 4])


def test_numbers_are_not_reused_after_reopening_either(tmp_path: Path) -> None:
    with palimp.open(tmp_path / "m") as mem:
        session = mem.profile("alice").session("s1")
        fill(session, 3)
        session.end(turns=True)
    with palimp.open(tmp_path / "m") as mem:
        assert mem.profile("alice").session("s1").append("user", "x").seq == 4


def test_the_words_of_a_dropped_transcript_leave_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "m"

    def present() -> list[bytes]:
        files = [path for path in (folder / "hot").rglob("*") if path.is_file()]
        content = b"\n".join(path.read_bytes() for path in files).lower()
        return [word for word in (b"zanzib", b"telescop", b"harbour") if word in content]

    with palimp.open(folder) as mem:
        session = mem.profile("alice").session("s1")
        session.append("user", "The zanzibarite was stolen")
        session.append("user", {"text": "And the telescope too"})
        mem.profile("alice").session("s2").append("user", "In the harbour")
        mem.maintain()
    assert present() == [b"zanzib", b"telescop", b"harbour"]
    with palimp.open(folder) as mem:
        mem.profile("alice").session("s1").end(turns=True)
    assert present() == [b"harbour"]


# Bad input

BAD_TURNS = [
    ({"role": "user"}, "field 'content' is missing"),
    ({"content": "x"}, "field 'role' is missing"),
    ({"role": "", "content": "x"}, "role is empty"),
    ({"role": "r" * 65, "content": "x"}, "role has 65 bytes"),
    ({"role": 5, "content": "x"}, "'role'"),
    ({"role": "user", "content": float("nan")}, "content contains nan"),
    ({"role": "user", "content": {1, 2}}, "set has no JSON form"),
    ({"role": "user", "content": "x", "at": "soon"}, "at is not a time"),
    ({"role": "user", "content": "x", "spekaer": "A"}, "did you mean 'speaker'"),
    ({"role": "user", "content": "x", "embedding": []}, "embedding has 0 dimensions"),
    ({"role": "user", "content": "\ud800"}, "half a surrogate pair"),
    ("just text", "must be an object"),
]


@pytest.mark.parametrize(("bad", "said"), BAD_TURNS, ids=lambda value: ascii(value)[:40])
def test_one_bad_turn_stops_all_and_is_named(
    timed: palimp.Client, session: palimp.Session, bad: Any, said: str
) -> None:
    with pytest.raises(palimp.Invalid) as caught:
        session.extend([{"role": "user", "content": "fine"}, bad])
    assert "turns[1]" in str(caught.value)
    assert said in str(caught.value)
    assert caught.value.details["index"] == 1
    assert list(timed.profiles()) == []


def test_an_append_holds_a_thousand_turns_and_not_one_more(session: palimp.Session) -> None:
    turns = [{"role": "user", "content": str(n)} for n in range(1_001)]
    for wrong, said in ((turns, "1,001 turns; give 1 to 1,000"), ([], "0 turns")):
        with pytest.raises(palimp.Invalid, match=said):
            session.extend(wrong)
    assert list(session.window()) == []
    assert session.extend(turns[:1_000]).seq == 1_000


@pytest.mark.parametrize(
    "name", ["", " ", "x" * 513, "\ud800", None, 5, b"s"], ids=lambda v: ascii(v)[:12]
)
@pytest.mark.parametrize("written", [True, False], ids=["written", "never written"])
def test_a_bad_session_name_is_refused_everywhere(
    profile: palimp.Profile, name: Any, written: bool
) -> None:
    if written:
        profile.remember("here")
    for use in (
        lambda session: session.append("user", "x"),
        lambda session: session.window(),
        lambda session: session.search("x"),
        lambda session: session.end(),
    ):
        with pytest.raises(palimp.Invalid, match="session"):
            use(profile.session(name))


@pytest.mark.parametrize("written", [True, False], ids=["written", "never written"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"last": 0},
        {"last": 1_001},
        {"last": "all"},
        {"last": None},
        {"before": "x"},
        {"before": 10**30},
    ],
    ids=str,
)
def test_a_bad_window_is_refused(
    session: palimp.Session, arguments: dict[str, Any], written: bool
) -> None:
    if written:
        fill(session, 1)
    with pytest.raises(palimp.Invalid, match=next(iter(arguments))):
        session.window(**arguments)


@pytest.mark.parametrize("arguments", [{}, {"query": "x", "k": 0}, {"embedding": [0.0]}], ids=str)
def test_a_bad_search_is_refused(session: palimp.Session, arguments: dict[str, Any]) -> None:
    with pytest.raises(palimp.Invalid):
        session.search(**arguments)
