"""Finds secrets and personal data in texts. Pure, in time that grows with the text and no faster.

It finds what was not hidden on purpose: digits are ASCII, nothing is decoded. What is looked for
stands in `patterns`, and the labels in `api.policy`.

Each rule looks at what the rules before it left: what they found is masked by as many characters
as it had, so that every finding counts in the text as it was given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from .patterns import MANY_DIGITS, MEMORIA, OURS, Rules

__all__ = [
    "MEMORIA",
    "OURS",
    "RULES",
    "Finding",
    "Rules",
    "redact",
    "replaced",
    "scan",
    "scan_named",
]

# By the names that policies have for them.
RULES = {"standard": OURS, "memoria": MEMORIA}


class Finding(NamedTuple):
    """Where something stands in a text, and what it is."""

    label: str
    start: int
    end: int


def scan(
    text: str, rules: Rules = OURS, *, secrets: bool = True, personal: bool = True
) -> list[Finding]:
    """Return what is in a text, in the order in which it stands there; findings never overlap."""
    found: list[Finding] = []
    lower = text.lower()
    numbers = MANY_DIGITS.search(text) is not None
    for rule in (*(rules.secrets if secrets else ()), *(rules.personal if personal else ())):
        # Most texts have none of the words of most rules.
        if rule.hints is None:
            if not numbers:
                continue
        else:
            for hint in rule.hints:
                if hint in lower:
                    break
            else:
                continue
        spans = list(rule.find(text))
        if spans:
            found += [Finding(rule.label, start, end) for start, end in spans]
            text = _masked(text, spans)
    found.sort(key=lambda one: one.start)
    return found


def scan_named(name: str, text: str, rules: Rules = OURS) -> str | None:
    """Return what a value is because of its name (`{"password": "x"}`); None where nothing."""
    for label, names, fits in rules.names:
        if names.search(name) and fits(text):
            return label
    return None


def replaced(text: str, findings: Sequence[Finding]) -> str:
    """Return a text with a mark, `[email]`, in the place of each finding, in their order."""
    parts, done = [], 0
    for label, start, end in findings:
        parts += [text[done:start], f"[{label}]"]
        done = end
    return "".join((*parts, text[done:]))


def redact(
    text: str, rules: Rules = OURS, *, secrets: bool = True, personal: bool = True
) -> tuple[str, dict[str, int]]:
    """Return a text with marks in the place of what is in it, and how often each was found."""
    found = scan(text, rules, secrets=secrets, personal=personal)
    if not found:
        return text, {}
    return replaced(text, found), dict(Counter(one.label for one in found))


def _masked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """Return a text in which spans look to later rules as their marks would."""
    parts, done = [], 0
    for start, end in spans:
        parts += [text[done:start], f"[{'x' * (end - start - 2)}]"[: end - start]]
        done = end
    return "".join((*parts, text[done:]))
