"""Questions to the memories over every transport; the model is a real server with a script."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palimp.errors import Denied, Invalid, Unavailable, Unconfigured

from ..model_server import Answer, ModelServer

KEY = "sk-secret-0123456789abcdef"


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(key=KEY) as server:
        yield server


@pytest.fixture
def asking(do: Any, tmp_path: Path, server: ModelServer) -> Iterator[Any]:
    client = do.open(
        tmp_path / "asking",
        embed_provider="none",
        assistant_base_url=server.url,
        assistant_api_key=KEY,
        assistant_model="m",
    )
    yield client
    do(client.close())


@pytest.fixture
def bob(asking: Any) -> Any:
    return asking.profile("bob")


def test_an_answer_cites_what_it_stands_on(do: Any, bob: Any, server: ModelServer) -> None:
    aisle = do(bob.remember("Prefers the aisle seat", topic="user.seat"))
    do(bob.remember("The seat of the company is in Porto"))
    found = do(bob.recall("which seat?"))
    number = [hit.id for hit in found].index(aisle.id) + 1
    server.say({"answer": "The aisle seat.", "citations": [number]})
    done = do(bob.ask("which seat?"))
    assert (done.answer, done.citations) == ("The aisle seat.", (aisle.id,))
    assert [hit.id for hit in done.memories] == [hit.id for hit in found]
    assert (done.model, done.tokens, done.notes) == ("openai:m", 50, ())
    assert done.txid == found.txid
    assert done == type(done)(**{name: getattr(done, name) for name in done.__struct_fields__})


def test_nothing_recalled_is_no_answer_and_no_call(do: Any, bob: Any, server: ModelServer) -> None:
    empty = do(bob.ask("which seat?"))
    assert (empty.answer, empty.citations, empty.memories, empty.txid) == (None, (), (), 0)
    do(bob.remember("Prefers the aisle seat"))
    done = do(bob.ask("zebra"))
    assert (done.answer, done.memories, done.tokens) == (None, (), 0)
    assert done.txid > 0
    assert server.seen == []


def test_filters_bounds_and_points_are_those_of_recall(
    do: Any, bob: Any, server: ModelServer
) -> None:
    do(bob.remember("Prefers the aisle seat", topic="user.seat", kind="preference"))
    then = do(bob.checkpoint("then"))
    do(bob.remember("Prefers the window seat", topic="user.seat", kind="preference"))
    do(bob.remember("The seat was broken", type="event", tags=["flight"]))
    no = {"answer": None, "citations": []}
    server.say(no, no, no, no)

    def shown(profile: Any, **filters: Any) -> list[str]:
        return sorted(hit.text for hit in do(profile.ask("which seat?", **filters)).memories)

    assert shown(bob.at(then)) == ["Prefers the aisle seat"]
    assert shown(bob, kind="preference") == ["Prefers the window seat"]
    assert shown(bob, type="event", tags=["flight"]) == ["The seat was broken"]
    assert shown(bob, k=1) == [do(bob.recall("which seat?", k=1))[0].text]
    assert shown(bob, kind="no such") == []
    assert shown(bob, min_score=1.0) == []
    sent = [seen.json["messages"][1]["content"] for seen in server.seen]
    assert len(sent) == 4
    for text, more in zip(sent, ["aisle", "window", "broken"], strict=False):
        assert [word for word in ("aisle", "window", "broken") if word in text] == [more]


@pytest.mark.parametrize(
    "wrong",
    [{"k": 0}, {"max_tokens": 0}, {"max_tokens": 1_000_000}, {"min_score": 2.0}, {"since": -1}],
)
def test_what_cannot_be_asked_is_refused_alike(
    do: Any, bob: Any, server: ModelServer, wrong: dict[str, Any]
) -> None:
    do(bob.remember("Prefers the aisle seat"))
    with pytest.raises(Invalid):
        do(bob.ask("which seat?", **wrong))
    for query in ("", " \n", "seat " * 5_000):
        with pytest.raises(Invalid):
            do(bob.ask(query))
    assert server.seen == []


def test_without_a_model_it_says_what_to_set(do: Any, alice: Any) -> None:
    do(alice.remember("Prefers the aisle seat"))
    with pytest.raises(Unconfigured, match=r"PALIMP_ASSISTANT_API_KEY.*`recall`"):
        do(alice.ask("which seat?"))


def test_what_the_policy_denies_never_leaves(
    do: Any, asking: Any, bob: Any, server: ModelServer
) -> None:
    do(bob.remember("Prefers the aisle seat"))
    do(asking.set_policy("default", {"ai_egress": {"ask": "deny"}}))
    for query in ("which seat?", "zebra"):
        with pytest.raises(Denied, match=r"ai_egress\.ask = deny for namespace 'default'"):
            do(bob.ask(query))
    assert server.seen == []
    assert do(bob.recall("which seat?"))[0].text == "Prefers the aisle seat"


def test_a_model_that_gives_nonsense_is_asked_three_times_and_no_more(
    do: Any, bob: Any, server: ModelServer
) -> None:
    do(bob.remember("Prefers the aisle seat"))
    server.say("aisle", {"answer": 7}, "> [1]", "never asked for")
    with pytest.raises(Unavailable, match="openai:m") as raised:
        do(bob.ask("which seat?"))
    # Clients do not repeat it either.
    assert len(server.seen) == 3
    assert raised.value.details["reason"] == "malformed"
    assert "aisle" not in str(raised.value) + repr(raised.value.details)


def test_a_refusal_is_asked_once(do: Any, bob: Any, server: ModelServer) -> None:
    do(bob.remember("Prefers the aisle seat"))
    server.say(Answer(None, refusal="I will not."), "never asked for")
    with pytest.raises(Unavailable) as raised:
        do(bob.ask("which seat?"))
    assert raised.value.details["reason"] == "refused"
    assert len(server.seen) == 1


def test_what_left_is_in_the_audit(do: Any, asking: Any, bob: Any, server: ModelServer) -> None:
    do(bob.remember("Prefers the aisle seat"))
    do(asking.set_policy("default", {"audit": {"enabled": True, "include_reads": True}}))
    server.say({"answer": "Aisle.", "citations": [1]})
    do(bob.ask("which seat?"))
    events = {event.action: event for event in do.all(asking.audit("default"))}
    sent = events["egress.ask"]
    assert (sent.profile, sent.host, sent.model) == ("bob", "127.0.0.1", "openai:m")
    assert sent.counts["calls"] == 1
    assert (sent.counts["tokens_in"], sent.counts["tokens_out"]) == (40, 10)
    assert events["memory.ask"].profile == "bob"
    assert "aisle" not in repr(events).lower()
