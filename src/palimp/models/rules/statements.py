"""Stored sentences compared: whether two of them fill one slot of one subject differently."""

from __future__ import annotations

import re

from ..keys import canonical_key
from .grammar import Reading, in_key, normalised, read
from .person import first_person
from .signal import veto
from .types import Statement

__all__ = ["contradiction", "key_parts", "statement"]

_TEXT_CHARS_MAX = 400
_YEAR = re.compile(r"\b(?:in|since|until|from|by) ((?:19|20)[0-9]{2})\b")
_AHEAD = re.compile(
    r"\b(?:will|going to|plans? to|next (?:week|month|year)|tomorrow)\b", re.IGNORECASE
)
_NOTE = re.compile(r" \([^()]{0,60}\)$")


def statement(text: str) -> Statement | None:
    """Return what one stored sentence says, or None where the rules cannot tell.

    Reads the third person ("Melanie prefers window seats"), the first, and none at all ("Prefers
    window seats": the subject is `user`). Linear; text over 400 characters is not read.
    """
    if len(text) > _TEXT_CHARS_MAX or veto(text) is not None:
        return None
    told = first_person(_NOTE.sub("", text.strip()))
    if told is None:
        return None
    subject, sentence = told
    found = read(normalised(sentence))
    if not found:
        return None
    reading = found[0]
    key = canonical_key(*key_parts(subject, reading))
    if key is None:
        return None
    year = _YEAR.search(text)
    time = "past" if reading.past else "future" if _AHEAD.search(text) else "now"
    return Statement(
        subject=subject,
        slot=reading.slot,
        value=in_key(reading.value).casefold(),
        polarity=reading.polarity,
        single=reading.single,
        time=year[1] if year and reading.past else time,
        key=key,
    )


def key_parts(subject: str, reading: Reading) -> tuple[str, ...]:
    """Return the parts of the key: with `single` without the value, so that another replaces it."""
    return ("person", subject, *reading.key)


def contradiction(first: Statement, second: Statement) -> str | None:
    """Return why both cannot be true at the same time, or None where they can."""
    if first.key != second.key or first.time != second.time:
        return None
    same = canonical_key("value", first.value) == canonical_key("value", second.value)
    if first.polarity != second.polarity:
        # "No longer works at Acme" says nothing against "works at Globex".
        return "one says it is so, the other that it is not" if same or not first.single else None
    if first.single and first.polarity and not same:
        return f"two values of {first.slot}: {first.value!r:.60} and {second.value!r:.60}"
    return None
