"""What rules find named in a text: precision first, and no text takes long."""

import pytest

from palimp.models.rules.entities import NAMES_MAX, names_in

CASES: dict[str, list[tuple[str, str]]] = {
    # people
    "ask @anna-li and @bob_2": [("anna-li", "person"), ("bob_2", "person")],
    "mail me at bob@example.com": [],
    "npm install @scope/package-name": [],
    # repositories
    "cloned matrixorigin/Memoria and vercel/next.js": [
        ("matrixorigin/Memoria", "repo"),
        ("vercel/next.js", "repo"),
    ],
    "see https://github.com/psf/requests/issues/1": [("psf/requests", "repo")],
    "he/she, and/or, TCP/IP, CI/CD, yes/no, input/output, 24/7, km/h": [],
    "look into src/main.py, docs/index.md and a/b/c": [],
    "due 11/22/2024 or 2024-11-22 at 10:30": [],
    # projects
    "the auth-service calls `billing_v2` and MyOrderQueue": [
        ("billing_v2", "project"),
        ("auth-service", "project"),
        ("MyOrderQueue", "project"),
    ],
    "self-service and customer-service": [],
    "run `pip install x` or `--force`": [],
    # tools
    "we use python with POSTGRESQL, Next.js and C++": [
        ("Python", "tech"),
        ("PostgreSQL", "tech"),
        ("Next.js", "tech"),
        ("C++", "tech"),
    ],
    "Rust is a colour. I write Rust and see rust": [("Rust", "tech")],
    "the API takes a JWT, ASAP, at 9 AM, in US units": [("API", "tech"), ("JWT", "tech")],
    "DO NOT TOUCH THE DB EVER": [],
    # other names
    "Today I met Caroline Miller at the station in New York": [
        ("Caroline Miller", "concept"),
        ("New York", "concept"),
    ],
    "Prefers window seats. Likes tea and cake.": [],
    "Melanie said that Melanie's son is here": [("Melanie", "concept")],
    "She is French and came on Monday in March with Germans": [],
    "Der Hund frisst das Futter im Garten": [],
    "A Long Title In Capitals": [],
    "日本語 @taro Docker を使う": [("taro", "person"), ("Docker", "tech")],
    "": [],
}


@pytest.mark.parametrize("text", CASES)
def test_names_are_found_and_nothing_else(text: str) -> None:
    assert [tuple(one) for one in names_in(text)] == CASES[text]


def test_each_name_is_found_once_and_at_most_sixteen() -> None:
    assert names_in("`Foo` and `foo` and `FOO`") == names_in("`Foo`")
    assert len(names_in(" ".join(f"`name{n}`" for n in range(40)))) == NAMES_MAX


def test_any_text_is_read_without_an_error() -> None:
    for piece in ("a/", "@a", "Ab ", "x-", "`", "A.b-", "\ud800", "http://a@", "\0", "-service "):
        names_in(piece * 20_000)
