"""Bad input through the public Python API: refused by name, never half done, never a bare crash."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import apsw
import pytest

import palimp
from palimp.api.limits import (
    CONTENT_BYTES_MAX,
    EMBEDDING_DIMENSIONS_MAX,
    KEYWORDS_BYTES_MAX,
    LABEL_BYTES_MAX,
    METADATA_BYTES_MAX,
    QUERY_BYTES_MAX,
    TAGS_MAX,
    TEXT_BYTES_MAX,
)

NAN, INFINITY, HALF = float("nan"), float("inf"), "\ud800"
LABELS = "kind topic source session agent speaker project environment dedup_key".split()


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def short(value: object) -> str:
    return ascii(value)[:36]


def run(script: str, *arguments: object) -> Any:
    """Run a script in a process of its own and return the JSON it prints last."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


BAD_MEMORIES: list[tuple[dict[str, Any], str]] = [
    ({"text": ""}, "text is empty"),
    ({"text": " \n\t"}, "text is empty"),
    *[({field: ""}, f"{field} is empty") for field in (*LABELS, "keywords", "trust")],
    ({"tags": [""]}, "tags[0] is empty"),
    ({"derived_from": [""]}, "derived_from"),
    ({"embedding": []}, "embedding has 0 dimensions"),
    ({"text": None}, "'text'"),
    ({"text": 5}, "'text'"),
    ({"text": b"bytes"}, "'text'"),
    ({"type": "opinion"}, "'type'"),
    ({"type": 5}, "'type'"),
    *[
        ({field: 5}, f"'{'topic_key' if field == 'topic' else field}")
        for field in ("topic", "kind")
    ],
    ({"tags": "a,b"}, "'tags'"),
    ({"tags": [5]}, "'tags[0]'"),
    ({"metadata": [1]}, "'metadata'"),
    ({"metadata": {1: 2}}, "metadata"),
    ({"importance": "high"}, "'importance'"),
    ({"importance": True}, "'importance'"),
    ({"observed_at": 1.5}, "observed_at is not a time"),
    ({"observed_at": "tomorrow"}, "observed_at is not a time"),
    ({"ttl": "1h", "type": "task"}, "ttl is not a duration"),
    ({"derived_from": 5}, "derived_from"),
    ({"derived_from": "mem_a"}, "derived_from"),
    ({"derived_from": [5]}, "derived_from"),
    ({"source_span": [1, 2, 3]}, "source_span"),
    ({"embedding": "0.5"}, "'embedding'"),
    ({"embedding": ["a"]}, "'embedding[0]'"),
    ({"content": {1, 2}}, "set has no JSON form"),
    ({"content": {"a": [b"x"]}}, "content.a[0] is not JSON"),
    ({"content": {1: "a"}}, "content has a key that is not text"),
    # numbers that are none, or too large
    ({"importance": NAN}, "importance is nan"),
    ({"confidence": NAN}, "confidence is nan"),
    ({"importance": 1.01}, "importance is 1.01"),
    ({"confidence": -0.1}, "confidence is -0.1"),
    ({"importance": 10**400}, "importance"),
    ({"ttl": NAN, "type": "task"}, "ttl"),
    ({"ttl": 10**400, "type": "task"}, "ttl"),
    ({"observed_at": 10**40}, "observed_at"),
    ({"observed_at": -1}, "observed_at"),
    ({"content": NAN}, "content contains nan"),
    ({"content": {"a": [1, INFINITY]}}, "content.a[1] contains inf"),
    ({"metadata": {"score": NAN}}, "metadata.score contains nan"),
    ({"embedding": [0.5, NAN]}, "nan at position 1"),
    ({"embedding": [-INFINITY, 0.5]}, "-inf at position 0"),
    ({"embedding": [0.0, 0.0]}, "all zeros"),
    ({"embedding": [10**400]}, "embedding"),
    # unknown and misplaced fields
    ({"topik": "t"}, "unknown field 'topik' (did you mean 'topic'?)"),
    ({"summary": "t"}, "unknown field 'summary'"),
    ({"id": "mem_x"}, "unknown field 'id'"),
    ({"topic": "a", "topic_key": "b"}, "twice"),
    ({"topic": "home", "type": "event"}, "topic 'home' on an event"),
    ({"topic": "home", "type": "task"}, "topic 'home' on a task"),
    ({"ttl": 60}, "ttl on a fact"),
    # nested too deep
    ({"content": deep(200)}, "nested more than"),
    ({"metadata": {"a": deep(150)}}, "nested more than"),
    # text that no UTF-8 can hold
    ({"text": f"half {HALF}"}, "text has half a surrogate pair at position 5"),
    ({"content": {"a": HALF}}, "content.a has half a surrogate pair"),
    ({"content": {HALF: 1}}, "half a surrogate pair"),
    ({"metadata": {"a": [HALF]}}, "half a surrogate pair"),
    ({"tags": [HALF]}, "tags[0] has half a surrogate pair"),
    ({"keywords": HALF}, "keywords has half a surrogate pair"),
    *[({field: HALF}, f"{field} has half a surrogate pair") for field in LABELS],
]

OVERSIZED: list[tuple[dict[str, Any], str]] = [
    ({"text": "é" * (TEXT_BYTES_MAX // 2 + 1)}, f"text has {TEXT_BYTES_MAX + 2:,} bytes"),
    ({"content": "x" * CONTENT_BYTES_MAX}, "content has"),
    ({"metadata": {"a": "x" * METADATA_BYTES_MAX}}, "metadata has"),
    ({"keywords": "x" * (KEYWORDS_BYTES_MAX + 1)}, "keywords has 8,193 bytes"),
    ({"topic": "é" * (LABEL_BYTES_MAX // 2 + 1)}, "topic has 514 bytes"),
    *[({field: "x" * (LABEL_BYTES_MAX + 1)}, f"{field} has 513 bytes") for field in LABELS],
    ({"tags": ["x" * (LABEL_BYTES_MAX + 1)]}, "tags[0] has 513 bytes"),
]


@pytest.mark.parametrize(("fields", "said"), BAD_MEMORIES, ids=short)
def test_a_bad_memory_is_refused_and_nothing_is_made(
    mem: palimp.Client, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(palimp.Invalid) as caught:
        mem.profile("alice").ingest([{"text": "fine"}, {"text": "x", **fields}])
    assert said in str(caught.value)
    assert caught.value.code == "invalid_request"
    assert caught.value.details["index"] == 1
    assert list(mem.profiles()) == []


@pytest.mark.parametrize(("fields", "said"), OVERSIZED, ids=short)
def test_an_oversized_memory_is_refused_with_its_size_and_the_limit(
    mem: palimp.Client, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(palimp.Invalid, match="are allowed") as caught:
        mem.profile("alice").remember(**{"text": "x", **fields})
    assert said in str(caught.value)
    assert caught.value.code == "payload_too_large"
    assert list(mem.profiles()) == []


def test_too_many_of_something_is_refused(profile: palimp.Profile) -> None:
    with pytest.raises(palimp.Invalid, match="tags has 65 entries, at most 64"):
        profile.remember("x", tags=[str(n) for n in range(TAGS_MAX + 1)])
    with pytest.raises(palimp.Invalid, match="embedding has 8,193 dimensions; give 1 to 8,192"):
        profile.remember("x", embedding=[0.5] * (EMBEDDING_DIMENSIONS_MAX + 1))
    with pytest.raises(palimp.Invalid, match="derived_from names 1,001"):
        profile.remember("x", derived_from=["mem_a"] * 1_001)


def test_what_just_fits_is_taken(profile: palimp.Profile) -> None:
    fields: dict[str, Any] = dict.fromkeys(LABELS, "é" * (LABEL_BYTES_MAX // 2))
    fields["keywords"] = "k" * KEYWORDS_BYTES_MAX
    fields["tags"] = [str(n) for n in range(TAGS_MAX)]
    fields["embedding"] = [0.5] * EMBEDDING_DIMENSIONS_MAX
    fields["content"] = "c" * (CONTENT_BYTES_MAX - 2)
    memory = profile.get(profile.remember("t " * (TEXT_BYTES_MAX // 2), **fields))
    assert memory.text == "t " * (TEXT_BYTES_MAX // 2)
    assert memory.content == fields["content"]
    assert memory.topic == fields["topic"]
    assert len(memory.tags) == TAGS_MAX


@pytest.mark.parametrize("items", [None, 5, "text", {"text": "x"}, b"x"], ids=short)
def test_a_batch_that_is_no_list_is_refused(profile: palimp.Profile, items: Any) -> None:
    for write in (profile.ingest, profile.session("s").extend):
        with pytest.raises(palimp.Invalid):
            write(items)


# Odd but good text


@pytest.mark.parametrize(
    "text",
    [
        "before\0after",
        "\0",
        "\U0001f469‍\U0001f4bb loves \U0001f355",
        "\u202eright to left\u202c \u0640\u0627\u0644",
        "\ufeffbom and \ufffe nonsense \U0010ffff",
        '"quoted" AND (NEAR * ^ NOT col:x) -- ; DROP TABLE',
        "a\r\nb\u2028c\x7f",
        "\u00e9 e\u0301",
    ],
    ids=short,
)
def test_any_text_is_kept_exactly_and_found(profile: palimp.Profile, text: str) -> None:
    text = f"{text} kettle"
    written = profile.remember(text, content={text: [text]}, tags=[text], source=text, topic=text)
    memory = profile.get(written)
    assert (memory.text, memory.content) == (text, {text: [text]})
    assert (memory.tags, memory.source, memory.topic) == ((text,), text, text)
    assert [found.id for found in profile.list(source=text)] == [written.id]
    assert [found.id for found in profile.list(tags=[text])] == [written.id]
    assert [found.id for found in profile.history(topic=text)] == [written.id]
    for query in (text, "kettle"):
        hits = profile.recall(query, k=1)
        assert [hit.id for hit in hits] == [written.id]
        assert "keyword" in hits[0].channels
    assert profile.remember(text, content={text: [text]}, topic=text).status == "duplicate"
    assert profile.forget(written)
    assert list(profile.recall("kettle")) == []


@pytest.mark.parametrize("query", [f"kettle {HALF}", f"{HALF}kettle\0", "kettle " + "x" * 100_000])
def test_a_query_can_be_any_text(profile: palimp.Profile, query: str) -> None:
    profile.remember("the kettle is on")
    assert isinstance(profile.recall(query), palimp.Recall)
    assert isinstance(profile.session("s").search(query), palimp.TurnSearch)


# Embeddings of another dimension


def test_a_vector_of_another_dimension_is_left_out_and_said_so(profile: palimp.Profile) -> None:
    assert profile.remember("two numbers", embedding=[1.0, 0.0]).note is None
    written = profile.remember("three numbers", embedding=[1.0, 0.0, 0.0])
    assert written.status == "created"
    assert "3 dimensions" in (written.note or "")
    assert "have 2" in (written.note or "")
    assert profile.get(written).text == "three numbers"
    assert [hit.text for hit in profile.recall(embedding=[1.0, 0.1])] == ["two numbers"]


def test_in_a_batch_only_the_item_that_does_not_fit_is_noted(profile: palimp.Profile) -> None:
    done = profile.ingest(
        [
            {"text": "a", "embedding": [1.0, 0.0]},
            {"text": "b", "embedding": [1.0]},
            {"text": "c"},
            {"text": "d", "embedding": [0.0, 1.0]},
        ]
    )
    assert [result.note is None for result in done] == [True, False, True, True]
    assert {hit.text for hit in profile.recall(embedding=[1.0, 1.0])} == {"a", "d"}


def test_a_query_vector_of_another_dimension_finds_nothing_and_says_why(
    profile: palimp.Profile,
) -> None:
    profile.remember("two numbers", embedding=[1.0, 0.0])
    found = profile.recall(embedding=[1.0, 0.0, 0.0], explain=True)
    assert list(found) == []
    assert any("3 dimensions" in dropped.reason for dropped in found.dropped)


# Names, ids and questions

BAD_NAMES: list[Any] = ["", "A", "a--b", "-a", "a-", "a/b", "../a", "a\0", "a" * 129, HALF, None, 5]


@pytest.mark.parametrize("name", BAD_NAMES, ids=short)
def test_a_bad_name_is_refused_before_anything_is_asked(mem: palimp.Client, name: Any) -> None:
    with pytest.raises(palimp.Invalid, match="profile"):
        mem.profile(name)
    with pytest.raises(palimp.Invalid, match="namespace"):
        mem.profile("alice", namespace=name)
    with pytest.raises(palimp.Invalid, match="namespace"):
        list(mem.profiles(namespace=name))


def test_a_branch_that_is_not_there_is_not_found(mem: palimp.Client) -> None:
    for use in (lambda p: p.remember("x"), lambda p: p.recall("x"), lambda p: list(p.list())):
        with pytest.raises(palimp.NotFound, match="'trial'") as caught:
            use(mem.profile("alice@trial"))
        assert caught.value.code == "branch_not_found"
    assert list(mem.profiles()) == []


@pytest.mark.parametrize("use", ["get", "forget", "history", "supersede"])
@pytest.mark.parametrize("identity", ["", 5, b"mem_x", HALF], ids=short)
@pytest.mark.parametrize("written", [True, False], ids=["written", "never written"])
def test_a_bad_id_is_refused(
    profile: palimp.Profile, use: str, identity: Any, written: Any
) -> None:
    if written:
        profile.remember("here")
    with pytest.raises(palimp.Invalid):
        getattr(profile, use)(identity, *(["newer"] if use == "supersede" else []))


BAD_QUESTIONS: list[tuple[dict[str, Any], str]] = [
    ({}, "recall needs a query, an embedding or a topic"),
    ({"query": 5}, "'query'"),
    ({"query": "x" * (QUERY_BYTES_MAX + 1)}, "query has 1,048,577 bytes"),
    ({"query": "x", "k": 0}, "k is 0; give 1 to 1,000"),
    ({"query": "x", "k": 1_001}, "k is 1,001"),
    ({"query": "x", "k": "many"}, "'k'"),
    ({"query": "x", "k": 10**30}, "k is"),
    ({"query": "x", "min_score": NAN}, "min_score is nan"),
    ({"query": "x", "min_score": 2}, "min_score is 2"),
    ({"query": "x", "max_tokens": -1}, "max_tokens is -1"),
    ({"query": "x", "window": 51}, "window is 51"),
    ({"query": "x", "explian": True}, "did you mean 'explain'"),
    ({"query": "x", "sesion": "s"}, "did you mean 'session'"),
    ({"query": "x", "since": "soon"}, "since is not a time"),
    ({"query": "x", "tags": [HALF]}, "half a surrogate pair"),
    ({"query": "x", "kind": [HALF]}, "half a surrogate pair"),
    ({"topic": ""}, "topic is empty"),
    ({"embedding": [NAN]}, "embedding is not finite"),
    ({"embedding": []}, "embedding has 0 dimensions"),
]


@pytest.mark.parametrize(("question", "said"), BAD_QUESTIONS, ids=short)
@pytest.mark.parametrize("written", [True, False], ids=["written", "never written"])
def test_a_bad_question_is_refused(
    profile: palimp.Profile, question: dict[str, Any], said: str, written: bool
) -> None:
    if written:
        profile.remember("here")
    with pytest.raises(palimp.Invalid) as caught:
        profile.recall(**question)
    assert said in str(caught.value)


# Folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one memory, closed."""
    path = tmp_path / "memory"
    with palimp.open(path) as mem:
        mem.profile("alice").remember("kept", topic="t")
        mem.profile("bob").remember("kept too")
    return path


def database(folder: Path) -> Path:
    name = folder / "objects" / "v1" / "names" / "default" / "alice.json"
    db_id = json.loads(name.read_bytes())["db_id"]
    return next((folder / "hot" / db_id / "main").glob("i_*/main.db"))


def assert_intact(folder: Path, texts: list[str]) -> None:
    with palimp.open(folder) as mem:
        assert sorted(memory.text for memory in mem.profile("alice").list()) == sorted(texts)


def test_a_folder_that_is_not_ours_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"a cat")
    with pytest.raises(palimp.Invalid, match="not a Palimpsest folder"):
        palimp.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_folder_of_a_newer_format_is_refused(folder: Path) -> None:
    mark = folder / "palimp.json"
    content = mark.read_text()
    mark.write_text(json.dumps({**json.loads(content), "format": 99}))
    with pytest.raises(palimp.Unavailable, match="format 99") as caught:
        palimp.open(folder)
    assert caught.value.details["reason"] == "format"
    mark.write_text(content)
    assert_intact(folder, ["kept"])


def test_a_profile_of_a_newer_schema_is_refused_and_the_others_are_not(folder: Path) -> None:
    connection = apsw.Connection(str(database(folder)))
    connection.execute("UPDATE __palimp_meta SET value = 99 WHERE key = 'schema'")
    connection.close()
    with palimp.open(folder) as mem:
        alice, bob = mem.profile("alice"), mem.profile("bob")
        for use in (lambda: alice.remember("x"), lambda: alice.recall("x")):
            with pytest.raises(palimp.Unavailable, match="alice has schema 99") as caught:
                use()
            assert caught.value.details["reason"] == "schema"
        assert [memory.text for memory in bob.list()] == ["kept too"]


# Disks and processes

PREAMBLE = """
    import json, os, resource, sys
    import palimp
    mem = palimp.open(sys.argv[1], embed_provider="none")
    alice = mem.profile("alice")
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    def attempt(act):
        try:
            return {"done": str(act())}
        except palimp.Error as error:
            return {"kind": type(error).__name__, "said": str(error), **error.details}
"""


def test_a_full_disk_is_an_error_and_costs_nothing_acknowledged(folder: Path) -> None:
    script = """
    limit(400_000)
    kept, failed = [], {}
    for n in range(100):
        text = f"memory {n} " + os.urandom(10_000).hex()
        failed = attempt(lambda: alice.remember(text))
        if "done" not in failed:
            break
        kept.append(text)
    fresh = attempt(lambda: mem.profile("x" * 60).ingest([{"text": "y" * 400_000}]))
    read = [memory.text for memory in alice.list()]
    limit(hard)
    again = attempt(lambda: alice.remember("there is space again"))
    profiles = [profile.name for profile in mem.profiles()]
    mem.close()
    print(json.dumps([kept, failed, fresh, read, again, profiles]))
    """
    kept, failed, fresh, read, again, profiles = run(PREAMBLE + script, folder)
    assert len(kept) > 3
    for error in (failed, fresh):
        assert (error["kind"], error["reason"]) == ("Unavailable", "disk")
        assert "space" in error["said"]
    assert sorted(read) == sorted(["kept", *kept])
    assert "done" in again
    assert profiles[:2] == ["alice", "bob"]
    assert_intact(folder, ["kept", *kept, "there is space again"])


def test_a_disk_that_is_full_from_the_start_leaves_a_folder_that_opens_later(
    folder: Path, tmp_path: Path
) -> None:
    script = """
    limit(0)
    opened = attempt(lambda: palimp.open(sys.argv[2]))
    limit(2_000)
    made = attempt(lambda: mem.profile("carol").remember("x"))
    limit(hard)
    again = attempt(lambda: palimp.open(sys.argv[2]).close())
    later = attempt(lambda: mem.profile("carol").remember("x").status)
    print(json.dumps([opened, made, again, later]))
    """
    opened, made, again, later = run(PREAMBLE + script, folder, tmp_path / "other")
    assert (opened["kind"], opened["reason"]) == ("Unavailable", "folder")
    assert (made["kind"], made["reason"]) == ("Unavailable", "disk")
    assert again == {"done": "None"}
    assert later == {"done": "created"}
