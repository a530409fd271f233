"""Decisions ("let's go with Postgres") and standing instructions ("always answer in German")."""

from __future__ import annotations

import re
from typing import NamedTuple

from .grammar import normalised
from .person import third_person
from .values import thing

__all__ = ["Choice", "agreed", "decision", "instruction"]


class Choice(NamedTuple):
    """A decision or an instruction: its sentence, and the parts of its key (empty: none)."""

    text: str
    key: tuple[str, ...]
    value: str
    polarity: bool


_CHARS_MAX = 240
_DECIDED = re.compile(
    r"(?P<subject>we|I)(?: have)?(?: all| both| finally| jointly)? (?:decided|agreed|opted|voted|"
    r"chosen|chose|settled|picked(?! up)|made up (?:my|our) minds?|committed)"
    r"(?: (?P<how>not to use|not to|to use|to go with|to adopt|to|on|for|against(?: using)?|"
    r"that we will(?: use)?))?\s(?P<what>.+)"
)
_USING = frozenset(
    ("", "to use", "to go with", "to adopt", "on", "for", "not to use", "against using")
)
_GO = re.compile(
    r"(?:let's|let us|we will|we are going to|I will|we are)(?: just| all)? (?:go with|going with|"
    r"going ahead with|use|using|adopt|stick with|sticking with|stick to|switch to|switching to|"
    r"migrate to|migrating to|standardi[sz]e on|choose)\s(?P<what>.+)",
    re.IGNORECASE,
)
_NO_GO = re.compile(
    r"(?:let's|let us|we will|we are)(?: just)? not (?:go with|going with|use|using|adopt)\s"
    r"(?P<what>.+)",
    re.IGNORECASE,
)
_NOTED = re.compile(
    r"(?:the )?(?:final )?decision(?: is|:)\s(?:to |that we (?:will )?)?(?P<what>.+)", re.IGNORECASE
)
_PURPOSE = re.compile(
    r"(?P<tool>.+?)(?:,? (?:instead of|over|rather than|not) .+?)? (?:for|as) "
    r"(?P<purpose>(?:the |our |my |all )?[\w-]+(?: [\w-]+){0,3})[.!]?$"
)
_INSTEAD = re.compile(r"(?P<tool>.+?),? (?:instead of|over|rather than) .+?[.!]?$")
_TOOL_WORDS_MAX = 4
_PASSING = re.compile(
    r"\b(?:for now|for the moment|for the time being|this time|today|tonight|tomorrow|you|your|"
    r"yours|it|that|this|these|those|them|him|her|one|ones|first|something|either|whatever|which|"
    r"options?)\b",
    re.IGNORECASE,
)
_STOP_AT = re.compile(
    r"\s?(?:[;(\u2013\u2014]|\s-\s|,?\s(?:because|since|so|which|but|as it|as the|"
    r"and (?:I|it|we|that))\b|[.!?]|,\s(?:it|which|since|because|as)\b)"
)
_AGREED = re.compile(
    r"\s*(?:yes|yep|yeah|yup|agreed|sounds good|perfect|great|ok|okay|confirmed|let's do|do it|"
    r"go ahead|deal|works for me|sure|fine|exactly|absolutely|please do)\b",
    re.IGNORECASE,
)
_BUT = re.compile(
    r"\b(?:but|except|however|no|not|wait|instead|actually|rather|unless|don['\u2019]t)\b|\?",
    re.IGNORECASE,
)


def agreed(text: str) -> bool:
    """Return whether a turn agrees to what was said before it, without a reservation."""
    return _AGREED.match(text) is not None and _BUT.search(text[:400]) is None


def decision(text: str, who: str, group: str | None = None) -> Choice | None:
    """Return the decision a sentence reports; `group` is who "we" are."""
    clause = normalised(text)
    stop = _STOP_AT.search(clause)
    clause = (clause[: stop.start()] if stop else clause).strip()
    if not clause or len(clause) > _CHARS_MAX or _PASSING.search(clause):
        return None
    group = group or f"{who} and others"
    decided = _DECIDED.match(clause)
    if decided is not None:
        return _decided(decided, clause, who, group)
    for pattern, polarity in ((_NO_GO, False), (_GO, True)):
        match = pattern.match(clause)
        if match is not None and thing(match["what"].split(" for ")[0]) is not None:
            subject = who if clause.startswith("I ") else group
            verb = "decided to use" if polarity else "decided not to use"
            return _choice(
                f"{subject} {verb} {match['what'].strip()}",
                match["what"],
                polarity=polarity,
                using=True,
            )
    noted = _NOTED.match(clause)
    if noted is not None:
        return _choice(
            f"{group} decided: {noted['what']}", noted["what"], polarity=True, using=False
        )
    return None


def _decided(decided: re.Match[str], clause: str, who: str, group: str) -> Choice | None:
    how, what = decided["how"] or "", decided["what"]
    if not how and not _PURPOSE.match(what) and not _INSTEAD.match(what):
        return None  # "picked a few apples"
    sentence = third_person(clause, who)
    if sentence is None:
        return None
    sentence = sentence.replace(f"{who} and others", group)
    polarity = not how.startswith(("not", "against"))
    return _choice(sentence, what, polarity=polarity, using=how in _USING)


def _choice(sentence: str, what: str, *, polarity: bool, using: bool) -> Choice:
    what = what.strip(" .!")
    purpose = _PURPOSE.match(what) if using else None
    if purpose is not None:
        key: tuple[str, ...] = ("decision", purpose["purpose"])
        if not polarity:
            key = ("decision", purpose["purpose"], "not", purpose["tool"])
        return Choice(sentence, key, purpose["tool"], polarity)
    instead = _INSTEAD.match(what) if using else None
    tool = instead["tool"] if instead else what
    key = (
        ("decision", "use", "what", tool) if using and len(tool.split()) <= _TOOL_WORDS_MAX else ()
    )
    return Choice(sentence, key, tool, polarity)


_VERBS = (
    "answer|reply|respond|write|use|call|email|e-mail|text|message|format|include|cite|speak|talk|"
    "address|refer|ask|show|give|send|remind|schedule|book|translate|summari[sz]e|keep|avoid|start|"
    "end|begin|finish|explain|mention|contact|notify|wake|tell|sign|assume|check|confirm|run|commit|"
    "push|deploy|add|put|convert|quote|round|sort|recommend|suggest|offer|share|store|save|delete|"
    "buy|order|return|list|provide|skip|leave|double-check"
)
_STANDING = re.compile(
    r"(?:please,? )?(?:(?:I (?:want|need|expect|ask|would like) you to|you (?:should|must|have to|"
    r"need to)|make sure (?:to|you|that you)|remember to|be sure to) )?"
    r"(?:(?P<when>from now on|going forward|in (?:the )?future|by default),? (?:please )?)?"
    rf"(?P<how>always|never|do not ever|do not|ever)? ?(?P<what>(?:{_VERBS})\b.*)",
    re.IGNORECASE,
)
_LATER = re.compile(
    r",? (?:from now on|going forward|in (?:the )?future|every time|by default|at all times|always|"
    r"ever again)[.!]*$",
    re.IGNORECASE,
)
_TO_ME = re.compile(
    r"(?:call|text|e-?mail|message|contact|wake|notify|remind)\w* me \w", re.IGNORECASE
)
_ONCE = re.compile(
    r"\b(?:this|that|it|these|those) (?:time|one|message|text|code|question)\b|\bgive up\b",
    re.IGNORECASE,
)
_IN_LANGUAGE = re.compile(
    r"(?:answer|reply|respond|write|speak|talk)(?: (?:to )?me| everything| all answers)?(?: back)? "
    r"in (english|german|french|spanish|italian|portuguese|dutch|polish|czech|swedish|danish|"
    r"norwegian|finnish|russian|ukrainian|turkish|arabic|hebrew|hindi|chinese|mandarin|japanese|"
    r"korean|greek|latin)\b",
    re.IGNORECASE,
)
_LENGTH = re.compile(
    r"(?:keep (?:your |the |all )?(?:answers|replies|responses) |answer |reply |respond |"
    r"give (?:me )?)(?:very |as )?(short|brief|briefly|concise|concisely|detailed|long|in detail|"
    r"at length)\b",
    re.IGNORECASE,
)
_SETTING = re.compile(
    r"use (?:the )?(metric|imperial|celsius|fahrenheit|(?:12|24)[- ]hour)\b", re.IGNORECASE
)
_SETTINGS = (
    ("units", ("metric", "imperial")),
    ("temperature_unit", ("celsius", "fahrenheit")),
    ("clock", ("12-hour", "24-hour", "12 hour", "24 hour")),
)
_THEIRS = {"me": "them", "my": "their", "mine": "theirs", "i": "they", "us": "them", "our": "their"}
_MINE = re.compile(r"\b(?:me|my|mine|I|us|our)\b", re.IGNORECASE)


def instruction(text: str, who: str) -> Choice | None:
    """Return a lasting instruction to the assistant; None for a request about this one answer."""
    clause = " ".join(text.replace("\u2019", "'").split())
    clause = re.sub(r"\b([Dd])on't\b", r"\1o not", clause)
    if clause.endswith("?") or len(clause) > _CHARS_MAX:
        return None
    match = _STANDING.match(clause)
    if match is None:
        return None
    how = (match["how"] or "").casefold()
    never = how in ("never", "do not ever", "do not")
    what = _LATER.sub("", match["what"].strip()).strip(" .!")
    marked = how in ("always", "never", "do not ever") or match["when"] is not None
    lasting = marked or _LATER.search(match["what"].strip()) is not None
    if how == "do not" and _TO_ME.match(what):
        lasting = True
    setting = None if never else _setting(what)
    lasting = lasting or (setting is not None and what.casefold().startswith("keep "))
    if not lasting or _ONCE.search(what):
        return None
    body = _MINE.sub(lambda found: _THEIRS[found[0].casefold()], what)
    adverb = "never" if never else "always"
    sentence = f"{who} wants the assistant to {adverb} {body[:1].lower()}{body[1:]}"
    if setting is not None:
        slot, value = setting
        return Choice(sentence, ("instruction", slot), value, polarity=True)
    return Choice(sentence, ("instruction", what), what, polarity=not never)


def _setting(what: str) -> tuple[str, str] | None:
    """Return the slot and the value of an instruction of which another value replaces it."""
    for slot, pattern in (("language", _IN_LANGUAGE), ("answer_length", _LENGTH)):
        match = pattern.match(what)
        if match is not None:
            return slot, match[1].casefold()
    match = _SETTING.match(what)
    if match is None:
        return None
    value = match[1].casefold()
    return next((slot, value) for slot, values in _SETTINGS if value in values)
