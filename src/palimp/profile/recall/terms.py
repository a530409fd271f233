"""From any text to an FTS5 query that cannot be a syntax error, is cheap, and says something."""

from __future__ import annotations

import math
from typing import NamedTuple

import apsw

from ...api import Dropped
from ..indexing import Corpus
from .words import STOP_WORDS

__all__ = ["FREQUENT_ROWS", "FREQUENT_SHARE", "TERMS_MAX", "TermCounts", "Terms", "parse_terms"]

# Ranking reads every row a term occurs in, 0.7 us each: a term in more rows than both is dropped.
FREQUENT_ROWS = 2_000
FREQUENT_SHARE = 0.05
# The rarest terms are kept; so a query of 100 kB costs no more than a long question.
TERMS_MAX = 32
_TERMS_LOOKED_AT = 256
_COUNT_STALE_GROWTH = 1.2


class Terms(NamedTuple):
    """`match` is the FTS5 query or None; `words` are all words of the query, lower-cased."""

    match: str | None
    words: frozenset[str]
    dropped: tuple[Dropped, ...]


class TermCounts:
    """In how many rows a term occurs, remembered per open database until the table has grown."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._rows: dict[str, int] = {}

    def rows(self, connection: apsw.Connection, corpus: Corpus) -> int:
        """Return about how many rows there are (an upper bound, without counting them)."""
        highest = connection.execute(f"SELECT max(handle) FROM {corpus.rows}").get or 0
        if not self._rows.get(corpus.name, -1) <= highest <= self._stale_at(corpus.name):
            self._counts = {k: n for k, n in self._counts.items() if k[0] != corpus.name}
            self._rows[corpus.name] = highest
        return int(highest)

    def count(self, connection: apsw.Connection, corpus: Corpus, stem: str) -> int:
        """Return the number of rows with this stem."""
        key = (corpus.name, stem)
        if key not in self._counts:
            vocabulary = f"temp.{corpus.fts}_vocabulary"
            connection.execute(
                f"""CREATE VIRTUAL TABLE IF NOT EXISTS {vocabulary}
                USING fts5vocab('main', '{corpus.fts}', 'row')"""
            )
            found = connection.execute(f"SELECT doc FROM {vocabulary} WHERE term = ?", (stem,)).get
            self._counts[key] = found or 0
        return self._counts[key]

    def _stale_at(self, corpus: str) -> int:
        return math.ceil(self._rows.get(corpus, 0) * _COUNT_STALE_GROWTH) + 100


def parse_terms(
    connection: apsw.Connection,
    corpus: Corpus,
    query: str,
    counts: TermCounts,
    token_key: bytes | None = None,
) -> Terms:
    """Return the terms worth searching for, all words, and what was dropped and why.

    With a `token_key` each word is looked for as it stands in the entries of sealed rows, too.
    Stop words and very frequent terms are dropped, unless that would leave nothing.
    """
    encoded = query.encode("utf-8", "replace")
    words = _tokens(connection, "unicode61", ["remove_diacritics", "2"], encoded)
    distinct = list(dict.fromkeys(words))
    telling = [word for word in distinct if word not in STOP_WORDS]
    dropped = []
    if len(telling) < len(distinct) and telling:
        gone = len(distinct) - len(telling)
        dropped.append(Dropped(what="stop words of the query", reason="say nothing", count=gone))
    candidates = telling or distinct
    if len(candidates) > _TERMS_LOOKED_AT:
        dropped.append(
            Dropped(
                what="terms of the query",
                reason=f"after the first {_TERMS_LOOKED_AT}",
                count=len(candidates) - _TERMS_LOOKED_AT,
            )
        )
        candidates = candidates[:_TERMS_LOOKED_AT]
    kept, frequent = _without_frequent(connection, corpus, candidates, counts, token_key)
    dropped += [
        Dropped(what=f"term {word!r}", reason=f"occurs in {count:,} rows")
        for word, count in frequent
    ]
    if len(kept) > TERMS_MAX:
        dropped.append(
            Dropped(
                what="terms of the query",
                reason=f"more frequent than the {TERMS_MAX} rarest",
                count=len(kept) - TERMS_MAX,
            )
        )
        kept = kept[:TERMS_MAX]
    match = " OR ".join(f'"{word}"' for word in kept) or None
    if match is not None and token_key is not None:
        from ..blind import hidden

        match += "".join(f' OR "{hidden(connection, word, token_key)}"' for word in kept)
    return Terms(match, frozenset(words), tuple(dropped))


def _without_frequent(
    connection: apsw.Connection,
    corpus: Corpus,
    words: list[str],
    counts: TermCounts,
    token_key: bytes | None,
) -> tuple[list[str], list[tuple[str, int]]]:
    """Split words into those to search for, rarest first where there are many, and the frequent."""
    rows = counts.rows(connection, corpus)
    if rows <= FREQUENT_ROWS and len(words) <= TERMS_MAX:
        return words, []
    limit = max(FREQUENT_ROWS, rows * FREQUENT_SHARE)
    counted = [(word, counts.count(connection, corpus, _stem(connection, word))) for word in words]
    if token_key is not None:
        from ..blind import hidden

        counted = [
            (word, count + counts.count(connection, corpus, hidden(connection, word, token_key)))
            for word, count in counted
        ]
    kept = [(word, count) for word, count in counted if count <= limit]
    if not any(count for _, count in kept):
        # Nothing rare would find anything: better the least frequent one than nothing.
        kept = sorted(counted, key=lambda pair: pair[1])
        kept = [pair for pair in kept if pair[1]][:1] or kept
    if len(kept) > TERMS_MAX:
        kept = sorted(kept, key=lambda pair: (pair[1] == 0, pair[1]))
    chosen = {word for word, _ in kept}
    return [word for word, _ in kept], [pair for pair in counted if pair[0] not in chosen]


def _tokens(connection: apsw.Connection, name: str, arguments: list[str], text: bytes) -> list[str]:
    tokenizer = connection.fts5_tokenizer(name, arguments)
    # Both switches off: a list of lists of words, synonyms would share one inner list.
    found = tokenizer(
        text, apsw.FTS5_TOKENIZE_QUERY, None, include_offsets=False, include_colocated=False
    )
    return [word for word in found if isinstance(word, str)]


def _stem(connection: apsw.Connection, word: str) -> str:
    stems = _tokens(
        connection, "porter", ["unicode61", "remove_diacritics", "2"], word.encode("utf-8")
    )
    return stems[0] if stems else word
