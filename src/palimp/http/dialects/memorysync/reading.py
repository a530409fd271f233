"""What a file says: text, Markdown and HTML in pieces, each with its place in the original."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from typing import NamedTuple

__all__ = ["KINDS", "Piece", "kind_of", "pieces"]

# By the end of the file's name, as the client says that a parser is picked.
KINDS = {
    "txt": "text", "text": "text", "log": "text", "": "text",
    "md": "markdown", "markdown": "markdown", "html": "html", "htm": "html", "xhtml": "html",
}  # fmt: skip
# A piece grows to the first length, unless a heading begins; none is longer than the second.
_CHARS_ENOUGH, _CHARS_MAX = 400, 1_200
_BREAK = re.compile(r"\n[ \t\r]*\n\s*")
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n")
_HEADING = re.compile(r"#{1,6}\s")
_WORD = re.compile(r"\w")
_LINE_END = re.compile(r"\n")
_BLOCKS = frozenset(
    "address article aside blockquote body br caption dd details div dl dt fieldset figcaption "
    "figure footer form h1 h2 h3 h4 h5 h6 head header hr html li main nav ol option p pre section "
    "summary table td tfoot th thead title tr ul".split()
)
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_UNSEEN = frozenset(("script", "style", "template", "noscript", "svg", "head", "title"))


class Piece(NamedTuple):
    """Some text of a file; it stands from `start` to before `end`, in characters of the original.

    Of text and Markdown it is exactly what stands there, of HTML what a reader sees of it.
    """

    text: str
    start: int
    end: int


class _Block(NamedTuple):
    text: str
    start: int
    end: int
    heading: bool = False


def kind_of(name: str) -> str | None:
    """Return what a file is by its name; None for what cannot be read here."""
    _, dot, ending = name.rpartition(".")
    return KINDS.get(ending.lower() if dot else "")


def pieces(text: str, kind: str) -> Iterator[Piece]:
    """Yield what a text of a kind says, in order; nothing of what has no word."""
    blocks = _seen(text) if kind == "html" else _paragraphs(text, markdown=kind == "markdown")
    held: list[_Block] = []
    for block in blocks:
        size = sum(len(one.text) for one in held)
        full = size >= _CHARS_ENOUGH or size + len(block.text) > _CHARS_MAX
        # A heading belongs to what follows it.
        alone = bool(held) and all(one.heading for one in held)
        if held and (block.heading or full) and not (alone and size < _CHARS_ENOUGH):
            yield from _joined(text, held, kind)
            held = []
        held.append(block)
    yield from _joined(text, held, kind)


def _joined(text: str, held: list[_Block], kind: str) -> Iterator[Piece]:
    if not any(_WORD.search(one.text) for one in held):
        return
    start, end = held[0].start, held[-1].end
    if kind == "html":
        found = "\n".join(one.text for one in held)
        if len(found) <= _CHARS_MAX:
            yield Piece(found, start, end)
            return
        # Which part of the markup a part of its text is, is not known more closely.
        for one in _split(found, 0, len(found)):
            yield Piece(one.text, start, end)
        return
    yield from _split(text, start, end)


def _split(text: str, start: int, end: int) -> Iterator[Piece]:
    """Yield a stretch in pieces of at most `_CHARS_MAX`, cut behind sentences where there are."""
    while end - start > _CHARS_MAX:
        cut = limit = start + _CHARS_MAX
        for found in _SENTENCE.finditer(text, start + _CHARS_ENOUGH, limit):
            cut = found.end()
        if cut == limit:
            blank = text.rfind(" ", start + 1, limit)
            cut = limit if blank < 0 else blank + 1
        yield from _trimmed(text, start, cut)
        start = cut
    yield from _trimmed(text, start, end)


def _trimmed(text: str, start: int, end: int) -> Iterator[Piece]:
    found = text[start:end]
    start += len(found) - len(found.lstrip())
    found = found.strip()
    if _WORD.search(found):
        yield Piece(found, start, start + len(found))


def _paragraphs(text: str, *, markdown: bool) -> Iterator[_Block]:
    """Yield what stands between empty lines; in Markdown also each heading by itself."""
    edges = [(0, 0), *(found.span() for found in _BREAK.finditer(text)), (len(text), len(text))]
    for (_, begins), (end, _) in pairwise(edges):
        start = begins
        while markdown and _HEADING.match(text, start, end):
            line = text.find("\n", start, end)
            stop = end if line < 0 else line
            yield _Block(text[start:stop], start, stop, heading=True)
            start = min(end, stop + 1)
        if text[start:end].strip():
            yield _Block(text[start:end], start, end)


class _Seen(HTMLParser):
    """Collects the text that a reader of a page sees, by block."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[_Block] = []
        self._lines = [0, *(found.end() for found in _LINE_END.finditer(text))]
        self._words: list[str] = []
        self._start = 0
        self._heading = False
        self._hidden: list[str] = []
        self.feed(text)
        self.close()
        self._break(len(text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag in _UNSEEN:
            self._hidden.append(tag)
        if tag in _BLOCKS:
            self._break(self._offset())
            self._heading = tag in _HEADINGS

    def handle_endtag(self, tag: str) -> None:
        if tag in self._hidden:
            while self._hidden.pop() != tag:
                pass
        if tag in _BLOCKS:
            self._break(self._offset())
            self._heading = False

    def handle_data(self, data: str) -> None:
        if self._hidden or not data:
            return
        at = self._offset()
        if not self._words:
            self._start = at
        self._words.append(data)

    def _offset(self) -> int:
        line, column = self.getpos()
        return self._lines[min(line, len(self._lines)) - 1] + column

    def _break(self, end: int) -> None:
        found = " ".join("".join(self._words).split())
        if found:
            self.blocks.append(_Block(found, self._start, end, self._heading))
        self._words = []


def _seen(text: str) -> list[_Block]:
    return _Seen(text).blocks
