"""Our WordPiece gives what the `tokenizers` library gives, for every text it can be given.

The library is built here from our own vocabulary file, so that no network is needed.
"""

import random
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers import models as library_models
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

import palimp.models
from palimp.models import wordpiece
from palimp.models.wordpiece import Characters, WordPiece

DATA = Path(palimp.models.__file__).parent / "data"
UNKNOWN = "[UNK]"
GROUP = 5
SEED = 20_240_229

SENTENCES = [
    "Prefers an aisle seat; don't ask twice!",
    "Mail the Q3 report to anna.o'neil+x@example.com by 17:45 (UTC+2).",
    "def f(x): return x**2 if x >= 0 else -x  # tabs\tand\r\nlines",
    "Zürich liegt an der Limmat, größer als Genève – sagt man.",
    "El niño comió piñas; ¿cuántas? ¡Muchísimas!",
    "Žluťoučký kůň úpěl ďábelské ódy.",
    "Đường phố Hà Nội rất đông người.",
    "ΟΔΥΣΣΕΥΣ και Σίσυφος, Άγιος Όρος;",
    "Съешь ещё этих мягких французских булок, да выпей чаю.",
    "İstanbul'da ılık bir IŞIK vardı.",
    "هو يحبّ القهوة العربيّة، كثيرًا؟",
    "היא גרה בתל־אביב, שָׁלוֹם!",
    "मुझे हिन्दी में लिखना पसंद है।",
    "ฉันชอบกินข้าวผัดกุ้ง",
    "東京で寿司を食べた。美味しかった!",
    "我昨天在北京买了三本书,花了120元。",
    "한국어로 메모를 남겼습니다.",
    "Ok 👍🏽 family 👨\u200d👩\u200d👧 flag 🇵🇹 heart ❤\ufe0f",
    "ﬁne ﬂow Ⅷ ½ ² ™ ℃ Å Å e\u0301 \u0301lone mark",
    "a\x00b\x07c\x7fd\u200be\ufefff\u00adg\ue000h\ufffdi",
    "\u202eright to left override\u202c and \u2066isolate\u2069",
    "\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000spaces\x85\x1c\x1d\x0b\x0c",
    "x" * 99 + " " + "y" * 100 + " " + "z" * 101,
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "豈更車賈滑串 \U00020000\U0002a6df\U0002a700\U0002b81f\U0002b820\U0002ceaf\U0002f800",
    "\u166d\u1734\U00011938\u0344\u037e\u1fef\u212a\u1e9e",
]


@pytest.fixture(scope="module")
def vocabulary() -> list[str]:
    return (DATA / "vocabulary.txt").read_text(encoding="utf-8").split("\n")[:-1]


@pytest.fixture(scope="module")
def library(vocabulary: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(
        library_models.WordPiece(
            {token: number for number, token in enumerate(vocabulary)},
            unk_token=UNKNOWN,
            max_input_chars_per_word=wordpiece.CHARACTERS_PER_WORD_MAX,
        )
    )
    tokenizer.normalizer = BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True
    )
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


@pytest.fixture(scope="module")
def ours(vocabulary: list[str]) -> WordPiece:
    table = (DATA / "characters.txt").read_text(encoding="ascii")
    return WordPiece(vocabulary, Characters(table))


def differences(ours: WordPiece, library: Tokenizer, texts: list[str]) -> list[str]:
    """The texts for which the two disagree, unknown words and their places included."""
    unknown = library.token_to_id(UNKNOWN)
    found = []
    for text, encoding in zip(texts, library.encode_batch(texts), strict=True):
        spelt = [n for word in ours.words(text) for n in (ours.pieces(word) or (unknown,))]
        known = [number for number in encoding.ids if number != unknown]
        if spelt != encoding.ids or ours.numbers(text) != known:
            found.append(text)
    return found


def groups(code_points: range) -> Iterator[str]:
    """Every code point in a small group, joined to letters, alone, and before an accent."""
    characters = [chr(c) for c in code_points if not 0xD800 <= c <= 0xDFFF]
    for start in range(0, len(characters), GROUP):
        group = characters[start : start + GROUP]
        yield "".join(group)
        yield " ".join(f"a{c}b {c} {c}\u0301e" for c in group)


def test_sentences_of_many_languages(ours: WordPiece, library: Tokenizer) -> None:
    assert differences(ours, library, SENTENCES) == []


def test_every_code_point_of_the_basic_plane(ours: WordPiece, library: Tokenizer) -> None:
    assert differences(ours, library, list(groups(range(0x10000)))) == []


@pytest.mark.parametrize(
    "code_points",
    [range(0x10000, 0x20000), range(0xE0000, 0xE0200), range(0xF0000, 0xF0010)],
    ids=["symbols", "tags", "private"],
)
def test_every_code_point_of_higher_planes(
    ours: WordPiece, library: Tokenizer, code_points: range
) -> None:
    assert differences(ours, library, list(groups(code_points))) == []


def test_random_mixes_of_planes(ours: WordPiece, library: Tokenizer) -> None:
    chance = random.Random(SEED)
    pools = [
        range(0x80),
        range(0x20, 0x250),
        range(0x300, 0x370),
        range(0x370, 0x600),
        range(0x2000, 0x2100),
        range(0x3000, 0xA000),
        range(0xAC00, 0xD7A4),
        range(0xF900, 0x10000),
        range(0x10000, 0x110000),
    ]
    texts = [
        "".join(chr(chance.choice(chance.choice(pools))) for _ in range(chance.randint(1, 20)))
        for _ in range(20_000)
    ]
    assert differences(ours, library, texts) == []


@settings(max_examples=500, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text(ours: WordPiece, library: Tokenizer, text: str) -> None:
    assert differences(ours, library, [text]) == []


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(), max_size=60), cut=st.integers(0, 60))
def test_words_do_not_depend_on_what_stands_beside_them(
    ours: WordPiece, text: str, cut: int
) -> None:
    left, right = text[:cut], text[cut:]
    assert ours.numbers(f"{left} {right}") == ours.numbers(left) + ours.numbers(right)


def test_surrogates_are_removed(ours: WordPiece) -> None:
    assert ours.numbers("sea\ud800t\udfff") == ours.numbers("seat") != []


def test_special_tokens_cannot_be_addressed(ours: WordPiece, vocabulary: list[str]) -> None:
    # The library would read a literal "[PAD]" as the padding token: a text is data, not markup.
    assert [vocabulary[n] for n in ours.numbers("[PAD] [UNK]")] == [
        *("[", "pad", "]"),
        *("[", "un", "##k", "]"),
    ]


def test_final_sigma_is_an_ordinary_sigma(ours: WordPiece) -> None:
    assert ours.words("ΟΔΥΣΣΕΥΣ") == ["οδυσσευσ"]


def test_punctuation_is_frozen_whatever_python_says(ours: WordPiece) -> None:
    # Python's tables say the opposite of both: they are newer than the tokenizer's.
    assert unicodedata.category("\u166d") == "So"
    assert ours.words("a\u166db") == ["a", "\u166d", "b"]
    assert unicodedata.category("\u061d") == "Po"
    assert ours.words("a\u061db") == ["a\u061db"]


def test_caches_are_bounded(vocabulary: list[str], ours: WordPiece) -> None:
    characters = Characters((DATA / "characters.txt").read_text(encoding="ascii"))
    tokens = WordPiece(vocabulary, characters)
    everything = "".join(map(chr, range(0x3000)))
    assert tokens.numbers(everything) == ours.numbers(everything)
    for start in range(0, 0x20000, 0x1000):
        tokens.words("".join(map(chr, range(start, start + 0x1000))))
        assert len(characters) <= wordpiece.CHARACTERS_CACHED_MAX
    assert tokens.numbers(everything) == ours.numbers(everything)


def test_threads_share_one_tokenizer(ours: WordPiece, vocabulary: list[str]) -> None:
    expected = [ours.numbers(sentence) for sentence in SENTENCES]
    table = (DATA / "characters.txt").read_text(encoding="ascii")
    shared = WordPiece(vocabulary, Characters(table))
    results: list[list[list[int]]] = []

    def work() -> None:
        results.append([shared.numbers(sentence) for sentence in SENTENCES])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * len(threads)
