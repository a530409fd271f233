"""Words that say nothing by themselves, and how a question or a text speaks of time. English only.

In other languages no word is dropped for being listed here; very frequent words still are, by
counting.
"""

from __future__ import annotations

import re
from typing import Literal

__all__ = ["STOP_WORDS", "asks_when", "mentions_time", "recency_intent"]

STOP_WORDS = frozenset(
    """
    a about above after again against all am an and any are as at be because been before being
    below between both but by can could did do does doing don down during each few for from
    further had has have having he her here hers herself him himself his how i if in into is it
    its itself just me more most my myself no nor not now of off on once only or other our ours
    ourselves out over own s same she should so some such t than that the their theirs them
    themselves then there these they this those through to too under until up us very was we
    were what when where which while who whom why will with would you your yours yourself
    yourselves d ll m re ve
    """.split()
)

_ASKS_WHEN = re.compile(
    r"\s*(?:when\b|since when\b|how long ago\b|how recently\b|how soon\b"
    r"|(?:in |on |at |by |during |until )?(?:what|which) "
    r"(?:date|day|month|year|time|week|season|weekday)\b)",
    re.IGNORECASE,
)
_MENTIONS_TIME = re.compile(
    r"\d|\b(?:today|tonight|tomorrow|yesterday|ago|last|next|week(?:s|end|days?)?|months?|years?"
    r"|mornings?|evenings?|(?:mon|tues|wednes|thurs|fri|satur|sun)days?"
    r"|january|february|march|april|may|june|july|august|september|october|november|december"
    r"|spring|summer|autumn|winter)\b",
    re.IGNORECASE,
)

_ASKS_NEW = re.compile(
    r"\b(?:now|nowadays|today|tonight|yesterday|just|currently|current|latest|newest|recent(?:ly)?"
    r"|most recent|last (?:night|time|hours?|days?)|this (?:morning|afternoon|evening|week))\b",
    re.IGNORECASE,
)
_ASKS_OLD = re.compile(
    r"\b(?:ever|always|originally|initially|historically|long ago|in the past|years ago|used to"
    r"|at first|first time|back then|all time|last year|earliest|oldest)\b",
    re.IGNORECASE,
)


def recency_intent(query: str) -> Literal["high", "medium", "low"]:
    """Return how much a question is after what is new; who asks for both is after neither."""
    new, old = _ASKS_NEW.search(query), _ASKS_OLD.search(query)
    if new is not None and old is None:
        return "high"
    return "low" if old is not None and new is None else "medium"


def asks_when(query: str) -> bool:
    """Whether a question asks for a time: "when did ...", "what day ..."."""
    return _ASKS_WHEN.match(query) is not None


def mentions_time(text: str) -> bool:
    """Whether a text names a time: a number, a weekday, a month, "last week"."""
    return _MENTIONS_TIME.search(text) is not None
