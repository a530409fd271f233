"""Waiting for vectors, and embedding anew, by every client."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import palimp

BUNDLED = "palimp-minilm-static-256.1"


@pytest.fixture
def embedding(do: Any, tmp_path: Path) -> Iterator[Any]:
    client = do.open(tmp_path / "memory")
    yield client.profile("alice")
    do(client.close())


def test_a_write_waits_for_its_vectors(do: Any, embedding: Any) -> None:
    one = do(embedding.remember("The ship sails at nine", topic="ship", wait="embedded"))
    assert (one.embedded, one.note) == (True, None)
    many = do(embedding.ingest([{"text": f"ship {n}"} for n in range(300)], wait="embedded"))
    assert (many.embedded, many.note) == (True, None)
    newer = do(embedding.supersede(one, "The ship sails at ten", wait="embedded"))
    assert newer.embedded is True
    said = do(embedding.session("s").append("user", "hello", wait="embedded"))
    assert (said.embedded, said.notes) == (True, ())
    status = do(embedding.embed_status())
    assert (status.pending_memories, status.pending_turns, status.remaining) == (0, 0, 0)
    (only,) = status.generations
    assert (only.model, only.dimensions, only.memories, only.turns) == (BUNDLED, 256, 302, 1)
    assert only.current
    assert (status.model, status.answers, status.failure) == (BUNDLED, True, None)


def test_what_is_never_embedded_is_not_waited_for(do: Any, embedding: Any) -> None:
    done = do(embedding.remember("call them", type="task", wait="embedded"))
    assert done.embedded is True
    assert do(embedding.embed_status()).generations == ()


def test_nobody_waits_who_did_not_ask(do: Any, embedding: Any) -> None:
    assert do(embedding.remember("x")).embedded is None
    assert do(embedding.ingest([{"text": "y"}])).embedded is None
    assert do(embedding.session("s").append("user", "hello")).embedded is None


def test_a_repeat_waits_too_and_is_given_the_first_one_s_answer(do: Any, embedding: Any) -> None:
    first = do(embedding.remember("once", request_id="r1", wait="embedded"))
    assert do(embedding.remember("once", request_id="r1", wait="embedded")) == first


def test_without_an_embedder_the_write_succeeds_and_says_why(do: Any, alice: Any) -> None:
    done = do(alice.ingest([{"text": "a"}], wait="embedded"))
    assert (done[0].status, done.embedded) == ("created", False)
    assert done.note == "not embedded: no embedder here; set PALIMP_EMBED_PROVIDER"
    said = do(alice.session("s").append("user", "hello", wait="embedded"))
    assert (said.embedded, said.notes) == (False, (done.note,))
    with pytest.raises(palimp.Unconfigured, match="PALIMP_EMBED_PROVIDER"):
        do(alice.reembed())
    status = do(alice.embed_status())
    assert (status.model, status.answers) == (None, None)
    assert (status.pending_memories, status.pending_turns) == (1, 1)
    assert "PALIMP_EMBED_PROVIDER" in status.failure


def test_a_wait_for_something_else_is_refused(do: Any, alice: Any) -> None:
    with pytest.raises(palimp.Invalid, match="wait"):
        do(alice.remember("x", wait="shipped"))
    with pytest.raises(palimp.Invalid, match="wait"):
        do(alice.session("s").append("user", "x", wait="shipped"))
    assert do.all(alice.list()) == []


def test_embedding_anew_takes_what_is_left_and_ends(do: Any, embedding: Any) -> None:
    assert do(embedding.reembed()) == palimp.Reembedded(
        model=BUNDLED, embedded=0, dropped=0, remaining=0, txid=0
    )
    do(embedding.ingest([{"text": f"m{n}"} for n in range(20)]))
    left = 20
    while left:
        left = do(embedding.reembed(limit=7)).remaining
    done = do(embedding.reembed())
    assert (done.embedded, done.dropped, done.remaining) == (0, 0, 0)
    assert do(embedding.embed_status()).generations[0].memories == 20
    with pytest.raises(palimp.Invalid, match="limit"):
        do(embedding.reembed(limit=0))


def test_an_earlier_state_says_what_it_had(do: Any, embedding: Any) -> None:
    do(embedding.remember("then", wait="embedded"))
    do(embedding.checkpoint("before"))
    do(embedding.remember("now", wait="embedded"))
    assert do(embedding.at("before").embed_status()).generations[0].memories == 1
    assert do(embedding.embed_status()).generations[0].memories == 2
