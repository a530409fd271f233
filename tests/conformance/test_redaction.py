"""Secrets and personal data on every way in, over every transport."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palimp.errors import Invalid

MAIL = "zanzibar@example.com"
KEY = "AKIA" + "IOSFODNN7EXAMPLE"


@pytest.fixture
def rule(do: Any, client: Any) -> Callable[..., None]:
    """Sets what becomes of secrets and of personal data."""

    def set_(personal: str, secrets: str = "allow") -> None:
        rules = {"personal": personal, "secrets": secrets}
        do(client.set_policy("default", {"redaction": rules}))

    return set_


def ways_in(do: Any, alice: Any) -> dict[str, Callable[[], tuple[Any, Any]]]:
    """Return what brings an address in, by name: it gives the note, and what is read back."""

    def remember() -> tuple[Any, Any]:
        done = do(alice.remember(f"write to {MAIL}", content={MAIL: [MAIL]}, keywords=MAIL))
        got = do(alice.get(done.id))
        return done.note, [got.text, got.content, got.keywords]

    def supersede() -> tuple[Any, Any]:
        old = do(alice.remember("write to somebody"))
        done = do(alice.supersede(old.id, f"write to {MAIL}", metadata={"to": MAIL}))
        got = do(alice.get(done.id))
        return done.note, [got.text, got.metadata]

    def append() -> tuple[Any, Any]:
        session = alice.session("s")
        (note,) = do(session.append("user", {"text": f"I am {MAIL}"})).notes
        return note, do(session.window())[0].content

    def insert() -> tuple[Any, Any]:
        trips = alice.documents("trips")
        done = do(trips.insert({"to": MAIL, "n": 1}))
        return done.notes[0], do.all(trips.find())[0]["to"]

    def update() -> tuple[Any, Any]:
        trips = alice.documents("visits")
        do(trips.insert({"n": 1}))
        done = do(trips.update({"n": 1}, {"$set": {"to": [MAIL]}}))
        return done.note, do.all(trips.find())[0].get("to")

    def put() -> tuple[Any, Any]:
        done = do(alice.kv.put("key", MAIL.encode()))
        return done.note, do(alice.kv.get("key")).decode()

    def upsert() -> tuple[Any, Any]:
        vectors = alice.vectors("things")
        done = do(vectors.upsert("a", [1, 0], metadata={"of": MAIL}))
        return done.notes[0], do(vectors.get("a")).metadata

    def sql() -> tuple[Any, Any]:
        do(alice.sql("CREATE TABLE IF NOT EXISTS t (a, b)"))
        done = do(alice.sql("INSERT INTO t VALUES (?, :b)", [1, MAIL]))
        return done.note, do(alice.sql("SELECT b FROM t"))[0]

    return {
        way.__name__: way for way in (remember, supersede, append, insert, update, put, upsert, sql)
    }


WAYS = ["remember", "supersede", "append", "insert", "update", "put", "upsert", "sql"]


@pytest.mark.parametrize("way", WAYS)
def test_it_is_redacted_before_anything_is_kept(
    do: Any, alice: Any, rule: Callable[..., None], way: str
) -> None:
    rule("redact")
    note, kept = ways_in(do, alice)[way]()
    assert "redacted: email (" in note
    assert "[email]" in str(kept)
    assert MAIL not in str(kept)


@pytest.mark.parametrize("way", WAYS)
def test_it_is_flagged_and_kept(do: Any, alice: Any, rule: Callable[..., None], way: str) -> None:
    rule("flag")
    note, kept = ways_in(do, alice)[way]()
    assert "flagged: email (" in note
    assert MAIL in str(kept)


@pytest.mark.parametrize("way", WAYS)
def test_it_is_refused_and_nothing_says_what_it_was(
    do: Any, alice: Any, rule: Callable[..., None], way: str
) -> None:
    rule("refuse")
    with pytest.raises(Invalid, match=r"redaction\.personal = refuse\): email \(\d\)") as caught:
        ways_in(do, alice)[way]()
    assert caught.value.details["labels"] == ["email"]
    assert "zanzibar" not in f"{caught.value}{caught.value.details}"


def test_a_policy_that_allows_says_nothing(do: Any, alice: Any, rule: Callable[..., None]) -> None:
    rule("allow")
    done = do(alice.remember(f"write to {MAIL}"))
    assert done.note is None
    got = do(alice.get(done.id))
    assert (got.text, got.flags) == (f"write to {MAIL}", ())


def test_each_kind_has_a_rule_of_its_own(do: Any, alice: Any, rule: Callable[..., None]) -> None:
    rule("redact", "refuse")
    assert do(alice.remember(f"to {MAIL}")).note == "redacted: email (1)"
    with pytest.raises(Invalid, match=r"\(redaction\.secrets = refuse\): aws_key \(1\) in text"):
        do(alice.remember(f"{KEY} of {MAIL}"))
    rule("flag", "redact")
    done = do(alice.remember(f"{KEY} of {MAIL}"))
    assert done.note == "redacted: aws_key (1); flagged: email (1)"
    got = do(alice.get(done.id))
    assert (got.text, got.flags) == (f"[aws_key] of {MAIL}", ("email",))


def test_the_item_of_a_batch_is_named_and_none_is_written(
    do: Any, alice: Any, rule: Callable[..., None]
) -> None:
    rule("refuse")
    with pytest.raises(Invalid, match=r"memories\[1\].*email \(2\) in text") as caught:
        do(alice.ingest([{"text": "a"}, {"text": f"{MAIL} {MAIL}"}, {"text": "b"}]))
    assert caught.value.details["index"] == 1
    assert do.all(alice.list()) == []
    with pytest.raises(Invalid, match=r"turns\[1\]"):
        do(alice.session("s").extend([{"role": "user", "content": c} for c in ("a", MAIL)]))
    with pytest.raises(Invalid, match=r"docs\[1\]"):
        do(alice.documents("d").insert([{}, {"to": MAIL}]))


def test_flagged_memories_are_found_again(do: Any, alice: Any, rule: Callable[..., None]) -> None:
    rule("flag", "flag")
    do(alice.ingest([{"text": f"{KEY} of {MAIL}"}, {"text": f"to {MAIL}"}, {"text": "to nobody"}]))
    assert [m.text for m in do.all(alice.list(flags=["email"]))] == [
        f"to {MAIL}",
        f"{KEY} of {MAIL}",
    ]
    (both,) = do.all(alice.list(flags=["email", "aws_key"]))
    assert both.flags == ("aws_key", "email")
    assert do.all(alice.list(flags=["phone"])) == []
    found = do(alice.recall("zanzibar nobody", flags=["email"], k=5))
    assert {hit.flags for hit in found} <= {("email",), ("aws_key", "email")}
    assert found
    with pytest.raises(Invalid, match="no memory is flagged 'mail'; flags are"):
        do.all(alice.list(flags=["mail"]))


@pytest.mark.parametrize("word", ["redact", "refuse"])
@pytest.mark.parametrize(
    "fields",
    [
        {"topic": MAIL},
        {"session": MAIL},
        {"source": MAIL},
        {"speaker": MAIL},
        {"tags": ["a", MAIL]},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_something_is_found_by_is_not_changed_but_refused(
    do: Any, alice: Any, rule: Callable[..., None], word: str, fields: dict[str, Any]
) -> None:
    rule(word)
    with pytest.raises(
        Invalid, match=rf"redaction\.personal = {word}\): email \(1\) in {next(iter(fields))}"
    ):
        do(alice.remember("x", **fields))
    rule("flag")
    done = do(alice.remember("x", **fields))
    assert done.note == "flagged: email (1)"


@pytest.mark.parametrize("word", ["redact", "refuse"])
def test_other_names_are_refused_too(
    do: Any, alice: Any, rule: Callable[..., None], word: str
) -> None:
    rule(word)
    for write in (
        lambda: alice.session(MAIL).append("user", "x"),
        lambda: alice.documents("d").insert({"_id": MAIL}),
        lambda: alice.documents("d").update({}, {"$set": {"a.x@y.org": 1}}),
        lambda: alice.kv.put(MAIL, b"x"),
        lambda: alice.kv.space(MAIL).put("x", b"x"),
        lambda: alice.vectors("v").upsert(MAIL, [1.0]),
    ):
        with pytest.raises(Invalid, match="email"):
            do(write())


def test_the_same_secret_twice_is_a_duplicate(
    do: Any, alice: Any, rule: Callable[..., None]
) -> None:
    rule("redact")
    first = do(alice.remember(f"write to {MAIL}"))
    again = do(alice.remember(f"write to {MAIL}"))
    assert (again.id, again.status, again.note) == (first.id, "duplicate", first.note)
    # What is left is the same, so it is the same memory.
    assert do(alice.remember("write to somebody@else.org")).id == first.id
    rule("allow")
    assert do(alice.remember("write to [email]")).id == first.id


def test_a_repeat_is_answered_as_the_first(do: Any, alice: Any, rule: Callable[..., None]) -> None:
    rule("redact")
    first = do(alice.remember(f"write to {MAIL}", request_id="r1"))
    assert do(alice.remember(f"write to {MAIL}", request_id="r1")) == first


def test_an_imported_file_is_looked_at_before_it_becomes_a_profile(
    do: Any, client: Any, alice: Any, rule: Callable[..., None], tmp_path: Path
) -> None:
    do(alice.remember(f"write to {MAIL}"))
    do(alice.session("s").append("user", MAIL))
    do(alice.documents("d").insert({"a": {"password": "hunter2"}}))
    do(alice.export(tmp_path / "alice.db"))
    copy = client.profile("copy")
    for word in ("redact", "refuse"):
        rule(word, word)
        with pytest.raises(Invalid, match=r"email \(2\) in file") as caught:
            do(copy.import_(tmp_path / "alice.db"))
        assert ("a file is not changed" in str(caught.value)) == (word == "redact")
        assert caught.value.details["labels"] == ["email", "password_assign"]
    assert [one.name for one in do.all(client.profiles())] == ["alice"]
    rule("flag", "flag")
    do(copy.import_(tmp_path / "alice.db"))
    (kept,) = do.all(copy.list())
    assert MAIL in kept.text


def test_sql_keeps_what_it_compares_with_and_what_it_removes_by(
    do: Any, alice: Any, rule: Callable[..., None]
) -> None:
    do(alice.sql("CREATE TABLE t (a, b)"))
    do(alice.sql("INSERT INTO t VALUES (1, ?), (2, '[email]')", [MAIL]))
    rule("redact")
    for query, params, match in (
        (f"INSERT INTO t VALUES (3, '{MAIL}')", [], "email .1. in q; .* give its values as params"),
        (
            "UPDATE t SET a = 3 WHERE b = ?",
            [MAIL],
            "email .1. in params; .* INSERT ... VALUES alone",
        ),
        ("INSERT INTO t SELECT 3, b FROM t WHERE b = :b", {"b": MAIL}, "email .1. in params"),
        ("WITH x AS (SELECT 1, ?) INSERT INTO t SELECT * FROM x", [MAIL], "email .1. in params"),
    ):
        with pytest.raises(Invalid, match=match):
            do(alice.sql(query, params))
    # Nothing comes in with these.
    assert list(do(alice.sql("SELECT a FROM t WHERE b = ?", [MAIL]))) == [(1,)]
    assert do(alice.sql("DELETE FROM t WHERE b = ?", [MAIL])).changes == 1
    done = do(alice.sql("INSERT INTO t VALUES (:id, :password)", {"id": 4, "password": "x"}))
    assert done.note is None
    rule("allow", "redact")
    done = do(alice.sql("INSERT INTO t VALUES (:id, :password)", {"id": 5, "password": "x"}))
    assert done.note == "redacted: password_assign (1)"
    rows = list(do(alice.sql("SELECT b FROM t WHERE a > 3 ORDER BY a")))
    assert rows == [("x",), ("[password_assign]",)]


def test_memorias_rules_are_those_of_the_service_and_look_at_texts_alone(
    do: Any, client: Any, alice: Any
) -> None:
    rules = {"secrets": "refuse", "personal": "redact", "rules": "memoria"}
    do(client.set_policy("default", {"redaction": rules}))
    done = do(
        alice.remember(
            f"{MAIL}, 5551234567, 123-45-6789, 4111111111111112",
            session="bench-1700000000-l1",
            metadata={"at": 1700000000000, "from": MAIL},
        )
    )
    kept = do(alice.get(done.id))
    assert kept.text == "[email], [phone], [ssn], [card]"
    assert kept.session == "bench-1700000000-l1"
    assert kept.metadata == {"at": 1700000000000, "from": "[email]"}
    with pytest.raises(Invalid, match=r"password_assign \(1\) in text") as caught:
        do(alice.supersede(done.id, "the secret: swordfish"))
    assert caught.value.details["labels"] == ["password_assign"]
    assert do(alice.remember("a key: gh" + "p_" + "a1" * 18)).note is None
    with pytest.raises(Invalid, match=r"redaction\.rules is for a namespace as a whole"):
        do(client.set_policy("default", {"redaction": {"rules": "standard"}}, "alice"))
    with pytest.raises(Invalid, match="rules"):
        do(client.set_policy("default", {"redaction": {"rules": "none"}}))
