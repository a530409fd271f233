"""What a text is worth: whether it says anything at all, and anything new."""

from __future__ import annotations

import re

__all__ = ["is_filler", "says_nothing_new"]

_FILLER = frozenset(
    "hi hello hey bye goodbye thanks thank you ok okay yes no yeah nope sure fine great cool nice "
    "good morning evening night hmm um uh lol please sorry welcome maybe right got it".split()
)
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
# Scripts that put no spaces between words: three of their letters can be a sentence.
_DENSE = re.compile(r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_DENSE_LETTERS_LEAST = 3
_FUNCTION_WORDS = frozenset("a an the is are was were be been am of to in on at that and".split())
_ENDINGS = ("'s", "\u2019s", "s")
_STEM_CHARS_LEAST = 3


def is_filler(text: str) -> bool:
    """Whether a text is no statement: no letters, one word, or two words of greeting or assent."""
    if len(_DENSE.findall(text)) >= _DENSE_LETTERS_LEAST:
        return False
    words = [word.casefold() for word in _WORD.findall(text) if not word.isdigit()]
    return len(words) <= 1 or (len(words) == 2 and _FILLER.issuperset(words))


def says_nothing_new(text: str, known: str) -> bool:
    """Whether every word of `text` stands in `known` in the same order, small words aside.

    The cosine of two sentences that differ in a value is as high as that of two that mean the same
    ("blue" and "red", "3" and "4", who called whom), so it alone does not tell that nothing is new.
    """
    rest = iter(_content_words(known))
    return all(word in rest for word in _content_words(text))


def _content_words(text: str) -> list[str]:
    words = (word.casefold() for word in _WORD.findall(text))
    return [_stem(word) for word in words if word not in _FUNCTION_WORDS]


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= _STEM_CHARS_LEAST:
            return stem
    return word
