"""A pool of endpoints against servers that do everything a server can do wrong."""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from palimp.clock import Clock, ManualClock, format_ms
from palimp.errors import Error, Invalid, Unavailable, Unconfigured
from palimp.models import exchange
from palimp.models.breaker import COOLDOWN_SECONDS, FAILURES_MAX
from palimp.models.pool import Endpoint, Pool, Unusable
from palimp.observe import Metrics
from palimp.spending import Spending

from ...model_server import (
    Fault,
    ModelServer,
    broken,
    cut,
    dripping,
    html,
    invalid_json,
    limited,
    redirected,
    refused,
    slow,
    unauthorized,
)

KEY = "sk-" + "s3cret" * 4
BODY = json.dumps({"model": "m", "input": ["a text of a user"]}).encode()
HTTP_DATE = "%a, %d %b %Y %H:%M:%S GMT"


class World:
    """Servers, and a pool of them by a clock that the test moves."""

    def __init__(self, count: int, clock: Clock, timeout: float = 30.0, key: str | None = None):
        self.servers = [ModelServer(key=key) for _ in range(count)]
        self.metrics = Metrics()
        self.spending = Spending()
        endpoints = [Endpoint(server.url, key) for server in self.servers]
        self.pool = Pool(endpoints, clock, self.metrics, timeout=timeout, what="embed")

    def post(self) -> bytes:
        return self.pool.post("/embeddings", BODY, bearer, self.spending, texts=1)

    def asked(self) -> list[int]:
        """How many requests each server has seen."""
        return [len(server.seen) for server in self.servers]

    def outcomes(self) -> dict[str, int]:
        return {
            key.split('"')[1]: int(count)
            for key, count in self.metrics.snapshot().items()
            if key.startswith("model_requests")
        }

    def close(self) -> None:
        self.pool.close()
        for server in self.servers:
            server.close()


Make = Callable[..., World]


@pytest.fixture
def make(clock: ManualClock) -> Iterator[Make]:
    made: list[World] = []

    def one(count: int, **given: object) -> World:
        made.append(World(count, **({"clock": clock} | given)))  # type: ignore[arg-type]
        return made[-1]

    yield one
    for world in made:
        world.close()


def bearer(endpoint: Endpoint) -> dict[str, str]:
    return {"authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}


def test_calls_go_to_one_endpoint_after_the_other(make: Make) -> None:
    world = make(3)
    for _ in range(9):
        world.post()
    assert world.asked() == [3, 3, 3]
    assert world.outcomes() == {"answered": 9}


def test_threads_share_the_endpoints_fairly(make: Make) -> None:
    world = make(3)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: world.post(), range(60)))
    assert world.asked() == [20, 20, 20]


@pytest.mark.parametrize(
    "fault",
    [
        broken(500),
        broken(503),
        broken(529),
        broken(408),
        cut(),
        cut("midway"),
        html(),
        html(502),
        invalid_json(),
        Fault(body=b""),
        Fault(body=b"\xff\xfe"),
        Fault(body=b"[" * 200_000),
        limited("1"),
    ],
)
def test_what_fails_is_passed_over(make: Make, fault: Fault) -> None:
    world = make(2)
    world.servers[0].standing = fault
    for _ in range(4):
        assert b"embedding" in world.post()
    assert world.asked()[1] == 4


def test_one_endpoint_is_asked_twice_and_no_more(make: Make, clock: ManualClock) -> None:
    world = make(1)
    world.servers[0].fail(broken(500))
    assert b"embedding" in world.post()
    assert world.asked() == [2]
    world.servers[0].standing = broken(500)
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:\d+ answered 500; try again in 1 s"):
        world.post()
    assert world.asked() == [4]
    assert world.outcomes() == {"answered": 1, "failed": 3}


def test_an_endpoint_that_fails_is_left_alone_and_tried_again_by_one_call(
    make: Make, clock: ManualClock
) -> None:
    world = make(2)
    bad, _ = world.servers
    bad.standing = broken(500)
    for _ in range(40):
        world.post()
    assert len(bad.seen) == FAILURES_MAX
    clock.advance(COOLDOWN_SECONDS)
    for _ in range(10):
        world.post()
    assert len(bad.seen) == FAILURES_MAX + 1
    bad.standing = None
    clock.advance(COOLDOWN_SECONDS)
    for _ in range(10):
        world.post()
    assert len(bad.seen) >= FAILURES_MAX + 5


def test_under_threads_one_call_tries_it_while_the_others_pass(
    make: Make, clock: ManualClock
) -> None:
    world = make(2)
    bad, _ = world.servers
    bad.standing = broken(500)
    for _ in range(40):
        world.post()
    before = len(bad.seen)
    clock.advance(COOLDOWN_SECONDS)
    bad.open.clear()
    with ThreadPoolExecutor(12) as threads:
        calls = [threads.submit(world.post) for _ in range(12)]
        while len(bad.seen) == before or sum(call.done() for call in calls) < 11:
            threading.Event().wait(0.01)
        assert len(bad.seen) == before + 1
        bad.open.set()
        for call in calls:
            assert call.result()
    assert len(bad.seen) == before + 1


def test_silence_is_a_failure(make: Make) -> None:
    world = make(2, clock=Clock(), timeout=0.3)
    world.servers[0].standing = slow()
    for _ in range(2):
        assert world.post()
    world.servers[1].standing = slow()
    with pytest.raises(Unavailable, match=r"did not answer within 0\.3 s"):
        world.post()


def test_an_answer_in_drops_ends_with_the_timeout(make: Make) -> None:
    world = make(1, clock=Clock(), timeout=0.4)
    world.servers[0].standing = dripping(0.05)
    with pytest.raises(Unavailable, match=r"did not finish its answer within 0\.4 s"):
        world.post()


def test_an_answer_without_end_is_not_read_to_it(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "ANSWER_BYTES_MAX", 10_000)
    world = make(1)
    world.servers[0].standing = Fault(body=b" " * 10_001 + b"{}")
    with pytest.raises(Unavailable, match="answered more than 10,000 bytes"):
        world.post()


def test_nobody_there_is_a_failure_and_nothing_left(make: Make, clock: ManualClock) -> None:
    world = make(1)
    world.servers[0].close()
    with pytest.raises(Unavailable, match="cannot be reached") as caught:
        world.post()
    assert caught.value.retry_after == 1
    assert (world.spending.calls, world.spending.bytes) == (0, 0)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("2.5", 2.5),
        ("100000", exchange.RETRY_AFTER_SECONDS_MAX),
        ("soon", 5),
        ("-3", 5),
        ("nan", 5),
        (None, 5),
    ],
)
def test_a_limited_endpoint_rests_as_long_as_it_says(
    make: Make, clock: ManualClock, said: str | None, seconds: float
) -> None:
    world = make(2)
    world.servers[0].fail(limited(said))
    world.post()
    assert world.asked() == [1, 1]
    if seconds:
        clock.advance(seconds - 0.01)
        for _ in range(4):
            world.post()
        assert world.asked() == [1, 5]
        clock.advance(0.01)
    for _ in range(4):
        world.post()
    assert world.asked()[0] >= 3


def test_a_date_to_come_again_is_by_the_clock_of_the_server(make: Make, clock: ManualClock) -> None:
    world = make(1)
    # Of a server whose clock is a year off; its own `Date` says so.
    theirs = clock.now_ms() - 365 * 86_400_000
    said = [format_ms(theirs + ms, pattern=HTTP_DATE) for ms in (0, 20_000)]
    world.servers[0].fail(
        Fault(429, b"", {"Date": said[0], "Retry-After": said[1]}),
    )
    with pytest.raises(Unavailable) as caught:
        world.post()
    assert caught.value.retry_after == 20


def test_where_all_are_limited_the_error_says_when_to_come_again(
    make: Make, clock: ManualClock
) -> None:
    world = make(2)
    for server, seconds in zip(world.servers, ("40", "30"), strict=True):
        server.standing = limited(seconds)
    with pytest.raises(Unavailable, match=r"answered 429 \(too many requests\)") as caught:
        world.post()
    assert caught.value.retry_after == 30
    with pytest.raises(Unavailable, match="rests for 30 s") as caught:
        world.post()
    assert world.asked() == [1, 1]
    for server in world.servers:
        server.standing = None
    clock.advance(30)
    assert world.post()


def test_a_short_limit_is_waited_for(make: Make, clock: ManualClock) -> None:
    world = make(1)
    world.servers[0].fail(limited("1"))
    assert world.post()
    assert clock.monotonic() == 1


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_wrong_key_is_not_hidden_by_another_endpoint(make: Make, status: int) -> None:
    world = make(2)
    world.servers[0].standing = refused(status, "invalid_api_key", f"Incorrect: {KEY}")
    with pytest.raises(Unconfigured) as caught:
        world.post()
    assert world.asked() == [1, 0]
    assert f"answered {status} (invalid_api_key): check PALIMP_EMBED_API_KEY" in str(caught.value)
    assert world.servers[0].url.split("/")[2] in str(caught.value)
    assert caught.value.details["status"] == status
    # The other one is asked as usual, and the first one too.
    assert world.post()
    world.servers[0].standing = None
    assert world.post()
    assert world.asked() == [2, 1]


@pytest.mark.parametrize(("status", "kind"), [(404, Unconfigured), (400, Invalid), (422, Invalid)])
def test_other_refusals_are_not_tried_elsewhere(make: Make, status: int, kind: type[Error]) -> None:
    world = make(2)
    world.servers[0].fail(refused(status, "Text of the user 7", "no"))
    with pytest.raises(kind, match=f"answered {status}:") as caught:
        world.post()
    assert "Text of" not in str(caught.value)
    assert world.asked() == [1, 0]
    assert world.outcomes() == {"refused": 1}


def test_a_redirect_is_not_followed(make: Make) -> None:
    world = make(2)
    world.servers[0].fail(redirected(f"{world.servers[1].url}/embeddings?x={KEY}"))
    with pytest.raises(Unconfigured, match="answered 307: a redirect is not followed") as caught:
        world.post()
    assert world.asked() == [1, 0]
    assert KEY not in str(caught.value)


def test_what_a_reader_refuses_is_asked_elsewhere(make: Make) -> None:
    world = make(2)
    reasons = iter([Unusable("nonsense"), Unusable("too little", lasting=True)])

    def read(content: bytes) -> str:
        error = next(reasons, None)
        if error is not None:
            raise error
        return "read"

    assert world.pool.ask("/embeddings", BODY, bearer, read) == "read"
    assert world.asked() == [2, 1]
    # What would be so again is left alone at once.
    for _ in range(4):
        world.post()
    assert world.asked() == [6, 1]


def test_every_try_is_counted(make: Make) -> None:
    world = make(2)
    world.servers[0].fail(broken(500))
    world.post()
    spent = world.spending
    assert (spent.calls, spent.texts, spent.bytes) == (2, 2, 2 * len(BODY))
    assert spent.hosts == {"127.0.0.1"}


@pytest.mark.parametrize("where", ["header", "user", "query"])
def test_a_key_is_sent_and_never_shown(
    where: str, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    encoded = base64.b64encode(f"me:{KEY}".encode()).decode()
    with ModelServer(key=encoded if where == "user" else KEY) as server:
        port = server.port
        endpoint = {
            "header": lambda: Endpoint(server.url, KEY),
            "user": lambda: Endpoint(f"http://me:{KEY}@127.0.0.1:{port}/v1"),
            "query": lambda: Endpoint(f"http://127.0.0.1:{port}/v1?key={KEY}&v=2"),
        }[where]()
        pool = Pool([endpoint], clock, Metrics(), timeout=5, what="embed")
        try:
            assert pool.post("/embeddings", BODY, bearer)
            shown = [repr(pool), repr(endpoint), str(endpoint)]
            for fault in (unauthorized(), refused(400, KEY), broken(500), html(), cut()):
                server.standing = fault
                with pytest.raises(Error) as caught:
                    pool.post("/embeddings", BODY, bearer)
                shown += [str(caught.value), repr(caught.value.details)]
        finally:
            pool.close()
        if where == "query":
            assert server.seen[0].path == f"/v1/embeddings?key={KEY}&v=2"
        shown += [record.getMessage() for record in caplog.records]
        shown.append(caplog.text)
        assert len(caplog.records) > 10
        assert not [text for text in shown if KEY in text or encoded in text]
        assert not [text for text in shown if "a text of a user" in text]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8080",
        "ftp://host/",
        "http://",
        f"http://host/{KEY} x",
        f"https://host:{KEY}/",
        f"http://[{KEY}",
        f"file:///{KEY}",
        f"http://höst/{KEY}",
    ],
)
def test_what_is_no_url_is_not_repeated(url: str) -> None:
    with pytest.raises(Invalid, match="is no URL") as caught:
        Endpoint(url)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("key", ["", f"{KEY} ", f"{KEY}\n", f"schlüssel{KEY}"])
def test_a_key_that_no_header_can_hold_is_refused(key: str) -> None:
    with pytest.raises(Invalid, match=r"the key for example\.com") as caught:
        Endpoint("https://example.com", key)
    assert KEY not in str(caught.value)


def test_an_endpoint_keeps_apart_what_is_shown() -> None:
    endpoint = Endpoint("https://u:p%40@[::1]:8443/a/v1/?k=1#there")
    assert (endpoint.host, endpoint.place) == ("::1", "[::1]:8443")
    assert (endpoint.url, endpoint.query) == ("https://[::1]:8443/a/v1", "k=1")
    assert endpoint.authorization == "Basic " + base64.b64encode(b"u:p@").decode()


def test_a_server_of_ones_own_is_reached_past_the_proxy(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ModelServer() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.root)
        monkeypatch.setenv("NO_PROXY", "")
        world = make(1)
        world.post()
        assert (world.asked(), proxy.seen) == ([1], [])
        outside = Pool(
            [Endpoint("http://models.example.com/v1?key=7", KEY)],
            ManualClock(),
            Metrics(),
            timeout=5,
            what="embed",
        )
        try:
            assert outside.post("/embeddings", BODY, bearer)
        finally:
            outside.close()
        assert proxy.seen[0].path == "http://models.example.com/v1/embeddings?key=7"


def test_surroundings_that_cannot_be_used_are_named(
    make: Make, monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"nonsense://{KEY}@host")
    pool = Pool([Endpoint("https://example.com")], clock, Metrics(), timeout=5, what="embed")
    spending = Spending()
    with pytest.raises(Unconfigured, match="the variables of proxies") as caught:
        pool.post("/embeddings", BODY, bearer, spending)
    assert KEY not in str(caught.value)
    assert spending.calls == 0


def test_calls_beyond_the_bound_wait_and_are_refused(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palimp.models.pool.CONCURRENCY_MAX", 2)
    monkeypatch.setattr("palimp.models.pool.QUEUE_SECONDS_MAX", 0.05)
    world = make(1)
    server = world.servers[0]
    server.open.clear()
    with ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(world.post) for _ in range(2)]
        while len(server.seen) < 2:
            threading.Event().wait(0.01)
        with pytest.raises(Unavailable, match="2 calls to the embedder are under way") as caught:
            world.post()
        assert caught.value.code == "overloaded"
        server.open.set()
        for call in calls:
            assert call.result()
    assert world.post()


def test_a_closed_pool_says_so(make: Make) -> None:
    world = make(1)
    world.post()
    world.pool.close()
    world.pool.close()
    with pytest.raises(Unavailable, match="closed") as caught:
        world.post()
    assert caught.value.details["reason"] == "closed"
    assert world.spending.calls == 1


def test_a_connection_that_was_idle_for_too_long_is_no_failure_of_the_call(make: Make) -> None:
    world = make(1)
    world.post()
    # The server answers, and closes the connection without saying so before.
    world.servers[0].fail(cut())
    assert world.post()
    assert world.outcomes() == {"answered": 2, "failed": 1}
