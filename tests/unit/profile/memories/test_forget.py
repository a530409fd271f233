"""Forget: a memory is gone from the present, from the indexes, and from the bytes of the folder."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

import palimp

# Events of one session; each is indexed and embedded with its neighbours' words.
EVENTS = [
    "We met in the harbour of Valparaiso",
    "The zanzibarite telescope was stolen",
    "Then everybody went home by train",
    "The next day was quiet",
]
QUERIES = ["zanzibarite telescope", "stolen things", "who went home by train?", "harbour", "quiet"]


def remember_events(profile: palimp.Profile, texts: list[str]) -> list[str]:
    items = [
        {
            "type": "event",
            "text": text,
            "session": "s",
            "speaker": "Bo",
            "observed_at": 1_000 * EVENTS.index(text),
        }
        for text in texts
    ]
    return [result.id for result in profile.ingest(items)]


def ranking(profile: palimp.Profile) -> list[Any]:
    """What every query finds and what every signal was worth."""
    found = []
    for query in QUERIES:
        for hit in profile.recall(query, k=20, explain=True):
            assert hit.explain is not None
            shares = {f.name: pytest.approx(f.share, abs=1e-6) for f in hit.explain.features}
            found.append((query, hit.text, hit.channels, shares))
    return found


def folder_bytes(folder: Path) -> bytes:
    """The present: what is forgotten stays in the history until it is erased."""
    present = (folder / "hot").rglob("*")
    return b"\n".join(path.read_bytes() for path in present if path.is_file()).lower()


def rows(folder: Path, profile: str = "alice") -> dict[str, int]:
    """How many rows each table of a closed profile has."""
    name = folder / "objects" / "v1" / "names" / "default" / f"{profile}.json"
    db_id = json.loads(name.read_bytes())["db_id"]
    file = next((folder / "hot" / db_id / "main").glob("i_*/main.db"))
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        names = ("", "_vectors", "_codes", "_fts_docsize")
        return {
            name or "rows": connection.execute(f"SELECT count(*) FROM __palimp_memories{name}").get
            for name in names
        }
    finally:
        connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "memory"


def test_a_forgotten_memory_is_gone(profile: palimp.Profile) -> None:
    kept, gone = profile.remember("keeps this"), profile.remember("drops this")
    assert profile.forget(gone) is True
    assert [memory.id for memory in profile.list(include_superseded=True)] == [kept.id]
    assert [hit.id for hit in profile.recall("drops this")] == [kept.id]
    for read in (profile.get, profile.history):
        with pytest.raises(palimp.NotFound, match=gone.id):
            read(gone)


def test_forgetting_twice_says_there_was_nothing(timed: palimp.Client) -> None:
    profile = timed.profile("alice")
    written = profile.remember("x")
    assert profile.forget(written.id) is True
    txid = profile.history(profile.remember("y")).txid
    assert profile.forget(written.id) is False
    assert profile.forget("mem_nothing") is False
    assert profile.history(topic=None, memory=profile.remember("y")).txid == txid


def test_forgetting_creates_nothing(mem: palimp.Client) -> None:
    assert mem.profile("nobody").forget("mem_x") is False
    assert list(mem.profiles()) == []


def test_a_forgotten_memory_may_be_learnt_again(profile: palimp.Profile) -> None:
    first = profile.remember("Lives in Rome", topic="home", source="one", tags=["a"])
    profile.forget(first)
    again = profile.remember("Lives in Rome", topic="home", source="two")
    assert (again.id, again.status) == (first.id, "created")
    assert (profile.get(again).source, profile.get(again).tags) == ("two", ())
    assert [hit.text for hit in profile.recall("Rome")] == ["Lives in Rome"]


def test_what_was_superseded_by_it_does_not_come_back(profile: palimp.Profile) -> None:
    old = profile.remember("Lives in Rome", topic="home")
    profile.forget(profile.remember("Lives in Oslo", topic="home"))
    assert list(profile.list()) == []
    assert list(profile.recall("Rome Oslo", topic="home")) == []
    assert profile.remember("Lives in Bern", topic="home").superseded == ()
    assert profile.get(old).superseded_at is not None


def test_a_superseded_memory_can_be_forgotten(profile: palimp.Profile) -> None:
    old = profile.remember("Lives in Rome", topic="home")
    new = profile.remember("Lives in Oslo", topic="home")
    assert profile.forget(old) is True
    assert profile.get(new).supersedes == ()
    assert list(profile.recall("Rome", include_superseded=True, min_score=0.99)) == []


def test_other_profiles_keep_the_same_memory(mem: palimp.Client) -> None:
    alice, bob = mem.profile("alice"), mem.profile("bob")
    written = alice.remember("shared words")
    bob.remember("shared words")
    alice.forget(written)
    assert bob.get(written).text == "shared words"
    assert bob.forget(written) is True


@pytest.mark.parametrize("place", range(len(EVENTS)))
def test_recall_is_then_as_if_the_event_had_never_been(mem: palimp.Client, place: int) -> None:
    """Neighbours are indexed and embedded again, so no query finds them by the forgotten words."""
    with_it, without_it = mem.profile("with"), mem.profile("without")
    ids = remember_events(with_it, EVENTS)
    remember_events(without_it, EVENTS[:place] + EVENTS[place + 1 :])
    mem.maintain()
    before = ranking(with_it)
    with_it.forget(ids[place])
    mem.maintain()
    expected = ranking(without_it)
    assert before != expected
    assert ranking(with_it) == expected


def test_a_forgotten_word_no_longer_finds_its_neighbour(profile: palimp.Profile) -> None:
    ids = remember_events(profile, EVENTS)
    found = profile.recall("zanzibarite", k=10)
    assert {h.text for h in found if "keyword" in h.channels} == set(EVENTS[:3])
    profile.forget(ids[1])
    found = profile.recall("zanzibarite", k=10)
    assert [hit.text for hit in found if "keyword" in hit.channels] == []


def test_the_vector_of_the_following_event_is_made_again(mem: palimp.Client) -> None:
    """It was made of the forgotten words too; until it is made again there is none."""
    profile = mem.profile("alice")
    ids = remember_events(profile, EVENTS)
    mem.maintain()
    assert mem.maintain().embedded == 0
    profile.forget(ids[1])
    mem.maintain()
    expected = mem.profile("bob")
    remember_events(expected, [EVENTS[0], *EVENTS[2:]])
    mem.maintain()
    for query in QUERIES:
        cosines = []
        for where in (profile, expected):
            found = where.recall(query, k=10, explain=True)
            cosines.append(
                {
                    (hit.text, feature.name): pytest.approx(feature.raw, abs=1e-6)
                    for hit in found
                    for feature in hit.explain.features
                    if "vector" in feature.name or "cosine" in feature.name
                }
            )
        assert cosines[0], "no feature says how near the vectors are"
        assert cosines[0] == cosines[1]


def test_a_given_vector_of_a_neighbour_stays(profile: palimp.Profile) -> None:
    items = [
        {"type": "event", "text": text, "session": "s", "observed_at": n, "embedding": vector}
        for n, (text, vector) in enumerate([("one", [1, 0]), ("two", [0, 1]), ("three", [1, 1])])
    ]
    ids = [result.id for result in profile.ingest(items)]
    profile.forget(ids[1])
    found = profile.recall(embedding=[0.9, 1.1], k=5)
    assert [hit.text for hit in found] == ["three", "one"]
    assert all("vector" in hit.channels for hit in found)


WORDS = [b"zanzib", b"telescop", b"obsidian", b"marmalade", b"wolverine", b"xylophon"]


@pytest.fixture
def forgettable() -> dict[str, Any]:
    return {
        "text": "The zanzibarite telescope was stolen",
        "content": {"note": ["obsidian"]},
        "keywords": "marmalade",
        "metadata": {"wolverine": "xylophone"},
    }


def reopened(folder: Path) -> Iterator[palimp.Profile]:
    with palimp.open(folder) as mem:
        yield mem.profile("alice")
        mem.maintain()


@pytest.mark.parametrize("type_", ["fact", "event", "task"])
def test_the_words_are_no_longer_in_the_files(
    folder: Path, forgettable: dict[str, Any], type_: str
) -> None:
    for profile in reopened(folder):
        before = {"type": type_, "text": "It was in the harbour", "session": "s", "dedup_key": "1"}
        after = {"type": type_, "text": "Then all went home", "session": "s", "dedup_key": "2"}
        done = profile.ingest([before, {"type": type_, "session": "s", **forgettable}, after])
    present = folder_bytes(folder)
    assert [word for word in WORDS if word not in present] == []
    for profile in reopened(folder):
        profile.forget(done[1])
    left = folder_bytes(folder)
    assert [word for word in WORDS if word in left] == []
    assert b"harbour" in left


def test_the_words_of_an_expired_task_leave_the_files_too(
    folder: Path, forgettable: dict[str, Any]
) -> None:
    for profile in reopened(folder):
        profile.remember("stays in the harbour")
        profile.remember(type="task", ttl=0.001, **forgettable)
        profile.client.maintain()
    # The clock has moved on by a millisecond at the latest when the folder was closed and opened.
    for _profile in reopened(folder):
        pass
    left = folder_bytes(folder)
    assert [word for word in WORDS if word in left] == []
    assert b"harbour" in left


def test_row_index_entry_and_vectors_go_together(folder: Path) -> None:
    for profile in reopened(folder):
        ids = remember_events(profile, EVENTS)
        given = profile.remember("with a vector of its own", embedding=[1.0, 2.0])
    assert rows(folder) == {"rows": 5, "_vectors": 6, "_codes": 6, "_fts_docsize": 5}
    for profile in reopened(folder):
        profile.forget(given)
        profile.forget(ids[1])
    assert rows(folder) == {"rows": 3, "_vectors": 3, "_codes": 3, "_fts_docsize": 3}


def test_everything_forgotten_leaves_empty_tables(folder: Path) -> None:
    for profile in reopened(folder):
        remember_events(profile, EVENTS)
        for text in ("Rome", "Oslo", "Bern"):
            profile.remember(text, topic="home")
    for profile in reopened(folder):
        for memory in list(profile.list(include_superseded=True)):
            assert profile.forget(memory)
    assert set(rows(folder).values()) == {0}
    left = folder_bytes(folder)
    words = (b"zanzib", b"valparaiso", b"everybod", b"harbour", b"oslo", b"bern", b"rome")
    assert [word for word in words if word in left] == []
