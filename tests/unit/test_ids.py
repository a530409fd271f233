"""Names split in one way only; ids depend on key and content alone."""

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimp.errors import Invalid
from palimp.ids import (
    MAIN,
    NAMESPACE_CHARS_MAX,
    PROFILE_CHARS_MAX,
    DatabaseName,
    ProfileSpec,
    check_name,
    foreign_name,
    foreign_text,
    memory_id,
    parse_database_name,
    parse_profile_spec,
    random_id,
    random_uuid,
    ulid,
)

NAMES = st.from_regex(r"\A[a-z0-9](?:[a-z0-9_]|-(?=[a-z0-9_])){0,20}[a-z0-9]\Z")

GOOD = ["a", "0", "alice", "a-b", "a_b", "a__b", "user-42", "x" * PROFILE_CHARS_MAX]
BAD = {
    "": "is empty",
    "-alice": "beginning and ending with a letter or digit",
    "alice-": "beginning and ending with a letter or digit",
    "_": "beginning and ending with a letter or digit",
    "a_": "beginning and ending with a letter or digit",
    "a--b": "contains '--'",
    "Alice": "use a-z, 0-9",
    "alice\n": "use a-z, 0-9",
    "a b": "use a-z, 0-9",
    "a/b": "use a-z, 0-9",
    "..": "use a-z, 0-9",
    "a\0b": "use a-z, 0-9",
    "é": "use a-z, 0-9",
    "٣": "use a-z, 0-9",
    "\ud800": "use a-z, 0-9",
    "x" * (PROFILE_CHARS_MAX + 1): f"at most {PROFILE_CHARS_MAX}",
}


@pytest.mark.parametrize("name", GOOD)
def test_good_names_pass_unchanged(name: str) -> None:
    assert check_name(name, "profile") == name


@pytest.mark.parametrize("name", BAD, ids=lambda name: ascii(name)[:20])
def test_a_bad_name_is_refused_with_the_rule_it_breaks(name: str) -> None:
    with pytest.raises(Invalid, match=re.escape(BAD[name])):
        check_name(name, "profile")


@pytest.mark.parametrize("name", [None, 5, b"alice", ["alice"]])
def test_a_name_that_is_no_text_is_refused(name: object) -> None:
    with pytest.raises(Invalid, match="namespace must be text, not " + type(name).__name__):
        check_name(name, "namespace")


def test_the_limit_of_a_namespace_is_its_own() -> None:
    with pytest.raises(Invalid, match=f"65 characters, at most {NAMESPACE_CHARS_MAX}"):
        check_name("n" * 65, "namespace", chars_max=NAMESPACE_CHARS_MAX)


def test_the_main_branch_is_implicit() -> None:
    assert parse_profile_spec("alice") == ProfileSpec("alice", MAIN)
    assert parse_profile_spec("alice@main") == ProfileSpec("alice", "main")
    assert parse_profile_spec("alice@trial") == ProfileSpec("alice", "trial")


@pytest.mark.parametrize(
    "spec", ["alice@", "@trial", "alice@a@b", "alice@A", "alice@a--b", 7, None]
)
def test_a_bad_profile_spec_is_refused(spec: object) -> None:
    with pytest.raises(Invalid, match=r"profile|branch"):
        parse_profile_spec(spec)


def test_a_namespace_that_ends_in_a_hyphen_cannot_look_like_another() -> None:
    """`acme-` with `alice` would be `acme---alice`, which begins with `acme--`."""
    for text in ("acme---alice", "acme----alice", "acme--alice-", "acme--a--b", "--a", "a--", "a"):
        with pytest.raises(Invalid):
            parse_database_name(text)


@given(NAMES.filter(lambda name: "--" not in name), NAMES.filter(lambda name: "--" not in name))
def test_a_database_name_splits_into_what_it_was_made_of(namespace: str, profile: str) -> None:
    name = DatabaseName(namespace, profile)
    assert parse_database_name(str(name)) == name


def test_a_memory_id_is_the_same_everywhere() -> None:
    """Fixed values: another id for the same content would end idempotent ingest."""
    made = memory_id(b"palimp memory id 1", b'["fact",null,{"text":"hello"}]')
    assert made == "mem_bcd560f68d0a9566dfcfcb01139a670f"
    assert made == memory_id(b"palimp memory id 1", b'["fact",null,{"text":"hello"}]')


def test_a_memory_id_depends_on_key_and_content() -> None:
    ids = {memory_id(key, content) for key in (b"a", b"b") for content in (b"x", b"y", b"")}
    assert len(ids) == 6


def test_ids_are_short_lower_case_words() -> None:
    for identity in (memory_id(b"k", b"c"), random_id("mem")):
        assert re.fullmatch(r"mem_[0-9a-f]{32}", identity)


def test_random_ids_differ() -> None:
    assert len({random_id("lin") for _ in range(100)}) == 100


def test_ulids_sort_by_time_and_rise_within_a_millisecond() -> None:
    made = [ulid(now_ms) for now_ms in (0, 1, 1, 1, 2, 1_700_000_000_000, (1 << 48) - 1)]
    assert made == sorted(set(made))
    many = [ulid(7) for _ in range(1_000)]
    assert many == sorted(set(many))
    for identity in made:
        assert re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", identity)
    # The time is in the first ten characters; 01HF7YAT00 is what others make of this one.
    assert made[5].startswith("01HF7YAT00")
    assert ulid(1)[:10] == made[1][:10] != ulid(1 << 20)[:10]
    # A clock that was set back is no reason to go on with another time.
    assert ulid(5) < many[0]


def test_a_random_uuid_says_that_it_is_one() -> None:
    made = {random_uuid() for _ in range(200)}
    assert len(made) == 200
    for text in made:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)


@given(st.text(min_size=1, max_size=64))
def test_a_foreign_id_has_one_name_and_comes_back(text: str) -> None:
    if len(text.encode("utf-8", "surrogatepass")) > 256:
        return
    name = foreign_name(text)
    assert check_name(name, "profile") == name
    back = foreign_text(name)
    assert back == text or (back is None and name.startswith("xh-"))


def test_foreign_ids_that_look_alike_have_different_names() -> None:
    ids = [
        "Ann",
        "ann",
        "x-ann",
        "x-_41nn",
        "xh-ann",
        "ann ",
        "a--b",
        "ä",
        "a_",
        "_a",
        "x-",
        "a" * 200,
    ]
    ids += ["a" * 128, "a" * 129, "A" * 40, "A" * 50]
    assert len({foreign_name(one) for one in ids}) == len(ids)
    assert foreign_name("ann") == "ann"
    assert foreign_name("pytest_1a") == "pytest_1a"
    assert foreign_name("Ann") == "x-_41nn"
    for bad in ("", "a" * 257, "ä" * 129):
        with pytest.raises(Invalid, match="1 to 256"):
            foreign_name(bad)
