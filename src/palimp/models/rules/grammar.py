"""What a clause in the first person says about its speaker, read by the tables.

A clause may fill several slots: "I work as a nurse at Mercy" names a job and an employer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from .tables import FACTS, TASTES, Rule
from .types import Category
from .values import name, organisation, thing
from .words import EXCLUSIVE, RELATIONS_MANY, RELATIONS_ONE

__all__ = ["Reading", "in_key", "normalised", "read"]


class Reading(NamedTuple):
    """One thing a clause says. `single`: a subject has one value of this slot at a time.

    `says` is the sentence with `{who}` and `{value}`; `key` the parts of the key after the subject.
    """

    category: Category
    slot: str
    value: str
    key: tuple[str, ...]
    polarity: bool
    single: bool
    past: bool
    says: str
    confidence: float


_OWNED = r"name|birthday|wife|husband|dog|cat|partner|son|daughter|deadline|favou?rite \w+"
_CONTRACTIONS = tuple(
    (re.compile(pattern, re.IGNORECASE), full)
    for pattern, full in (
        (r"\b(I)'m\b", r"\1 am"),
        (r"\b(we)'re\b", r"\1 are"),
        (r"\b(I|we)'ve\b", r"\1 have"),
        (r"\b(I|we)'ll\b", r"\1 will"),
        (r"\b(I|we)'d\b", r"\1 would"),
        (r"\bcan't\b", "cannot"),
        (r"\bwon't\b", "will not"),
        (r"\b(do|does|did|is|are|was|were|have|has|had|would|should|could)n't\b", r"\1 not"),
        (rf"\b({_OWNED})'s (?=\w)(?!name\b)", r"\1 is "),
    )
)
_ADVERBS = re.compile(
    r"^((?:I|we)(?: (?:am|are|have|was|do not|will))?) (?:(?:actually|really|absolutely|just|also|"
    r"still|totally|honestly|definitely|genuinely|truly|personally|simply|now|currently|presently|"
    r"generally|usually|mostly|mainly|recently|finally|officially|especially|particularly|quite|"
    r"very|always|both|all|even|strongly|much|kind of|kinda|rather|deeply|already|since|"
    r"proudly|happily|severely|highly|deathly|terribly|so|a bit|a little|here|tend to)\b,? ?){1,3}",
    re.IGNORECASE,
)


def normalised(clause: str) -> str:
    """Return the clause with contractions written out and without emphasis after its subject."""
    text = " ".join(clause.replace("\u2019", "'").split())
    if "'" in text:
        for pattern, full in _CONTRACTIONS:
            text = pattern.sub(full, text)
    text = text.replace("can not", "cannot")
    text = re.sub(r"^([Ii]|[Ww]e) have got\b", r"\1 have", text)
    text = re.sub(r"^i\b", "I", text)
    text = re.sub(r"^(?:My|We|Our|The|Call|Please|You)\b", lambda match: match[0].lower(), text)
    return _ADVERBS.sub(r"\1 ", text).rstrip(" .!")


_NAME = r"(?:(?:Dr|Mr|Mrs|Ms|Prof)\.? )?[A-Z][\w'\u2019-]{0,30}(?: [A-Z][\w-]{1,30})?"
_KIN = "|".join((*RELATIONS_ONE, *RELATIONS_MANY))
_DEGREE = "oldest|eldest|youngest|older|younger|little|big|best|ex|new|late"
_RELATION = re.compile(
    rf"\b(?:my|our) (?:(?P<degree>{_DEGREE})[ -])?(?P<kin>{_KIN})(?:(?:['\u2019]s)? name is|"
    rf",? named|,? called| is(?: named| called)?|,)? (?P<name>{_NAME})(?! of\b|['\u2019]s [A-Z])"
)
_PET = re.compile(
    rf"\b(?:have|got|adopted) an? (?:\w+ ){{0,2}}(?P<kin>{_KIN})"
    rf"(?:,? (?:named|called)| whose name is) (?P<name>{_NAME})(?P<degree>)"
)
_SINGLE_DEGREES = ("oldest", "eldest", "youngest", "best")
_FAVOURITE = re.compile(
    r"my (?:all[- ]time |absolute |new |current )?favou?rite (?P<what>(?:[\w'-]+ ){0,2}[\w'-]+?)"
    r"(?: ever| right now| of all time| now)? (?:is|are)(?: now)? (?P<value>.+)",
    re.IGNORECASE,
)
_VAGUE = re.compile(
    r"(?:part|things?|ones?|moment|memory|memories|time|bit|of|to|way|place to|about)\b"
    r"|.* (?:part|thing|of|to|about|in|for|from)$",
    re.IGNORECASE,
)
_PREFERS = re.compile(r"I (?:prefer|would rather have|favou?r) (.+)", re.IGNORECASE)
_RATHER = re.compile(r"(.{2,80}?) (?:over|to|rather than|instead of|more than) (.+)", re.IGNORECASE)
_MORE = re.compile(r"I (?:like|love|enjoy) (.+?) (?:more|better) than (.+)", re.IGNORECASE)
_GERUND = re.compile(r"^to ([a-z]+)\b", re.IGNORECASE)


def read(clause: str) -> list[Reading]:
    """Return what a normalised clause says; empty for nothing the rules are sure of."""
    found = list(_facts(clause))
    found += _relations(clause)
    found += _favourite(clause)
    found += _prefers(clause) or _tastes(clause)
    return found


def _facts(clause: str) -> Iterator[Reading]:
    filled: set[str] = set()
    for rule in FACTS:
        match = rule.pattern.match(clause)
        value = rule.value(clause[match.end() :]) if match and rule.slot not in filled else None
        if match is None or value is None:
            continue
        filled.add(rule.slot)
        yield _reading(rule, value)
        if rule.slot == "job":
            yield from _employer_of(clause, value)


def _employer_of(clause: str, trade: str) -> Iterator[Reading]:
    rest = clause[clause.find(trade) + len(trade) :]
    match = re.match(r" (?:at|for|with) ", rest)
    value = organisation(rest[match.end() :]) if match else None
    if value is not None:
        yield _fact("identity", "employer", value, "{who} works at {value}")


def _fact(
    category: Category,
    slot: str,
    value: str,
    says: str,
    *,
    key: tuple[str, ...] = (),
    single: bool = True,
    confidence: float = 0.8,
) -> Reading:
    key = key or ((slot,) if single else (slot, in_key(value)))
    return Reading(
        category=category,
        slot=slot,
        value=value,
        key=key,
        polarity=True,
        single=single,
        past=False,
        says=says,
        confidence=confidence,
    )


def _reading(rule: Rule, value: str) -> Reading:
    found = _fact(
        rule.category,
        rule.slot,
        value,
        rule.says,
        single=rule.single,
        confidence=rule.confidence,
    )
    return found._replace(polarity=rule.polarity, past=rule.past)


def _of(value: str) -> str:
    """Return the value as a key holds it: "to hike" and "hiking" are one thing."""
    match = _GERUND.match(value)
    if match is None:
        return value
    verb = match[1].casefold()
    if verb.endswith("e") and not verb.endswith(("ee", "ye", "oe")):
        stem = verb[:-1]
    elif re.fullmatch(r"[^aeiou]*[aeiou][bdgmnprt]", verb):
        stem = verb + verb[-1]
    else:
        stem = verb
    return f"{stem}ing{value[match.end() :]}"


def _tastes(clause: str) -> list[Reading]:
    for rule in TASTES:
        match = rule.pattern.match(clause)
        value = rule.value(clause[match.end() :]) if match else None
        if value is not None:
            found = _reading(rule, value)
            return [_of_a_group(found) if clause.startswith("we ") else found]
    return []


def _of_a_group(reading: Reading) -> Reading:
    says = reading.says.replace("{who}", "{who} and others")
    return reading._replace(says=says.replace(" likes ", " like ").replace(" does ", " do "))


def _relations(clause: str) -> Iterator[Reading]:
    match = _RELATION.search(clause) or _PET.search(clause)
    value = name(match["name"]) if match else None
    if match is None or value is None:
        return
    degree = (match["degree"] or "").casefold()
    kin = match["kin"].casefold()
    single = kin in RELATIONS_ONE or degree in _SINGLE_DEGREES
    if degree and degree != "new":
        kin = f"{degree} {kin}"
    slot = kin.replace(" ", "_").replace("é", "e")
    says = f"{{who}}'s {kin} is called {{value}}"
    yield _fact("identity", slot, value, says, single=single, confidence=0.85)


def _favourite(clause: str) -> Iterator[Reading]:
    match = _FAVOURITE.match(clause)
    if match is None or _VAGUE.match(match["what"]):
        return
    value = thing(match["value"])
    if value is None or re.match(r"(?:to|when|not|definitely|probably|still)\b", value):
        return
    what = match["what"].casefold()
    slot = "favourite_" + what.replace("color", "colour").replace(" ", "_")
    says = f"{{who}}'s favourite {what} is {{value}}"
    yield _fact("preference", slot, value, says, confidence=0.9)


def _prefers(clause: str) -> list[Reading]:
    match = _PREFERS.match(clause)
    pair = _MORE.match(clause) or (_RATHER.match(match[1]) if match else None)
    if pair is not None:
        first, second = thing(pair[1]), thing(pair[2])
        if first is not None and second is not None:
            # The same two the other way round is a change of mind.
            both = " or ".join(sorted((in_key(first), in_key(second))))
            slot = _exclusive(first)
            key = ("prefers", both) if slot is None else (slot,)
            return [_preference(key[0], f"{first} to {second}", key)]
    value = thing(match[1]) if match else None
    if value is None:
        return []
    slot = _exclusive(value)
    if slot is not None:
        return [_preference(slot, value, (slot,))]
    return [_preference("prefers", value, ("prefers", in_key(value)))._replace(single=False)]


def _preference(slot: str, value: str, key: tuple[str, ...]) -> Reading:
    return _fact("preference", slot, value, "{who} prefers {value}", key=key, confidence=0.9)


def in_key(value: str) -> str:
    """Return the value as a key holds it; a name keeps its last letter."""
    if value.rsplit(" ", 1)[-1][:1].isupper():
        return value
    folded = _of(value).casefold()
    if folded.endswith("ies"):
        return f"{folded[:-3]}y"
    return folded[:-1] if folded.endswith("s") and not folded.endswith("ss") else folded


def _exclusive(value: str) -> str | None:
    """Return the slot in which this value excludes the others, such as aisle and window seats."""
    for slot, pattern in EXCLUSIVE:
        if re.fullmatch(pattern, value, re.IGNORECASE):
            return f"prefers_{slot}"
    return None
