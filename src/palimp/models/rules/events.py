"""Appointments, deadlines, plans and what somebody did on a day: clauses with a date."""

from __future__ import annotations

import re
from datetime import date
from typing import NamedTuple

from .dates import find_date
from .person import third_person
from .words import PAST_VERBS

__all__ = ["Event", "event"]

_WORDS_MIN = 4
_CHARS_MAX = 240
_CUT = re.compile(
    r"\s?(?:[;:(\u2013\u2014]|\s-\s|[.!?]|,\s(?:which|where|it|that|this|so)\b"
    r"|,?\s(?:and|but|so|because|since then|which|where|as|though|although)\s"
    r"(?:it|it's|that|this|they|he|she|there|the|we|what|I)\b)"
)
_PAST = re.compile(r"(?:I|we) (?:have (?:been )?)?(?:then |once |first )?(?P<verb>[a-z]+)\b")
_FUTURE = re.compile(
    r"(?:I|we) (?:am|are) (?:going|planning|meeting|flying|leaving|starting|moving|getting|having|"
    r"taking|visiting|traveling|travelling|hosting|running|giving|seeing|doing|attending|heading|"
    r"performing|presenting|driving|throwing|launching|joining|off|due|scheduled|booked)\b"
    r"|(?:I|we) (?:will (?!remember|miss|love|cherish|forget)|need to |must |have to |plan to |"
    r"intend to |(?:start|leave|fly|begin)\b)"
    r"|(?:I|we) have (?:got )?(?:an?|my|our|another|the|two|three) [a-z]"
)
_THING = re.compile(
    r"(?:(?:my|our|the) (?:[\w'.-]+ ){1,6}?)(?P<verb>(?:is|was|got|has been) (?:moved|postponed|"
    r"pushed|brought forward) (?:back )?to|is|are|was|were|starts|begins|ends|opens|closes|"
    r"takes place|will be|will start|is scheduled for|"
    r"is due|are due|was due)\b"
)
_NOT = re.compile(r"\b(?:not|never|no longer|hardly|almost|nearly|anymore|used to|without)\b")
_POINTING = re.compile(
    r"\b(?:it|its|it's|this|that|that's|these|those|them|him|her|he|she|his|they|their|you|your|"
    r"yours|one|ones|there|here|what|something|everything|thing|lately|such|both|same|other|more)\b",
    re.IGNORECASE,
)
_EMPTY_PAST = frozenset(
    "thought felt meant heard knew said told needed wanted tried seemed".split()
)


class Event(NamedTuple):
    """A dated clause as a sentence in the third person, and the first day it speaks of (ms)."""

    text: str
    at_ms: int
    past: bool


def event(clause: str, who: str, said: date, before: str = "") -> Event | None:
    """Return what a normalised clause says happened or will, or None.

    `before` is a date in front of the clause ("Yesterday"). A clause that points at something
    outside of itself ("I saw it yesterday") is not a sentence of its own, and is not taken.
    """
    cut = _CUT.search(clause)
    text = (clause[: cut.start()] if cut else clause).strip(" ,.!")
    past = _tense(text)
    if past is None or _NOT.search(text) or not _WORDS_MIN <= len(text.split()) <= 40:
        return None
    when = find_date(text, said, past=past)
    rest = text
    if when is not None:
        rest = f"{text[: when.start]} {text[when.end :]}"
    elif before:
        when = find_date(before, said, past=past)
        if when is not None:
            text = f"{text} {before[when.start].lower()}{before[when.start + 1 : when.end]}"
    if when is None or _POINTING.search(rest) or len(rest.split()) < 3:
        return None
    if (when.day > said) if past else (when.last < said):
        return None
    sentence = third_person(text, who) if not text.startswith("the ") else text
    if sentence is None or len(sentence) > _CHARS_MAX:
        return None
    if when.relative and when.label not in sentence:
        sentence = f"{sentence} ({when.label})"
    return Event(sentence[:1].upper() + sentence[1:], when.ms, past)


def _tense(text: str) -> bool | None:
    if _FUTURE.match(text):
        return False
    thing = _THING.match(text)
    if thing is not None:
        return thing["verb"] in ("was", "were")
    match = _PAST.match(text)
    if match is None or match["verb"] in _EMPTY_PAST:
        return None
    verb = match["verb"]
    return True if verb in PAST_VERBS or (verb.endswith("ed") and len(verb) > 3) else None
