"""What is worth a memory: greetings, questions, hypotheticals, quotations and jokes are not."""

from __future__ import annotations

import re

from ..signal import is_filler

__all__ = ["filler", "transient", "turn_veto", "veto"]

_ASCII_LETTER = re.compile("[A-Za-z]")

_VETOES = (
    ("a question", re.compile(r"\?[\"')\]\u201d\u2019]{0,3}$")),
    (
        "hypothetical",
        re.compile(
            r"\b(?:if|unless|imagine|suppose|supposing|pretend|would|wouldn['\u2019]t|could|might|"
            r"maybe|perhaps|wish|what if|as though|hypothetically|let['\u2019]s say|in theory|"
            r"were to|whether|hopefully|i hope|someday|one day|ideally|dream(?:t|ed)?)\b"
            r"|\b(?:i|we)['\u2019]d\b(?! rather| been)",
            re.IGNORECASE,
        ),
    ),
    (
        "uncertain",
        re.compile(
            r"\b(?:not sure|probably|i guess|i suppose|i think i(?:['\u2019]ll)?|possibly|thinking "
            r"(?:of|about)|considering|undecided|don['\u2019]t know|no idea|can['\u2019]t decide|"
            r"not certain|so-called|supposedly|apparently)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "the words of somebody else",
        re.compile(
            r"\b(?:[Hh]e|[Ss]he|[Tt]hey|people|everyone|everybody|somebody|someone|mom|mum|dad|boss|"
            r"friend|"
            r"doctor|wife|husband|[A-Z][a-z]+) (?:said|says|say|told|tells|claims?|claimed|thinks?|"
            r"thought|wrote|writes|asked|asks|insists?|believes?|keeps? saying)\b|\baccording to\b"
            r"|\b(?:quote|as the saying goes|in the (?:song|movie|film|book|story|novel|game|"
            r"lyrics)|my character|the character|role[- ]?play(?:ing)?|for example|e\.g\.|"
            r"such as \"|sample|placeholder)",
        ),
    ),
    (
        "not meant",
        re.compile(
            r"\b(?:yeah,? right|as if|said no one|sure,? because|just what i needed|oh great|"
            r"oh joy|just kidding|kidding|jk|joking|sarcasm|ironically|totally not|not!)"
            r"|(?:^|\s)/s\b|\U0001f644|\U0001f643",
            re.IGNORECASE,
        ),
    ),
)
# A joke is often given away one sentence later, and instructions to ignore instructions taint all.
_TURN = (
    (
        "not meant",
        re.compile(
            r"\b(?:just kidding|jk|i['\u2019]m (?:just )?(?:kidding|joking)|only joking|"
            r"april fools)\b|(?:^|\s)/s(?:\s|$)",
            re.IGNORECASE,
        ),
    ),
    (
        "role play, or a text to work on",
        re.compile(
            r"\b(?:role[- ]?play(?:ing)?|let['\u2019]s pretend|pretend (?:that |to be )|"
            r"act as (?:a|an|if)|you are now|write (?:me )?an? (?:poem|story|song|scene|dialogue|"
            r"letter|e-?mail)|translate (?:this|the following)|proofread|rewrite)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "an attempt to steer the machine",
        re.compile(
            r"\b(?:ignore|disregard|forget|override) (?:all |any |the |your |every )?(?:previous|"
            r"prior|above|earlier|preceding|other|system)?\s?(?:instructions?|rules|prompts?|"
            r"guidelines)\b|\bsystem prompt\b",
            re.IGNORECASE,
        ),
    ),
)
_TRANSIENT = re.compile(
    r"\bI(?:['\u2019]m| am| feel) (?:(?:so|really|very|just|pretty|a bit|kinda|quite|super|too|"
    r"feeling) )?(?:tired|hungry|thirsty|bored|busy|sleepy|exhausted|stressed|swamped|cold|hot|"
    r"sick|late|confused|excited|happy|sad|upset|nervous|glad|sorry|ready|good|fine|great|ok|okay|here|"
    r"back|home|done|overwhelmed|angry|lost|stuck|running late|on my way)\b",
    re.IGNORECASE,
)


def filler(text: str) -> str | None:
    """Return why a whole turn says nothing (a greeting, one word, no letters), or None."""
    if not _ASCII_LETTER.search(text):
        return "no Latin letters: the rules read English"
    return "a greeting, or a single word" if is_filler(text) else None


def turn_veto(text: str) -> str | None:
    """Return why nothing in the turn may be taken at its word, or None."""
    return next((reason for reason, pattern in _TURN if pattern.search(text)), None)


def veto(sentence: str) -> str | None:
    """Return why nothing in the sentence is a statement of its speaker, or None."""
    return next((reason for reason, pattern in _VETOES if pattern.search(sentence)), None)


def transient(sentence: str) -> bool:
    """Return whether the sentence tells how the speaker is just now."""
    return _TRANSIENT.search(sentence) is not None
