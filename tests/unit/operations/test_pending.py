"""A node that was stopped before it had embedded everything goes on where it left off."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import palimp
from palimp.catalog import Indexed, rebuild, start_catalog
from palimp.client.transports.embedded import Embedded
from palimp.clock import Clock
from palimp.engine import Address
from palimp.ids import parse_database_name
from palimp.node import Node, load_settings
from palimp.node import background as background_module
from palimp.operations import usage as usage_module
from palimp.operations.usage import Usage, look_into
from palimp.profile.generations import count_missing
from palimp.profile.indexing import CORPORA

pytest.importorskip("alembic", reason="alembic is not installed (pip install 'palimp[server]')")

FAR = 1 << 60


class Model:
    """An embedder elsewhere, which can be away."""

    name = "model-1"
    dimensions = 2
    local = False
    egress = "outside"

    def __init__(self, *, away: bool) -> None:
        self.away = away
        self.texts: list[str] = []
        self.asked = threading.Event()

    def embed(self, texts: Sequence[str], **_: object) -> Any:
        self.asked.set()
        if self.away:
            raise palimp.Unavailable("the model is away")
        self.texts += texts
        return np.tile(np.array([1.0, 0.0], np.float32), (len(texts), 1))

    def of(self, name: str) -> None:
        return None


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_module, "_FLUSH_SECONDS", 0.02)
    monkeypatch.setattr(background_module, "_PAUSE_SECONDS", 0.001)


class House:
    """A folder, its catalog, and a node on them after another."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path / 'catalog.db'}"
        self.nodes: list[Node] = []

    def open(self, embedder: Any, **settings: Any) -> palimp.Client:
        given = {"data_dir": self.path / "m", "catalog_url": self.url, **settings}
        node = Node(load_settings(given, {}), embedder=embedder)
        self.nodes.append(node)
        return palimp.Client(Embedded(node))

    def pending(self) -> list[tuple[str, str]]:
        catalog = start_catalog(self.url, Clock())
        found: list[tuple[str, str]] = catalog.pending("", FAR, 10)
        catalog.close()
        return found


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    for node in house.nodes:
        node.close()


def until(said: Any) -> None:
    """Wait for what threads do beside this one."""
    for _ in range(1000):
        if said():
            return
        threading.Event().wait(0.01)
    pytest.fail("it did not come")


def unembedded(node: Node) -> int:
    with node.context.engine.use(Address("default", "alice"), create=False) as branch:
        assert branch is not None
        return sum(branch.read(lambda c, one=one: count_missing(c, one)).value for one in CORPORA)


def test_the_next_start_embeds_what_this_one_could_not(house: House) -> None:
    away = Model(away=True)
    with house.open(away) as mem:
        mem.profile("alice").remember("one")
        mem.profile("bob").remember("two")
        assert away.asked.wait(10)
    assert house.pending() == [("default", "alice"), ("default", "bob")]
    there = Model(away=False)
    with house.open(there) as mem:
        # Nobody writes, nobody asks.
        until(lambda: len(there.texts) == 2)
    assert sorted(there.texts) == ["one", "two"]
    assert house.pending() == []


def test_what_is_done_is_not_pending(house: House) -> None:
    there = Model(away=False)
    with house.open(there) as mem:
        mem.profile("alice").remember("one")
        until(lambda: there.texts)
    assert house.pending() == []


def test_after_a_rebuild_everything_is_looked_into_once(house: House) -> None:
    with house.open(Model(away=True)) as mem:
        mem.profile("alice").remember("one")
        mem.profile("bob").remember("two", type="task")
        there = [
            Indexed(*parse_database_name(one.name), one.uuid, one.created_at)
            for one in mem.databases()
        ]
    (house.path / "catalog.db").unlink()
    catalog = start_catalog(house.url, Clock())
    rebuild(catalog, [there], lambda _: None)
    catalog.close()
    assert house.pending() == [("default", "alice"), ("default", "bob")]
    model = Model(away=False)
    with house.open(model) as mem:
        until(lambda: model.texts)
        until(lambda: not house.pending())
    assert model.texts == ["one"]


def test_what_a_policy_denies_is_no_work(house: House) -> None:
    with house.open(Model(away=False)) as mem:
        mem.set_policy("default", {"ai_egress": {"embed": "deny"}})
        mem.profile("alice").remember("one")
    assert house.pending() == []


def test_a_node_without_a_model_changes_nothing(house: House) -> None:
    with house.open(Model(away=True)) as mem:
        mem.profile("alice").remember("one")
    with house.open(None, embed_provider="none") as mem:
        mem.profile("alice").remember("two")
    assert house.pending() == [("default", "alice")]


def test_a_catalog_that_is_away_at_the_start_is_asked_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_module, "_RETRY_SECONDS_MAX", 0.02)

    class Away:
        """A catalog that answers the third time."""

        tries = 0

        def pending(self, node: str, before: int, limit: int) -> list[tuple[str, str]]:
            self.tries += 1
            if self.tries < 3:
                raise palimp.Unavailable("the catalog is down")
            return [("default", "alice")]

        def close(self) -> None:
            pass

    with house.open(None, embed_provider="none"):
        context = house.nodes[-1].context
        away: Any = Away()
        look = look_into(context.engine, context.clock)
        usage = Usage(away, look, context.clock, context.metrics, "n1")
        woken: list[tuple[str, str]] = []
        usage.resume(lambda *name: woken.append(name))
        until(lambda: woken)
        usage.close()
    assert (woken, away.tries) == ([("default", "alice")], 3)


def test_the_gauge_follows(house: House) -> None:
    away = Model(away=True)
    with house.open(away) as mem:
        usage = house.nodes[-1].context.usage
        mem.profile("alice").ingest([{"text": f"row {n}"} for n in range(5)])
        until(lambda: usage.unembedded == 5)
        away.away = False
        mem.maintain()
        usage.look_again("default", "alice")
        usage.flush(everything=True)
        assert usage.unembedded == 0


def test_rows_are_counted_that_have_no_vector_of_any_model(house: House) -> None:
    away = Model(away=True)
    with house.open(away) as mem:
        alice = mem.profile("alice")
        alice.ingest([{"text": f"row {n}"} for n in range(5)])
        alice.remember("buy milk", type="task")
        alice.remember("given", embedding=[1.0, 0.0])
        alice.session("s").append("user", "hello")
        assert unembedded(house.nodes[-1]) == 7
        away.away = False
        mem.maintain()
        assert unembedded(house.nodes[-1]) == 0
        again = alice.remember("another")
        until(lambda: unembedded(house.nodes[-1]) == 0)
        alice.forget(again)
        assert unembedded(house.nodes[-1]) == 0
