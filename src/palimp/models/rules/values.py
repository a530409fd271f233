"""From what follows a verb to the value that is meant, or nothing where it points elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable

from .dates import month_day
from .words import DEMONYM_ENDINGS, NO_NAMES, OCCUPATIONS, SOFT_ROLES

__all__ = [
    "Value",
    "age",
    "allergen",
    "children",
    "exactly",
    "intolerance",
    "job",
    "month_and_day",
    "name",
    "named_thing",
    "nothing_more",
    "organisation",
    "place",
    "role",
    "thing",
    "trade",
    "year",
]

Value = Callable[[str], str | None]

_WORDS_MAX = 8
_CUT = re.compile(
    r"\s?(?:[,;:(\u2013\u2014.!?]|\s-\s|\s(?:because|since|so|which|who|where|though|although|but|"
    r"as|and (?:I|it|we|my|they|he|she|that|so|also|have|am|was|now|then|been|do|can|will)|"
    r"instead|rather)\b)",
    re.IGNORECASE,
)
_TAIL = re.compile(
    r"\s(?:too|as well|now|nowadays|these days|a lot|lots|so much|very much|the most|anymore|"
    r"any more|any longer|at all|lately|lol|btw|tbh|haha|right now|currently|at the moment|either|"
    r"more than anything|again|already|together|myself|though|for (?:years|ages|a living)|"
    r"by (?:profession|trade)|after all|best|actually|recently|instead|full[- ]time)$",
    re.IGNORECASE,
)
_POINTING = re.compile(
    r"\b(?:you|your|yours|you're|it|its|it's|this|that|these|those|them|him|her|he|she|they|his|their|"
    r"one|ones|such|there|here|how|what|why|who|same|other|others|another|something|anything|"
    r"everything|nothing|someone|so|more|less|much|many|both|either|neither)\b",
    re.IGNORECASE,
)
_CONDITION = re.compile(
    r"\b(?:when|if|unless|until|till|during|sometimes|except|only|whenever|depending|while|"
    r"as long as|part[- ]time|temporarily|for now|for the (?:week|weekend|day|night|moment|summer|"
    r"winter)|this (?:week|weekend|morning|time)|today|tonight|tomorrow|then|before|after|"
    r"on (?:the )?(?:weekends|side|mondays|tuesdays|wednesdays|thursdays|fridays|saturdays|"
    r"sundays)|evenings|freelance|as a (?:child|kid|teenager|student)|next (?:week|month|year)|"
    r"in theory|than|just for)\b",
    re.IGNORECASE,
)
_EMPTY_HEADS = re.compile(
    r"(?:the |an? |my )?(?:idea|sound|way|ways|fact|thought|look|looks|feeling|feel|vibe|vibes|"
    r"concept|part|thing|things|time|moment|kind|sort|bit|lot|rest|news|plan|view|point|energy|job|detail|"
    r"details|colors|colours|pic|pics|picture|photo|enthusiasm|attitude|perspective|support|work|"
    r"seeing|hearing|knowing|saying|thinking|being|having|getting|feeling|spending)\b",
    re.IGNORECASE,
)
_EMPTY_VERBS = re.compile(
    r"to (?:hear|think|say|see|believe|know|admit|help|be|have|do|get|make|keep|give|ask|break|"
    r"tell|imagine|go|come|call|consider)\b",
    re.IGNORECASE,
)
# "I love the colours": those somebody just showed. "I love the sea": the one there is.
_DEFINITE = re.compile(r"the\b", re.IGNORECASE)
_WELL_KNOWN = re.compile(
    r"the (?:beach|sea|ocean|mountains?|outdoors|snow|rain|cold|heat|sun|sky|forest|woods|country|"
    r"countryside|city|gym|cinema|theat(?:re|er)|opera|guitar|piano|violin|drums|cello|flute|news|"
    r"smell of|taste of|aisle|window|middle|winter|summer|autumn|spring|dentist|[A-Z])",
)
_LOOSE_ENDS = frozenset("to of for with in on at the a an and or about from".split())
_EDGE = " \t\"'`*_~\u201c\u201d\u2018\u2019.,!?;:)(-\u2013\u2014"
_CHILDREN = re.compile(
    r"(no|two|three|four|five|six|seven|eight|nine|ten|[0-9]{1,2}) (?:\w+ )?(?:kids|children)\b"
)
_ALLERGY = re.compile(r"(?:an? )?(?:severe |mild |bad |serious )?([a-z]+(?: [a-z]+)?) allergy\b")
_TITLES = frozenset(("Dr", "Dr.", "Mr", "Mr.", "Mrs", "Mrs.", "Ms", "Ms.", "Prof", "Prof."))
_LOWER_LINKS = frozenset(("of", "de", "la", "du", "da", "del", "upon", "am", "the", "von", "&"))
_NAME_WORD = re.compile(r"[^\W\d_][\w'\u2019.&-]{0,39}")


def thing(rest: str) -> str | None:
    """Return the object of a liking or a use, up to the next conjunction."""
    cut = _CUT.search(rest)
    value = rest[: cut.start()] if cut else rest
    if _CONDITION.search(rest if cut is None else rest[: cut.end() + 24]):
        return None
    value = _trimmed(re.sub(r"^all (?:of )?", "", value))
    words = value.split()
    if (
        not words
        or words[-1] in _LOOSE_ENDS
        or len(words) > _WORDS_MAX
        or not any(char.isalpha() for char in value)
    ):
        return None
    if _POINTING.search(value) or _EMPTY_HEADS.match(value) or _EMPTY_VERBS.match(value):
        return None
    if _DEFINITE.match(value) and not _WELL_KNOWN.match(value):
        return None
    return value


def _trimmed(value: str) -> str:
    value = value.strip(_EDGE)
    for _ in range(3):
        value = _TAIL.sub("", value).strip(_EDGE)
    kept = [word for word in value.split() if any(char.isalnum() for char in word)]
    return " ".join(kept)


def _proper(rest: str) -> tuple[str, str]:
    """Return the leading run of capitalised words, and what follows it."""
    words = rest.split()
    taken = 0
    for at, word in enumerate(words[:8]):
        bare = word.strip("\"'\u201c\u201d(")
        follows = words[at + 1] if at + 1 < len(words) else ""
        link = bare in _LOWER_LINKS and (at or bare == "the") and follows[:1].isupper()
        if not link and not (bare[:1].isupper() or (taken and bare[:1].isdigit())):
            break
        if bare in ("I", "I'm", "My", "We"):
            break
        taken = at + 1
        if word[-1] in ".!?;:)" and not (len(word) <= 3 or bare in _TITLES):
            break
        if word[-1] == "," and not follows[:1].isupper():
            break
    return " ".join(words[:taken]).strip(_EDGE), " ".join(words[taken:])


def place(rest: str) -> str | None:
    """Return the place at the beginning; None for anything that is not written as a name."""
    value, after = _proper(rest)
    if not value or value.split()[0] in NO_NAMES or _CONDITION.search(after):
        return None
    return None if after[:3].casefold() in ("and", "or ", "but") else value


def organisation(rest: str) -> str | None:
    """Return an employer: a name, or a described one ("a bank")."""
    value, after = _proper(rest)
    if value:
        taken = value.split()[0] in NO_NAMES or after[:3] == "and" or _CONDITION.search(after)
        return None if taken else value
    found = thing(rest) if re.match(r"an? ", rest) else None
    return None if found == "a time" else found


def name(rest: str) -> str | None:
    """Return a person's or a pet's name: one to three capitalised words."""
    value, after = _proper(rest)
    value = re.sub(r"['\u2019]s$", "", value)
    words = value.split()
    if not 1 <= len(words) <= 3 or after.split()[:1] in (["of"], ["at"], ["speaking"]):
        return None
    if words[-1] in _TITLES:
        return None
    plain = all(_NAME_WORD.fullmatch(word) and word not in NO_NAMES for word in words)
    return None if not plain or value.casefold().endswith(DEMONYM_ENDINGS) else value


def trade(rest: str) -> str | None:
    """Return an occupation that is no role beside others: "nurse", not "painter" or "student"."""
    value = job(rest)
    return None if value is None or _soft(value) else value


def role(rest: str) -> str | None:
    """Return what somebody is beside others: "painter", "student"."""
    value = job(rest)
    return value if value is not None and _soft(value) else None


def _soft(value: str) -> bool:
    return value.rsplit(" ", 1)[-1].casefold() in SOFT_ROLES


def job(rest: str) -> str | None:
    """Return an occupation ("senior software engineer"): it has to end with a known trade."""
    value = _trimmed(re.split(r"\s(?:at|for|in|with|of|from|by)\s|[,;.!?(]", rest, maxsplit=1)[0])
    for cut in (" and ", " who ", " but ", " because ", " so ", " since "):
        value = value.split(cut, 1)[0]
    value = re.sub(r"^(?:an?|the) ", "", value).strip()
    words = value.split()
    if not 1 <= len(words) <= 5 or words[-1].casefold() not in OCCUPATIONS:
        return None
    if re.match(
        r"(?:good|great|bad|terrible|big|huge|better|new|real|lucky)\b", value, re.IGNORECASE
    ):
        return None
    return value


def age(rest: str) -> str | None:
    """Return an age in years, 5 to 119."""
    match = re.match(
        r"([0-9]{1,3})(?: years old| years of age)?(?=$|[.,!;]|\s(?:and|now|today)\b)", rest
    )
    return match[1] if match and 5 <= int(match[1]) <= 119 else None


def exactly(pattern: str) -> Value:
    """Return a reader of a value that matches `pattern`; its first group is the value."""
    compiled = re.compile(rf"(?:{pattern})(?=$|[\s.,!;])", re.IGNORECASE)

    def read(rest: str) -> str | None:
        match = compiled.match(rest)
        return match[1] if match else None

    return read


def nothing_more(value: str) -> Value:
    """Return a reader of `value` where nothing of weight follows the verb."""

    def read(rest: str) -> str | None:
        bare = re.sub(r"(?:cigarettes|any ?more|now|again)\b", "", rest).strip(_EDGE)
        return None if bare else value

    return read


def named_thing(rest: str) -> str | None:
    """Return a thing that has a name of its own, with its article: "a Golf", "Slack"."""
    article = re.match(r"(?:an? |my )?(?:new |old |used )?", rest)
    begin = article.end() if article else 0
    value = place(rest[begin:])
    return None if value is None else f"{rest[:begin].replace('my ', 'a ')}{value}"


def month_and_day(rest: str) -> str | None:
    """Return a birthday as "March 3"."""
    found = month_day(re.sub(r"^on ", "", rest))
    return f"{found[0]} {found[1]}" if found else None


def year(rest: str) -> str | None:
    """Return a year of the last or this century that stands alone."""
    match = re.match(r"((?:19|20)[0-9]{2})(?=$|[\s.,!])", rest)
    return match[1] if match else None


def children(rest: str) -> str | None:
    """Return how many children somebody has."""
    match = _CHILDREN.match(rest)
    return match[1] if match else None


def allergen(rest: str) -> str | None:
    """Return what an allergy is against ("a peanut allergy")."""
    match = _ALLERGY.match(rest)
    return match[1] if match and match[1] not in ("food", "skin", "an", "a") else None


def intolerance(rest: str) -> str | None:
    """Return what somebody is intolerant of ("lactose intolerant")."""
    match = re.match(r"(lactose|gluten|fructose|histamine)[ -]intolerant\b", rest)
    return match[1] if match else None
