"""A made-up corpus with the statistics of a real one: the same seed gives the same memories.

Words follow Zipf's law: common English function words take two fifths of a text, the rest comes
from 20,000 pseudo-words, partly those of the memory's subject. Vectors lie around 200 subjects. A
smaller corpus is the beginning of a larger one.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

DIMENSIONS = 256
_SEED = 20_260
_CHUNK = 1_000
_SUBJECTS = 200
_WORDS = 20_000
_SUBJECT_WORDS = 150
_FUNCTION_SHARE = 0.4
_SUBJECT_SHARE = 0.2
_EVENTS_A_SESSION = 25
# Words that every list of stop words has, so that both sides search for the same terms.
_FILLERS = 28
_START_MS = 1_700_000_000_000
# How many types a hundred memories have: see `kind_of`.
_EVENT_OF_100, _INSTRUCTION_OF_100, _TASK_OF_100 = 30, 5, 5

FUNCTION_WORDS = (
    "the of and to a in is that it for was on are as with they be at this have from or by one had "
    "not but what all were when we there can an your which their if do will each about how up out "
    "them then she many some so these would other into has more her two like him see time could no "
    "make than been its who now people my over did down only way find use may long very after just "
    "where most get through back much before also around another came come work three must because "
    "does part even place well such here why things our me i you he"
).split()


class Memory(NamedTuple):
    """One made-up memory; `number` counts from 0."""

    number: int
    type: str
    text: str
    topic: str | None
    keywords: str | None
    tags: list[str] | None
    source: str
    session: str | None
    speaker: str | None
    observed_at: int | None

    def fields(self) -> dict[str, Any]:
        """Return what `ingest` takes, without the vector."""
        found = self._asdict()
        del found["number"]
        return {name: value for name, value in found.items() if value is not None}


class Query(NamedTuple):
    """A question that shares words and direction with a stored memory."""

    text: str
    telling: tuple[str, ...]
    vector: NDArray[np.float32]
    about: Memory


class Corpus(NamedTuple):
    """Memories and, row for row, their vectors of unit length."""

    memories: list[Memory]
    vectors: NDArray[np.float32]

    def items(self, start: int, stop: int, *, vectors: bool) -> list[dict[str, Any]]:
        """Return a batch for `ingest`."""
        rows = self.vectors[start:stop].tolist()
        batch = [memory.fields() for memory in self.memories[start:stop]]
        if vectors:
            for item, row in zip(batch, rows, strict=True):
                item["embedding"] = row
        return batch


@lru_cache(1)
def _words() -> NDArray[np.str_]:
    """Pseudo-words of two to four syllables; the frequent ones are the short ones."""
    syllables = [a + b for a, b in product("bdfgklmnprstvz", ("a", "e", "i", "o", "u", "ai", "or"))]
    random = np.random.default_rng([_SEED, 1])
    words: dict[str, None] = {}
    for length, upto in ((2, 4_000), (3, 14_000), (4, _WORDS)):
        while len(words) < upto:
            words["".join(random.choice(syllables, length))] = None
    return np.array(list(words))


@lru_cache(1)
def _shares() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cumulative Zipf-Mandelbrot shares of pseudo-words and of function words."""
    rare = 1.0 / (np.arange(_WORDS) + 20.0)
    common = 1.0 / (np.arange(len(FUNCTION_WORDS)) + 2.0)
    return np.cumsum(rare / rare.sum()), np.cumsum(common / common.sum())


@lru_cache(1)
def _subjects() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    random = np.random.default_rng([_SEED, 2])
    words = random.integers(100, _WORDS, (_SUBJECTS, _SUBJECT_WORDS))
    return words, random.standard_normal((_SUBJECTS, DIMENSIONS))


@lru_cache(3)
def corpus(count: int) -> Corpus:
    """Return the first `count` memories."""
    memories: list[Memory] = []
    vectors = []
    for chunk in range(-(-count // _CHUNK)):
        texts, rows = _chunk(chunk)
        memories += [_memory(chunk * _CHUNK + place, text) for place, text in enumerate(texts)]
        vectors.append(rows)
    return Corpus(memories[:count], np.concatenate(vectors)[:count])


def _chunk(chunk: int) -> tuple[list[list[str]], NDArray[np.float32]]:
    random = np.random.default_rng([_SEED, 3, chunk])
    words, (rare, common), (subject_words, centres) = _words(), _shares(), _subjects()
    subject = random.integers(0, _SUBJECTS, _CHUNK)
    other = random.integers(0, _SUBJECTS, _CHUNK)
    lean = random.uniform(0.0, 0.4, (_CHUNK, 1))
    mixed = (1 - lean) * centres[subject] + lean * centres[other]
    mixed += 0.6 * random.standard_normal(mixed.shape)
    rows = (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)
    texts = []
    for place in range(_CHUNK):
        length = int(random.integers(12, 41))
        kind, draw = random.random(length), random.random(length)
        chosen = words[np.minimum(np.searchsorted(rare, draw), _WORDS - 1)].tolist()
        own = words[subject_words[subject[place]]]
        for at in range(length):
            if kind[at] < _FUNCTION_SHARE:
                chosen[at] = FUNCTION_WORDS[int(np.searchsorted(common, draw[at]))]
            elif kind[at] < _FUNCTION_SHARE + _SUBJECT_SHARE:
                chosen[at] = str(own[int(draw[at] * _SUBJECT_WORDS)])
        texts.append(chosen)
    return texts, rows


def kind_of(number: int) -> str:
    """Return the type: of a hundred, 60 facts, 30 events, 5 instructions and 5 tasks."""
    place = number * 37 % 100
    for kind, share in (
        ("event", _EVENT_OF_100),
        ("instruction", _INSTRUCTION_OF_100),
        ("task", _TASK_OF_100),
    ):
        if place < share:
            return kind
        place -= share
    return "fact"


def _memory(number: int, words: list[str]) -> Memory:
    kind = kind_of(number)
    event = kind == "event"
    told = [word for word in words if word not in FUNCTION_WORDS]
    # Numbers are spread evenly over types by `kind_of`, so this many in a row hold one session.
    stretch = _EVENTS_A_SESSION * 100 // _EVENT_OF_100
    return Memory(
        number=number,
        type=kind,
        text=" ".join(words).capitalize() + ".",
        topic=f"subject.{number}" if kind in ("fact", "instruction") and number % 2 else None,
        keywords=" ".join(told[:2]) or None if number % 4 == 0 else None,
        tags=[f"tag-{number % 50}"] if number % 3 == 0 else None,
        source=f"source-{number % 101 % 100}",
        session=f"session-{number // stretch}" if event else None,
        speaker=("Ana", "Ben")[number // 2 % 2] if event else None,
        observed_at=_START_MS + number * 60_000 if event else None,
    )


def queries(stored: Corpus, count: int) -> list[Query]:
    """Return questions of 6 to 12 words, most of them of one memory, and a vector near its own."""
    random = np.random.default_rng([_SEED, 4, len(stored.memories)])
    found: list[Query] = []
    while len(found) < count:
        about = stored.memories[int(random.integers(len(stored.memories)))]
        words = dict.fromkeys(about.text.rstrip(".").lower().split())
        told = [word for word in words if word not in FUNCTION_WORDS]
        if len(told) < 5:
            continue
        length = int(random.integers(6, 13))
        telling = random.permutation(told)[: max(3, round(length * 0.6))].tolist()
        filler = random.permutation(FUNCTION_WORDS[:_FILLERS])[: length - len(telling)].tolist()
        vector = stored.vectors[about.number] + 0.03 * random.standard_normal(DIMENSIONS)
        vector = (vector / np.linalg.norm(vector)).astype(np.float32)
        text = " ".join(random.permutation([*telling, *filler]).tolist()) + "?"
        found.append(Query(text, tuple(telling), vector, about))
    return found
