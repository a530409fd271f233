"""Recall on texts of our own: a floor that a careless change of ranking would fall through.

Not a measure of quality (that is `palimp eval locomo`). No weight was fitted on these; that a fact
without a session counts by its own better signal was decided looking at the second test.
"""

from __future__ import annotations

import json
from pathlib import Path

import palimp

CONVERSATION = Path(__file__).resolve().parents[2] / "examples" / "conversation.jsonl"

# Question, and words of the turn that answers it.
QUESTIONS = [
    ("who is lending Mara a hydrophone?", "Tomas from the acoustics group"),
    ("where did Mara lose her camera?", "field camera on the ferry"),
    ("when is the grant report due?", "due on 15 May"),
    ("what is Mara allergic to?", "allergic to hazelnuts"),
    ("which seat does Mara want from now on?", "window seats from now on"),
    ("how much money was approved for the Azores?", "4,200 euros in total"),
    ("where is the new flat?", "new flat is up the hill in Graça"),
    ("when is the Danish class?", "Tuesdays at 18:30"),
    ("who could take the dog into her garden?", "she has a garden in Setúbal"),
    ("does Mara want metric units?", "always metric"),
    ("which route goes through São Miguel?", "Through Ponta Delgada saves"),
    ("how long was the longest dive of the whales?", "lasted 52 minutes"),
]

FACTS = {
    "user.seat": "Prefers window seats on planes",
    "user.diet": "Is vegetarian and never eats fish",
    "user.dog": "Has a terrier called Pixel",
    "user.work": "Works as a marine biologist at the university",
    "user.daughter": "Her daughter Lena plays the cello",
    "user.home": "Lives in Graça, a quarter of Lisbon",
    "user.language": "Is learning Danish",
    "user.reply": "Wants short replies",
    "user.bank": "Pays with the blue card",
    "user.car": "Drives an old green estate car",
}
FACT_QUESTIONS = {
    "where does she sit on a flight?": "user.seat",
    "may I order salmon for her?": "user.diet",
    "what is the name of the dog?": "user.dog",
    "what is her profession?": "user.work",
    "which instrument does Lena play?": "user.daughter",
    "in which part of the city does she live?": "user.home",
    "which language does she study?": "user.language",
    "should my answers be long?": "user.reply",
    "which card should be charged?": "user.bank",
    "what vehicle does she own?": "user.car",
}


def test_turns_that_answer_are_among_the_first_three(profile: palimp.Profile) -> None:
    turns = [json.loads(line) for line in CONVERSATION.read_text("utf-8").splitlines()]
    profile.ingest(
        {
            "type": "event",
            "text": turn["text"],
            "speaker": turn["speaker"],
            "session": turn["session"],
            "observed_at": turn["at"],
        }
        for turn in turns
    )
    missed = [
        question
        for question, words in QUESTIONS
        if not any(words in hit.text for hit in profile.recall(question, k=3))
    ]
    assert len(missed) <= 2, missed


def test_facts_are_found_by_other_words_among_the_chatter(profile: palimp.Profile) -> None:
    turns = [json.loads(line) for line in CONVERSATION.read_text("utf-8").splitlines()]
    profile.ingest(
        {"type": "event", "text": t["text"], "speaker": t["speaker"], "session": t["session"]}
        for t in turns
    )
    profile.ingest({"text": text, "topic": topic} for topic, text in FACTS.items())
    alone = sum(
        profile.recall(question, k=1, type="fact")[0].topic == topic
        for question, topic in FACT_QUESTIONS.items()
    )
    among = sum(
        any(hit.topic == topic for hit in profile.recall(question, k=5))
        for question, topic in FACT_QUESTIONS.items()
    )
    assert alone >= 8
    assert among >= 6
