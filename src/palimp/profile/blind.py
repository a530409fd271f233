"""Words of sealed rows as the full-text index holds them: hashes under a key of the profile.

A token, as FTS5's own tokenizer makes it, becomes the decimal digits of 64 bits of its
HMAC-SHA-256. To that tokenizer digits are one word, which it leaves as it is, so that everything
that counts words counts the same. Who has the file but not the key still sees which rows share a
word, how often one occurs, and in which order they stand.
"""

from __future__ import annotations

import hmac
from functools import lru_cache

import apsw

__all__ = ["TOKENIZER", "hidden", "tokens"]

TOKENIZER = ("porter", ["unicode61", "remove_diacritics", "2"])


def hidden(connection: apsw.Connection, text: str, key: bytes) -> str:
    """Return what is indexed in the place of a text."""
    return " ".join(_hash(token, key) for token in tokens(connection, text))


def tokens(connection: apsw.Connection, text: str) -> list[str]:
    """Return the tokens that the index would hold of a text."""
    # Both switches off: a list of words; synonyms would share one inner list.
    found = connection.fts5_tokenizer(*TOKENIZER)(
        text.encode("utf-8", "replace"),
        apsw.FTS5_TOKENIZE_DOCUMENT,
        None,
        include_offsets=False,
        include_colocated=False,
    )
    return [token for token in found if isinstance(token, str)]


# Most words of a text are those of all texts.
@lru_cache(maxsize=65_536)
def _hash(token: str, key: bytes) -> str:
    digest = hmac.digest(key, token.encode("utf-8", "surrogatepass"), "sha256")
    return str(int.from_bytes(digest[:8], "big"))
