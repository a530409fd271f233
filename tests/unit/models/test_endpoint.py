"""An embedder behind endpoints: order, checks, refusals, dimensions, generations."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from palimp.clock import Clock, ManualClock
from palimp.errors import Error, Unavailable, Unconfigured
from palimp.models import endpoint
from palimp.models.breaker import COOLDOWN_SECONDS
from palimp.models.bundled import BundledEmbedder
from palimp.models.endpoint import EndpointEmbedder
from palimp.models.pool import Endpoint, Pool
from palimp.observe import Metrics
from palimp.spending import Spending

from ...model_server import (
    Fault,
    ModelServer,
    answered,
    broken,
    numbers,
    refused,
    too_few,
    unauthorized,
    vectors,
    wrong_dimension,
)

TEXTS = ["a red car", "the blue house", "rain on Tuesday", "nobody called", "tea with milk"]


class World:
    """Servers, and an embedder of them."""

    def __init__(self, count: int, clock: Clock, **given: Any) -> None:
        self.servers = [ModelServer() for _ in range(count)]
        self.metrics = Metrics()
        endpoints = [Endpoint(server.url) for server in self.servers]
        self.pool = Pool(endpoints, clock, self.metrics, timeout=20, what="embed")
        arguments = {"provider": "openai", "model": "m"} | given
        self.embedder = EndpointEmbedder(self.pool, clock, self.metrics, **arguments)

    @property
    def sizes(self) -> list[int]:
        """How many texts were in each request to the first server."""
        return [len(seen.json["input"]) for seen in self.servers[0].seen]

    @property
    def given_up(self) -> float:
        return self.metrics.snapshot().get("embeddings_given_up", 0)

    def close(self) -> None:
        self.pool.close()
        for server in self.servers:
            server.close()


Make = Callable[..., World]


@pytest.fixture
def make(clock: ManualClock) -> Iterator[Make]:
    made: list[World] = []

    def one(count: int = 1, **given: Any) -> World:
        made.append(World(count, clock, **given))
        return made[-1]

    yield one
    for world in made:
        world.close()


def expected(texts: list[str], model: str = "m", dimensions: int = 256) -> Any:
    return np.array(vectors(texts, model, dimensions)) / 3


def test_rows_are_those_of_their_texts_and_of_unit_length(make: Make) -> None:
    world = make()
    rows = world.embedder.embed(TEXTS)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected(TEXTS), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert (world.embedder.name, world.embedder.dimensions) == ("openai:m/256", 256)
    assert world.sizes == [5]


def test_an_answer_without_places_is_in_the_order_of_the_texts(make: Make) -> None:
    world = make()
    data = [{"embedding": [1.0, 0.0]}, {"embedding": [0.0, 2]}]
    world.servers[0].fail(answered({"data": data}))
    assert world.embedder.embed(["a b", "c d"]).tolist() == [[1, 0], [0, 1]]


def test_what_is_sent_is_what_the_provider_takes(make: Make) -> None:
    openai, voyage = make(), make(provider="voyage")
    for world in (openai, voyage):
        world.embedder.embed(["x"])
        world.embedder.embed(["x"], query=True)
    assert [seen.json for seen in openai.servers[0].seen] == [{"input": ["x"], "model": "m"}] * 2
    assert [seen.json.get("input_type") for seen in voyage.servers[0].seen] == ["document", "query"]
    assert openai.servers[0].seen[0].path == "/v1/embeddings"


@pytest.mark.parametrize(
    ("provider", "field"), [("openai", "dimensions"), ("voyage", "output_dimension")]
)
def test_a_dimension_that_is_set_is_asked_for(make: Make, provider: str, field: str) -> None:
    world = make(provider=provider, dimensions=128)
    world.servers[0].dimensions = 128
    assert world.embedder.name == f"{provider}:m/128"
    assert world.servers[0].seen == []
    assert world.embedder.embed(["x"]).shape == (1, 128)
    assert world.servers[0].seen[0].json[field] == 128


def test_a_model_that_refuses_to_be_asked_for_a_dimension_is_not_asked(make: Make) -> None:
    world = make(dimensions=256)
    server = world.servers[0]
    server.fail(refused(400), refused(400))
    np.testing.assert_allclose(world.embedder.embed(["x"]), expected(["x"]), atol=1e-6)
    world.embedder.embed(["y"])
    assert ["dimensions" in seen.json for seen in server.seen] == [True, True, False, False, False]
    assert world.given_up == 0


def test_a_dimension_that_is_not_served_is_an_error_and_no_vector(make: Make) -> None:
    world = make(dimensions=384)
    world.servers[0].standing = wrong_dimension(256)
    with pytest.raises(Unavailable, match="answered vectors of 256 dimensions, not 384"):
        world.embedder.embed(["x"])


def test_an_endpoint_that_serves_another_dimension_is_taken_out_and_named(
    make: Make, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    world = make(2, dimensions=256)
    world.servers[0].standing = wrong_dimension(384)
    for text in TEXTS:
        assert world.embedder.embed([text]).shape == (1, 256)
    assert [len(server.seen) for server in world.servers] == [1, 5]
    place = f"127.0.0.1:{world.servers[0].port}"
    (warning,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert place in warning.getMessage()
    assert "384 dimensions, not 256" in warning.getMessage()
    # It may have been put right.
    world.servers[0].standing = None
    clock.advance(COOLDOWN_SECONDS)
    for text in TEXTS:
        world.embedder.embed([text])
    assert len(world.servers[0].seen) > 1


def test_where_no_dimension_is_set_the_first_answer_decides(make: Make) -> None:
    world = make(2)
    world.servers[1].dimensions = 100
    for text in TEXTS:
        assert world.embedder.embed([text]).shape == (1, 256)
    assert world.embedder.name == "openai:m/256"


def test_the_version_is_part_of_the_name(make: Make) -> None:
    assert make(dimensions=8, version="2026-11").embedder.name == "openai:m/8#2026-11"


def test_asking_for_the_name_asks_the_endpoint_once(make: Make) -> None:
    world = make()
    assert (world.embedder.name, world.embedder.dimensions) == ("openai:m/256", 256)
    world.embedder.embed(["x"])
    assert world.sizes == [1, 1]


def test_an_endpoint_that_does_not_tell_its_dimension_is_not_asked_by_everybody(
    make: Make, clock: ManualClock
) -> None:
    world = make()
    server = world.servers[0]
    server.standing = broken(500)
    for _ in range(10):
        with pytest.raises(Unavailable, match="answered 500"):
            _ = world.embedder.name
    assert len(server.seen) == 2
    server.standing = None
    clock.advance(5)
    assert world.embedder.name == "openai:m/256"


BAD_ANSWERS: list[Fault] = [
    too_few(),
    Fault(vectors=lambda rows: [*rows, rows[0]]),
    Fault(vectors=lambda rows: [rows[0], rows[1][:-1], *rows[2:]]),
    Fault(vectors=lambda rows: [[] for _ in rows]),
    Fault(vectors=lambda rows: [["0.5"] for _ in rows] + [[1]]),
    numbers(math.nan),
    numbers(math.inf),
    numbers(1e300),
    numbers(10**400),
    numbers(None),
    numbers("0.5"),
    numbers(True),
    numbers([1]),
    answered({}),
    answered([]),
    answered(None),
    answered({"data": None}),
    answered({"data": [7] * 5}),
    answered({"data": [{"embedding": None}] * 5}),
    answered({"data": [{"embedding": "AAAA"}] * 5}),
    answered({"data": [{"index": 0, "embedding": [1.0]}] * 5}),
    answered({"data": [{"index": n + 1, "embedding": [1.0]} for n in range(5)]}),
    answered({"data": [{"index": f"{n}", "embedding": [1.0]} for n in range(5)]}),
    answered({"data": [{"index": n, "embedding": [1.0] * 8_193} for n in range(5)]}),
]


@pytest.mark.parametrize("number", range(len(BAD_ANSWERS)))
def test_an_answer_that_is_not_right_is_an_error_and_asked_elsewhere(
    make: Make, number: int
) -> None:
    alone, pair = make(1, dimensions=256), make(2, dimensions=256)
    alone.servers[0].standing = pair.servers[0].standing = BAD_ANSWERS[number]
    with pytest.raises(Unavailable, match="the embedder does not answer"):
        alone.embedder.embed(TEXTS)
    for _ in range(2):
        rows = pair.embedder.embed(TEXTS)
        np.testing.assert_allclose(rows, expected(TEXTS), atol=1e-6)
    assert alone.given_up == pair.given_up == 0


@pytest.mark.parametrize("value", [math.nan, None, "x"])
def test_a_text_whose_numbers_are_none_does_not_hold_up_the_others(
    make: Make, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    world = make()
    poison = "poison"

    def spoil(rows: list[list[float]]) -> list[Any]:
        texts = world.servers[0].seen[-1].json["input"]
        return [
            [value, *row[1:]] if text == poison else row
            for text, row in zip(texts, rows, strict=True)
        ]

    world.servers[0].standing = Fault(vectors=spoil)
    rows = world.embedder.embed([*TEXTS, poison])
    np.testing.assert_allclose(rows[:-1], expected(TEXTS), atol=1e-6)
    assert not rows[-1].any()
    assert not world.embedder.embed([poison]).any()
    assert world.given_up == 2
    warnings = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert poison not in caplog.text


def test_numbers_that_are_none_only_once_are_asked_for_again(make: Make) -> None:
    world = make()
    world.servers[0].fail(numbers(math.nan, 2, 3))
    np.testing.assert_allclose(world.embedder.embed(TEXTS), expected(TEXTS), atol=1e-6)
    assert world.sizes == [5, 3]
    assert world.given_up == 0


@pytest.mark.parametrize("status", [400, 413, 422])
def test_one_text_too_long_is_cut_and_the_others_have_their_rows(
    make: Make, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make()
    server = world.servers[0]
    server.text_chars_max = 4_000
    long = "water " * 5_000
    rows = world.embedder.embed([*TEXTS, long, "the end"])
    np.testing.assert_allclose(rows[:5], expected(TEXTS), atol=1e-6)
    np.testing.assert_allclose(rows[6:], expected(["the end"]), atol=1e-6)
    np.testing.assert_allclose(rows[5:6], expected([long[:3_750]]), atol=1e-6)
    assert world.given_up == 0
    # One text being too long says nothing of batches.
    world.embedder.embed(TEXTS)
    assert world.sizes[-1] == 5


def test_a_text_that_is_refused_whatever_is_cut_gets_zeros(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    world = make()
    server = world.servers[0]
    server.text_chars_max = 20
    hopeless = "far too long " * 1_000
    rows = world.embedder.embed([*TEXTS, hopeless])
    np.testing.assert_allclose(rows[:5], expected(TEXTS), atol=1e-6)
    assert not rows[5].any()
    world.embedder.embed([hopeless])
    assert world.given_up == 2
    assert len([one for one in caplog.records if one.levelno == logging.WARNING]) == 1
    assert "far too long" not in caplog.text


def test_a_batch_that_is_too_large_is_halved_and_the_next_is_smaller() -> None:
    texts = [f"text {number}" for number in range(100)]

    class Picky(ModelServer):
        def _embeddings(self, asked: Any, fault: Fault) -> Any:
            if len(asked["input"]) > 32:
                return refused(422, "validation_error")
            return super()._embeddings(asked, fault)

    with Picky() as server:
        pool = Pool([Endpoint(server.url)], Clock(), Metrics(), timeout=20, what="embed")
        embedder = EndpointEmbedder(pool, Clock(), Metrics(), provider="openai", model="m")
        for _ in range(2):
            np.testing.assert_allclose(embedder.embed(texts), expected(texts), atol=1e-6)
        pool.close()
        sizes = [len(seen.json["input"]) for seen in server.seen]
    assert sizes == [100, 50, 25, 25, 50, 25, 25, *[25] * 4]


@pytest.mark.parametrize("dimensions", [0, 256])
def test_where_every_text_is_refused_none_is_given_up(make: Make, dimensions: int) -> None:
    world = make(dimensions=dimensions)
    world.servers[0].standing = refused(400, "model_is_gone")
    with pytest.raises(Unconfigured, match=r"answered 400 \(model_is_gone\).*PALIMP_EMBED_MODEL"):
        world.embedder.embed(TEXTS)
    assert world.given_up == 0
    # Found out by halves, not text by text.
    assert len(world.servers[0].seen) < 7


def test_other_errors_pass_through(make: Make) -> None:
    world = make()
    world.servers[0].standing = unauthorized()
    with pytest.raises(Unconfigured, match="PALIMP_EMBED_API_KEY"):
        world.embedder.embed(TEXTS)


def test_batches_are_bounded_in_texts_and_in_bytes(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "_BATCH_TEXTS_MAX", 3)
    world = make(dimensions=256)
    world.embedder.embed(["x"] * 8)
    assert world.sizes == [3, 3, 2]
    monkeypatch.setattr(endpoint, "_BATCH_BYTES_MAX", 100)
    world.servers[0].seen.clear()
    world.embedder.embed(["é" * 40, "a", "é" * 60, "b"])
    assert world.sizes == [2, 1, 1]


@pytest.mark.parametrize("blank", ["", "  ", "\n\t"])
def test_a_blank_text_is_not_sent(make: Make, blank: str) -> None:
    world = make(dimensions=256)
    assert not world.embedder.embed([blank]).any()
    rows = world.embedder.embed([blank, "a red car"])
    assert not rows[0].any()
    assert rows[1].any()
    assert world.sizes == [1]


def test_every_text_can_be_sent(make: Make) -> None:
    world = make()
    odd = ["half \ud800 a character", "\x00\x01 control", "😀" * 10, "x" * 100_000]
    assert world.embedder.embed(odd).shape == (4, 256)
    assert len(world.servers[0].seen[0].json["input"][3]) == endpoint.TEXT_CHARS_MAX


def test_no_texts_are_no_request(make: Make) -> None:
    world = make(dimensions=256)
    assert world.embedder.embed([]).shape == (0, 256)
    assert world.sizes == []
    with pytest.raises(TypeError, match="put a single text into a list"):
        world.embedder.embed("text")


def test_what_left_is_counted(make: Make) -> None:
    world = make()
    spending = Spending()
    world.embedder.embed(TEXTS, spending=spending)
    size = len(world.servers[0].seen[0].body)
    assert (spending.calls, spending.texts, spending.bytes) == (1, 5, size)
    assert spending.tokens_in == sum(map(len, TEXTS)) // 4
    assert spending.tokens_out == 0
    world.servers[0].usage = False
    world.embedder.embed(TEXTS, spending=spending)
    assert spending.tokens_in == 2 * (sum(map(len, TEXTS)) // 4)


@pytest.mark.parametrize("said", [-5, 10**12])
def test_tokens_that_cannot_be_are_not_counted(make: Make, said: int) -> None:
    world = make()
    data = [{"embedding": [1.0, 0.0]}]
    world.servers[0].fail(answered({"data": data, "usage": {"total_tokens": said}}))
    spending = Spending()
    world.embedder.embed(["eight ch"], spending=spending)
    assert spending.tokens_in == 2


def test_an_older_generation_is_asked_of_the_same_endpoints(make: Make) -> None:
    world = make(dimensions=256)
    older = world.embedder.of("openai:BAAI/older/100")
    assert older is not None
    assert older is world.embedder.of("openai:BAAI/older/100")
    world.servers[0].dimensions = 100
    rows = older.embed(["a red car"], query=True)
    np.testing.assert_allclose(rows, expected(["a red car"], "BAAI/older", 100), atol=1e-6)
    assert older.name == "openai:BAAI/older/100"
    assert world.servers[0].seen[0].json["model"] == "BAAI/older"


def test_an_older_generation_that_is_gone_does_not_spoil_the_endpoints(make: Make) -> None:
    world = make(dimensions=256)
    older = world.embedder.of("openai:older/100")
    assert older is not None
    world.servers[0].fail(*[wrong_dimension(300)] * 8)
    for _ in range(8):
        with pytest.raises(Unavailable, match="older has 300 dimensions now, not 100"):
            older.embed(["x"])
    assert world.embedder.embed(["x"]).shape == (1, 256)


def test_what_cannot_be_asked_here_is_nothing(make: Make) -> None:
    embedder = make(dimensions=256, version="2").embedder
    for name in (
        "palimp-minilm-static-256.1",
        "voyage:m/256",
        "openai:m",
        "openai:/256",
        "openai:m/0",
        "openai:m/99999",
        "openai:m/256",
        "openai:m/256#1",
        "openai:other/256#1",
        "onnx:MiniLM#12345678/384",
    ):
        assert embedder.of(name) is None, name
    assert embedder.of("openai:m/256#2") is embedder
    assert embedder.of("openai:other/256#2") is not None
    assert embedder.of("openai:m/128#2") not in (None, embedder)


def test_a_pool_with_one_endpoint_down_embeds_everything(make: Make) -> None:
    world = make(3)
    world.servers[1].standing = broken(502)
    for text in TEXTS * 4:
        np.testing.assert_allclose(world.embedder.embed([text]), expected([text]), atol=1e-6)


def test_the_vectors_of_the_server_are_the_bundled_ones_in_another_order() -> None:
    # Otherwise the tests above would compare something with itself.
    plain = BundledEmbedder().embed(TEXTS)
    ours = expected(TEXTS)
    assert np.allclose(plain @ plain.T, ours @ ours.T, atol=1e-5)
    assert not np.allclose(plain, ours)


def test_errors_hold_no_text(make: Make) -> None:
    world = make(dimensions=256)
    for fault in (*BAD_ANSWERS, refused(400, "x_y", "secret plan"), refused(409), unauthorized()):
        world.servers[0].standing = fault
        with pytest.raises(Error) as caught:
            world.embedder.embed(["secret plan", "the other secret"])
        assert "secret" not in str(caught.value) + json.dumps(caught.value.details)


class Breaking(ModelServer):
    """Answers 500 to every request with a text it cannot embed, as servers do that met NaN."""

    def _embeddings(self, asked: Any, fault: Fault) -> Any:
        if any("poison" in text for text in asked["input"]):
            return broken(500)
        return super()._embeddings(asked, fault)


@pytest.mark.parametrize("poisoned", [[0], [7], [0, 1, 19]])
def test_a_text_that_a_server_breaks_on_does_not_keep_the_others_waiting(
    clock: ManualClock, poisoned: list[int]
) -> None:
    texts = [f"text {number}" for number in range(20)]
    for place in poisoned:
        texts[place] = "poison " * (place + 100)
    with Breaking() as server:
        metrics = Metrics()
        pool = Pool([Endpoint(server.url)], clock, metrics, timeout=20, what="embed")
        embedder = EndpointEmbedder(pool, clock, metrics, provider="openai", model="m")
        rows = embedder.embed(texts)
        pool.close()
    others = [place for place in range(20) if place not in poisoned]
    good = expected([texts[place] for place in others])
    np.testing.assert_allclose(rows[others], good, atol=1e-6)
    assert not rows[poisoned].any()
    assert metrics.snapshot()["embeddings_given_up"] == len(poisoned)


def test_a_server_that_fails_now_and_then_costs_no_text(make: Make) -> None:
    world = make(dimensions=256)
    bad = broken(500)
    world.servers[0].fail(bad, bad, None, bad, bad, None, bad, bad, None, None)
    np.testing.assert_allclose(world.embedder.embed(TEXTS), expected(TEXTS), atol=1e-6)
    assert world.given_up == 0


def test_a_server_that_is_down_gives_up_no_text(make: Make) -> None:
    world = make(dimensions=256)
    world.servers[0].standing = broken(500)
    for _ in range(3):
        with pytest.raises(Unavailable):
            world.embedder.embed(TEXTS)
    assert world.given_up == 0
    assert len(world.servers[0].seen) == 5


def test_a_question_is_not_tried_in_parts(make: Make) -> None:
    world = make(dimensions=256)
    world.servers[0].standing = broken(500)
    with pytest.raises(Unavailable):
        world.embedder.embed(["where"], query=True)
    assert world.sizes == [1, 1]


def test_numbers_that_are_none_give_up_nothing_where_the_batch_is_all_a_server_takes() -> None:
    class Small(ModelServer):
        def _embeddings(self, asked: Any, fault: Fault) -> Any:
            if len(asked["input"]) > 5:
                return refused(422)
            return super()._embeddings(asked, fault)

    with Small() as server:
        metrics = Metrics()
        pool = Pool([Endpoint(server.url)], Clock(), metrics, timeout=20, what="embed")
        embedder = EndpointEmbedder(pool, Clock(), metrics, provider="openai", model="m")
        server.fail(numbers(math.nan))
        np.testing.assert_allclose(embedder.embed(TEXTS), expected(TEXTS), atol=1e-6)
        server.standing = numbers(math.nan)
        with pytest.raises(Unavailable, match="numbers that are none"):
            embedder.embed(TEXTS)
        pool.close()
    assert "embeddings_given_up" not in metrics.snapshot()
