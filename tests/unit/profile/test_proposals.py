"""The table of proposals: what is added once, what stays, and what goes with what it is about."""

from collections.abc import Iterator
from typing import Any

import apsw
import pytest

import palimp
from palimp.api import ListProposals
from palimp.profile import PlainSealer, prepare, proposals
from palimp.profile.memories import Writer, draft, forget, ingest
from palimp.profile.proposals import NewProposal, pair_id, proposal_id
from palimp.profile.sessions import append, draft_turn, drop_turns

KEY = b"key"
SEALER = PlainSealer()


class Reversing(PlainSealer):
    """Stores texts backwards, so that one that was not sealed is found."""

    def seal(self, text: str, *_place: str) -> str:
        return text[::-1]

    def unseal(self, stored: Any, *_place: str) -> str:
        return stored[::-1]


@pytest.fixture
def connection() -> Iterator[apsw.Connection]:
    connection = apsw.Connection(":memory:")
    prepare(connection)
    yield connection
    connection.close()


def new(name: str, decision: Any = "pending", **fields: Any) -> NewProposal:
    fields.setdefault("kind", "memory")
    return NewProposal(id=proposal_id(KEY, "memory", name), decision=decision, text=name, **fields)


def add(connection: apsw.Connection, *given: NewProposal, now_ms: int = 1) -> int:
    return proposals.add(connection, given, SEALER, now_ms)


def texts(connection: apsw.Connection, **filters: Any) -> list[str | None]:
    page, _ = proposals.list_proposals(connection, ListProposals(**filters), SEALER)
    return [one.text for one in page]


def write(connection: apsw.Connection, text: str, **fields: Any) -> int:
    given = draft(palimp.MemoryInput(text=text, **fields))
    return ingest(connection, [given], Writer(1, KEY, SEALER)).handles[0]


def test_without_a_table_there_is_nothing_and_nothing_is_made(connection: apsw.Connection) -> None:
    assert texts(connection) == []
    assert proposals.decisions_of(connection, ["prop_x"]) == {}
    proposals.remove_for(connection, [1])
    assert proposals.remove_of(connection, session="s") == 0
    with pytest.raises(palimp.NotFound, match="prop_x"):
        proposals.get(connection, "prop_x", SEALER)
    assert add(connection) == 0
    assert (
        connection.execute("SELECT 1 FROM sqlite_schema WHERE name LIKE '%proposals'").get is None
    )


def test_a_proposal_comes_back_as_it_was_added(connection: apsw.Connection) -> None:
    handle = write(connection, "old", session="s", source="here")
    given = new(
        "ünïcode",
        draft='{"text":"x"}',
        reason="because",
        category="identity",
        extracted_key="a/b",
        confidence=0.5,
        score=0.25,
        other=handle,
        source="here",
        session="s",
        seq=3,
        span=(0, 2),
        model="m",
    )
    assert add(connection, given, now_ms=7) == 1
    found = proposals.get(connection, given.id, SEALER)
    one = found.proposal
    assert (found.memory, found.other, one.created_at, one.decided_at) == (None, handle, 7, None)
    assert (one.text, one.draft, one.reason) == ("ünïcode", {"text": "x"}, "because")
    assert (one.turn, one.span, one.confidence, one.score) == (3, (0, 2), 0.5, 0.25)
    assert [side.text for side in one.sides] == ["old"]
    assert one.sides[0].id == one.other
    assert found.given == palimp.MemoryInput(text="x")
    assert one == proposals.shown(connection, given, SEALER, 7)


@pytest.mark.parametrize(
    ("before", "after", "left"),
    [
        ("pending", "pending", "pending"),
        ("pending", "discarded_redundant", "pending"),
        ("pending", "created", "created"),
        ("dismissed", "pending", "dismissed"),
        ("accepted", "discarded_redundant", "accepted"),
        ("created", "discarded_redundant", "created"),
        ("discarded_low_signal", "pending", "pending"),
        ("discarded_low_signal", "created", "created"),
    ],
)
def test_what_was_decided_stays_unless_nothing_had_come_of_it(
    connection: apsw.Connection, before: str, after: str, left: str
) -> None:
    assert add(connection, new("a", before)) == 1
    assert add(connection, new("a", after)) == 0
    identity = new("a").id
    assert proposals.decisions_of(connection, [identity, "prop_x"]) == {identity: left}


def test_a_pair_is_the_same_whoever_is_named_first() -> None:
    assert pair_id(KEY, "duplicate", "a", "b") == pair_id(KEY, "duplicate", "b", "a")
    assert pair_id(KEY, "duplicate", "a", "b") != pair_id(KEY, "contradiction", "a", "b")
    assert pair_id(KEY, "duplicate", "a", "b") != pair_id(b"other", "duplicate", "a", "b")


def test_words_of_users_are_sealed(connection: apsw.Connection) -> None:
    given = new("secret", reason="motive", draft='{"text":"wording"}')
    proposals.add(connection, [given], Reversing(), 1)
    (row,) = connection.execute("SELECT * FROM __palimp_proposals").fetchall()
    stored = " ".join(map(str, row))
    assert not any(word in stored for word in ("secret", "motive", "wording"))
    assert proposals.get(connection, given.id, Reversing()).proposal.text == "secret"


def test_pages_are_newest_first_and_filtered(connection: apsw.Connection) -> None:
    add(
        connection,
        new("a", session="s"),
        new("b", "dismissed", source="t"),
        new("c", kind="duplicate"),
    )
    assert texts(connection) == ["c", "b", "a"]
    assert texts(connection, kind="duplicate") == ["c"]
    assert texts(connection, decision="dismissed") == ["b"]
    assert texts(connection, session="s") == ["a"]
    assert texts(connection, source="t") == ["b"]
    page, cursor = proposals.list_proposals(connection, ListProposals(limit=2), SEALER)
    assert [one.text for one in page] == ["c", "b"]
    assert texts(connection, limit=2, cursor=cursor) == ["a"]
    for wrong in ("", "x", "-1", "1" * 19):
        with pytest.raises(palimp.Invalid, match="cursor"):
            proposals.check_list(ListProposals(cursor=wrong))


def test_beyond_the_most_the_oldest_that_were_decided_go_first(
    connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposals, "PROPOSALS_MAX", 3)
    add(connection, new("a"), new("b", "dismissed"), new("c", "created"))
    add(connection, new("d"))
    assert texts(connection) == ["d", "c", "a"]
    add(connection, new("e"), new("f"), new("g"))
    assert texts(connection) == ["g", "f", "e"]


def test_forgetting_a_memory_takes_what_was_proposed_about_it(connection: apsw.Connection) -> None:
    one, two = write(connection, "one"), write(connection, "two")
    add(connection, new("a", memory=one), new("b", memory=two, other=one), new("c", memory=two))
    identity = connection.execute("SELECT id FROM __palimp_memories WHERE handle = ?", (one,)).get
    assert forget(connection, identity, SEALER, 1)
    assert texts(connection) == ["c"]


def test_dropping_a_transcript_takes_what_was_proposed_from_it(connection: apsw.Connection) -> None:
    turn = draft_turn(palimp.TurnInput(role="user", content="x"))
    append(connection, "s", [turn], SEALER, 1)
    add(connection, new("a", session="s"), new("b", session="t"), new("c"))
    drop_turns(connection, "s", SEALER)
    assert texts(connection) == ["c", "b"]


def test_removing_looks_only_where_it_must(connection: apsw.Connection) -> None:
    add(connection, new("a"))
    for column in ("memory", "other", "session"):
        plan = connection.execute(
            f"EXPLAIN QUERY PLAN DELETE FROM __palimp_proposals WHERE {column} = ?", (1,)
        ).fetchall()
        assert any(f"__palimp_proposals_{column}" in row[3] for row in plan), plan


def test_a_file_with_proposals_can_be_brought_back(timed: palimp.Client, tmp_path: Any) -> None:
    alice = timed.profile("alice")
    alice.extract([{"role": "user", "content": "I prefer window seats."}], method="rules")
    (before,) = alice.proposals()
    alice.export(tmp_path / "file.db")
    bob = timed.profile("bob")
    bob.import_(tmp_path / "file.db")
    assert list(bob.proposals()) == [before]
