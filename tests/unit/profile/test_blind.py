"""The full-text index over hashes: the same tokens, the same counts, the same ranks."""

from __future__ import annotations

from collections.abc import Iterator

import apsw
import pytest

from palimp.profile import prepare
from palimp.profile.blind import hidden, tokens
from palimp.profile.indexing import MEMORIES
from palimp.profile.recall.terms import TermCounts, parse_terms

KEY, OTHER = b"k" * 32, b"o" * 32
TEXTS = (
    "Running dogs, running: the dog ran.",
    "\u00dcberm\u00fctige Stra\u00dfenk\u00f6ter caf\u00e9s 2024-05-01",
    "\u6771\u4eac\u30bf\u30ef\u30fc and e-mail bob@example.org",
    "a dog",
    "",
)


@pytest.fixture
def connection() -> Iterator[apsw.Connection]:
    connection = apsw.Connection(":memory:")
    prepare(connection)
    yield connection
    connection.close()


def index(connection: apsw.Connection, rows: list[str]) -> None:
    connection.executemany(
        f"INSERT INTO {MEMORIES.fts} (rowid, text, keywords, label, before, after) "
        "VALUES (?, ?, '', '', '', '')",
        list(enumerate(rows, 1)),
    )


def ranked(connection: apsw.Connection, match: str) -> list[tuple[int, float]]:
    return connection.execute(
        f"SELECT rowid, round(bm25({MEMORIES.fts}), 9) FROM {MEMORIES.fts} "
        f"WHERE {MEMORIES.fts} MATCH ? ORDER BY 2, 1",
        (match,),
    ).fetchall()


def test_a_hash_is_one_token_that_the_index_leaves_alone(connection: apsw.Connection) -> None:
    for text in TEXTS:
        words = hidden(connection, text, KEY).split()
        assert tokens(connection, " ".join(words)) == words
        assert len(words) == len(tokens(connection, text))
        assert all(word.isdigit() and int(word) < 1 << 64 for word in words)
    assert hidden(connection, "dogs", KEY) == hidden(connection, "DOG", KEY)
    assert hidden(connection, "dog", KEY) != hidden(connection, "dog", OTHER)


@pytest.mark.parametrize("query", ["dogs running", "strassenkoter cafe", "bob", "2024 dog"])
def test_rows_rank_as_they_do_in_plain(query: str) -> None:
    found = []
    for key in (None, KEY):
        connection = apsw.Connection(":memory:")
        prepare(connection)
        index(connection, [hidden(connection, t, key) if key else t for t in TEXTS])
        terms = parse_terms(connection, MEMORIES, query, TermCounts(), key)
        assert terms.match is not None
        found.append(ranked(connection, terms.match))
    assert found[0] == found[1]
    assert found[0]


def test_plain_and_sealed_rows_are_found_by_one_query(connection: apsw.Connection) -> None:
    index(connection, ["the dog", hidden(connection, "my dogs", KEY), "a cat"])
    terms = parse_terms(connection, MEMORIES, "dog", TermCounts(), KEY)
    assert terms.match is not None
    assert {row for row, _ in ranked(connection, terms.match)} == {1, 2}
    assert ranked(connection, '"dog"') == [(1, pytest.approx(ranked(connection, '"dog"')[0][1]))]
