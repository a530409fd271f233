"""Where an organisation's events are: which Arc, which database in it, which measurement."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from ..errors import Invalid

__all__ = ["ArcBinding", "ArcOptions", "check_binding", "place_of"]

_DATABASE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z")
_MEASUREMENT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,127}\Z")
_URL_CHARS_MAX = 2_048
_KEY_CHARS_MAX = 4_096


class ArcBinding(NamedTuple):
    """An organisation's place in an Arc. `api_key` may be empty; it is in no message and no log."""

    org: str
    url: str
    api_key: str
    database: str
    measurement: str = "events"

    def __repr__(self) -> str:
        return f"ArcBinding({self.org!r}, {place_of(self.url)!r}, {self.database!r})"


class ArcOptions(NamedTuple):
    """How Arcs are spoken to, and how much may wait for them.

    `settle_seconds`: how long after a write whose answer was lost Arc may still not show its rows.
    """

    connect_timeout: float = 5.0
    query_timeout: float = 30.0
    batch_size: int = 100
    flush_interval_ms: int = 1_000
    spool_bytes: int = 256 << 20
    settle_seconds: float = 10.0


def check_binding(binding: ArcBinding) -> ArcBinding:
    """Return the binding with its URL in one form; raises `Invalid` naming what is wrong."""
    url = _checked_url(binding.url)
    key = binding.api_key
    if len(key) > _KEY_CHARS_MAX or not _plain(key):
        raise Invalid(
            f"the key of Arc at {place_of(url)} has a space, a line break, other than ASCII, or "
            f"over {_KEY_CHARS_MAX:,} characters"
        )
    if not _DATABASE.match(binding.database):
        raise Invalid(
            f"database {binding.database!r:.80} is no name of one in Arc: a letter, then up to 63 "
            "letters, digits, _ and -"
        )
    if not _MEASUREMENT.match(binding.measurement):
        raise Invalid(
            f"measurement {binding.measurement!r:.80} is no name of one in Arc: a letter, then up "
            "to 127 letters, digits, _ and -"
        )
    return binding._replace(url=url)


def place_of(url: str) -> str:
    """Return host and port of a URL, for messages; nothing that could be a secret."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "?", parts.port
    except ValueError:
        return "?"
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise Invalid(
            "the URL of Arc is none (it is not shown: it may hold a key); give one such as "
            "http://arc.example.com:8000"
        )
    if len(url) > _URL_CHARS_MAX or not _plain(url):
        raise Invalid(
            f"the URL of Arc at {place_of(url)} has a space, a line break, other than ASCII, or "
            f"over {_URL_CHARS_MAX:,} characters"
        )
    if "@" in parts.netloc:
        raise Invalid(
            f"the URL of Arc at {place_of(url)} has a user in it; give the key as the API key"
        )
    if "?" in url or "#" in url:
        raise Invalid(
            f"the URL of Arc at {place_of(url)} has a query or a fragment; leave out what follows "
            "the path"
        )
    return f"{parts.scheme}://{place_of(url)}{parts.path.rstrip('/')}"


def _plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text
