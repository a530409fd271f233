"""Questions that share no word with their memory: what each embedder is worth where words are not.

    .venv/bin/python bench/run.py --only cues      # writes bench/results/cues.json

`data/cues.jsonl` holds pairs written by hand, before anything was measured and not changed since:
a memory, and how somebody might ask for it in other words. No stem of one is in the other, stop
words aside; that is checked at every run with the product's own tokenizer and list. All memories
lie in one profile among 1,200 made up from templates (everyday notes about other people), so every
pair also has 131 others beside it. A hit is the pair's own memory among the first ten. Intervals
are 95 % bootstrap intervals over the pairs, in pairs for the differences.

MiniLM is measured where `bench/minilm.py` has put it.
"""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import NamedTuple

import apsw
import minilm
import numpy as np
from harness import Row
from machine import folder

import palimp
from palimp.profile.recall.words import STOP_WORDS

PAIRS = Path(__file__).parent / "data" / "cues.jsonl"
DISTRACTORS = 1_200
FIRST = 10
_BATCH = 1_000
_BOOTSTRAPS = 10_000
_SEED = 20_261

_SLOTS = {
    "who": "Agnes Bruno Celine Dmitri Elsa Farid Gwen Henrik Ilse Jamal Katya Lorenzo Mei Niels "
    "Orla Pavel Quinn Renata Sven Tilda Umar Viola Walt Xenia Yara Zack",
    "with": "Basil Corinne Desmond Edith Flora Gideon Hilda Ignace Joyce Kurt Lars Mona Nell Otto",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "month": "January March April June July August November December",
    "city": "Athens Berlin Chicago Dublin Edinburgh Geneva Hamburg Istanbul Krakow Madrid Prague",
    "time": "early noon late morning evening",
    "cuisine": "Thai Greek Mexican Ethiopian Korean Lebanese Vietnamese",
    "drink": "green_tea apple_juice ginger_beer lemonade cocoa tonic_water",
    "film": "a_western a_comedy a_documentary a_thriller an_animated_film a_silent_film",
    "visit": "a_flu_jab a_physiotherapy_session a_skin_check an_annual_check-up a_vaccination",
    "thing": "a_lamp a_backpack a_teapot a_raincoat a_desk a_mirror a_jigsaw a_kite a_blender",
    "language": "Arabic Dutch Finnish Hungarian Italian Mandarin Polish Swedish Turkish",
    "furniture": "sofa bookcase armchair cupboard bench wardrobe",
    "room": "hall study cellar bedroom dining_room conservatory",
    "tool": "drill ladder saw wheelbarrow lawnmower spanner",
    "subject": "glaciers Byzantium chess submarines weaving volcanoes economics Vikings",
    "document": "invoice contract agenda floor_plan timetable questionnaire brochure",
    "place": "library market harbour theatre park station swimming_pool town_hall",
    "animal": "goat pony rabbit donkey duck ferret",
    "called": "Biscuit Comet Domino Echo Fudge Ginger Hazel",
    "dish": "soup curry salad risotto dumplings omelette noodles",
    "without": "garlic mushrooms olives coriander onions celery",
    "team": "accounts design logistics research sales support",
    "fixed": "shelf gate blind door_handle bookcase kite letterbox",
    "topic": "budget office_move new_website training_week summer_party supplier recruitment",
    "colour": "blue green orange purple grey turquoise",
    "game": "bridge darts snooker dominoes backgammon croquet",
}
_TEMPLATES = (
    "{who} booked a {cuisine} restaurant for {day}.",
    "{who} likes {drink} in the {time}.",
    "{who} watched {film} with {with} on {day}.",
    "{who} has {visit} on {day}.",
    "{who} bought {thing} in {city}.",
    "{who} took the {time} train to {city}.",
    "{who} is learning {language}.",
    "{who} moved the {furniture} into the {room}.",
    "{who} borrowed the {tool} from {with}.",
    "{who} is reading a book about {subject}.",
    "{who} sent the {document} to {with} on {day}.",
    "{who} met {with} at the {place} on {day}.",
    "{who} has a {animal} called {called}.",
    "{who} wants to see {city} in {month}.",
    "{who} ordered the {dish} without {without}.",
    "{who} joined the {team} team in {month}.",
    "{who} repaired the {fixed} on {day}.",
    "{who} talked with {with} about the {topic}.",
    "{who}'s favourite colour is {colour}.",
    "{who} plays {game} with {with} on {day}s.",
    "{who} has a ticket for the {place} in {month}.",
    "{who} thinks {with} works too much.",
)


class Pair(NamedTuple):
    memory: str
    cue: str


class Found(NamedTuple):
    """For every pair the place of its memory among the first ten, from 1; 0: it was not there."""

    places: np.ndarray

    def hits(self, first: int) -> np.ndarray:
        return (self.places > 0) & (self.places <= first)


def measure(*, quick: bool) -> list[Row]:
    """Ask all cues of every embedder there is."""
    pairs = load_pairs()
    memories = [pair.memory for pair in pairs] + distractors()
    chosen: dict[str, dict[str, str]] = {
        "words only": {"embed_provider": "none"},
        "bundled": {"embed_provider": "bundled"},
    }
    lacking = []
    for kind, name in minilm.FOLDERS.items():
        path = minilm.DEFAULT / name
        if not (path / "onnx" / "model.onnx").exists():
            lacking.append(f"MiniLM {kind}")
        elif not quick:
            chosen[f"MiniLM {kind}"] = {"embed_provider": "onnx", "embed_model": str(path)}
    found = {what: _asked(pairs, memories, options) for what, options in chosen.items()}
    draws = np.random.default_rng(_SEED).integers(0, len(pairs), (_BOOTSTRAPS, len(pairs)))
    rows = [_row(what, result, draws) for what, result in found.items()]
    rows += [_difference(*both, found, draws) for both in itertools.pairwise(found)]
    missing = "no model: run bench/minilm.py"
    return rows + [Row(f"hit@{FIRST}, {what}", None, "%", note=missing) for what in lacking]


def load_pairs() -> list[Pair]:
    """Read the pairs; a pair with a word in common is a mistake in the data."""
    pairs = [Pair(**json.loads(line)) for line in PAIRS.read_text("utf-8").splitlines()]
    shared = {pair: common for pair in pairs if (common := stems(pair.memory) & stems(pair.cue))}
    if shared or len({pair.memory for pair in pairs}) < len(pairs):
        raise ValueError(f"{PAIRS.name}: memories twice, or words in common: {shared}")
    return pairs


def stems(text: str) -> set[str]:
    """Return what the keyword index makes of a text, without the stop words."""
    db = apsw.Connection(":memory:")
    unicode = ["unicode61", "remove_diacritics", "2"]
    return {
        _tokens(db, "porter", unicode, word)[0]
        for word in _tokens(db, "unicode61", unicode[1:], text)
        if word not in STOP_WORDS
    }


def _tokens(db: apsw.Connection, name: str, options: list[str], text: str) -> list[str]:
    tokenizer = db.fts5_tokenizer(name, options)
    return tokenizer(
        text.encode(),
        apsw.FTS5_TOKENIZE_DOCUMENT,
        None,
        include_offsets=False,
        include_colocated=False,
    )


def distractors() -> list[str]:
    """Return everyday notes, each once; the same ones at every run."""
    chance = random.Random(_SEED)
    made: dict[str, None] = {}
    while len(made) < DISTRACTORS:
        words = {
            slot: chance.choice(words.split()).replace("_", " ") for slot, words in _SLOTS.items()
        }
        made.setdefault(chance.choice(_TEMPLATES).format(**words))
    return list(made)


def _asked(pairs: list[Pair], memories: list[str], options: dict[str, str]) -> Found:
    with folder() as path, palimp.open(path / "memory", **options) as mem:
        profile = mem.profile("cues")
        for at in range(0, len(memories), _BATCH):
            profile.ingest([{"text": text} for text in memories[at : at + _BATCH]])
        mem.maintain()
        places = []
        for pair in pairs:
            texts = [hit.text for hit in profile.recall(pair.cue, k=FIRST)]
            places.append(texts.index(pair.memory) + 1 if pair.memory in texts else 0)
    return Found(np.array(places))


def _row(what: str, found: Found, draws: np.ndarray) -> Row:
    detail = {f"hit@{first}": interval(found.hits(first), draws) for first in (1, 3, 5, FIRST)}
    inverse = np.where(found.places > 0, 1 / np.maximum(found.places, 1), 0.0)
    detail["MRR"] = interval(inverse, draws)
    shown = detail[f"hit@{FIRST}"]
    note = f"{shown['low']:.1f} to {shown['high']:.1f}; first {detail['hit@1']['mean']:.1f}"
    return Row(f"hit@{FIRST}, {what}", shown["mean"], "%", note=note, detail=detail)


def _difference(before: str, after: str, found: dict[str, Found], draws: np.ndarray) -> Row:
    both = found[after].hits(FIRST).astype(float) - found[before].hits(FIRST)
    shown = interval(both, draws)
    return Row(
        f"hit@{FIRST}, {after} minus {before}",
        shown["mean"],
        "points",
        note=f"{shown['low']:.1f} to {shown['high']:.1f}",
        detail=shown,
    )


def interval(values: np.ndarray, draws: np.ndarray) -> dict[str, float]:
    """Return the mean in percent with its 95 % bootstrap interval."""
    means = 100 * values[draws].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return {"mean": 100 * float(values.mean()), "low": float(low), "high": float(high)}
