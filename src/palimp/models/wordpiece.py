"""Text to vocabulary numbers: uncased BERT normalisation and greedy WordPiece, without a library.

The same text gives the same numbers under every supported Python. Which characters are removed,
which are accents and which are punctuation is therefore read from a frozen table (`Characters`),
not from the interpreter's `unicodedata`, whose tables grow with each release. `unicodedata` is
asked only for canonical decompositions and lower case, which are stable for every character that
the vocabulary can spell.

A text goes through four steps, in this order:

1. Removed characters (controls, formats, private use) disappear; white space becomes a space.
2. Each Chinese, Japanese or Korean ideograph becomes a word of its own.
3. Letters are decomposed, lose their accents and become lower case.
4. Each punctuation mark becomes a word of its own; the rest is split at spaces.

Each word is then cut into the longest pieces the vocabulary holds, from the left; pieces after the
first are looked up with the prefix `##`. A word that cannot be spelt is unknown and has no numbers.
Names of special tokens, such as `[UNK]`, are ordinary text here: a text cannot address them.
"""

import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain

CHARACTERS_PER_WORD_MAX = 100
"""A longer word is unknown. Fixed by the source model's tokenizer."""

WORDS_CACHED_MAX = 16_384
"""Words cut into pieces that are remembered, about 4 MB when full."""

CHARACTERS_CACHED_MAX = 8_192
"""Characters whose replacement is remembered, at most about 9 MB."""

CONTINUATION = "##"

_SPACES = frozenset("\t\n\r \u1680\u2028\u2029\u202f\u205f\u3000") | frozenset(
    map(chr, (0xA0, *range(0x2000, 0x200B)))
)

# A lone surrogate is no character. It is removed like U+FFFD, which is what it becomes when the
# text is stored as UTF-8 with replacement.
_SURROGATES = (0xD800, 0xDFFF)

# The ideograph blocks known to BERT. Later extensions are missing on purpose: the model was
# trained without them.
_IDEOGRAPHS = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)


class Ranges:
    """A set of code points, kept as sorted, disjoint, inclusive ranges."""

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        pairs = sorted(ranges)
        self._firsts = [first for first, _ in pairs]
        self._lasts = [last for _, last in pairs]

    def __contains__(self, code_point: int) -> bool:
        at = bisect_right(self._firsts, code_point) - 1
        return at >= 0 and code_point <= self._lasts[at]


class Characters(dict[int, str]):
    """What each code point becomes, in the form `str.translate` wants; computed when first met.

    The table text has one range a line: a class (`removed`, `accent` or `punctuation`), the first
    and the last code point in hexadecimal. Safe to share between threads: an entry is a pure
    function of its key, so that computing it twice does no harm.
    """

    def __init__(self, table: str) -> None:
        super().__init__()
        classes: dict[str, list[tuple[int, int]]] = {
            "removed": [_SURROGATES],
            "accent": [],
            "punctuation": [],
        }
        for line in table.splitlines():
            name, first, last = line.split()
            classes[name].append((int(first, 16), int(last, 16)))
        self._removed = Ranges(classes["removed"])
        self._accents = Ranges(classes["accent"])
        self._punctuation = Ranges(classes["punctuation"])
        self._ideographs = Ranges(_IDEOGRAPHS)

    def __missing__(self, code_point: int) -> str:
        replacement = self._replacement(code_point)
        # A text with every code point there is must not grow the table without end.
        if len(self) >= CHARACTERS_CACHED_MAX:
            self.clear()
        self[code_point] = replacement
        return replacement

    def _replacement(self, code_point: int) -> str:
        character = chr(code_point)
        if character in _SPACES:
            return " "
        if code_point in self._removed:
            return ""
        letters = "".join(
            # Letter by letter: `str.lower` of a whole word would make final sigmas.
            letter.lower()
            for letter in unicodedata.normalize("NFD", character)
            if ord(letter) not in self._accents
        )
        spread = "".join(
            f" {letter} " if ord(letter) in self._punctuation else letter for letter in letters
        )
        return f" {spread} " if code_point in self._ideographs else spread


class WordPiece:
    """Cuts texts into numbers of a vocabulary; the number of a token is its place in the sequence.

    Never raises for any `str`, lone surrogates included. Safe to share between threads.
    """

    def __init__(self, vocabulary: Sequence[str], characters: Characters) -> None:
        self._numbers = {token: number for number, token in enumerate(vocabulary)}
        self._characters = characters
        self._piece_length_max = max(map(len, vocabulary), default=0)
        self.pieces: Callable[[str], tuple[int, ...]] = lru_cache(WORDS_CACHED_MAX)(self._cut)
        """The numbers of one word; empty for an unknown word."""

    def words(self, text: str) -> list[str]:
        """The normalised words of a text, in order, punctuation marks and ideographs each alone."""
        return text.translate(self._characters).split()

    def numbers(self, text: str) -> list[int]:
        """The numbers of a text's pieces, in order; unknown words are left out."""
        words = self.words(text)
        number_of = self._numbers.get
        numbers = [number_of(word) for word in words]
        # Most words are in the vocabulary as they are; only the others pay for cutting.
        return list(
            chain.from_iterable(
                self.pieces(word) if number is None else (number,)
                for word, number in zip(words, numbers, strict=True)
            )
        )

    def _cut(self, word: str) -> tuple[int, ...]:
        length = len(word)
        if length > CHARACTERS_PER_WORD_MAX:
            return ()
        pieces: list[int] = []
        start = 0
        prefix = ""
        while start < length:
            stop = min(length, start + self._piece_length_max)
            while stop > start:
                number = self._numbers.get(prefix + word[start:stop])
                if number is not None:
                    break
                stop -= 1
            else:
                return ()
            pieces.append(number)
            start, prefix = stop, CONTINUATION
        return tuple(pieces)
