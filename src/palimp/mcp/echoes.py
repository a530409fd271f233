"""What recall gave out, so that it is not stored again as if it were new.

An agent that stores what it was told confirms its own memory, and every copy makes the next more
likely. Recalled texts are kept as hashes, the latest `ECHOES_MAX` of them.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import OrderedDict
from collections.abc import Iterable

from ..api import Hit, Memory, Recall
from ..client import AsyncProfile

__all__ = ["ECHOES_MAX", "NOTE", "Echoes", "is_quotation"]

ECHOES_MAX = 10_000

# The line that begins every quotation; asked of the quotation itself, so that they cannot differ.
NOTE = (
    Recall(
        memories=(
            Hit(id="", type="fact", text="", content=None, created_at=0, score=0.0, channels=()),
        ),
        txid=0,
    )
    .as_context()
    .partition("\n")[0]
)
_QUOTED = re.compile(r"^(?:> ?)+", re.MULTILINE)
_BLOCK = re.compile(r"^[ \t]*\[\d+\] \d{4}-\d\d-\d\d, \w+[^\n]*\n>", re.MULTILINE)


class Echoes:
    """Which texts were recalled from which profile, and as which memory."""

    def __init__(self, limit: int = ECHOES_MAX) -> None:
        self._limit = limit
        self._seen: OrderedDict[tuple[str, str, bytes], str] = OrderedDict()

    def keep(self, profile: AsyncProfile, memories: Iterable[Memory]) -> None:
        """Keep the texts that were given out; the oldest go when there are too many."""
        for memory in memories:
            key = _key(profile, memory.text)
            self._seen[key] = memory.id
            self._seen.move_to_end(key)
        while len(self._seen) > self._limit:
            self._seen.popitem(last=False)

    def find(self, profile: AsyncProfile, text: str) -> str | None:
        """Return the id of the memory whose text was recalled from this profile, if any was.

        Case, white space and quotation marks of our own (`> `) make no difference.
        """
        return self._seen.get(_key(profile, text))


def is_quotation(text: str) -> bool:
    """Return whether a text holds a piece of what `Recall.as_context` made."""
    return _normal(NOTE) in _normal(text) or _BLOCK.search(text) is not None


def _key(profile: AsyncProfile, text: str) -> tuple[str, str, bytes]:
    plain = _normal(text).encode("utf-8", "surrogatepass")
    return (profile.namespace, profile.name, hashlib.blake2b(plain, digest_size=16).digest())


def _normal(text: str) -> str:
    unquoted = _QUOTED.sub("", text)
    return " ".join(unicodedata.normalize("NFKC", unquoted).casefold().split())
