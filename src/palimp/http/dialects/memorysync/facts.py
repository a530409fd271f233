"""What a text is the value of, by rules: so that the same said again is one memory, not two."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ....models.rules import Statement, statement

__all__ = ["Fact", "fact_of", "low_value", "spelled"]

_WORDS_MAX = 12
# More than one thing is said, or something that the key would not tell apart.
_JOINED = re.compile(r"[.;:!?]\s|\b(?:and|but|or|because|while|although|if|when)\b", re.IGNORECASE)
_ENDINGS = " .!?;,"
_ROLE = re.compile(
    r"(?P<who>.+?) (?:serves|acts|works|is working|is employed|is serving|is acting) as "
    r"(?:an? |the |our |their |its )?(?P<role>.+)",
    re.IGNORECASE,
)
_TITLE = re.compile(r"(?P<who>.+?) is (?:our |their |its )?(?P<role>[A-Z]{2,5})\b(?P<rest>.*)")
_WORD = re.compile(r"[^\W_]+")
_FUNCTION_WORDS = frozenset(
    "a an the is are am was be been being i me my he she it his her its their our we they you your "
    "as at in on of for to from by with s has have had do does now currently presently still also "
    "serves acts works working employed role job position user".split()
)
_TASTES = ("like", "dislike", "prefer", "favo", "love", "hate", "enjoy", "avoid")
_BYTES_MIN = 10
_FILLERS = frozenset(
    "hi hello hey yo thanks thank thx you ok okay yes no yep nope sure cool great nice good bye "
    "goodbye please sorry well hmm um uh lol right got it fine done morning evening night".split()
)


class Fact(NamedTuple):
    """What a text is the value of (`key`), of what type, and its value where it is that alone."""

    key: str
    type: str
    value: dict[str, Any] | None


def fact_of(text: str) -> Fact | None:
    """Return what a text says of whom; None where it says more than one thing, or none we know.

    Precision first: what gets a key is taken for the same as, or takes the place of, what has it.
    """
    plain = spelled(text)
    if len(plain.split()) > _WORDS_MAX or _JOINED.search(plain):
        return None
    found = next((one for one in map(statement, _readings(plain)) if one is not None), None)
    if found is None or found.time != "now":
        return None
    taste = found.slot.startswith(_TASTES)
    return Fact(found.key, "preference" if taste else "fact", _value(plain, found))


def spelled(text: str) -> str:
    """Return a text with its blanks as one each, and without what ends a sentence."""
    return " ".join(text.split()).rstrip(_ENDINGS)


def low_value(text: str) -> str | None:
    """Return why a text is not worth a memory; None where it is."""
    words = _WORD.findall(text.casefold())
    if not any(char.isalpha() for char in text):
        return "no_high_value_content"
    if text.isascii() and (len(words) <= 1 or (len(words) == 2 and _FILLERS.issuperset(words))):
        return "no_high_value_content"
    if len(text.strip().encode("utf-8", "surrogatepass")) < _BYTES_MIN:
        return "low_value_input"
    return None


def _readings(plain: str) -> list[str]:
    """Return ways to say the same, as the rules know it: as it is first."""
    upper = plain[:1].upper() + plain[1:]
    found = [plain, upper]
    for pattern in (_ROLE, _TITLE):
        match = pattern.fullmatch(upper)
        if match is not None:
            rest = match.groupdict().get("rest") or ""
            found.append(f"{match['who']} is the {match['role']}{rest}")
    return list(dict.fromkeys(found))


def _value(plain: str, found: Statement) -> dict[str, Any] | None:
    """Return the value as what two texts are compared by; None where the text says more."""
    known = {word for text in (found.subject, found.value) for word in _words(text)}
    if any(word not in known and word not in _FUNCTION_WORDS for word in _words(plain)):
        # "CTO of Acme" is not "CTO of Beta", though both are a CTO.
        return None
    return {
        "subject": found.subject,
        "slot": found.slot,
        "value": found.value,
        "polarity": found.polarity,
    }


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
