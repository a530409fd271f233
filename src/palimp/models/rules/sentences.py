"""Where sentences and first-person clauses begin and end; what is quoted or code is not read.

Every pattern is bounded, so that the time is linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from itertools import islice
from typing import NamedTuple

__all__ = ["SENTENCE_CHARS_MAX", "Clause", "clauses", "lead_end", "sentences"]

# A sentence longer than this is a run-on or no prose: nothing in it can be read with confidence.
SENTENCE_CHARS_MAX = 400

_CLAUSES_MAX = 8

_QUOTED_LINE = re.compile(r"^[ \t]{0,8}>[^\n]*", re.MULTILINE)
_END = re.compile(
    r"(?P<mark>[.!?…]{1,8})[\"')\]\u201d\u2019]{0,3}(?=\s|$)"
    r"|\n(?=[ \t]{0,8}(?:\n|[-*•#]|(?:I|i|My|my|We|we|Our|our)\b|$))"
)
_ABBREVIATION = re.compile(
    r"\b(?:dr|mr|mrs|ms|st|vs|etc|prof|jr|sr|e\.g|i\.e|a\.m|p\.m|u\.s|inc|ltd|approx)$",
    re.IGNORECASE,
)
_INTERJECTIONS = (
    "oh|well|yeah|yes|yep|yup|no|nope|nah|ok|okay|sure|thanks|thank you|hey|hi|hello|so|and|but|"
    "also|actually|honestly|btw|by the way|anyway|anyways|plus|wow|haha|ah|aw|hmm|um|uh|right|"
    "indeed|true|fyi|for the record|just so you know|as you know|you know|these days|nowadays|"
    "currently|at the moment|as of today|now|great|cool|nice|perfect|good|absolutely|definitely|"
    "exactly|same here|note|update|correction|quick update|good news|bad news|turns out|sorry|"
    "personally|unfortunately|fortunately|luckily|sadly|in fact|as for me|to be honest|tbh|"
    "remember|please note"
)
_LEAD = re.compile(
    r"[\s\-*•#]{0,8}(?:\d{1,2}[.)]\s)?"
    rf"(?:(?:(?:{_INTERJECTIONS})\b(?:\sthere)?(?:,?\s[A-Z][a-z]{{1,20}}(?=[,!.:]))?"
    r"[,!.:\s\u2014-]{1,4})|(?:[A-Z][a-z]{1,20},\s)){0,4}(?:(?:that|it's that)\s)?",
    re.IGNORECASE,
)
_DATED = (
    r"^(?P<date>(?:[Yy]esterday|[Tt]oday|[Tt]omorrow|[Tt]onight|"
    r"(?:[Ll]ast|[Nn]ext|[Tt]his) \w{2,12}|[Oo]n \w{2,12}day|[Ii]n (?:[A-Z]\w{2,12}|[0-9]{4})))\s"
)
_SUBJECT = re.compile(
    rf"(?:{_DATED}|^|(?P<join>[;:]\s|,?\s(?:and|but|so)\s(?:now\s|then\s|also\s)?"
    r"|\s[\u2013\u2014-]\s)|(?P<comma>,\s))(?=(?:I|i|my|My|we|We|our|Our)\b(?!\.))"
)
_DOUBLE_QUOTES = re.compile('["\u201c\u201d]')


_ABBREVIATION_CHARS = 8


class Clause(NamedTuple):
    """One clause that begins with its subject, and what stands before it in the sentence.

    `joined` ones follow by a conjunction: what stands before is a clause of its own.
    """

    text: str
    start: int
    preface: str
    joined: bool


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each sentence with its mark, in order, without quotations and code."""
    plain = _masked(text)
    start = 0
    inside = False
    for match in _END.finditer(plain):
        before = plain[max(0, match.start() - _ABBREVIATION_CHARS) : match.start()]
        if match["mark"] == "." and _ABBREVIATION.search(before):
            continue
        inside = yield from _one(plain, start, match.end(), inside=inside)
        start = match.end()
    yield from _one(plain, start, len(plain), inside=inside)


def _one(
    plain: str, start: int, end: int, *, inside: bool
) -> Generator[tuple[int, int], None, bool]:
    """Yield the piece unless it stands in a quotation; return whether one is open after it."""
    piece = plain[start:end]
    marks = len(_DOUBLE_QUOTES.findall(piece))
    if not inside and piece.strip() and len(piece.strip()) <= SENTENCE_CHARS_MAX:
        shift = len(piece) - len(piece.lstrip())
        yield start + shift, start + len(piece.rstrip())
    return inside != bool(marks % 2)


def _masked(text: str) -> str:
    """Return the text with fenced code and quoted lines blanked, at the same places."""
    parts = text.split("```")
    parts[1::2] = ["\n" * len(part) for part in parts[1::2]]
    joined = "\n\n\n".join(parts)
    return _QUOTED_LINE.sub(lambda match: "\n" * len(match[0]), joined)


def lead_end(sentence: str) -> int:
    """Return where the sentence begins behind its interjections ("Oh yes, Anna, ...")."""
    lead = _LEAD.match(sentence)
    return lead.end() if lead else 0


def _shares_subject(join: str, preface: str) -> bool:
    """Return whether "and I" goes on with a subject ("My mom and I") instead of a new clause."""
    words = re.split(r"[,;:]\s", preface)[-1].split()
    own = bool(words) and words[0].casefold() in ("i", "we")
    return join.strip() == "and" and not own and len(words) <= 5


def clauses(sentence: str) -> list[Clause]:
    """Return the clauses in the first person, in order, from behind the interjections on."""
    begin = lead_end(sentence)
    body = sentence[begin:]
    found: list[Clause] = []
    marks = list(islice(_SUBJECT.finditer(body), _CLAUSES_MAX + 1))
    for place, mark in enumerate(marks[:_CLAUSES_MAX]):
        end = marks[place + 1].start() if place + 1 < len(marks) else len(body)
        preface = mark["date"] or body[: mark.start()]
        if _DOUBLE_QUOTES.search(preface):
            break
        joined = mark["join"] is not None and not _shares_subject(mark["join"], preface)
        found.append(Clause(body[mark.end() : end], begin + mark.end(), preface, joined))
    return found
