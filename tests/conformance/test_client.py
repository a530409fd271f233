"""One suite over every client: the same results and the same errors, whichever way they are asked for.

`conftest.py` gives every client one shape; another transport joins there.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp.api import OPERATIONS, MemoryInput, Options

# What every client answers


def test_remember_and_get(do: Any, alice: Any) -> None:
    written = do(alice.remember("Prefers aisle seats", topic="user.seat", tags=["travel"]))
    assert isinstance(written, palimp.Written)
    assert (written.status, written.superseded, written.txid) == ("created", (), 1)
    memory = do(alice.get(written))
    assert isinstance(memory, palimp.Memory)
    assert (memory.text, memory.topic, memory.tags) == (
        "Prefers aisle seats",
        "user.seat",
        ("travel",),
    )
    assert do(alice.get(written.id)) == do(alice.get(memory)) == memory


def test_ingest(do: Any, alice: Any) -> None:
    done = do(alice.ingest([{"type": "event", "text": "a"}, MemoryInput(text="b")]))
    assert isinstance(done, palimp.Ingested)
    assert [(type(item), item.status) for item in done] == [(palimp.ItemResult, "created")] * 2
    assert do(alice.ingest(iter([{"text": "b"}])))[0].status == "duplicate"


def test_supersede_history_and_forget(do: Any, alice: Any) -> None:
    old = do(alice.remember("aisle", topic="seat"))
    new = do(alice.supersede(old, "window"))
    assert new.superseded == (old.id,)
    history = do(alice.history(topic="seat"))
    assert isinstance(history, palimp.History)
    assert [memory.text for memory in history] == ["aisle", "window"]
    assert list(do(alice.history(new))) == list(history)
    assert do(alice.forget(new)) is True
    assert do(alice.forget(new.id)) is False
    assert [memory.text for memory in do(alice.history(old.id))] == ["aisle"]


def test_list_reads_all_pages(do: Any, alice: Any) -> None:
    do(alice.ingest([{"text": f"item {n}", "kind": "k"} for n in range(250)]))
    expected = [f"item {n}" for n in range(249, -1, -1)]
    assert [memory.text for memory in do.all(alice.list())] == expected
    assert [memory.text for memory in do.all(alice.list(kind="k", limit=33))] == expected
    assert do.all(alice.list(kind="other")) == []


def test_recall(do: Any, alice: Any) -> None:
    do(alice.ingest([{"text": "Prefers aisle seats"}, {"text": "Likes tea"}]))
    found = do(alice.recall("which seat?", k=1, explain=True))
    assert isinstance(found, palimp.Recall)
    (hit,) = found
    assert (hit.text, hit.channels) == ("Prefers aisle seats", ("keyword",))
    assert sum(feature.share for feature in hit.explain.features) == pytest.approx(hit.score)
    assert "> Prefers aisle seats" in found.as_context()
    assert found.txid == 1


def test_recall_by_a_vector_of_one_s_own(do: Any, alice: Any) -> None:
    for text, vector in (("east", [1, 0]), ("north", [0, 1])):
        do(alice.remember(text, embedding=vector))
    assert [hit.text for hit in do(alice.recall(embedding=[0.2, 0.9]))] == ["north", "east"]


def test_sessions(do: Any, alice: Any) -> None:
    session = alice.session("s1")
    assert do(session.append("user", "hello", speaker="Al", at="2026-01-01")).seq == 1
    assert do(session.extend([{"role": "assistant", "content": {"text": "hi"}}])).seqs == (2,)
    turns = do(session.window(1))
    assert isinstance(turns, palimp.Turns)
    assert [(turn.seq, turn.content) for turn in turns] == [(2, {"text": "hi"})]
    assert [turn.seq for turn in do(session.window(5, before=2))] == [1]
    found = do(session.search("hello", k=1))
    assert isinstance(found, palimp.TurnSearch)
    assert [turn.seq for turn in found] == [1]
    (info,) = do.all(alice.sessions())
    assert (type(info), info.id, info.turns) == (palimp.SessionInfo, "s1", 2)
    ended = do(session.end(turns=True))
    assert (ended.tasks, ended.turns) == (0, 2)
    assert do.all(alice.sessions()) == []


def test_profiles_are_listed_by_namespace(do: Any, client: Any) -> None:
    for name in ("bob", "alice", "a-c"):
        do(client.profile(name).remember("x"))
    do(client.profile("zoe", namespace="acme").remember("x"))
    assert do.all(client.profiles()) == [client.profile(name) for name in ("a-c", "alice", "bob")]
    assert do.all(client.profiles(namespace="acme")) == [client.profile("zoe", namespace="acme")]
    assert do.all(client.profiles(namespace="acm")) == []


def test_more_profiles_than_one_page(do: Any, client: Any) -> None:
    names = [f"p{n:03}" for n in range(101)]
    for name in names:
        do(client.profile(name).remember("x"))
    assert [profile.name for profile in do.all(client.profiles())] == names


def test_maintain(do: Any, client: Any, alice: Any) -> None:
    do(alice.remember("x"))
    done = do(client.maintain())
    assert isinstance(done, palimp.Maintained)
    assert (done.profiles, done.embedded, done.expired) == (1, 0, 0)


def test_a_profile_is_a_value(client: Any, alice: Any) -> None:
    assert alice == client.profile("alice") == client.profile("alice@main")
    assert len({alice, client.profile("alice"), client.profile("bob")}) == 2
    assert alice != client.profile("alice", namespace="acme")
    assert alice != client.profile("alice@trial")
    assert repr(alice).endswith("Profile default--alice>")
    assert "alice@trial" in repr(client.profile("alice@trial"))


def test_reads_of_what_was_never_written_make_nothing(do: Any, client: Any, alice: Any) -> None:
    assert list(do(alice.recall("x"))) == []
    assert do.all(alice.list()) == do.all(alice.sessions()) == []
    assert list(do(alice.session("s").window())) == []
    assert list(do(alice.session("s").search("x"))) == []
    assert do(alice.forget("mem_x")) is False
    assert do.all(client.profiles()) == []


@pytest.mark.parametrize(
    "when",
    ["2026-03-02T08:41:00Z", 1_772_440_860_000, datetime(2026, 3, 2, 8, 41, tzinfo=UTC)],
    ids=lambda value: type(value).__name__,
)
def test_times_and_durations_may_be_python_s(do: Any, alice: Any, when: Any) -> None:
    event = do(alice.remember("flew", type="event", observed_at=when))
    assert do(alice.get(event)).observed_at == 1_772_440_860_000
    assert [memory.id for memory in do.all(alice.list(since=when))] == [event.id]
    task = do(alice.get(do(alice.remember("call", type="task", ttl=timedelta(hours=1)))))
    assert task.expires_at == task.created_at + 3_600_000


def test_ids_may_be_anything_with_an_id(do: Any, alice: Any) -> None:
    written = do(alice.remember("the kettle is on"))
    (hit,) = do(alice.recall("kettle"))
    newer = do(alice.remember("derived", derived_from=[written, hit, written.id]))
    assert do(alice.get(newer)).derived_from == (written.id,) * 3
    assert do(alice.forget(hit)) is True


def test_the_client_stamps_its_source(do: Any, tmp_path: Path) -> None:
    client = do.open(tmp_path / "sourced", source="agent-7", embed_provider="none")
    assert client.source == "agent-7"
    profile = client.profile("alice")
    first = do(profile.remember("a"))
    newer = do(profile.supersede(first, "b"))
    sources = [do(profile.get(item)).source for item in (first, newer)]
    do(client.close())
    assert sources == ["agent-7", "agent-7"]


# What every client refuses

REFUSED: dict[str, tuple[Callable[[Any], Any], type[palimp.Error], str, str]] = {
    "empty text": (lambda p: p.remember(" "), palimp.Invalid, "invalid_request", "text is empty"),
    "unknown field": (
        lambda p: p.remember("x", topik="t"),
        palimp.Invalid,
        "invalid_request",
        "did you mean 'topic'",
    ),
    "oversized": (
        lambda p: p.remember("x" * 1_048_577),
        palimp.Invalid,
        "payload_too_large",
        "at most 1,048,576",
    ),
    "batch too long": (
        lambda p: p.ingest([{"text": "x"}] * 1_001),
        palimp.Invalid,
        "payload_too_large",
        "1,001 memories",
    ),
    "bad item": (
        lambda p: p.ingest([{"text": "x"}, {}]),
        palimp.Invalid,
        "invalid_request",
        "memories[1]",
    ),
    "absent id": (lambda p: p.get("mem_x"), palimp.NotFound, "not_found", "mem_x"),
    "absent history": (lambda p: p.history("mem_x"), palimp.NotFound, "not_found", "mem_x"),
    "absent topic": (lambda p: p.history(topic="nix"), palimp.NotFound, "not_found", "nix"),
    "absent session": (lambda p: p.session("nix").end(), palimp.NotFound, "not_found", "nix"),
    "nothing to supersede": (
        lambda p: p.supersede("mem_x", "y"),
        palimp.NotFound,
        "not_found",
        "mem_x",
    ),
    "no question": (lambda p: p.recall(), palimp.Invalid, "invalid_request", "needs a query"),
    "bad k": (lambda p: p.recall("x", k=0), palimp.Invalid, "invalid_request", "k is 0"),
    "bad turn": (
        lambda p: p.session("s").append("user", float("nan")),
        palimp.Invalid,
        "invalid_request",
        "nan",
    ),
    "bad window": (lambda p: p.session("s").window(0), palimp.Invalid, "invalid_request", "last"),
    "another branch": (
        lambda p: p.client.profile("alice@trial").remember("x"),
        palimp.NotFound,
        "branch_not_found",
        "trial",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_same_errors(do: Any, alice: Any, case: str) -> None:
    do(alice.remember("here"))
    act, kind, code, said = REFUSED[case]
    with pytest.raises(kind) as caught:
        do(act(alice))
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert said in str(caught.value)
    assert [memory.text for memory in do.all(alice.list())] == ["here"]


def test_a_conflict_names_the_newer(do: Any, alice: Any) -> None:
    old = do(alice.remember("one"))
    new = do(alice.supersede(old, "two"))
    with pytest.raises(palimp.Conflict) as caught:
        do(alice.supersede(old, "three"))
    assert caught.value.details["superseded_by"] == new.id


def test_a_listing_refuses_when_it_is_read(do: Any, alice: Any) -> None:
    do(alice.remember("x"))
    with pytest.raises(palimp.Invalid, match="limit is 0"):
        do.all(alice.list(limit=0))


@pytest.mark.parametrize("name", ["", "A", "a--b", "a@", 5])
def test_a_bad_name_is_refused_without_being_asked(client: Any, name: Any) -> None:
    with pytest.raises(palimp.Invalid):
        client.profile(name)


def test_a_closed_client_says_so(do: Any, tmp_path: Path) -> None:
    client = do.open(tmp_path / "closed", embed_provider="none")
    alice = client.profile("alice")
    do(alice.remember("kept"))
    do(client.close())
    do(client.close())
    for use in (lambda: alice.remember("late"), lambda: alice.recall("x"), client.maintain):
        with pytest.raises(palimp.Unavailable, match="closed") as caught:
            do(use())
        assert caught.value.details["reason"] == "closed"
    do.end(client)
    with palimp.open(tmp_path / "closed") as again:
        assert [memory.text for memory in again.profile("alice").list()] == ["kept"]


# What an encoder would change without a word

NOT_JSON: dict[str, Callable[[Any], Any]] = {
    "nan": lambda p: p.remember("x", content={"a": [1, float("nan")]}),
    "infinite": lambda p: p.remember("x", importance=float("inf")),
    "a vector": lambda p: p.remember("x", embedding=[0.5, float("nan")]),
    "bytes": lambda p: p.remember("x", content=b"x"),
    "a date": lambda p: p.remember("x", metadata={"when": datetime(2026, 1, 1, tzinfo=UTC)}),
    "a set": lambda p: p.session("s").append("user", {"a", "b"}),
    "a struct": lambda p: p.session("s").append("user", MemoryInput(text="x")),
    "a number for a key": lambda p: p.remember("x", content={1: 2}),
    "half a pair": lambda p: p.remember("x \ud800"),
    "half a pair in a key": lambda p: p.remember("x", content={"\ud800": 1}),
    "half a pair in a filter": lambda p: p.recall("x", session="\ud800"),
    "half a pair for an id": lambda p: p.get("mem_\ud800"),
    "half a pair for a session": lambda p: p.session("\ud800").window(),
    "deep": lambda p: p.remember("x", content=nested(101)),
    "bottomless": lambda p: p.remember("x", content=nested(100_000)),
}


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_what_is_not_json_is_refused(do: Any, alice: Any) -> None:
    for case, act in NOT_JSON.items():
        with pytest.raises(palimp.Invalid) as caught:
            do(act(alice))
        assert caught.value.code == "invalid_request", case
        assert do.all(alice.list()) == do.all(alice.sessions()) == [], case


def test_half_a_pair_in_a_question(do: Any, alice: Any) -> None:
    do(alice.remember("tea"))
    if do.world.name == "embedded":
        # The index has no such word, and the rest of the question is answered.
        assert [hit.text for hit in do(alice.recall("tea \ud800"))] == ["tea"]
    else:
        # It cannot be sent: no JSON holds it.
        with pytest.raises(palimp.Invalid, match="half a surrogate pair"):
            do(alice.recall("tea \ud800"))


def test_the_bad_item_of_a_batch_is_named(do: Any, alice: Any) -> None:
    for bad in ({"text": "b", "content": b"x"}, {"text": " "}, {"text": "b \udfff"}):
        with pytest.raises(palimp.Invalid, match=r"memories\[1\] \(nothing") as caught:
            do(alice.ingest([{"text": "a"}, bad]))
        assert caught.value.details["index"] == 1
    with pytest.raises(palimp.Invalid, match=r"^content contains nan, which JSON cannot say$"):
        do(alice.remember("x", content=float("nan")))


CONTENTS = [
    {"a": [1, 2.5, -0.0, 1e300, 2**63, -(2**53) - 1, True, None, "é\u0000\U0001f9e1"]},
    [],
    "",
    0.1 + 0.2,
    {"": {"": ""}},
]


def test_json_comes_back_as_it_was(do: Any, alice: Any) -> None:
    for content in CONTENTS:
        written = do(alice.remember("x", content=content, metadata={"m": content}))
        memory = do(alice.get(written))
        assert (memory.content, memory.metadata) == (content, {"m": content})
        do(alice.session("s").append("user", content))
        assert do(alice.session("s").window(1))[0].content == content


# What stands in a path, a query string or a header

NAMES = ["a/b", "..", ".", "a b+c", "100%", "%2F", "?x=1&y#z", "é ☃ \U0001f9e1", "a\nb", "'\";\\{}"]


def test_any_text_names_a_session(do: Any, client: Any) -> None:
    for place, name in enumerate(NAMES):
        check_session(do, client.profile(f"p{place}"), name)


def check_session(do: Any, alice: Any, name: str) -> None:
    do(alice.session(name).append("user", "hello"))
    do(alice.session("other").append("user", "hello"))
    assert [turn.content for turn in do(alice.session(name).window())] == ["hello"]
    task = do(alice.remember("do it", type="task", session=name, source=name, tags=[name, "b,c"]))
    assert {one.id for one in do.all(alice.sessions())} == {name, "other"}
    for fields in ({"session": name}, {"source": name}, {"tags": [name, "b,c"]}):
        assert [memory.id for memory in do.all(alice.list(**fields))] == [task.id], fields
    assert do.all(alice.list(session=name + "x")) == []
    assert do(alice.session(name).end(turns=True)).turns == 1
    assert [one.id for one in do.all(alice.sessions())] == ["other"]


def test_an_id_is_taken_as_it_is(do: Any, alice: Any) -> None:
    written = do(alice.remember("here"))
    for id_ in ("mem_x/../" + written.id, written.id + "/", written.id + "?", written.id + "%20"):
        with pytest.raises(palimp.NotFound):
            do(alice.get(id_))
        assert do(alice.forget(id_)) is False
    assert do(alice.get(written)).text == "here"


def test_every_filter_of_a_listing(do: Any, alice: Any) -> None:
    first = do(alice.remember("one", topic="t", kind="k", importance=0.5, project="p"))
    do(alice.supersede(first, "two", importance=0.25))
    do(alice.remember("three", type="event", observed_at=1_000, agent="a", environment="e"))

    def found(**fields: Any) -> list[str]:
        return sorted(memory.text for memory in do.all(alice.list(**fields)))

    assert found(topic="t") == found(kind="k") == found(project="p") == ["two"]
    assert found(topic="t", include_superseded=True) == ["one", "two"]
    assert found(topic="t", include_superseded=False) == ["two"]
    assert found(importance_min=0.5, include_superseded=True, topic="t") == ["one"]
    assert found(type=["fact", "event"]) == ["three", "two"]
    assert found(type="event", until=1_001, since=1_000, agent="a", environment="e") == ["three"]
    with pytest.raises(palimp.Invalid, match="importance_min"):
        found(importance_min=2)


def test_how_a_write_is_done_is_said_in_plain_words(do: Any, alice: Any) -> None:
    for request_id in ("", " r", "r\r\nx: y", "é", "x" * 129, 5):
        with pytest.raises(palimp.Invalid, match=r"request.id"):
            do(alice.remember("x", request_id=request_id))
    for durability in ("", "durable\r\nx: y", "é", 5):
        with pytest.raises(palimp.Invalid, match="durability"):
            do(alice.remember("x", durability=durability))
    assert do.all(alice.list()) == []


def test_an_answer_may_have_to_be_as_new_as_a_write(do: Any, client: Any, alice: Any) -> None:
    written = do(alice.remember("one"))
    request = OPERATIONS["memories.list"].request()
    page = do(client.call("memories.list", alice.target, request, Options(min_txid=written.txid)))
    assert page.txid == written.txid
    with pytest.raises(palimp.Invalid, match="txid"):
        do(client.call("memories.list", alice.target, request, Options(min_txid=-1)))


def test_an_unknown_operation(do: Any, client: Any, alice: Any) -> None:
    with pytest.raises(palimp.Invalid, match=r"no operation 'memories\.guess'"):
        do(client.call("memories.guess", alice.target, OPERATIONS["memories.list"].request()))


def test_a_client_shows_no_insides(client: Any, alice: Any) -> None:
    assert repr(client).startswith("<palimp")
    assert str(alice) == "default--alice"


# What is special to a colour


def test_with_closes(world: Any, tmp_path: Path) -> None:
    with world.open(tmp_path / "m") as mem:
        mem.profile("alice").remember("x")
    with pytest.raises(palimp.Unavailable):
        mem.maintain()


def test_async_with_closes_and_calls_run_side_by_side(world: Any, tmp_path: Path) -> None:
    async def main() -> tuple[list[int], list[str]]:
        async with world.open_async(tmp_path / "m", embed_provider="none") as mem:
            alice = mem.profile("alice")
            written = await asyncio.gather(*(alice.remember(f"item {n}") for n in range(20)))
            texts = [memory.text async for memory in alice.list()]
        with pytest.raises(palimp.Unavailable):
            await alice.recall("x")
        return [one.txid for one in written], texts

    txids, texts = asyncio.run(main())
    # Writes that waited together share a commit, and so its txid.
    assert set(txids) == set(range(1, max(txids) + 1))
    assert sorted(texts) == sorted(f"item {n}" for n in range(20))


def test_threads_share_a_client(world: Any, tmp_path: Path) -> None:
    with world.open(tmp_path / "m", embed_provider="none") as mem:
        alice = mem.profile("alice")
        with ThreadPoolExecutor(8) as pool:
            written = list(pool.map(lambda n: alice.remember(f"item {n}"), range(40)))
            read = list(pool.map(alice.get, written))
    assert [memory.text for memory in read] == [f"item {n}" for n in range(40)]


def test_a_cancelled_task_leaves_the_client_usable(world: Any, tmp_path: Path) -> None:
    async def main() -> list[str]:
        async with world.open_async(tmp_path / "m", embed_provider="none") as mem:
            alice = mem.profile("alice")
            await alice.remember("before")
            for turns in range(12):
                task = asyncio.ensure_future(alice.remember(f"cancelled {turns}"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            await alice.remember("after")
            return [memory.text async for memory in alice.list()]

    texts = asyncio.run(main())
    assert {"before", "after"} <= set(texts)
    assert len(texts) == len(set(texts)) <= 14


def test_an_asynchronous_client_outlives_its_event_loop(world: Any, tmp_path: Path) -> None:
    mem = world.open_async(tmp_path / "m", embed_provider="none")
    alice = mem.profile("alice")

    async def write(text: str) -> int:
        try:
            return (await alice.remember(text)).txid
        finally:
            if text == "two":
                await mem.close()

    assert [asyncio.run(write(text)) for text in ("one", "two")] == [1, 2]
