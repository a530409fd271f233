"""What says almost the same, or cannot both be true, is noted; a policy may let the newer hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import palimp
from palimp.api import Target
from palimp.api.extraction import ListProposals, Proposal
from palimp.client.transports.embedded import Embedded
from palimp.engine import Address
from palimp.models.choose import bundled
from palimp.node import Node, load_settings
from palimp.operations import relating as relating_module
from palimp.operations.relating import relate
from palimp.profile import proposals, relating
from palimp.profile.vectors import unit

ON = {"memory": {"near_duplicates": "supersede"}}


class Topics:
    """An embedder for which a text is as near to another as the letters of their first words."""

    dimensions = 8
    local = True
    egress = "none"

    def __init__(self, name: str = "topics-1") -> None:
        self.name = name

    def embed(self, texts: Sequence[str], **_: object) -> Any:
        rows = [[text.split()[0].count(letter) for letter in "abcdefgh"] for text in texts]
        return np.array([unit(row) for row in rows], np.float32).reshape(len(texts), 8)

    def of(self, name: str) -> None:
        return None


class Plain:
    """An embedder for which all texts are the same."""

    name = "plain-1"
    dimensions = 2
    local = True
    egress = "none"

    def embed(self, texts: Sequence[str], **_: object) -> Any:
        return np.tile(np.array([1.0, 0.0], np.float32), (len(texts), 1))

    def of(self, name: str) -> None:
        return None


class House:
    """A folder on which no background works: the tests say when."""

    def __init__(self, path: Path, embedder: Any) -> None:
        self.path = path
        self.node = Node(load_settings({"data_dir": path}, {}), embedder=embedder)
        self.node._background.wake = lambda address: None  # type: ignore[method-assign]
        self.mem = palimp.Client(Embedded(self.node))
        self.alice = self.mem.profile("alice")

    def work(self) -> int:
        """Embed and compare everything; return how many pairs were new."""
        return self.mem.maintain().paired

    def found(self, kind: str | None = None, branch: str = "main") -> list[Proposal]:
        request = ListProposals(kind=kind)  # type: ignore[arg-type]
        sealer = self.node.context.sealer_of(Address("default", "alice"))
        with self.node.context.engine.use(
            Address("default", "alice", branch), create=False
        ) as there:
            assert there is not None
            page, _ = there.read(lambda c: proposals.list_proposals(c, request, sealer)).value
        return list(page)

    def pairs(self, branch: str = "main") -> list[tuple[str, tuple[str, ...]]]:
        return sorted(
            (one.kind, tuple(side.text for side in one.sides)) for one in self.found(None, branch)
        )

    def held(self) -> list[str]:
        return sorted(memory.text for memory in self.alice.list())

    def decide(self, identity: str, decision: Any) -> None:
        with self.node.context.engine.use(Address("default", "alice"), create=False) as there:
            assert there is not None
            there.write(lambda c: proposals.decide(c, identity, decision, 1))


Make = Callable[[Any], House]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[House] = []

    def open_with(embedder: Any) -> House:
        for house in made:
            house.mem.close()
        made.append(House(tmp_path / "m", embedder))
        return made[-1]

    yield open_with
    for house in made:
        house.mem.close()


@pytest.fixture
def house(make: Make) -> House:
    return make(Topics())


@pytest.fixture
def plain(make: Make) -> House:
    return make(Plain())


# -- near duplicates -------------------------------------------------------------------------------


def test_near_duplicates_are_noted_and_nothing_is_changed(house: House) -> None:
    older = house.alice.remember("aaaaaaaaaa one", source="mail", session="s")
    newer = house.alice.remember("aaaaaaaaaab the same")
    house.alice.remember("aaaaaaaaaabbbbb less so")
    before = [msgspec.to_builtins(one) for one in house.alice.list()]
    assert house.work() == 1
    [found] = house.found()
    assert (found.kind, found.decision, found.model) == ("duplicate", "pending", "topics-1")
    assert (found.memory, found.other) == (newer.id, older.id)
    assert found.score == pytest.approx(0.995, abs=1e-3)
    assert [(side.text, side.source, side.session) for side in found.sides] == [
        ("aaaaaaaaaab the same", None, None),
        ("aaaaaaaaaa one", "mail", "s"),
    ]
    assert [msgspec.to_builtins(one) for one in house.alice.list()] == before
    assert house.work() == 0


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"type": "instruction"}),
        ({"project": "x"}, {"project": "y"}),
        ({"environment": "staging"}, {"environment": "production"}),
        ({"speaker": "Anna"}, {"speaker": "Bob"}),
        ({"kind": "working"}, {"kind": "working"}),
        ({"kind": "working"}, {}),
        ({"type": "event"}, {"type": "event"}),
        ({"type": "task"}, {"type": "task"}),
    ],
)
def test_what_is_of_another_place_or_passes_is_no_duplicate(
    plain: House, first: dict[str, Any], second: dict[str, Any]
) -> None:
    plain.alice.remember("the ferry to Pico leaves at noon", **first)
    plain.alice.remember("at noon the ferry to Pico leaves", **second)
    assert plain.work() == 0


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("The door code is 1234", "The door code is 5678"),
        ("Flight LH 400 at 10:30", "Flight LH 400 at 10:45"),
        ("Melanie lives in Porto", "Anna lives in Porto"),
        ("Melanie likes coffee", "Melanie likes tea"),
    ],
)
def test_what_differs_where_it_matters_is_no_duplicate(
    plain: House, first: str, second: str
) -> None:
    plain.alice.remember(first)
    plain.alice.remember(second)
    assert plain.work() == 0


def test_a_row_is_paired_with_the_nearest_three(plain: House) -> None:
    for letter in "abcdefgh":
        plain.alice.remember(f"the ferry leaves at noon {letter}")
    assert plain.work() <= 8 * 3
    assert all(one.kind == "duplicate" for one in plain.found())


def test_events_in_between_hide_nothing(make: Make) -> None:
    plain = make(Plain())
    plain.alice.remember("the ferry leaves at noon")
    plain.alice.ingest([{"text": f"the ferry left {n}", "type": "event"} for n in range(200)])
    plain.alice.remember("at noon the ferry leaves")
    assert plain.work() == 1


def test_vectors_of_different_models_are_never_compared(make: Make) -> None:
    first = make(Topics("topics-1"))
    first.alice.remember("aaaaaaaaaa one")
    first.work()
    second = make(Topics("topics-2"))
    second.alice.remember("aaaaaaaaaa two")
    assert second.work() == 0
    second.mem.call("embed.reembed", Target("default", "alice"), _reembed())
    assert second.work() == 1


def _reembed() -> Any:
    from palimp.api import Reembed

    return Reembed()


def test_what_callers_gave_is_not_compared(house: House) -> None:
    house.alice.remember("aaaaaaaaaa one", embedding=[1.0, 0.0])
    house.alice.remember("bbbbbbbbbb two", embedding=[1.0, 0.0])
    assert house.work() == 0


# -- contradictions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("older", "newer", "reason"),
    [
        ("Melanie prefers window seats", "Melanie prefers aisle seats", "two values"),
        ("The user likes coffee", "The user does not like coffee", "one says it is so"),
        ("Melanie works at Acme", "Melanie works at Globex", "two values"),
        ("The lift goes to the roof", "The lift never goes to the roof", "negation"),
    ],
)
def test_what_cannot_both_be_true_is_noted_with_both_sides(
    plain: House, older: str, newer: str, reason: str
) -> None:
    plain.alice.remember(older, source="mail", observed_at=1_000)
    plain.alice.remember(newer, session="s-2")
    assert plain.work() == 1
    [found] = plain.found("contradiction")
    assert found.decision == "pending"
    assert reason in (found.reason or "")
    first, second = found.sides
    assert (first.text, first.session) == (newer, "s-2")
    assert (second.text, second.source, second.observed_at) == (older, "mail", 1_000)
    assert plain.held() == sorted([older, newer])


def test_the_same_topic_is_looked_at_however_far_the_words_are(house: House) -> None:
    """Nothing is near here: no text of these has a word the embedder knows."""
    house.alice.remember("Melanie works at Acme", topic="melanie.work")
    house.alice.remember("Melanie works at Globex", topic="melanie.work", type="instruction")
    house.work()
    assert [kind for kind, _ in house.pairs()] == ["contradiction"]


def test_nothing_understood_and_not_alike_is_nothing(house: House) -> None:
    house.alice.remember("aaaaaaaaaabbbbbbb the lift goes to the roof")
    house.alice.remember("aaaaaaaaaa the lift never goes to the roof")
    assert house.work() == 0


def test_with_the_bundled_model(make: Make) -> None:
    real = make(bundled())
    for text in (
        "Melanie prefers window seats",
        "Melanie prefers aisle seats",
        "The quarterly report is due on Friday and goes to Anna",
        "The quarterly report is due on Friday, and goes to Anna.",
        "The ferry to Pico leaves at noon",
    ):
        real.alice.remember(text)
    real.work()
    assert [kind for kind, _ in real.pairs()] == ["contradiction", "duplicate"]


# -- what happens to pairs -------------------------------------------------------------------------


def test_forgetting_one_side_takes_the_pair_away(plain: House) -> None:
    one = plain.alice.remember("the ferry leaves at noon")
    plain.alice.remember("at noon the ferry leaves")
    plain.work()
    plain.alice.forget(one)
    assert plain.found() == []


def test_what_was_dismissed_does_not_come_back(make: Make) -> None:
    plain = make(Plain())
    plain.mem.set_policy("default", ON)
    plain.alice.remember("the ferry leaves at noon", session="a")
    plain.alice.remember("at noon the ferry leaves", session="b")
    plain.work()
    [found] = plain.found()
    plain.decide(found.id, "dismissed")
    # Not the mark, which a crash may lose, but the decision.
    with plain.node.context.engine.use(Address("default", "alice"), create=False) as there:
        assert there is not None
        there.write(lambda c: c.execute("DELETE FROM __palimp_meta WHERE key = 'related'"))
    again = make(Plain())
    assert again.work() == 0
    assert [one.decision for one in again.found()] == ["dismissed"]


def test_accepting_lets_the_newer_or_the_named_one_hold(house: House) -> None:
    house.alice.remember("bbb the ferry leaves at noon")
    house.alice.remember("bbb at noon the ferry leaves")
    one = house.alice.remember("Melanie likes coffee")
    house.alice.remember("Melanie does not like coffee")
    house.work()
    contradiction, duplicate = sorted(house.found(), key=lambda found: found.kind)
    house.alice.accept(duplicate.id)
    house.alice.accept(contradiction.id, keep=one.id)
    assert house.held() == ["Melanie likes coffee", "bbb at noon the ferry leaves"]


def test_a_fork_carries_pairs_and_the_rest_of_the_work(plain: House) -> None:
    plain.alice.remember("the ferry leaves at noon")
    plain.alice.remember("at noon the ferry leaves")
    plain.work()
    plain.alice.fork("trial")
    assert plain.pairs("trial") == plain.pairs()
    trial = plain.mem.profile("alice@trial")
    trial.remember("the ferry leaves, at noon")
    trial.recall("ferry")
    with plain.node.context.engine.use(Address("default", "alice", "trial"), create=False) as there:
        assert there is not None
        done = relate(plain.node.context, there)
    assert (done.rows, done.duplicates) == (1, 2)
    assert len(plain.found()) == 1


def test_after_a_rewind_what_is_written_anew_is_compared(plain: House) -> None:
    plain.alice.remember("the ferry leaves at noon")
    plain.work()
    plain.alice.checkpoint("before")
    plain.alice.remember("at noon the ferry leaves")
    assert plain.work() == 1
    plain.alice.rewind("before")
    assert plain.found() == []
    plain.alice.remember("noon is when the ferry leaves")
    assert plain.work() == 1


def before_writing(
    house: House, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]
) -> None:
    """Have somebody else come between what is found and what is noted, once."""
    embedding = house.node.context.embedding
    writes = embedding.writes

    def interrupted() -> None:
        monkeypatch.setattr(embedding, "writes", writes)
        meanwhile()
        writes()

    monkeypatch.setattr(embedding, "writes", interrupted)


def test_a_rewind_in_the_middle_of_comparing_notes_nothing(
    plain: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain.alice.remember("the ferry leaves at noon")
    plain.alice.checkpoint("before")
    plain.alice.remember("at noon the ferry leaves")
    plain.alice.recall("ferry")
    before_writing(plain, monkeypatch, lambda: plain.alice.rewind("before"))
    with plain.node.context.engine.use(Address("default", "alice"), create=False) as there:
        assert there is not None
        relate(plain.node.context, there)
    assert plain.found() == []


def test_one_that_was_forgotten_meanwhile_is_passed_over(
    plain: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = plain.alice.remember("the ferry leaves at noon")
    plain.alice.remember("at noon the ferry leaves")
    plain.alice.recall("ferry")
    before_writing(plain, monkeypatch, lambda: plain.alice.forget(one))
    assert plain.work() == 0
    assert plain.found() == []


def test_nothing_to_do_and_nothing_found_write_nothing(house: House) -> None:
    house.alice.remember("aaaaaaaaaa one")
    house.alice.remember("bbbbbbbbbb two")
    house.alice.recall("one")
    with house.node.context.engine.use(Address("default", "alice"), create=False) as there:
        assert there is not None
        head = there.read(lambda c: None).txid
        assert relate(house.node.context, there).rows == 2
        assert relate(house.node.context, there).rows == 0
        assert there.read(lambda c: None).txid == head


def test_the_mark_is_written_now_and_then_all_the_same(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relating_module, "_UNMARKED_MAX", 3)
    monkeypatch.setattr(relating_module, "_BATCH", 2)
    monkeypatch.setattr(relating_module, "_SLICE", 2)
    house = make(Topics())
    for letter in "abcdefgh":
        house.alice.remember(f"{letter} text")
    house.work()
    again = make(Topics())
    with again.node.context.engine.use(Address("default", "alice"), create=False) as there:
        assert there is not None
        assert there.read(relating.mark).value >= 4
        assert relate(again.node.context, there).rows <= 4


def test_a_mark_that_is_none_begins_at_the_start(plain: House) -> None:
    plain.alice.remember("the ferry leaves at noon")
    plain.alice.remember("at noon the ferry leaves")
    with plain.node.context.engine.use(Address("default", "alice"), create=False) as there:
        assert there is not None
        there.write(
            lambda c: c.execute("INSERT INTO __palimp_meta VALUES ('related', 'not a number')")
        )
    assert plain.work() == 1


def test_the_background_does_it_after_embedding(tmp_path: Path) -> None:
    node = Node(load_settings({"data_dir": tmp_path / "m"}, {}), embedder=Plain())
    with palimp.Client(Embedded(node)) as mem:
        alice = mem.profile("alice")
        alice.remember("the ferry leaves at noon")
        alice.remember("at noon the ferry leaves")
        metrics = node.context.metrics
        waited = 0
        while not metrics.count('memory_pairs_found{what="duplicates"}') and waited < 1000:
            node.context.clock.sleep(0.01)
            waited += 1
        assert metrics.count('memory_pairs_found{what="duplicates"}') == 1


# -- the policy ------------------------------------------------------------------------------------


def test_with_the_policy_the_newer_takes_the_older_ones_place(plain: House) -> None:
    plain.mem.set_policy("default", {**ON, "audit": {"enabled": True}})
    older = plain.alice.remember("the ferry leaves at noon")
    newer = plain.alice.remember("at noon the ferry leaves")
    assert plain.work() == 1
    assert plain.held() == ["at noon the ferry leaves"]
    found = plain.alice.get(older.id)
    assert found.superseded_by == newer.id
    [pair] = plain.found()
    assert (pair.kind, pair.decision) == ("duplicate", "superseded")
    assert plain.node.context.audit is not None
    assert plain.node.context.audit.flush(10)
    [event] = plain.mem.audit("default", action="memory.relate")
    assert event.counts == {"duplicates": 1, "superseded": 1}
    assert (event.profile, event.branch, event.actor) == ("alice", "main", "node")
    # Said again it holds again, and is not taken for new a second time.
    plain.alice.remember("the ferry leaves at noon")
    plain.work()
    assert plain.held() == ["at noon the ferry leaves", "the ferry leaves at noon"]


def test_a_chain_of_duplicates_ends_with_the_newest(plain: House) -> None:
    plain.mem.set_policy("default", ON)
    for text in ("noon is when it leaves", "it leaves at noon", "at noon it leaves"):
        plain.alice.remember(text)
        plain.work()
    assert plain.held() == ["at noon it leaves"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"topic": "ferry"}, {}),
        ({"topic": "ferry"}, {"topic": "boat"}),
        ({"session": "a"}, {"session": "b"}),
        ({"agent": "a"}, {}),
        ({"speaker": "Anna"}, {}),
        ({"tags": ["travel"]}, {}),
        ({"kind": "note"}, {}),
    ],
)
def test_what_shares_less_than_all_but_the_words_is_only_noted(
    plain: House, first: dict[str, Any], second: dict[str, Any]
) -> None:
    plain.mem.set_policy("default", ON)
    plain.alice.remember("the ferry leaves at noon", **first)
    plain.alice.remember("at noon the ferry leaves", **second)
    assert plain.work() == 1
    assert len(plain.held()) == 2
    assert [one.decision for one in plain.found()] == ["pending"]


@pytest.mark.parametrize("embedder", [Plain, bundled])
def test_working_memory_is_never_superseded(make: Make, embedder: Callable[[], Any]) -> None:
    house = make(embedder())
    house.mem.set_policy("default", ON)
    texts = ["the next step is to call the bank", "The next step is to call the bank."]
    for text in texts:
        house.alice.remember(text, kind="working")
    house.alice.remember("the next step is: to call the bank")
    house.work()
    assert house.found() == []
    assert len(house.held()) == 3
    # The same words do it where they are not working memory.
    house.alice.remember("the next step is to call the bank!")
    assert house.work() == 1
    assert len(house.held()) == 3


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Anna owes Bob a lunch", "Bob owes Anna a lunch"),
        ("the review is on Tuesday", "the review is on Wednesday"),
        ("Melanie lives in Porto", "Anna lives in Porto"),
        ("Melanie lives in Porto", "Melanie does not live in Porto"),
        ("the code is 12", "the code is 13"),
    ],
)
def test_what_names_others_is_never_superseded(plain: House, first: str, second: str) -> None:
    """For this embedder all of these are the same."""
    plain.mem.set_policy("default", ON)
    plain.alice.remember(first)
    plain.alice.remember(second)
    plain.work()
    assert plain.held() == sorted([first, second])


def test_the_policy_says_how_near_is_near(house: House) -> None:
    house.mem.set_policy("default", {"memory": {"near_duplicate_min": 0.85}})
    house.alice.remember("aaaaaaaaaa one")
    house.alice.remember("aaaaaaaaaabbbbb two")
    assert house.work() == 1
    house.mem.set_policy("default", {"memory": {"near_duplicate_min": 0.999}})
    house.alice.remember("cccccccccc three")
    house.alice.remember("ccccccccccd four")
    assert house.work() == 0


@pytest.mark.parametrize("value", [0.5, 1.5, float("nan"), True, "0.9"])
def test_a_threshold_that_would_take_anything_for_the_same_is_refused(
    house: House, value: Any
) -> None:
    with pytest.raises(palimp.Invalid):
        house.mem.set_policy("default", {"memory": {"near_duplicate_min": value}})
