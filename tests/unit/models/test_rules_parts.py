"""Dates in words, sentences, and the comparison of stored statements."""

from __future__ import annotations

from datetime import date

import pytest

from palimp.models.rules import contradiction, statement
from palimp.models.rules.dates import day_of, find_date
from palimp.models.rules.sentences import SENTENCE_CHARS_MAX, sentences

MONDAY = date(2023, 5, 8)


@pytest.mark.parametrize(
    ("text", "past", "label"),
    [
        ("today", None, "2023-05-08"),
        ("tomorrow", False, "2023-05-09"),
        ("last night", True, "2023-05-07"),
        ("the day after tomorrow", False, "2023-05-10"),
        ("on Friday", False, "2023-05-12"),
        ("on Friday", True, "2023-05-05"),
        ("on Monday", False, "2023-05-15"),
        ("last Monday", True, "2023-05-01"),
        ("this Friday", False, "2023-05-12"),
        ("next Friday", False, "2023-05-19"),
        ("next week", False, "the week of 2023-05-15"),
        ("last weekend", True, "the weekend of 2023-05-06"),
        ("last month", True, "April 2023"),
        ("next year", False, "2024"),
        ("in three weeks", False, "the week of 2023-05-29"),
        ("two days ago", True, "2023-05-06"),
        ("a couple of months ago", True, "March 2023"),
        ("March 3rd", False, "2024-03-03"),
        ("March 3rd", True, "2023-03-03"),
        ("the 3rd of March 2021", None, "2021-03-03"),
        ("on the 1st", False, "2023-06-01"),
        ("on the 31st", True, "2023-03-31"),
        ("in August", False, "August 2023"),
        ("in August", True, "August 2022"),
        ("2023-12-24", None, "2023-12-24"),
        ("in 2019", True, "2019"),
    ],
)
def test_a_date_is_resolved_against_the_day_it_was_said(
    text: str, past: bool | None, label: str
) -> None:
    when = find_date(f"we go {text}", MONDAY, past=past)
    assert when is not None
    assert when.label == label
    assert f"we go {text}"[when.start : when.end] == text
    assert when.day <= when.last


@pytest.mark.parametrize(
    ("text", "past"),
    [
        ("moved to Friday", True),
        ("every Friday", None),
        ("on Fridays", None),
        ("finished in two weeks", True),
        ("in three apples", None),
        ("February 30", None),
        ("2023-13-40", None),
        ("may I", None),
        ("march on", None),
        ("999 years ago", True),
        ("nothing at all", None),
    ],
)
def test_what_names_no_day_has_no_date(text: str, past: bool | None) -> None:
    assert find_date(text, MONDAY, past=past) is None


def test_the_end_of_the_calendar_is_no_error() -> None:
    last = day_of(10**30)
    assert last == date(9999, 12, 31)
    assert find_date("tomorrow", last, past=None) is None
    assert find_date("next month", last, past=None) is None
    assert day_of(-1) == date(1970, 1, 1)
    assert find_date("yesterday", day_of(0), past=None) is None


def test_sentences_without_quotations_and_code() -> None:
    text = (
        'Dr. Lee came at 9 a.m. today. She said "No. Never." Fine!\n> quoted. \n'
        "```\ncode. here\n```\nThe end\n- one\n- two"
    )
    found = [text[start:end] for start, end in sentences(text)]
    assert found == [
        "Dr. Lee came at 9 a.m. today.",
        'She said "No.',
        "Fine!",
        "The end",
        "- one",
        "- two",
    ]


def test_a_run_on_is_not_read() -> None:
    assert list(sentences("a" * SENTENCE_CHARS_MAX)) == [(0, SENTENCE_CHARS_MAX)]
    assert list(sentences("a" * (SENTENCE_CHARS_MAX + 1))) == []


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Melanie prefers window seats", "person:melanie/prefers_seat"),
        ("The user prefers window seats.", "person:user/prefers_seat"),
        ("Prefers window seats", "person:user/prefers_seat"),
        ("I prefer window seats", "person:user/prefers_seat"),
        ("Anna Lee's favourite colour is red", "person:anna_lee/favourite_colour"),
        ("Melanie no longer works at Acme", "person:melanie/employer"),
        ("Tom doesn't like sushi", "person:tom/likes:sushi"),
        ("The user's wife is called Anna", "person:user/wife"),
        ("Melanie used to live in Rome (in 2010)", "person:melanie/lived_in:rome"),
    ],
)
def test_a_stored_sentence_is_read_in_every_person(text: str, key: str) -> None:
    told = statement(text)
    assert told is not None
    assert told.key == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "He prefers window seats",
        "The report prefers window seats",
        "Does Anna like tea?",
        "Anna would like tea",
        "Anna went to Rome yesterday (2023-05-07)",
        "The sky is blue",
        "Anna likes " + "tea " * 200,
    ],
)
def test_a_sentence_the_rules_are_not_sure_of_is_no_statement(text: str) -> None:
    assert statement(text) is None


@pytest.mark.parametrize(
    ("first", "second", "apart"),
    [
        ("Anna lives in Rome", "Anna lives in Berlin", True),
        ("Anna lives in Rome", "Anna lives in ROME.", False),
        ("Anna lives in Rome", "Bob lives in Berlin", False),
        ("Anna lives in Rome", "Anna used to live in Berlin", False),
        ("Anna likes tea", "Anna does not like tea", True),
        ("Anna likes tea", "Anna likes coffee", False),
        ("Anna works at Acme", "Anna no longer works at Acme", True),
        ("Anna works at Globex", "Anna no longer works at Acme", False),
        ("Anna is allergic to nuts", "Anna is not allergic to nuts", True),
        ("Anna prefers tea to coffee", "Anna prefers coffee to tea", True),
        ("Anna lives in Rome", "Anna works at Acme", False),
        ("Anna prefers the aisle seat", "Anna prefers aisle seats", False),
    ],
)
def test_what_cannot_be_true_together_contradicts(first: str, second: str, apart: bool) -> None:
    one, other = statement(first), statement(second)
    assert one is not None
    assert other is not None
    assert (contradiction(one, other) is not None) is apart
    assert (contradiction(other, one) is not None) is apart
