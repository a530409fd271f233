"""Background embedding: it starts by itself, survives failures, and ends with the client."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import palimp
from palimp.client.transports.embedded import Embedded
from palimp.clock import ManualClock
from palimp.engine import Address
from palimp.node import Node, load_settings
from palimp.node import background as background_module
from palimp.node.background import Background
from palimp.observe import Metrics
from palimp.operations import vectors
from palimp.operations.embedding import Embedding


class Counting:
    """An embedder that is not local, so only the background embeds rows."""

    name = "counting"
    dimensions = 2
    local = False
    egress = "outside"

    def __init__(self, failures: int = 0) -> None:
        self.texts: list[str] = []
        self.failures = failures
        self.done = threading.Event()
        self.wanted = 0

    def embed(self, texts: Sequence[str], **_: object) -> Any:
        if self.failures:
            self.failures -= 1
            raise palimp.Unavailable("not now")
        self.texts += texts
        if len(self.texts) >= self.wanted:
            self.done.set()
        return np.tile(np.array([1.0, 0.0], np.float32), (len(texts), 1))

    def of(self, name: str) -> None:
        return None


def client(folder: Path, embedder: Any) -> palimp.Client:
    return palimp.Client(Embedded(Node(load_settings({"data_dir": folder}, {}), embedder=embedder)))


def test_rows_are_embedded_without_being_asked_for(tmp_path: Path) -> None:
    embedder = Counting()
    embedder.wanted = 600
    with client(tmp_path / "m", embedder) as mem:
        mem.profile("a").ingest([{"text": f"one {n}"} for n in range(300)])
        mem.profile("b").ingest([{"text": f"two {n}"} for n in range(300)])
        assert embedder.done.wait(20)
        assert len(set(embedder.texts)) == 600


def test_a_failure_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_module, "_RETRY_SECONDS", 0.01)
    embedder = Counting(failures=3)
    embedder.wanted = 1
    with client(tmp_path / "m", embedder) as mem:
        mem.profile("a").remember("one")
        assert embedder.done.wait(20)


ADDRESSES = [Address("default", name) for name in ("a", "b", "c")]


def test_one_that_fails_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()
    calls: list[str] = []

    def work(address: Address) -> int:
        calls.append(address.profile)
        if address.profile == "a":
            raise palimp.Unavailable("the disk of a", reason="disk", retry_after=3_600)
        if calls.count("c") == 3:
            done.set()
        return 0 if done.is_set() else 1

    background = Background(work, Metrics())
    with caplog.at_level(logging.INFO, "palimp.node"):
        for address in ADDRESSES:
            background.wake(address)
        assert done.wait(20)
        background.close()
    assert calls.count("a") == 1
    assert len(caplog.records) == 1


def test_it_is_tried_later_and_later_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    background = Background(lambda address: 0, metrics)
    background._clock = clock = ManualClock()
    away = palimp.Unavailable("the model is away")
    waits: dict[Address, list[float]] = {address: [] for address in ADDRESSES}
    with caplog.at_level(logging.INFO, "palimp.node"):
        for _ in range(12):
            for address in ADDRESSES:
                background._failed(address, away)
                waits[address].append(background._troubles[address].due - clock.monotonic())
                assert address in background._addresses
        assert len(caplog.records) == 1
        assert "the model is away" in caplog.text
        background._failed(ADDRESSES[0], palimp.Unavailable("full", reason="disk"))
        assert len(caplog.records) == 2
        for address in ADDRESSES[1:]:
            background._succeeded(address)
        assert len(caplog.records) == 3
    for times in waits.values():
        assert all(2**n / 2 <= wait <= 2**n for n, wait in enumerate(times[:6]))
        assert all(30 <= wait <= 60 for wait in times[6:])
    assert len({tuple(times) for times in waits.values()}) == 3
    assert metrics.snapshot() == {'background_failed{code="unavailable"}': 37}


def test_it_is_not_tried_before_the_error_says() -> None:
    background = Background(lambda address: 0, Metrics())
    background._clock = clock = ManualClock()
    slow = palimp.Unavailable("too many requests", retry_after=45)
    background._failed(ADDRESSES[0], slow)
    assert background._troubles[ADDRESSES[0]].due == clock.monotonic() + 45
    background._failed(ADDRESSES[0], palimp.Unavailable("next year", retry_after=1e7))
    assert background._troubles[ADDRESSES[0]].due == clock.monotonic() + 60


def test_when_one_is_answered_the_others_are_tried_at_once() -> None:
    background = Background(lambda address: 0, Metrics())
    background._clock = clock = ManualClock()
    for address in ADDRESSES[:2]:
        background._failed(address, palimp.Unavailable("the model is away"))
    background._failed(ADDRESSES[2], palimp.Unavailable("full", reason="disk"))
    background._succeeded(ADDRESSES[0])
    now = clock.monotonic()
    assert [background._due(address, now) <= now for address in ADDRESSES] == [True, True, False]


def test_others_writes_make_embedding_rest_and_its_own_do_not() -> None:
    metrics, embedding = Metrics(), Embedding()
    pauses: list[float] = []

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return True

    for _ in range(3):
        embedding.writes()
        metrics.add("writes_committed")
        assert embedding.rest(metrics, 0.001, pause)
    assert pauses == [0.0] * 3
    metrics.add("writes_committed")
    assert embedding.is_busy(metrics)
    embedding.rest(metrics, 0.001, pause)
    # At most a thirtieth of the time, and never for long.
    assert pauses[3] >= 0.03
    embedding.rest(metrics, 60.0, pause)
    assert pauses[4] <= 1.0
    assert not embedding.rest(metrics, 0.001, lambda seconds: False)


def test_closing_waits_for_no_backlog_and_loses_none(tmp_path: Path) -> None:
    embedder = Counting()
    with client(tmp_path / "m", embedder) as mem:
        mem.profile("a").ingest([{"text": f"row {n}"} for n in range(1000)])
    left = 1000 - len(embedder.texts)
    with client(tmp_path / "m", embedder) as mem:
        assert mem.maintain().embedded == left
    assert sorted(embedder.texts) == sorted(f"row {n}" for n in range(1000))


def test_a_question_wakes_what_was_left_before(tmp_path: Path) -> None:
    with palimp.open(tmp_path / "m", embed_provider="none") as mem:
        mem.profile("a").remember("left")
    embedder = Counting()
    embedder.wanted = 2
    with client(tmp_path / "m", embedder) as mem:
        mem.profile("a").recall("left")
        assert embedder.done.wait(20)
    assert sorted(embedder.texts) == ["left", "left"]


def test_a_closed_client_says_so(tmp_path: Path) -> None:
    mem = palimp.open(tmp_path / "m")
    profile = mem.profile("a")
    mem.close()
    mem.close()
    with pytest.raises(palimp.Unavailable, match="closed"):
        profile.remember("x")
    assert not [t for t in threading.enumerate() if t.name == "palimp-background"]


def test_without_an_embedder_words_still_find(tmp_path: Path) -> None:
    with palimp.open(tmp_path / "m", embed_provider="none") as mem:
        mem.profile("a").remember("the ferry to Pico")
        found = mem.profile("a").recall("ferry", explain=True)
        assert found[0].channels == ("keyword",)
        assert any(dropped.reason == "no embedder here" for dropped in found.dropped)
        assert mem.maintain().embedded == 0


def test_two_threads_write_recall_and_forget_at_once(tmp_path: Path) -> None:
    errors: list[BaseException] = []
    with palimp.open(tmp_path / "m") as mem:
        profile = mem.profile("a")

        def write(name: str) -> None:
            try:
                for n in range(60):
                    written = profile.remember(f"{name} saw whale {n}", topic=f"{name}.{n % 7}")
                    if n % 5 == 0:
                        profile.forget(written)
            except palimp.Error as error:
                errors.append(error)

        def read() -> None:
            try:
                for _ in range(60):
                    for hit in profile.recall("whale", k=20):
                        assert "whale" in hit.text
            except palimp.Error as error:
                errors.append(error)

        threads = [threading.Thread(target=write, args=(name,)) for name in ("ann", "bob")]
        threads += [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        # Seven topics a writer; the newest of a topic was forgotten where n % 5 == 0.
        held = {(m.topic, m.text) for m in profile.list()}
        wanted = set()
        for name in ("ann", "bob"):
            for slot in range(7):
                last = max(n for n in range(60) if n % 7 == slot)
                if last % 5:
                    wanted.add((f"{name}.{slot}", f"{name} saw whale {last}"))
        assert held == wanted


def write_until_refused(
    mem: palimp.Client, name: str, acknowledged: list[str], refused: list[palimp.Error]
) -> None:
    try:
        for n in range(10_000):
            acknowledged.append(mem.profile(name).remember(f"{name} {n}").id)
    except palimp.Error as error:
        refused.append(error)


def test_closing_waits_for_what_is_under_way_and_refuses_the_rest(tmp_path: Path) -> None:
    for _ in range(5):
        mem = palimp.open(tmp_path / "m", embed_provider="none")
        acknowledged: list[str] = []
        refused: list[palimp.Error] = []
        threads = [
            threading.Thread(target=write_until_refused, args=(mem, name, acknowledged, refused))
            for name in ("a", "b", "c")
        ]
        for thread in threads:
            thread.start()
        while len(acknowledged) < 10:
            threads[0].join(0.01)
        mem.close()
        for thread in threads:
            thread.join()
        assert [error.details["reason"] for error in refused] == ["closed"] * 3
        with palimp.open(tmp_path / "m", embed_provider="none") as again:
            held = {m.id for name in ("a", "b", "c") for m in again.profile(name).list()}
        assert set(acknowledged) <= held


def test_a_read_that_waits_ends_a_rest(tmp_path: Path) -> None:
    with palimp.open(tmp_path / "m", embed_provider="none") as mem:
        mem.profile("a").remember("one")
    node = Node(load_settings({"data_dir": str(tmp_path / "m"), "embed_provider": "none"}, {}))
    try:
        with node.context.engine.use(Address("default", "a"), create=False) as branch:
            assert branch is not None
            paused: list[float] = []

            def pause(seconds: float) -> bool:
                paused.append(seconds)
                if len(paused) == 3:
                    work.turn.waiting.append(None)
                return True

            work = vectors._Work(node.context, branch, pause)
            assert not work._pause(60.0)
            assert len(paused) == 3
            work.turn.waiting.clear()
            assert work._pause(0.05)
            assert sum(paused[3:]) == pytest.approx(0.05)
    finally:
        node.close()
