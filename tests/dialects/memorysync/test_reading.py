"""Files in pieces, and import files in records, without a node."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from palimp.http.dialects.memorysync import records as recording
from palimp.http.dialects.memorysync.reading import kind_of, pieces
from palimp.http.dialects.memorysync.records import Broken, records

MARKDOWN = """# Team

Alice is the CTO.

## Habits
Bob drinks tea.
He never drinks coffee.

***
"""
PAGE = """<!doctype html><html><head><title>No</title><style>p { x: y }</style></head>
<body><h1>Team &amp; people</h1>
<p>Alice is <b>the</b> CTO.</p>
<script>var no = "<p>never</p>";</script>
<ul><li>Bob drinks&nbsp;tea.</ul>
</body></html>"""


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.md", "markdown"),
        ("A.HTML", "html"),
        ("notes", "text"),
        ("x.txt", "text"),
        ("a.pdf", None),
    ],
)
def test_a_kind_is_told_by_the_name(name: str, kind: str | None) -> None:
    assert kind_of(name) == kind


def test_markdown_in_sections_each_at_its_place() -> None:
    found = list(pieces(MARKDOWN, "markdown"))
    assert [one.text for one in found] == [
        "# Team\n\nAlice is the CTO.",
        "## Habits\nBob drinks tea.\nHe never drinks coffee.\n\n***",
    ]
    assert all(MARKDOWN[one.start : one.end] == one.text for one in found)


def test_a_page_without_what_no_reader_sees() -> None:
    (found,) = pieces(PAGE, "html")
    assert found.text == "Team & people\nAlice is the CTO.\nBob drinks tea."
    original = PAGE[found.start : found.end]
    assert original.startswith("Team &amp; people</h1>")
    assert original.endswith("Bob drinks&nbsp;tea.")


def test_long_text_is_cut_behind_sentences_and_nothing_is_lost() -> None:
    text = " ".join(f"Sentence number {number} says a thing." for number in range(200))
    found = list(pieces(text, "text"))
    assert len(found) > 3
    assert all(len(one.text) <= 1_200 and one.text.endswith("thing.") for one in found)
    assert all(text[one.start : one.end] == one.text for one in found)
    assert " ".join(one.text for one in found) == text


def test_text_without_any_blank_is_cut_all_the_same() -> None:
    found = list(pieces("字" * 3_000, "text"))
    assert [len(one.text) for one in found] == [1_200, 1_200, 600]


@pytest.mark.parametrize("kind", ["text", "markdown", "html"])
@pytest.mark.parametrize("text", ["", "\n\n \n", "--- \n\n***"])
def test_what_has_no_word_has_no_piece(kind: str, text: str) -> None:
    assert list(pieces(text, kind)) == []


@pytest.mark.parametrize(
    "text", ["<p>open", "<b><i></p></b>x", "<!-- never ends", "<svg><p>no</svg>y"]
)
def test_broken_markup_ends(text: str) -> None:
    assert len(list(pieces(text, "html"))) <= 1


# -- records --------------------------------------------------------------------------------------


def read(raw: bytes, *, lines: bool, buffer: int = 1 << 20) -> list[tuple[Any, str | None]]:
    reader = io.BufferedReader(io.BytesIO(raw), buffer)  # type: ignore[arg-type]
    found = list(records(reader, lines=lines))
    if found:
        assert found[-1].offset <= len(raw)
    return [(one.fields, one.reason) for one in found]


def test_lines_each_by_itself() -> None:
    raw = b'\xef\xbb\xbf{"text": "one"}\r\n\n[1]\n{"text": \n{"text": "\xc3\xbc"}'
    assert read(raw, lines=True) == [
        ({"text": "one"}, None),
        (None, "not_an_object"),
        (None, "not_json"),
        ({"text": "ü"}, None),
    ]


def test_a_line_that_is_too_long_is_passed_over() -> None:
    raw = b'{"text": "' + b"x" * (3 << 20) + b'"}\n{"text": "next"}\n'
    assert read(raw, lines=True) == [(None, "record_too_large"), ({"text": "next"}, None)]


@pytest.mark.parametrize("piece", [1, 3, 64, 1 << 20])
@pytest.mark.parametrize("under", [None, "memories", "data"])
def test_a_list_wherever_it_is_cut(
    piece: int, under: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "_PIECE_BYTES", piece)
    rows = [{"text": 'ü [1] } " \\', "n": 12.5, "deep": {"a": [1, {}]}}, {"text": "two"}]
    whole = rows if under is None else {"version": 12, "about": {"x": [1]}, under: rows}
    raw = json.dumps(whole, ensure_ascii=False, indent=1).encode()
    assert read(raw, lines=False) == [(rows[0], None), (rows[1], None)]


def test_a_list_with_other_things_in_it() -> None:
    assert read(b'[1, {"a": 2}, "x"]', lines=False) == [
        (None, "not_an_object"),
        ({"a": 2}, None),
        (None, "not_an_object"),
    ]
    assert read(b" [ ] ", lines=False) == []


@pytest.mark.parametrize(
    "raw",
    [b"", b"[", b"[{}", b"[{} {}]", b'{"x": 1}', b'"text"', b"[\xff]", b"[" * 100_000, b'{"a": 1'],
)
def test_what_is_no_list_is_broken(raw: bytes) -> None:
    with pytest.raises(Broken):
        read(raw, lines=False)
