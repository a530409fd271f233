"""A marked block in a text file of the user's; every other byte stays as it is."""

from __future__ import annotations

from ...errors import Invalid

__all__ = ["put", "take"]

_BEGIN = "<!-- palimp setup: begin -->"
_END = "<!-- palimp setup: end -->"


def put(text: str, body: str, header: str = "") -> str:
    """Return the text with the block in place, at its end if it had none.

    A text that is empty gets `header` before it. Raises `Invalid` where the marks do not match.
    """
    if not text:
        return header + _block(body, "\n")
    found = _find(text)
    if found is not None:
        return text[: found[0]] + _block(body, _newline(text, found[0])) + text[found[1] :]
    newline = _newline(text)
    # One line end, whether it ends the last line or leaves an empty one: `take` takes one back.
    return text + newline + _block(body, newline)


def take(text: str, header: str = "") -> str | None:
    """Return the text without the block; None where there was nothing but it."""
    found = _find(text)
    if found is None:
        return text
    before, after = text[: found[0]], text[found[1] :]
    if not after and before == header:
        return None
    bare = before.removesuffix(_newline(text, found[0]))
    # What was written below the block since does not become part of the line above it.
    return before + after if after and not bare.endswith("\n") else bare + after


def _block(body: str, newline: str) -> str:
    return newline.join((_BEGIN, *body.strip("\n").split("\n"), _END, ""))


def _newline(text: str, begin: int = 0) -> str:
    """Return how lines end; of a text with a block that begins there, as the block's do."""
    end = text.find("\n", begin)
    return "\r\n" if end > 0 and text[end - 1] == "\r" else "\n"


def _find(text: str) -> tuple[int, int] | None:
    begins, ends = text.count(_BEGIN), text.count(_END)
    if not begins and not ends:
        return None
    begin, end = text.find(_BEGIN), text.find(_END)
    if (begins, ends) != (1, 1) or end < begin:
        raise Invalid(
            f"has {begins} marks {_BEGIN!r} and {ends} {_END!r}; leave one of each, in this order, "
            "or take them out"
        )
    end += len(_END)
    for newline in ("\r\n", "\n"):
        if text.startswith(newline, end):
            return begin, end + len(newline)
    return begin, end
