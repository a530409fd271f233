"""The tables of the grammar: how a clause begins, which slot that fills, and how it is written.

The first rule of a slot that fits wins. `{who}` is the subject, `{value}` what was found, `{a}` the
article before it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .types import Category
from .values import (
    Value,
    age,
    allergen,
    children,
    exactly,
    intolerance,
    job,
    month_and_day,
    name,
    named_thing,
    nothing_more,
    organisation,
    place,
    role,
    thing,
    trade,
    year,
)

__all__ = ["FACTS", "TASTES", "Rule"]


class Rule(NamedTuple):
    """One way to fill a slot. `single`: a subject has one value of it at a time."""

    pattern: re.Pattern[str]
    slot: str
    value: Value
    says: str
    category: Category
    polarity: bool
    single: bool
    past: bool
    confidence: float


def _rule(
    slot: str,
    value: Value,
    says: str,
    *begins: str,
    category: Category = "identity",
    polarity: bool = True,
    single: bool = True,
    past: bool = False,
    confidence: float = 0.8,
) -> Rule:
    pattern = re.compile(rf"(?:{'|'.join(begins)})(?=\s|$)\s*")
    return Rule(pattern, slot, value, says, category, polarity, single, past, confidence)


def _taste(
    slot: str,
    says: str,
    *begins: str,
    value: Value = thing,
    polarity: bool = True,
    confidence: float = 0.8,
) -> Rule:
    return _rule(
        slot,
        value,
        says,
        *begins,
        category="preference",
        polarity=polarity,
        single=False,
        confidence=confidence,
    )


_MARITAL = exactly(
    r"(single|married|divorced|engaged|widowed)(?! (?:in|with|handed|parent|mom|dad))"
)
_DIET = exactly(r"(?:an? )?(vegetarian|vegan|pescatarian|omnivore)")
_LANGUAGE = exactly(
    "(english|german|french|spanish|italian|portuguese|catalan|dutch|polish|czech|swedish|danish|"
    "norwegian|finnish|russian|ukrainian|turkish|arabic|hebrew|hindi|urdu|bengali|chinese|mandarin|"
    "cantonese|japanese|korean|greek|romanian|hungarian|vietnamese|thai|swahili|persian|farsi)"
)
_BEING = ("I am an?", "I am the", "I (?:became|have become|have been) an?")
_NO_MORE = "(?:do not|no longer|never|cannot)"

FACTS = (
    _rule("name", name, "{who}'s name is {value}", "my (?:full |first |real )?name is"),
    _rule(
        "name",
        name,
        "{who} wants to be called {value}",
        "(?:please |you can )?call me",
        "I want to be called",
    ),
    _rule("name", name, "{who} goes by {value}", "I go by"),
    _rule(
        "job",
        job,
        "{who} works as {a} {value}",
        "I (?:work|am working|have been working) as",
        "I (?:got|have|took|started|found|landed) an?(?: new)? job as",
        "I (?:was|got|have been) hired as",
        "I (?:have )?started(?: working)? as",
    ),
    _rule(
        "job",
        job,
        "{who} is {a} {value}",
        "I (?:was|got|have been|have gotten) promoted to",
        "my (?:job|profession|occupation|role|title) is(?: being)?(?: now)?",
    ),
    _rule("job", trade, "{who} is {a} {value}", *_BEING),
    _rule("role", role, "{who} is {a} {value}", *_BEING, single=False),
    _rule(
        "employer",
        organisation,
        "{who} works at {value}",
        "I (?:work|am working|have been working) (?:at|for)",
        "I (?:have )?(?:started|begun|began)(?: working| work)? (?:at|with|for)",
        "I (?:have )?(?:started|begun|began|got|took|accepted|landed|found) (?:an?|the)(?: new)? "
        "(?:job|position|role) (?:at|with|for)",
        "I (?:was|got|have been|am)(?: hired| employed) (?:by|at)",
        "my (?:new |current )?employer is(?: now)?",
    ),
    _rule(
        "employer",
        organisation,
        "{who} no longer works at {value}",
        "I (?:no longer work|do not work|stopped working) (?:at|for)",
        "I (?:have )?(?:left|quit|lost|resigned from) my (?:old )?(?:job|role) (?:at|with)",
        polarity=False,
    ),
    _rule(
        "worked_at",
        organisation,
        "{who} used to work at {value}",
        "I (?:used to work|worked) (?:at|for)",
        single=False,
        past=True,
    ),
    _rule(
        "home",
        place,
        "{who} lives in {value}",
        "I (?:live|am living|reside|am based) in",
        "I (?:have )?(?:moved|relocated)(?: back| over| here| permanently)?"
        "(?: from [A-Z][a-z]{1,30})? to",
        confidence=0.85,
    ),
    _rule(
        "home",
        place,
        "{who} no longer lives in {value}",
        "I (?:no longer live|do not live) in",
        "I (?:have )?moved (?:away from|out of)",
        polarity=False,
    ),
    _rule(
        "lived_in",
        place,
        "{who} used to live in {value}",
        "I (?:used to live|lived) in",
        single=False,
        past=True,
    ),
    _rule(
        "origin",
        place,
        "{who} comes from {value}",
        "I (?:am|come)(?: originally)? from",
        "my home ?town is",
    ),
    _rule("birthplace", place, "{who} was born in {value}", "I was born (?:and raised )?in"),
    _rule("grew_up_in", place, "{who} grew up in {value}", "I (?:grew up|was raised) in"),
    _rule(
        "birthday",
        month_and_day,
        "{who}'s birthday is {value}",
        "my birthday is(?: on)?",
        "I was born(?: on)?",
        confidence=0.9,
    ),
    _rule("birth_year", year, "{who} was born in {value}", "I was born in"),
    _rule("age", age, "{who} is {value} years old", "I (?:am|turned|have turned)"),
    _rule(
        "marital_status",
        _MARITAL,
        "{who} is {value}",
        "I (?:am|got|have been|have gotten)",
    ),
    _rule(
        "marital_status",
        _MARITAL,
        "{who} is no longer {value}",
        "I am (?:no longer|not)",
        polarity=False,
    ),
    _rule(
        "diet",
        _DIET,
        "{who} is {value}",
        "I (?:am|became|have become|went|have gone|turned|eat)",
    ),
    _rule(
        "diet",
        _DIET,
        "{who} is no longer {value}",
        "I (?:am no longer|am not|stopped being)",
        polarity=False,
    ),
    _taste("allergic_to", "{who} is allergic to {value}", "I am allergic to", confidence=0.9),
    _taste(
        "allergic_to",
        "{who} is not allergic to {value}",
        "I am (?:not|no longer) allergic to",
        polarity=False,
    ),
    _taste("allergic_to", "{who} is allergic to {value}", "I have", value=allergen),
    _taste("allergic_to", "{who} is {value} intolerant", "I am", value=intolerance),
    _rule("children", children, "{who} has {value} children", "(?:I|we) have"),
    _rule(
        "native_language",
        _LANGUAGE,
        "{who}'s native language is {value}",
        "my (?:native|first) language is",
        "my mother tongue is",
    ),
    _rule("speaks", _LANGUAGE, "{who} speaks {value}", "I speak", single=False),
    _rule(
        "speaks",
        _LANGUAGE,
        "{who} does not speak {value}",
        f"I {_NO_MORE} speak",
        polarity=False,
        single=False,
    ),
    _rule("timezone", place, "{who}'s time zone is {value}", "my time ?zone is"),
    _rule(
        "shoe_size",
        exactly("(?:an? )?([0-9]{1,2}(?:[.,]5)?)"),
        "{who}'s shoe size is {value}",
        "my shoe size is",
    ),
    _rule("car", named_thing, "{who} drives {value}", "I drive"),
)

TASTES = (
    _taste(
        "likes",
        "{who} likes {value}",
        "(?:I|we) (?:like|love|enjoy|adore|are into|have grown to (?:like|love))",
        "I am (?:into|fond of|keen on|crazy about|an?(?: big| huge)? fan of)",
    ),
    _taste(
        "likes",
        "{who} does not like {value}",
        "(?:I|we) (?:dislike|hate|detest|loathe|despise|cannot stand|cannot bear)",
        "(?:I|we) do not (?:really |particularly |actually )?(?:like|love|enjoy|care for)",
        "(?:I|we) no longer (?:like|love|enjoy)",
        "I am (?:not|no longer)(?: really| much)? (?:into|fond of|keen on)",
        "I am (?:not|no longer)(?: really| much)? an?(?: big| huge)? fan of",
        "I (?:have )?stopped (?:liking|loving|enjoying)",
        "I have (?:grown tired of|gone off|come to (?:hate|dislike))",
        polarity=False,
    ),
    _taste(
        "likes",
        "{who} used to like {value}, but not any more",
        "I used to (?:like|love|enjoy|adore)",
        polarity=False,
        confidence=0.65,
    ),
    _taste("eats", "{who} eats {value}", "I eat", confidence=0.6),
    _taste(
        "eats",
        "{who} does not eat {value}",
        f"I {_NO_MORE} eat",
        "I (?:have )?(?:stopped|quit|gave up|given up) eating",
        polarity=False,
    ),
    _taste("drinks", "{who} drinks {value}", "I drink", confidence=0.6),
    _taste(
        "drinks",
        "{who} does not drink {value}",
        f"I {_NO_MORE} drink",
        "I (?:have )?(?:stopped|quit|gave up|given up) drinking",
        polarity=False,
    ),
    _taste("habit", "{who} smokes", "I smoke", value=nothing_more("smoking")),
    _taste(
        "habit",
        "{who} does not smoke",
        "I (?:do not|no longer|never) smoke",
        "I (?:have )?(?:stopped|quit|gave up|given up) smoking",
        value=nothing_more("smoking"),
        polarity=False,
    ),
    _taste("uses", "{who} uses {value}", "I use", value=named_thing, confidence=0.6),
    _taste(
        "uses",
        "{who} does not use {value}",
        "I (?:do not|no longer|never) use",
        "I (?:have )?(?:stopped|quit) using",
        value=named_thing,
        polarity=False,
    ),
)
