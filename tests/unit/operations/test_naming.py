"""Names that rules find, and edges between what is near: behind the writes, where a policy says so."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import palimp
from palimp.client.transports.embedded import Embedded
from palimp.engine import Address
from palimp.node import Node, load_settings
from palimp.operations.naming import link_names
from palimp.profile.vectors import unit

ON = {"memory": {"associations": True, "entities": True}}
ALICE = Address("default", "alice")


class Letters:
    """An embedder for which a text is as near to another as the letters of their first words."""

    name = "letters-1"
    dimensions = 8
    local = True
    egress = "none"

    def embed(self, texts: Sequence[str], **_: object) -> Any:
        rows = [[text.split()[0].count(letter) for letter in "abcdefgh"] for text in texts]
        return np.array([unit(row) for row in rows], np.float32).reshape(len(texts), 8)

    def of(self, name: str) -> None:
        return None


class House:
    """A folder on which no background works: the tests say when."""

    def __init__(self, path: Path, **settings: Any) -> None:
        embedder = None if settings else Letters()
        self.node = Node(load_settings({"data_dir": path, **settings}, {}), embedder=embedder)
        self.node._background.wake = lambda address: None  # type: ignore[method-assign]
        self.mem = palimp.Client(Embedded(self.node))
        self.alice = self.mem.profile("alice")

    def look(self, limit: int | None = None) -> int:
        """Let the rules look at what was written; return at how many rows they did."""
        with self.node.context.engine.use(ALICE, create=False) as branch:
            assert branch is not None
            return link_names(self.node.context, branch, limit)

    def edges(self) -> set[tuple[str, str, str, str]]:
        texts = {one.id: one.text for one in self.alice.list(include_superseded=True)}
        return {
            (texts[one.source], texts[one.target], one.type, one.origin)
            for one in self.alice.relations.list()
        }

    def named(self) -> dict[str, str]:
        return {one.name: one.type for one in self.alice.relations.entities()}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "m")
    yield house
    house.mem.close()


def test_without_a_policy_nothing_is_done(house: House) -> None:
    house.alice.remember("aaaa works with @bob on `thing`")
    house.alice.remember("aaab works with @bob on `thing`")
    house.mem.maintain()
    assert (house.named(), house.edges()) == ({}, set())


def test_what_was_written_before_and_since_is_linked(house: House) -> None:
    house.alice.remember("aaaa works with @bob on `thing`")
    house.mem.set_policy("default", ON)
    house.mem.maintain()
    assert house.named() == {"bob": "person", "thing": "project"}
    assert house.look() == 0
    house.alice.remember("bbbb uses Docker")
    house.alice.remember("nothing at all")
    assert house.look() == 2
    assert house.named() == {"bob": "person", "thing": "project", "Docker": "tech"}
    assert house.look() == 0
    assert house.alice.relations.unlinked().count == 1


def test_each_row_is_looked_at_once_in_slices_and_after_a_rewind_again(house: House) -> None:
    house.mem.set_policy("default", ON)
    house.alice.remember("first")
    house.alice.checkpoint("before")
    house.alice.ingest([{"text": f"uses `tool{n}`"} for n in range(40)])
    assert house.look(1) > 0
    while house.look(1):
        pass
    assert len(house.named()) == 40
    house.alice.rewind("before")
    assert house.named() == {}
    house.alice.remember("uses `another`")
    house.look()
    assert house.named() == {"another": "project"}


def test_what_somebody_gave_is_not_undone_by_a_rule(house: House) -> None:
    house.mem.set_policy("default", ON)
    house.alice.remember("talks to @bob", entities=[{"name": "Bob", "type": "customer"}])
    house.look()
    assert house.named() == {"Bob": "customer"}


def test_it_needs_no_embedder(tmp_path: Path) -> None:
    house = House(tmp_path / "m", embed_provider="none")
    house.mem.set_policy("default", ON)
    house.alice.remember("talks to @bob")
    house.mem.maintain()
    assert house.named() == {"bob": "person"}
    house.mem.close()


def test_what_is_near_is_associated_with_what_was_before(house: House) -> None:
    house.mem.set_policy("default", ON)
    for text in ("aaaa one", "aab two", "aabb three", "gggg far"):
        house.alice.remember(text)
    house.alice.remember("aaaa event", type="event")
    house.alice.remember("aaaa elsewhere", project="p")
    house.mem.maintain()
    assert house.edges() == {
        ("aab two", "aaaa one", "association", "rule"),
        ("aabb three", "aaaa one", "association", "rule"),
        ("aabb three", "aab two", "association", "rule"),
    }
    assert [round(one.weight, 2) for one in house.alice.relations.list()] == [0.89, 0.71, 0.95]


def test_each_is_associated_with_the_nearest_three(house: House) -> None:
    house.mem.set_policy("default", ON)
    house.alice.ingest([{"text": f"{'a' * 9}{'b' * n} text {n}"} for n in range(9)])
    house.mem.maintain()
    house.alice.remember("aaaaaaaaabbbbb the last")
    house.mem.maintain()
    assert sorted(edge[1] for edge in house.edges() if edge[0].endswith("last")) == [
        "aaaaaaaaabbbb text 4",
        "aaaaaaaaabbbbb text 5",
        "aaaaaaaaabbbbbb text 6",
    ]


def test_what_lost_its_place_is_not_associated(house: House) -> None:
    house.mem.set_policy("default", {"memory": {**ON["memory"], "near_duplicates": "supersede"}})
    house.alice.remember("cccc the door is open")
    house.alice.remember("cccc the door is open.")
    house.mem.maintain()
    assert len(list(house.alice.list())) == 1
    assert house.edges() == set()


def test_the_background_does_it_too(house: House) -> None:
    house.mem.set_policy("default", ON)
    house.alice.remember("aaaa talks to @bob")
    house.alice.remember("aaab talks")
    while house.node._embed(ALICE):
        pass
    assert (house.named(), len(house.edges())) == ({"bob": "person"}, 1)
