"""What secrets and personal data look like.

A search must not take longer than the text is long: every repetition is possessive, bounded, or
follows a word that cannot stand in what is repeated. A test gives each a megabyte of its worst.

`OURS` prefer to miss something to redacting what is none: what they take away is gone for good.
`MEMORIA` finds what the service of that name does, in texts alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple, TypeAlias

__all__ = ["MANY_DIGITS", "MEMORIA", "OURS", "Rule", "Rules"]

Spans: TypeAlias = Iterable[tuple[int, int]]

# Without so many digits close to each other a text has no phone, no card and no account.
MANY_DIGITS = re.compile(r"[0-9](?:[^0-9]{0,3}[0-9]){6}")


class Rule(NamedTuple):
    """One thing that is looked for.

    `find` is asked only where one of `hints` stands in the text in lower case; None stands for
    `MANY_DIGITS`.
    """

    label: str
    hints: tuple[str, ...] | None
    find: Callable[[str], Spans]


class Rules(NamedTuple):
    """What is looked for, in this order.

    `names` say what a value is by its name: a label, which names, and which values fit. With
    `texts_only` what things are found by is not looked at, nor are numbers.
    """

    secrets: tuple[Rule, ...]
    personal: tuple[Rule, ...]
    names: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = ()
    texts_only: bool = False


def _spans(
    pattern: re.Pattern[str], fits: Callable[[re.Match[str]], bool] | None, text: str
) -> Iterator[tuple[int, int]]:
    """Yield where each match is, or the group `hit` of it."""
    group = pattern.groupindex.get("hit", 0)
    for match in pattern.finditer(text):
        if fits is None or fits(match):
            yield match.span(group)


def _rule(
    label: str,
    hints: str | None,
    pattern: str,
    fits: Callable[[re.Match[str]], bool] | None = None,
) -> Rule:
    found = partial(_spans, re.compile(pattern), fits)
    return Rule(label, None if hints is None else tuple(hints.split()), found)


# -- secrets ---------------------------------------------------------------------------------------

_KEY_HEADER = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,64}-----")
# What follows a header without an end: lines of base64, their ends perhaps written as \n.
_KEY_LINES = re.compile(r"(?:(?:\s|\\[nr]){0,8}+[A-Za-z0-9+/=]{16,}+)*+")
_KEY_CHARS_MAX = 20_000

# Nothing that stands there instead of a secret: marks, variables, stars, types, calls.
_PLACEHOLDER = re.compile(
    r"""\[[a-z_]+\].* | [$%]?\{.* | \$[A-Za-z_(].* | <.* | [*•.…_#-]+ | x{3,}
    | (?:none|null|nil|undefined|true|false|str|string|bytes|text|optional|any|required)\W*
    | (?:password|passwd|passphrase|pwd|secret)s?\W* | \?[0-9]*\W* | :[A-Za-z_]\w*\W*
    | [A-Za-z_][\w.]{0,64}[(\[].*
    | (?:os|process|self|this|settings|config|env|args|request|user|data|options)\.\w.*""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_ALNUM = re.compile(r"[A-Za-z0-9]+")
_RUN_MIN = 16
_DISTINCT_MIN = 10
_BARE_TOKEN_MIN = 6
# What stands before a key or a token, and how far back that may begin.
_BEFORE_CHARS = 32
_AUTHORIZATION = re.compile(r"""(?i)authorization["']?\s{0,4}[:=]\s{0,4}["']?$""")
_KEY_NAME = re.compile(
    r"(?i)(?<![a-z])(?:api|access|auth|client|encryption|private|refresh|secret|service|session"
    r"|signing)[ _-]?$"
)


def _private_keys(text: str) -> Iterator[tuple[int, int]]:
    done = 0
    for header in _KEY_HEADER.finditer(text):
        if header.start() < done:
            continue
        end = _KEY_END.search(text, header.end(), header.end() + _KEY_CHARS_MAX)
        if end is None:
            lines = _KEY_LINES.match(text, header.end())
            done = header.end() if lines is None else lines.end()
        else:
            done = end.end()
        yield header.start(), done


def _is_random(value: str) -> bool:
    """Whether a value is no words: digits among letters, and long without a stop."""
    return (
        any(c.isdigit() for c in value)
        and any(c.isalpha() for c in value)
        and len(set(value)) >= _DISTINCT_MIN
        and max((len(run) for run in _ALNUM.findall(value)), default=0) >= _RUN_MIN
    )


def _has_random(match: re.Match[str]) -> bool:
    return _is_random(match[0])


def _is_bearer(match: re.Match[str]) -> bool:
    """A word that follows by chance has no digit; after `Authorization:` none is by chance."""
    token = match["hit"]
    if len(token) >= _BARE_TOKEN_MIN and any(c.isdigit() for c in token):
        return True
    return _AUTHORIZATION.search(_before(match)) is not None


def _before(match: re.Match[str]) -> str:
    return match.string[max(0, match.start() - _BEFORE_CHARS) : match.start()]


def _is_key(match: re.Match[str]) -> bool:
    return _KEY_NAME.search(_before(match)) is not None and _is_random(match["hit"])


def _has_digit(match: re.Match[str]) -> bool:
    return any(c.isdigit() for c in match[0])


_PASSWORD = re.compile(
    r"""([PpSs](?i:(?<=p)ass(?:word|wd|phrase)|(?<=s)ecret|(?<![a-z]p)(?<=p)wd))
    ["']?[ \t]{0,8}(?::=|=>|[:=](?!=))[ \t]{0,8}
    (?:"((?:[^"\\\n]|\\.){1,512}+)"|'((?:[^'\\\n]|\\.){1,512}+)'|(\S++))""",
    re.VERBOSE,
)
_AFTER_A_VALUE = "\"'`,;.)]}>"


def _passwords(text: str) -> Iterator[tuple[int, int]]:
    for match in _PASSWORD.finditer(text):
        start, end = match.span(match.lastindex or 0)
        value = text[start:end]
        if match.lastindex == 4 and not value.startswith("["):
            value = value.rstrip(_AFTER_A_VALUE)
            # In prose a secret is followed by a word; it is no password that somebody chose.
            if match[1].lower() == "secret" and value.isalpha():
                continue
        if value and _PLACEHOLDER.fullmatch(value) is None:
            yield start, start + len(value)


_AWS = _rule("aws_key", "akia abia acca asia", r"(?:AKIA|ABIA|ACCA|ASIA)[0-9A-Z]{16}")
_SECRETS = (
    Rule("private_key", ("private key",), _private_keys),
    _rule(
        "url_credentials",
        "://",
        r"""://(?P<hit>[^\s/:@?\#"'<>]{0,256}:(?P<secret>[^\s/@"'<>]{1,256}))@(?=[\w\[])""",
        lambda match: _PLACEHOLDER.fullmatch(match["secret"]) is None,
    ),
    _AWS,
    _rule(
        "github_token",
        "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{36,255}+|github_pat_[A-Za-z0-9_]{22,255}+)",
    ),
    _rule(
        "slack_token",
        "xox xapp- hooks.slack.com",
        r"(?<![A-Za-z0-9])(?:xox[abeoprs]-[A-Za-z0-9-]{10,}+|xapp-[0-9]-[A-Za-z0-9-]{10,}+"
        r"|hooks\.slack\.com/services/[A-Za-z0-9/_]{20,}+)",
        _has_digit,
    ),
    _rule(
        "stripe_key",
        "sk_live_ sk_test_ rk_live_ rk_test_ whsec_",
        r"(?<![A-Za-z0-9])(?:[sr]k_(?:live|test)_[0-9A-Za-z]{16,}+|whsec_[A-Za-z0-9+/=]{24,}+)",
    ),
    _rule("sk_key", "sk-", r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{20,}+", _has_random),
    _rule("google_key", "aiza", r"(?<![A-Za-z0-9])AIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])"),
    _rule(
        "jwt",
        "eyj",
        r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}+\.eyJ[A-Za-z0-9_-]{5,}+\.[A-Za-z0-9_-]*+",
    ),
    _rule(
        "bearer_token",
        "bearer",
        r"\b[Bb](?i:earer)\s++(?P<hit>[\w.~+/-]++=*+)",
        _is_bearer,
    ),
    Rule("password_assign", ("password", "passwd", "passphrase", "pwd", "secret"), _passwords),
    _rule(
        "key_assign",
        "key token secret",
        r"""[KkTtSs](?i:ey|oken|ecret)["']?[ \t]{0,8}(?::=|=>|[:=])[ \t]{0,8}["']?"""
        r"(?P<hit>[A-Za-z0-9_.~+/=-]{16,}+)",
        _is_key,
    ),
)

# -- personal data ---------------------------------------------------------------------------------

_IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}")
_IBAN_CHARS = {
    word[:2]: int(word[2:])
    for word in (
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 "
        "EE20 EG29 ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 "
        "IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 "
        "NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 SI19 SK24 SM27 ST25 SV28 TN24 "
        "TR26 UA29 VA22 VG24 XK20"
    ).split()
}
_NETWORK = re.compile(
    r"""4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})
    | 5[1-5][0-9]{14}
    | 2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}
    | 3[47][0-9]{13}
    | 3(?:0[0-5]|[689][0-9])[0-9]{11}
    | 35(?:2[89]|[3-8][0-9])[0-9]{12,15}
    | 6(?:011|5[0-9]{2}|4[4-9][0-9])[0-9]{12,15}
    | (?:62|63|67|5[0678])[0-9]{14,17}""",
    re.VERBOSE,
)
_NAME = re.compile(r"[\w.%+'-]+")
_NAME_CHARS_MAX = 256
_DOMAIN = re.compile(r"@[\w-]{1,63}+(?:\.[\w-]{1,63}+){0,8}\.[^\W\d_]{2,24}+(?!\w)")
_PICTURES = frozenset(("png", "jpg", "jpeg", "gif", "svg", "webp", "ico"))
_DATE = re.compile(r"(?:19|20)[0-9]{2}[-/. ]?[01][0-9][-/. ]?[0-3][0-9](?![0-9])")
_NOT_DIGITS = re.compile(r"[^0-9]")


def _digits(text: str) -> str:
    return _NOT_DIGITS.sub("", text)


def _emails(text: str) -> Iterator[tuple[int, int]]:
    done = 0
    for match in _DOMAIN.finditer(text):
        # Looked for from its end: a text may have many words, and few of these signs.
        before = text[max(done, match.start() - _NAME_CHARS_MAX) : match.start()]
        found = _NAME.match(before[::-1])
        name = found[0][::-1].lstrip("'") if found else ""
        start = match.start() - len(name)
        if name and _is_email(name, match[0][1:], text[max(0, start - 3) : start]):
            done = match.end()
            yield start, done


def _is_email(name: str, domain: str, before: str) -> bool:
    """No picture in two sizes (`icon@2x.png`), no repository, no user of an address."""
    if name == "git" or before == "://":
        return False
    return not (domain[0].isdigit() and domain.rpartition(".")[2].lower() in _PICTURES)


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    done = 0
    for start in _IBAN_START.finditer(text):
        length = _IBAN_CHARS.get(start[0][:2])
        if length is None or start.start() < done:
            continue
        end = _after_characters(text, start.start(), length)
        if end is not None and _is_iban(text[start.start() : end].replace(" ", "")):
            done = end
            yield start.start(), end


def _after_characters(text: str, start: int, count: int) -> int | None:
    """Return where so many letters and digits, with single spaces between, end; None: nowhere."""
    place = start
    for character in text[start : start + 2 * count]:
        place += 1
        if character.isascii() and (character.isdigit() or character.isupper()):
            count -= 1
            if count == 0:
                return None if text[place : place + 1].isalnum() else place
        elif character != " " or text[place - 2] == " ":
            return None
    return None


def _is_iban(text: str) -> bool:
    return int("".join(str(int(c, 36)) for c in text[4:] + text[:4])) % 97 == 1


def _is_phone(match: re.Match[str]) -> bool:
    number = match["hit"]
    least = 9 if number.startswith("+") else 7
    return least <= len(_digits(number)) <= 15 and _DATE.match(number) is None


def _is_card(match: re.Match[str]) -> bool:
    number = _digits(match[0])
    if _NETWORK.fullmatch(number) is None:
        return False
    doubled = (int(c) * 2 for c in number[-2::-2])
    total = sum(int(c) for c in number[-1::-2]) + sum(n - 9 if n > 9 else n for n in doubled)
    return total % 10 == 0


_PERSONAL = (
    Rule("email", ("@",), _emails),
    Rule("iban", None, _ibans),
    # Where a word says what it is, it may be written in any way.
    _rule(
        "phone",
        "phone tel mobil cell fax whatsapp handy",
        r"\b[CFHMPTWcfhmptw](?i:elephone|elefon|el|hone|obile?|ell|ax|hatsapp|andy)\b"
        r"""(?i:[ \t]{0,2}(?:number|nummer|no|nr|is|at|[.:=#"'])){0,4}[ \t]{0,2}"""
        r"(?P<hit>\+?\(?[0-9](?:[ ()./-]{0,2}[0-9]){6,14})(?!\w)",
        _is_phone,
    ),
    _rule(
        "phone",
        None,
        r"(?<![\w.+/=-])(?:\+?1[-. ]?)?(?:\([0-9]{3}\)[ ]?[0-9]{3}[-. ][0-9]{4}"
        r"|[0-9]{3}-[0-9]{3}-[0-9]{4}|[2-9][0-9]{2}\.[2-9][0-9]{2}\.[0-9]{4}"
        r"|(?<![0-9] )[2-9][0-9]{2} [2-9][0-9]{2} [0-9]{4}(?! [0-9]))(?!\w|[-.][0-9])",
    ),
    _rule(
        "phone",
        "+",
        r"(?<![\w+.])(?P<hit>\+[1-9](?:[0-9]{9,14}|[0-9]{0,2}"
        r"(?:[ .-]?\([0-9]{1,4}\)[ .-]?[0-9]{2,8})?(?:[ .-][0-9]{1,8}){1,6}))(?!\w|[-.][0-9])",
        _is_phone,
    ),
    _rule(
        "ssn",
        None,
        r"(?<![\w.-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?!\w|-\w)",
    ),
    _rule(
        "card",
        None,
        r"(?<![\w.+-])(?:[0-9]{13,19}|[0-9]{4}(?P<a>[ -])[0-9]{4}(?P=a)[0-9]{4}(?P=a)[0-9]{1,7}"
        r"|[0-9]{4}(?P<b>[ -])[0-9]{6}(?P=b)[0-9]{4,5})(?!\w|[.-][0-9])",
        _is_card,
    ),
)

# -- what a name says of its value -----------------------------------------------------------------

_NAMES: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    (
        "password_assign",
        re.compile(r"(?:password|passwd|passphrase|(?:^|[^a-z])pwd|secret)$", re.IGNORECASE),
        lambda value: bool(value.strip()) and _PLACEHOLDER.fullmatch(value) is None,
    ),
    (
        "key_assign",
        re.compile(
            r"(?:api|access|auth|private|refresh|secret|signing)[ _-]?(?:key|token)$",
            re.IGNORECASE,
        ),
        _is_random,
    ),
    (
        "phone",
        re.compile(r"(?:phone|telephone|mobile|fax)(?:[ _-]?(?:number|no))?$", re.IGNORECASE),
        lambda value: (
            re.fullmatch(r"\+?[0-9 ()./-]{7,24}", value) is not None
            and 7 <= len(_digits(value)) <= 15
        ),
    ),
)

OURS = Rules(_SECRETS, _PERSONAL, _NAMES)

# -- Memoria's -------------------------------------------------------------------------------------

MEMORIA = Rules(
    (
        _AWS,
        _rule("private_key", "private key", r"-----BEGIN (?:(?:RSA|EC|DSA) )?PRIVATE KEY-----"),
        _rule("bearer_token", "bearer", r"(?i)bearer\s++[A-Za-z0-9_.~+/-]++=*+"),
        _rule(
            "password_assign",
            "password passwd secret",
            r"(?i)(?:password|passwd|secret)\s*+[:=]\s*+\S++",
        ),
    ),
    (
        _rule("email", "@", r"(?<![A-Za-z0-9_.+-])[A-Za-z0-9_.+-]++@[A-Za-z0-9-]++\.[A-Za-z]{2,}+"),
        _rule("phone", None, r"\b[0-9]{3}[-.]?[0-9]{3,4}[-.]?[0-9]{4}\b"),
        _rule("ssn", None, r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b"),
        _rule("card", None, r"\b[0-9](?:[ -]*+[0-9]){12,18}\b"),
    ),
    texts_only=True,
)
