"""Finding secrets and personal data: what is found, what is let alone, and in what time."""

import re

import pytest

from palimp.api import PERSONAL_LABELS, SECRET_LABELS
from palimp.security.redaction import MEMORIA, OURS, Finding, Rules, redact, scan, scan_named

from .redaction_corpus import A36, AWS, HEX40, NEGATIVES, PEM, POSITIVES

_MARK = re.compile(r"\[([a-z_]+)\]")
LONG = 1_000_000


@pytest.mark.parametrize(("text", "expected"), POSITIVES)
def test_what_is_one_is_found_whole_and_nothing_beside_it(text: str, expected: str) -> None:
    redacted, counts = redact(text)
    assert redacted == expected
    assert sorted(_MARK.findall(expected)) == sorted(
        label for label, number in counts.items() for _ in range(number)
    )
    # A text that was redacted has nothing left to be found.
    assert redact(redacted) == (redacted, {})


@pytest.mark.parametrize("text", NEGATIVES)
def test_what_only_looks_like_one_is_let_alone(text: str) -> None:
    assert scan(text) == []


def test_the_corpus_is_large_and_has_every_label() -> None:
    assert len(POSITIVES) >= 100
    assert len(set(NEGATIVES)) >= 150
    found = {label for _, expected in POSITIVES for label in _MARK.findall(expected)}
    assert found == {*SECRET_LABELS, *PERSONAL_LABELS}


def test_what_is_let_alone_stays_so_in_a_conversation() -> None:
    """One line after the other, so that nothing is put together across them."""
    assert [text for text in NEGATIVES if scan(f"a\n{text}\nb")] == []


def test_findings_count_in_the_text_as_it_was_given() -> None:
    text = f"😀 x@y.org 😀 password=käse {AWS} 555-867-5309 ẞ"
    found = scan(text)
    assert [(one.label, text[one.start : one.end]) for one in found] == [
        ("email", "x@y.org"),
        ("password_assign", "käse"),
        ("aws_key", AWS),
        ("phone", "555-867-5309"),
    ]


def test_either_kind_alone_can_be_looked_for() -> None:
    text = f"{AWS} x@y.org"
    assert redact(text, secrets=False) == (f"{AWS} [email]", {"email": 1})
    assert redact(text, personal=False) == ("[aws_key] x@y.org", {"aws_key": 1})
    assert redact(text, secrets=False, personal=False) == (text, {})


def test_half_a_character_is_no_obstacle() -> None:
    assert scan("\ud800 x@y.org") == [Finding("email", 2, 9)]


@pytest.mark.parametrize(
    ("name", "value", "label"),
    [
        ("password", "two words", "password_assign"),
        ("dbPassword", "x", "password_assign"),
        ("db_password", "x", "password_assign"),
        ("client-secret", "0", "password_assign"),
        ("password", "", None),
        ("password", "${PASSWORD}", None),
        ("password", "xxxx", None),
        ("password", "[password_assign]", None),
        ("password_hint", "x", None),
        ("api_key", HEX40, "key_assign"),
        ("api_key", "to be set", None),
        ("apiKey", A36, "key_assign"),
        ("phone", "5551234567", "phone"),
        ("mobile_number", "+49 (0)171 2345678", "phone"),
        ("phone", "12", None),
        ("phone", "Pixel 9 of 2024", None),
        ("telephone", "[phone]", None),
    ],
)
def test_a_name_says_what_its_value_is(name: str, value: str, label: str | None) -> None:
    assert scan_named(name, value) == label


# -- Memoria's rules -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("contact me at alice@example.com please", "contact me at [email] please"),
        ("call 5551234567", "call [phone]"),
        ("call 555.123.4567 or 555-1234-5678", "call [phone] or [phone]"),
        ("SSN is 123-45-6789", "SSN is [ssn]"),
        ("no sum: 4111 1111 1111 1112", "no sum: [card]"),
        ("4111111111111112", "[card]"),
        ("123456789012", "123456789012"),
        ("1234567890123", "[card]"),
        ("1234567890123456789", "[card]"),
        ("12345678901234567890", "12345678901234567890"),
        # A phone is looked for first, as the service does.
        ("12345678901", "[phone]"),
        ("123-4567-8901 4111111111111111", "[phone] [card]"),
        (HEX40, HEX40),
        ("2026-03-02T08:41:00Z", "2026-03-02T08:41:00Z"),
        ("Zürich, alice@example.com!", "Zürich, [email]!"),
        ("DE89 3704 0044 0532 0130 00", "DE89 [card]"),
    ],
)
def test_memorias_personal_data(text: str, expected: str) -> None:
    assert redact(text, MEMORIA)[0] == expected


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (f"my key is {AWS}", "aws_key"),
        *((f"{start}ABCDEFGHIJ012345", "aws_key") for start in ("AKIA", "ABIA", "ACCA", "ASIA")),
        ("AKIAabcdefghij012345", None),
        *((PEM.format(kind=kind), "private_key") for kind in ("", "RSA ", "EC ", "DSA ")),
        (PEM.format(kind="OPENSSH "), None),
        ("Authorization: Bearer abc", "bearer_token"),
        ("bearer of news", "bearer_token"),
        ("password=supersecret123", "password_assign"),
        ("the secret: never give up", "password_assign"),
        ("passwd :\n x", "password_assign"),
        ("a password must be long", None),
        ("gh" + "p_" + A36, None),
    ],
)
def test_memorias_secrets(text: str, label: str | None) -> None:
    assert [one.label for one in scan(text, MEMORIA)] == ([] if label is None else [label])
    assert scan_named("password", "x", MEMORIA) is None


# -- time ------------------------------------------------------------------------------------------

_PIECES = [
    "a", "1", "1 ", "1-", "@", "a@", "a.", "a@b.", "a@b.c", "'a", "+1", "+1 2", "(5", "-", " ",
    "-----BEGIN PRIVATE KEY-----", "-----BEGIN RSA PRIVATE KEY-----\nAAAAAAAAAAAAAAAAAAAA\n",
    "password:", "password ", 'password="', "password = '\\", "secret=[", "://", "://a:b", "://:",
    "ghp_", "github_pat_", "xoxb-", "sk-", "sk-a1", "AIza", "eyJ", "eyJaaaaa.", "bearer ",
    "Authorization: bearer", "api_key ", "api_key=", "AKIA", "GB82 ", "DE89 3704", "555-867-",
    "555 867 5309 ", "4111-1111-", "0000000000000 ", "phone : . ", "phone 1 ", "tel ", "İ", "😀",
]  # fmt: skip
_FRAMES = [
    (before, middle, after)
    for before, after in (
        ("password: ", ""),
        ("phone ", ""),
        ("bearer ", ""),
        ("://u:", ""),
        ("", "@b.com"),
        ("sk-", ""),
        ("-----BEGIN PRIVATE KEY-----", ""),
        ("api_key=", ""),
    )
    for middle in "a1-"
]
_GAPS = [piece + " " * gap for piece in ("1", "a@", "password", "bearer") for gap in (9, 999)]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("rules", "length"), [(OURS, LONG), (MEMORIA, LONG // 10)], ids=["standard", "memoria"]
)
def test_time_grows_with_the_text_and_no_faster(rules: Rules, length: int) -> None:
    """A megabyte of anything; one search that goes back and forth would take hours."""
    for piece in _PIECES + _GAPS:
        text = (piece * (length // len(piece) + 1))[:length]
        assert all(one.end <= length for one in scan(text, rules))
    for before, middle, after in _FRAMES:
        text = before + middle * length + after
        assert all(one.end <= len(text) for one in scan(text, rules))
