"""Canonical keys: what two texts about the same thing share, so that the later can take over.

A key is segments joined by `/`; a segment is `kind:name`, or a bare slot at the end
(`person:alice/employer`). A segment keeps `[a-z0-9_.-]` after NFKC and casefold; anything else
becomes one `_`; articles and `'s` go. At most 64 characters.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

__all__ = ["KEY_CHARS_MAX", "canonical_key", "normalised_key"]

KEY_CHARS_MAX = 64
_HEAD_CHARS = 47
_DIGEST_CHARS = 16
_FOREIGN_DIGEST_CHARS = 8
_ARTICLES = frozenset(("a", "an", "the"))
_POSSESSIVE = re.compile(r"['\u2019\u02bc]s(?!\w)")
_SEPARATORS = re.compile(r"[^a-z0-9.-]+")
_CUT = re.compile(rf"[^~]{{{_HEAD_CHARS}}}~[0-9a-f]{{{_DIGEST_CHARS}}}")


def canonical_key(*parts: str) -> str | None:
    """Return the key of `parts`, or None where one of them has nothing to keep.

    Parts are taken in pairs of kind and name; an odd last one stands alone:
    `canonical_key("person", "Alice's", "role")` is `person:alice/role`. The same parts always give
    the same key, in whatever case, width or composition they are written; different ones share a
    key only where they differ in articles, `'s`, punctuation and case.
    """
    segments = [_segment(part) for part in parts]
    if not segments or not all(segments):
        return None
    pairs = (segments[start : start + 2] for start in range(0, len(segments), 2))
    return _bounded("/".join(":".join(pair) for pair in pairs))


def normalised_key(key: str) -> str | None:
    """Return `key`, as a model or a caller wrote it, in canonical form, or None if it has none.

    A key that is canonical already comes back as it is.
    """
    if _CUT.fullmatch(key):
        return key
    pairs = [[_segment(name) for name in pair.split(":", 1)] for pair in key.split("/")]
    if not all(all(pair) for pair in pairs):
        return None
    return _bounded("/".join(":".join(pair) for pair in pairs))


def _segment(text: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    words = [word for word in _SEPARATORS.split(_POSSESSIVE.sub(" ", folded)) if word]
    kept = [word for word in words if word not in _ARTICLES] or words
    name = "_".join(kept)
    if any(char.isalnum() and not char.isascii() for char in folded):
        # Letters are lost: without a trace of them Müller and Möller would supersede each other.
        digest = hashlib.sha256(folded.strip().encode("utf-8", "surrogatepass")).hexdigest()
        name = f"{name}.{digest[:_FOREIGN_DIGEST_CHARS]}"
    return name


def _bounded(key: str) -> str:
    if len(key) <= KEY_CHARS_MAX:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()
    return f"{key[:_HEAD_CHARS]}~{digest[:_DIGEST_CHARS]}"
