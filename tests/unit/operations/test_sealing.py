"""Sealed rows: nothing readable is kept, rows that cannot be read are shown as such and survive."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

import palimp
from palimp.client.transports.embedded import Embedded
from palimp.engine import Address
from palimp.errors import Conflict, Internal, Invalid, Unconfigured
from palimp.ltx import decode
from palimp.node import Node, load_settings
from palimp.sealing import PLACEHOLDER

KEY = base64.b64encode(b"k" * 32).decode()
ON = {"encryption": {"fields": True}, "audit": {"enabled": True}}
ADDRESS = Address("default", "alice")
# No word of these is a word of anything else in the folder.
SECRETS = (b"wombat", b"jacaranda", b"marsupi", b"zebrafish", b"quokka", b"platypus", b"echidna")


class House:
    """A folder with a master key, on which no background works."""

    def __init__(self, path: Path, *, provider: str = "bundled", policy: Any = ON) -> None:
        given = {"data_dir": path, "master_key": KEY, "embed_provider": provider}
        self.path = path
        self.node = Node(load_settings(given, {}))
        self.node._background.wake = lambda address: None  # type: ignore[method-assign]
        self.mem = palimp.Client(Embedded(self.node))
        if policy is not None:
            self.mem.set_policy("default", policy)
        self.alice = self.mem.profile("alice")

    def on_rows(self, change: Callable[[apsw.Connection], Any]) -> Any:
        with self.node.context.engine.use(ADDRESS, create=False) as branch:
            assert branch is not None
            return branch.write(change).value

    def rows(self, statement: str) -> list[Any]:
        with self.node.context.engine.use(ADDRESS, create=False) as branch:
            assert branch is not None
            return branch.read(lambda c: c.execute(statement).fetchall()).value

    def lose_first_key(self) -> Path:
        """Rotate, and give the first version up by force; return what to bring back."""
        self.alice.sync()
        list(self.mem.rotate_keys("default"))
        (key,) = (self.path / "objects" / "v1" / "keys" / "db").iterdir()
        copy = self.path.parent / "key-copy"
        shutil.copy(key, copy)
        list(self.mem.retire_keys("default", force=True))
        self.node.context.keys.forget(key.stem)
        return copy

    def bring_back(self, copy: Path) -> None:
        (key,) = (self.path / "objects" / "v1" / "keys" / "db").iterdir()
        shutil.copy(copy, key)
        self.node.context.keys.forget(key.stem)

    def close(self) -> None:
        self.mem.close()


@pytest.fixture
def house(tmp_path: Path) -> Any:
    house = House(tmp_path / "m")
    yield house
    house.close()


def fill(house: House) -> str:
    """Write something of every kind; return the id of a memory."""
    alice = house.alice
    found = alice.remember(
        "the wombat sleeps under the jacaranda",
        keywords="marsupials",
        metadata={"zebrafish": "zebrafish"},
        content={"text": "the wombat sleeps", "more": "jacaranda"},
    )
    session = alice.session("s1")
    session.append("user", "a quokka eats")
    session.append("assistant", "so does the platypus")
    alice.remember("the quokka left", type="event", session="s1")
    alice.remember("a platypus came", type="event", session="s1")
    alice.kv.put("k", b"echidna")
    vectors = alice.vectors("docs")
    vectors.upsert("v", [1.0, 0.0], metadata={"of": "echidna"})
    return str(found.id)


def leaks(folder: Path) -> list[tuple[str, bytes]]:
    return [
        (path.name, word)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for word in SECRETS
        if word in path.read_bytes().lower()
    ]


def leaks_of_segments(house: House) -> list[bytes]:
    """Return the words found in pages of segments, decrypted and unpacked."""
    store = house.node.context.engine.store
    keys = [key for key in store_keys(house.path) if key.endswith(".ltx")]
    assert keys
    found = []
    for key in keys:
        stored = store.get(key)
        assert stored is not None
        pages = b"".join(decode(stored.data).pages.values()).lower()
        found += [word for word in SECRETS if word in pages]
    return found


def store_keys(folder: Path) -> list[str]:
    objects = folder / "objects"
    return [str(path.relative_to(objects)) for path in objects.rglob("*") if path.is_file()]


def test_no_word_is_in_the_folder_and_everything_is_read_as_before(tmp_path: Path) -> None:
    house = House(tmp_path / "m")
    identity = fill(house)
    house.mem.maintain()
    house.alice.sync()
    found = house.alice.get(identity)
    assert found.text == "the wombat sleeps under the jacaranda"
    assert found.content == {"text": "the wombat sleeps", "more": "jacaranda"}
    assert (found.keywords, found.metadata) == ("marsupials", {"zebrafish": "zebrafish"})
    assert not found.decryption_failed
    assert house.alice.kv.get("k") == b"echidna"
    (hit,) = house.alice.vectors("docs").search([1.0, 0.0], filter={"of": "echidna"})
    assert hit.metadata == {"of": "echidna"}
    turns = house.alice.session("s1").window()
    assert [turn.content for turn in turns] == ["a quokka eats", "so does the platypus"]
    first = house.alice.recall("where do wombats sleep", explain=True)[0]
    assert (first.id, first.channels) == (identity, ("keyword", "vector"))
    # Found by a neighbour's words, which stand in its entry.
    assert {hit.text for hit in house.alice.recall("quokkas").memories if "keyword" in hit.channels} == {
        "the quokka left", "a platypus came"
    }  # fmt: skip
    house.alice.forget(identity)
    assert not [h for h in house.alice.recall("wombats") if "keyword" in h.channels]
    house.alice.sync()
    assert leaks(tmp_path / "m") == leaks_of_segments(house) == []
    house.close()
    assert leaks(tmp_path / "m") == []


def test_the_search_for_leaks_would_find_one(tmp_path: Path) -> None:
    house = House(tmp_path / "m", policy=None)
    fill(house)
    house.alice.sync()
    assert set(leaks_of_segments(house)) == set(SECRETS)
    house.close()
    assert {word for _, word in leaks(tmp_path / "m")} == set(SECRETS)


def test_without_a_key_or_a_policy_nothing_is_sealed(tmp_path: Path) -> None:
    with palimp.open(tmp_path / "plain", embed_provider="none") as mem:
        mem.set_policy("default", ON)
        mem.profile("alice").remember("hello")
        with pytest.raises(Unconfigured, match="PALIMP_MASTER_KEY"):
            mem.profile("alice").seal_fields()
    house = House(tmp_path / "m", provider="none", policy=None)
    house.alice.remember("hello")
    assert house.rows("SELECT typeof(text) FROM __palimp_memories") == [("text",)]
    with pytest.raises(Conflict, match=r"set encryption\.fields first"):
        house.alice.seal_fields()
    house.close()


def shown(house: House, identity: str) -> list[Any]:
    """Return the memory on every way it is read."""
    alice = house.alice
    return [
        alice.get(identity),
        *[one for one in alice.list() if one.id == identity],
        *alice.history(identity),
        *[one for one in alice.recall("where do wombats sleep") if one.id == identity],
    ]


def check_unreadable(house: House, identity: str, *, ways: int) -> None:
    found = shown(house, identity)
    assert len(found) == ways
    for one in found:
        assert one.decryption_failed
        assert (one.text, one.content) == (PLACEHOLDER, {"text": PLACEHOLDER})
        assert (one.keywords, one.metadata) == (None, None)
        assert (one.topic, one.tags, one.type) == ("animals.sleep", ("zoo",), "fact")
    recalled = house.alice.recall("where do wombats sleep")
    assert PLACEHOLDER not in recalled.as_context()
    assert "newer" in recalled.as_context()


def test_rows_of_a_lost_key_are_shown_as_such_until_it_is_back(house: House) -> None:
    alice = house.alice
    identity = alice.remember(
        "wombats sleep in burrows", topic="animals.sleep", tags=["zoo"], keywords="x", metadata={"a": 1}
    ).id  # fmt: skip
    alice.session("s1").append("user", "an old turn")
    alice.kv.put("k", b"value")
    alice.vectors("docs").upsert("v", [1.0], metadata={"a": 1})
    house.mem.maintain()
    copy = house.lose_first_key()
    newer = alice.remember("a newer wombat row").id
    alice.session("s1").append("user", "a new turn")
    house.mem.maintain()
    check_unreadable(house, identity, ways=4)
    assert not alice.get(newer).decryption_failed
    old, new = alice.session("s1").window()
    assert (old.decryption_failed, old.content) == (True, {"text": PLACEHOLDER})
    assert (new.decryption_failed, new.content) == (False, "a new turn")
    with pytest.raises(Internal, match="version 1 of its key is missing"):
        alice.kv.get("k")
    (hit,) = alice.vectors("docs").search([1.0])
    assert hit.metadata == {"decryption_failed": True}
    house.node.context.audit.flush(10.0)
    events = list(house.mem.audit("default", action="fields.unreadable"))
    told = [(one.row, one.counts) for one in events]
    assert len(told) == len({row for row, _ in told}) == 4
    assert (f"memories/{identity}", {"key_version": 1}) in told
    done = alice.seal_fields()
    assert (done.remaining, done.sealed) == (0, 0)
    assert done.unreadable >= 4
    house.bring_back(copy)
    assert [one.text for one in shown(house, identity)] == ["wombats sleep in burrows"] * 4
    assert alice.kv.get("k") == b"value"
    house.mem.maintain()
    assert next(h for h in alice.recall("burrows") if "keyword" in h.channels).id == identity


@pytest.mark.parametrize("how", ["altered", "swapped"])
def test_altered_and_swapped_rows_behave_the_same(house: House, how: str) -> None:
    fields = {"topic": "animals.sleep", "tags": ["zoo"]}
    identity = house.alice.remember("wombats sleep in burrows", **fields).id
    other = house.alice.remember("a newer text").id
    good = house.rows("SELECT text FROM __palimp_memories ORDER BY handle")
    bad = good[0][0][:-1] + bytes([good[0][0][-1] ^ 1]) if how == "altered" else good[1][0]
    house.on_rows(
        lambda c: (
            c.execute("UPDATE __palimp_memories SET text = ? WHERE id = ?", (bad, identity))
            and None
        )
    )
    house.mem.maintain()
    check_unreadable(house, identity, ways=4)
    assert house.alice.get(other).text == "a newer text"
    assert house.rows("SELECT text FROM __palimp_memories ORDER BY handle")[0] == (bad,)


def test_an_unreadable_row_is_not_embedded_and_is_once_it_can_be_read(house: House) -> None:
    identity = house.alice.remember("wombats sleep in burrows").id
    copy = house.lose_first_key()
    house.alice.remember("another row")
    house.mem.maintain()
    assert house.rows("SELECT count(*) FROM __palimp_memories_vectors") == [(1,)]
    house.bring_back(copy)
    house.mem.maintain()
    house.mem.maintain()
    assert house.rows("SELECT count(*) FROM __palimp_memories_vectors") == [(2,)]
    assert "vector" in house.alice.recall("burrows")[0].channels
    assert house.alice.recall("burrows")[0].id == identity


def test_unreadable_rows_can_be_forgotten_and_the_index_is_mended(house: House) -> None:
    alice = house.alice
    one = [
        alice.remember(f"the wombat number {n}", type="event", session="s1").id for n in range(4)
    ]
    alice.session("s1").append("user", "an old quokka")
    copy = house.lose_first_key()
    alice.session("s1").append("user", "a new quokka")
    two = [alice.remember(f"the quokka {n}", type="event", session="s1").id for n in range(3)]
    alice.forget(one[3])
    alice.forget(two[1])
    alice.forget(one[0])
    for query in ("wombat", "quokka", "number", "3", "0"):
        assert not {hit.id for hit in alice.recall(query)} & {one[0], one[3], two[1]}
    assert alice.erase(one[1], grace=0).wait().rows == 1
    # Erasing leaves no entry behind, also beside rows that cannot be read.
    docs = house.rows("SELECT id FROM __palimp_memories_fts_docsize ORDER BY id")
    assert docs == house.rows(
        "SELECT handle FROM __palimp_memories WHERE hex(substr(text, 1, 5)) = '9A00000002'"
    )
    house.mem.maintain()
    assert {hit.id for hit in alice.recall("quokka")} >= {two[0], two[2]}
    assert not house.rows(
        "SELECT rowid FROM __palimp_memories_fts WHERE __palimp_memories_fts MATCH '\"wombat\"'"
    )
    alice.session("s1").end(turns=True)
    house.bring_back(copy)
    house.mem.maintain()
    # The next event has its words beside its own.
    assert {h.id for h in alice.recall("wombat") if "keyword" in h.channels} == {one[2], two[0]}
    assert house.rows("SELECT 1 FROM __palimp_meta WHERE key = 'index_stale'") == []
    for identity in (one[2], two[0], two[2]):
        alice.forget(identity)
    docs = house.rows("SELECT count(*) FROM __palimp_memories_fts_docsize")
    assert docs == house.rows("SELECT count(*) FROM __palimp_memories") == [(0,)]


def test_old_rows_are_sealed_in_steps_and_again_after_a_rotation(tmp_path: Path) -> None:
    house = House(tmp_path / "m", policy={})
    identity = fill(house)
    house.mem.maintain()
    house.alice.fork("side")
    before = {hit.id: hit.channels for hit in house.alice.recall("where do wombats sleep")}
    house.mem.set_policy("default", ON)
    assert house.alice.get(identity).text.startswith("the wombat")
    todo = house.alice.seal_fields(limit=0)
    assert (todo.sealed, todo.remaining) == (0, 14)
    first = house.alice.seal_fields(limit=3)
    assert (first.sealed, first.remaining) == (3, 11)
    assert {hit.id: hit.channels for hit in house.alice.recall("where do wombats sleep")} == before
    house.alice.forget(house.alice.remember("the quokka again", type="event", session="s1").id)
    assert house.alice.seal_fields().remaining == 0
    assert house.alice.seal_fields().sealed == 0
    assert house.rows("SELECT DISTINCT typeof(text) FROM __palimp_memories") == [("blob",)]
    assert {hit.id: hit.channels for hit in house.alice.recall("where do wombats sleep")} == before
    house.alice.sync()
    list(house.mem.rotate_keys("default"))
    house.node.context.keys._databases.clear()
    assert house.alice.get(identity).text.startswith("the wombat")
    assert house.alice.seal_fields().sealed == 14
    versions = house.rows("SELECT DISTINCT hex(substr(text, 1, 5)) FROM __palimp_memories")
    assert versions == [("9A00000002",)]
    assert {hit.id: hit.channels for hit in house.alice.recall("where do wombats sleep")} == before
    assert house.alice.get(identity).metadata == {"zebrafish": "zebrafish"}
    assert house.alice.branch("side").get(identity).text.startswith("the wombat")
    house.close()


def test_a_file_with_sealed_rows_is_refused_where_nothing_could_read_it(
    house: House, tmp_path: Path
) -> None:
    house.alice.kv.put("k", b"\x9a plain")
    house.alice.export(tmp_path / "alice.db")
    with pytest.raises(Invalid, match=r"holds sealed rows \(kv\)"):
        house.mem.profile("bob").import_(tmp_path / "alice.db")
    house.mem.set_policy("default", {})
    house.mem.profile("carol").remember("open")
    house.mem.profile("carol").kv.put("k", b"\x9a plain")
    house.mem.profile("carol").export(tmp_path / "carol.db")
    house.mem.profile("dora").import_(tmp_path / "carol.db")
    assert house.mem.profile("dora").kv.get("k") == b"\x9a plain"


def test_a_deleted_row_is_sealed_and_comes_back_also_when_it_cannot_be_read(tmp_path: Path) -> None:
    house = House(tmp_path / "m", provider="none", policy={})
    one, two = (
        house.alice.remember(f"wombat {n}", type="event", session="s").id for n in ("red", "blue")
    )
    house.alice.lifecycle.delete(one)
    house.mem.set_policy("default", ON)
    assert house.alice.seal_fields().sealed == 2
    house.alice.lifecycle.restore(one)
    assert house.alice.recall("wombat red")[0].text == "wombat red"
    copy = house.lose_first_key()
    house.alice.lifecycle.delete(two)
    house.alice.lifecycle.restore(two)
    assert house.alice.get(two).decryption_failed
    house.bring_back(copy)
    house.mem.maintain()
    assert house.alice.get(two).text == "wombat blue"
    assert {hit.id for hit in house.alice.recall("wombat")} == {one, two}
    house.close()
