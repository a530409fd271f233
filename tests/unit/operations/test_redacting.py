"""What a policy on secrets does inside: what is kept anywhere, what is counted, what it costs."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

import palimp
from palimp import ltx
from palimp.api import Policy, RedactionRules
from palimp.client.transports.embedded import Embedded
from palimp.errors import Internal, Invalid, Unavailable
from palimp.governance.document import checked, effective, strictest
from palimp.node import Node, load_settings
from palimp.operations.redacting import Look, Screen

WORD = "zanzibarquux"
MAIL = f"{WORD}@example.com"
KEY = "AKIA" + "ZANZIBARQUUX0123"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(load_settings({"data_dir": tmp_path / "node", "embed_provider": "none"}))


def govern(mem: palimp.Client, personal: str = "allow", secrets: str = "allow") -> None:
    rules = {"personal": personal, "secrets": secrets}
    mem.set_policy("default", {"redaction": rules, "audit": {"enabled": True}})


def events(mem: palimp.Client) -> list[tuple[str, dict[str, int]]]:
    found = mem.audit("default", action="redaction")
    return [(event.outcome, dict(event.counts)) for event in found]


# -- nothing of it anywhere ------------------------------------------------------------------------


def write_everywhere(alice: palimp.Profile) -> Iterator[Any]:
    """Yield what writes an address and a key, each on another way in."""
    text = f"{MAIL} has {KEY}"
    yield lambda: alice.remember(text, content={MAIL: text}, keywords=text, metadata={"a": text})
    yield lambda: alice.ingest([{"text": "fine"}, {"text": text}])
    yield lambda: alice.session("s").append("user", [text])
    yield lambda: alice.documents("d").insert({"a": text})
    yield lambda: alice.kv.put("k", text.encode())
    yield lambda: alice.vectors("v").upsert("a", [1.0, 0.0], metadata={"a": text})
    yield lambda: alice.sql("INSERT INTO t VALUES (?)", [text])
    yield lambda: alice.remember("x", topic=MAIL)
    yield lambda: alice.session(MAIL).append("user", "x")
    yield lambda: alice.kv.put(MAIL, b"x")
    yield lambda: alice.sql(f"INSERT INTO t VALUES ('{text}')")


def places(folder: Path) -> list[str]:
    """Return which files hold the word, also those whose pages are compressed."""
    found = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        if path.suffix == ".ltx":
            data += b"".join(ltx.decode(data).pages.values())
        if WORD.encode() in data.lower():
            found.append(path.suffix)
    return found


@pytest.mark.parametrize("word", ["allow", "flag", "redact", "refuse"])
def test_nothing_of_it_is_in_any_file_log_count_or_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, word: str
) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    node = Node(load_settings({"data_dir": tmp_path / "memory"}))
    with palimp.Client(Embedded(node)) as mem:
        govern(mem, word, word)
        alice = mem.profile("alice")
        alice.sql("CREATE TABLE t (a)")
        for write in write_everywhere(alice):
            try:
                said.append(repr(write()))
            except Invalid as error:
                said.append(f"{error!r} {error.details}")
        mem.maintain()
        said += [repr(event) for event in mem.audit("default")]
        counted = repr(node.context.metrics.snapshot())
        found = alice.recall(f"{WORD} has", k=5)
        said.append(repr(found.memories))
        alice.sync()
        live = places(tmp_path)
    kept = word in ("allow", "flag")
    everywhere = live + places(tmp_path)
    # That it is found where it is kept shows that it would be found where it is not.
    assert (".ltx" in everywhere, ".db" in everywhere) == (kept, kept)
    assert bool(everywhere) == kept
    assert (WORD in "".join(said).lower()) == kept
    assert WORD not in f"{caplog.text}{counted}".lower()


def test_a_repeat_is_known_by_nothing_that_tells_what_was_taken_out(
    timed: palimp.Client, tmp_path: Path
) -> None:
    """A digest of what came would confirm a guess: a number of nine digits is soon found."""
    govern(timed, "redact")
    alice = timed.profile("alice")

    def digests(name: str) -> list[tuple[Any, ...]]:
        alice.export(tmp_path / name)
        connection = apsw.Connection(str(tmp_path / name))
        try:
            return connection.execute("SELECT id, digest FROM __palimp_requests").fetchall()
        finally:
            connection.close()

    alice.remember("SSN 123-45-6789", request_id="one")
    alice.remember("SSN 219-09-9999", request_id="two")
    alice.remember("SSN [ssn]", request_id="three")
    found = dict(digests("first.db"))
    assert len(found) == 3
    assert len(set(found.values())) == 1
    # Another request is another one as ever.
    with pytest.raises(palimp.Conflict, match="belongs to a different request"):
        alice.remember("TIN 123-45-6789", request_id="one")
    assert alice.remember("SSN 123-45-6789", request_id="one").status == "created"


def test_words_of_it_are_not_found_and_its_place_is(timed: palimp.Client) -> None:
    govern(timed, "redact")
    alice = timed.profile("alice")
    alice.remember(f"write to {MAIL} today")
    assert len(alice.recall(WORD)) == 0
    assert len(alice.recall("email today")) == 1


# -- counts ----------------------------------------------------------------------------------------


def test_the_audit_has_labels_fields_and_numbers(timed: palimp.Client) -> None:
    govern(timed, "redact", "flag")
    alice = timed.profile("alice")
    alice.remember(f"{MAIL} {MAIL} {KEY}", metadata={"a": MAIL})
    with pytest.raises(Invalid):
        alice.remember("x", topic=MAIL)
    with pytest.raises(Invalid):
        alice.ingest([{"text": MAIL}, {"text": "x", "topic": MAIL}])
    assert events(timed) == [
        (
            "ok",
            {"redacted.email.text": 2, "flagged.aws_key.text": 1, "redacted.email.metadata": 1},
        ),
        ("error", {"refused.email.topic": 1}),
        # Nothing of the batch was written, so nothing in it was redacted.
        ("error", {"refused.email.topic": 1}),
    ]


def test_findings_are_counted_by_label_and_what_was_done(node: Node) -> None:
    with palimp.Client(Embedded(node)) as mem:
        govern(mem, "redact", "refuse")
        mem.profile("alice").remember(f"{MAIL} {MAIL}")
        with pytest.raises(Invalid):
            mem.profile("alice").remember(KEY)
        counted = {k: n for k, n in node.context.metrics.snapshot().items() if "redactions" in k}
    assert counted == {
        'redactions{action="redact",label="email"}': 2.0,
        'redactions{action="refuse",label="aws_key"}': 1.0,
    }


# -- one look --------------------------------------------------------------------------------------


@pytest.fixture
def screen() -> Screen:
    policy = effective({"redaction.personal": "redact", "redaction.secrets": "redact"})
    return Screen(None, None, policy)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"password": "x y", "n": 1}, {"password": "[password_assign]", "n": 1}),
        ({"a": [{"phone": "5551234567"}]}, {"a": [{"phone": "[phone]"}]}),
        ({"pin": 5551234567}, {"pin": 5551234567}),
        ({"phone": 5551234567}, {"phone": "[phone]"}),
        ({"card": 4111111111111111}, {"card": "[card]"}),
        (
            [4111111111111112, 1767225600000, True, None, 1.5],
            [4111111111111112, 1767225600000, True, None, 1.5],
        ),
        ({MAIL: {MAIL: MAIL}}, {"[email]": {"[email]": "[email]"}}),
        (f"{MAIL}", "[email]"),
        ((MAIL, "x"), ["[email]", "x"]),
        ({"password": None, "secret": ["x"]}, {"password": None, "secret": ["x"]}),
        ({1: MAIL}, {1: "[email]"}),
    ],
)
def test_json_is_walked_with_its_names(screen: Screen, given: Any, kept: Any) -> None:
    look = Look(screen)
    assert look.json(given, "content") == kept
    again = Look(screen)
    assert again.json(kept, "content") == kept
    assert not again.counts


def test_two_keys_never_become_one(screen: Screen) -> None:
    with pytest.raises(
        Invalid, match="two keys of content would be the same when redacted"
    ) as caught:
        Look(screen).json({MAIL: 1, f"b{MAIL}": 2}, "content")
    assert WORD not in str(caught.value)


def test_what_is_nested_without_end_is_refused(screen: Screen) -> None:
    deep: list[Any] = []
    deep.append(deep)
    with pytest.raises(Invalid, match="nested more than 100 levels"):
        Look(screen).json(deep, "content")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (b'{"a": "%s"}', b'{"a":"[email]"}'),
        (b"[1, 2.50, 9007199254740993]", b"[1, 2.50, 9007199254740993]"),
        (b'{"a": "zanzibarquux\\u0040example.com"}', b'{"a":"[email]"}'),
        (b"{not json, but %s}", b"{not json, but [email]}"),
        (b'{"password": "x"}', b'{"password":"[password_assign]"}'),
        (b"\xff\xfe%s", b"\xff\xfe%s"),
        (b"", b""),
        ("Grüße an ".encode() + b"%s", "Grüße an [email]".encode()),
    ],
)
def test_bytes_are_text_or_json_or_left_alone(screen: Screen, given: bytes, kept: bytes) -> None:
    mail = MAIL.encode()
    assert Look(screen).data(given.replace(b"%s", mail), "value") == kept.replace(b"%s", mail)


def test_a_vector_of_what_was_redacted_is_left_out(timed: palimp.Client) -> None:
    govern(timed, "redact")
    alice = timed.profile("alice")
    done = alice.remember(MAIL, embedding=[1.0, 0.0])
    assert done.note == ("redacted: email (1); embedding left out: it was made of what is redacted")
    kept = alice.remember("nobody", embedding=[1.0, 0.0])
    assert kept.note is None
    assert [hit.id for hit in alice.recall(embedding=[1.0, 0.0])] == [kept.id]
    (note,) = alice.session("s").append("user", MAIL, embedding=[1.0, 0.0]).notes
    assert "embedding left out" in note


def test_a_memory_that_comes_back_is_flagged_and_a_duplicate_is_not(timed: palimp.Client) -> None:
    alice = timed.profile("alice")
    old = alice.remember(MAIL, topic="mail")
    alice.remember("another", topic="mail")
    govern(timed, "flag")
    assert alice.remember("another", topic="mail").status == "duplicate"
    back = alice.remember(MAIL, topic="mail")
    assert (back.id, back.status, back.note) == (old.id, "revived", "flagged: email (1)")
    assert alice.get(old.id).flags == ("email",)
    again = alice.remember(MAIL, topic="mail")
    assert (again.status, again.note) == ("duplicate", "flagged: email (1)")


def test_what_supersedes_is_flagged(timed: palimp.Client) -> None:
    alice = timed.profile("alice")
    old = alice.remember("write to somebody", topic="mail")
    govern(timed, "flag")
    new = alice.supersede(old.id, f"write to {MAIL}")
    assert (alice.get(new.id).flags, alice.get(old.id).flags) == (("email",), ())
    assert [memory.id for memory in alice.list(flags=["email"])] == [new.id]


# -- the policy ------------------------------------------------------------------------------------


def test_the_strictest_of_node_namespace_and_profile_holds(timed: palimp.Client) -> None:
    govern(timed, "flag")
    redact = {"redaction": {"personal": "redact"}}
    timed.set_policy("default", redact, "alice")
    assert timed.profile("alice").remember(MAIL).note == "redacted: email (1)"
    assert timed.profile("bob").remember(MAIL).note == "flagged: email (1)"
    with pytest.raises(palimp.Conflict, match=r"redaction\.personal allow \(it is flag there\)"):
        timed.set_policy("default", {"redaction": {"personal": "allow"}}, "alice")
    govern(timed, "refuse")
    with pytest.raises(Invalid, match=r"redaction\.personal = refuse"):
        timed.profile("alice").remember(MAIL)


@pytest.mark.parametrize("field", ["redaction.secrets", "redaction.personal"])
def test_the_words_stand_in_order(field: str) -> None:
    words = ["allow", "flag", "redact", "refuse"]
    for place, looser in enumerate(words):
        for stricter in words[place:]:
            assert strictest({field: looser}, {field: stricter}) == {field: stricter}
            assert strictest({field: stricter}, {field: looser}) == {field: stricter}
        assert effective({field: looser}).screens == (looser != "allow")
    wrong = Policy(redaction=RedactionRules(secrets="deny"))  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="give allow or flag or redact or refuse"):
        checked(wrong, of_profile=False)


@pytest.mark.parametrize("policy", [b'{"format": 2}', b"no policy"], ids=["newer", "damaged"])
def test_where_no_policy_could_be_read_nothing_is_written(node: Node, policy: bytes) -> None:
    """What is kept once stays in the history: it is not kept on the chance that it may be."""
    node.context.engine.store.create("v1/policy/acme.json", policy)
    with palimp.Client(Embedded(node)) as mem:
        alice = mem.profile("alice", namespace="acme")
        for write in (
            lambda: alice.remember("x"),
            lambda: alice.session("s").append("user", "x"),
            lambda: alice.documents("d").insert({}),
            lambda: alice.kv.put("k", b"x"),
            lambda: alice.vectors("v").upsert("a", [1.0]),
            lambda: alice.sql("CREATE TABLE t (a)"),
        ):
            with pytest.raises((Unavailable, Internal), match=r"v1/policy/acme\.json"):
                write()
        assert list(mem.profiles(namespace="acme")) == []


def test_a_policy_that_allows_loads_no_pattern(tmp_path: Path) -> None:
    code = (
        "import sys, palimp\n"
        "mem = palimp.open(sys.argv[1], embed_provider='none')\n"
        "alice = mem.profile('a')\n"
        "alice.remember('x@y.org')\n"
        "alice.session('s').append('user', 'x@y.org')\n"
        "alice.kv.put('k', b'x@y.org')\n"
        "alice.documents('d').insert({'a': 'x@y.org'})\n"
        "alice.sql('create table t(a)')\n"
        "print(' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m")],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert loaded.isdisjoint({"palimp.operations.redacting", "palimp.security.patterns"})
