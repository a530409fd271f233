"""What /metrics shows: each row of the table, with the numbers of what was done."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from palimp.api import Ingest, MemoryInput, Target
from palimp.clock import ManualClock
from palimp.engine import Address, Branch
from palimp.errors import Unavailable
from palimp.http import create_app
from palimp.http.metrics import exposition
from palimp.node import Node, load_settings
from palimp.observe import METRICS
from palimp.store import VolatileStore
from palimp.store.faulty import NO_FAULT, Fault, FaultyStore, Kind

parser = pytest.importorskip("prometheus_client.parser")

ALICE = Target(namespace="default", profile="alice")


class House:
    """A node on a store that fails when told, with a clock moved by hand."""

    def __init__(self, path: Path, **given: Any) -> None:
        self.clock = ManualClock()
        self.down = False
        store = FaultyStore(VolatileStore(), self.choose, self.clock)
        settings = {"data_dir": path / "m", "embed_provider": "none", **given}
        self.node = Node(load_settings(settings), clock=self.clock, store=store)
        self.engine = self.node.context.engine
        # Nothing happens unless it is asked for.
        self.engine._keeper.close()
        self.app = create_app(self.node)

    def choose(self, _operation: str, _key: str) -> Fault:
        return Fault(Kind.ERROR) if self.down else NO_FAULT

    def write(self, text: str = "a") -> None:
        self.node.call("memories.ingest", ALICE, Ingest(memories=(MemoryInput(text=text),)))

    def sync(self) -> None:
        self.engine.sync(Address("default", "alice"))

    @contextmanager
    def branch(self) -> Iterator[Branch]:
        with self.engine.use(Address("default", "alice"), create=False) as branch:
            assert branch is not None
            yield branch

    def families(self) -> dict[str, Any]:
        text = exposition(self.node, self.app.api).decode()
        return {one.name: one for one in parser.text_string_to_metric_families(text)}

    def value(self, name: str, **labels: str) -> float:
        for sample in self.families()[f"palimp_{name}"].samples:
            if sample.labels == labels and not sample.name.endswith("_created"):
                return float(sample.value)
        return 0.0


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.node.close()


def test_every_family_is_a_row_and_every_row_without_labels_is_there(house: House) -> None:
    house.write()
    found = house.families()
    for name, family in found.items():
        row = METRICS[name.removeprefix("palimp_")]
        assert (family.type, family.documentation) == (row.kind, row.help)
    plain = {f"palimp_{name}" for name, row in METRICS.items() if not row.labels}
    assert plain <= set(found)
    assert house.value("branches_fenced") == 0


def test_writes_and_the_requests_they_make(house: House) -> None:
    for text in "abc":
        house.write(text)
    assert house.value("writes_committed") == house.value("rounds_committed") == 3
    assert house.value("memories_written") == 3
    assert house.value("branches_open") == house.value("branches_resident") == 1
    before = house.value("store_bytes_sent")
    house.sync()
    assert house.value("segments_shipped") == 1
    sent = house.value("store_bytes_sent") - before
    assert sent > house.value("segment_bytes_shipped") > 0
    assert house.value("store_requests", kind="create") >= 3
    assert house.value("store_bytes_received") > 0


def test_threads_share_a_round(house: House) -> None:
    house.write()
    threads = [threading.Thread(target=house.write, args=(f"t{i}",)) for i in range(4)]
    with house.branch() as branch, branch.local.writers_place():
        for one in threads:
            one.start()
        until(lambda: house.value("writes_waiting") == 4)
    for one in threads:
        one.join()
    assert house.value("writes_committed") == 5
    assert house.value("rounds_committed") == 2
    assert house.value("writes_waiting") == 0


def test_the_backlog_ages_until_the_store_has_it(house: House) -> None:
    house.write()
    house.sync()
    assert (house.value("backlog_seconds"), house.value("backlog_bytes")) == (0, 0)
    with house.branch() as branch:
        house.engine._keeper.succeeded(branch.key)
    house.write("b")
    house.clock.advance(7)
    house.write("c")
    assert house.value("backlog_seconds") == 7
    assert house.value("backlog_bytes") > 0
    house.sync()
    assert house.value("backlog_seconds") == 0


def test_what_the_store_refuses_is_counted(house: House) -> None:
    house.write()
    house.down = True
    with house.branch() as branch, pytest.raises(Unavailable):
        branch._parts.store.get("v1/nothing")
    house.down = False
    assert house.value("store_errors", kind="get") == 1


def test_each_shed_write_is_counted_with_its_reason(tmp_path: Path) -> None:
    house = House(tmp_path, write_queue_depth=1)
    house.write()
    one = threading.Thread(target=house.write, args=("b",))
    with house.branch() as branch, branch.local.writers_place():
        one.start()
        until(lambda: branch.local.waiting == 1)
        other = threading.Thread(target=refused, args=(house, "put many writes into one call"))
        other.start()
        other.join()
    one.join()
    house.engine.options = msgspec.structs.replace(house.engine.options, backlog_bytes=1)
    house.engine._tick()
    assert house.value("writes_refused") == 1
    refused(house, "wait for object storage")
    refused(house, "wait for object storage")
    assert house.value("writes_shed", reason="queue") == 1
    assert house.value("writes_shed", reason="backlog") == 2
    assert house.value("operations_failed", operation="memories.ingest", code="overloaded") == 3
    house.node.close()


def refused(house: House, words: str) -> None:
    with pytest.raises(Unavailable, match=words) as caught:
        house.write("refused")
    assert caught.value.code == "overloaded"


@pytest.mark.parametrize("in_order", [False, True])
def test_a_branch_that_another_node_has_not_given_up_is_a_takeover(
    tmp_path: Path, in_order: bool
) -> None:
    store, clock, nodes, taken = VolatileStore(), ManualClock(), [], []
    for name in ("a", "b"):
        given = {"data_dir": tmp_path / name, "embed_provider": "none", "node_id": name}
        node = Node(load_settings(given), clock=clock, store=store)
        nodes.append(node)
        node.call("memories.ingest", ALICE, Ingest(memories=(MemoryInput(text=name),)))
        taken.append(node.context.metrics.snapshot().get("branches_taken_over", 0))
        node.context.engine.sync(Address("default", "alice"))
        if in_order:
            node.close()
    for node in nodes:
        node.close()
    assert taken == [0, 0 if in_order else 1]


def test_what_http_sheds_is_counted_with_its_reason(tmp_path: Path) -> None:
    house = House(tmp_path, control_rate=0.1)

    async def maintain() -> list[int]:
        transport = httpx.ASGITransport(house.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return [(await client.post("/v1/maintain", json={})).status_code for _ in range(2)]

    assert asyncio.run(maintain()) == [200, 429]
    assert house.value("http_requests_shed", reason="control") == 1
    house.node.close()


def until(condition: Any) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.002)
