"""What a client of a node is told: by arguments, then by the environment, then by default."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from ..addresses import is_loopback
from ..clock import parse_seconds
from ..errors import Invalid

__all__ = ["Connection", "connection"]

URL_DEFAULT = "http://127.0.0.1:8080"
_RETRIES_MAX = 100
_TIMEOUT_SECONDS_MAX = 86_400.0
_VISIBLE = re.compile(r"[!-~]+\Z")


class Connection(NamedTuple):
    """Which node, and how it is talked to. `url` has no credential, and no slash at its end.

    `loopback` is whether it is on this machine: then nothing is sent through a proxy.
    """

    url: str
    loopback: bool
    token: str | None
    source: str | None
    retries: int
    timeout: float

    def __repr__(self) -> str:
        # Never the token: what is printed ends in logs.
        return f"<Connection {self.url}>"


def connection(
    url: str | None = None,
    *,
    token: str | None = None,
    source: str | None = None,
    retries: int = 4,
    timeout: float = 30.0,
) -> Connection:
    """Return the checked settings of a client; an empty token or source is none.

    Raises `Invalid` naming what does not fit, and for an unknown `PALIMP_*` name.
    """
    # Not above: it brings the node's modules, which `import palimp` does without.
    from ..node.settings import client_environment

    found = client_environment()
    shown = "PALIMP_URL" if url is None and "url" in found else "url"
    parts = _checked_url(found.get("url", URL_DEFAULT) if url is None else url, shown)
    if type(retries) is not int or not 0 <= retries <= _RETRIES_MAX:
        raise Invalid(f"retries is {retries!r:.40}; give 0 to {_RETRIES_MAX}")
    seconds = parse_seconds(timeout, "timeout")
    if not 0 < seconds <= _TIMEOUT_SECONDS_MAX:
        raise Invalid(
            f"timeout is {seconds:g} s; give more than 0 and at most {_TIMEOUT_SECONDS_MAX:,.0f}"
        )
    source = found.get("source") if source is None else source
    if source is not None and not isinstance(source, str):
        raise Invalid(f"source must be text, not {type(source).__name__}")
    return Connection(
        url=f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}",
        loopback=is_loopback(parts.hostname or ""),
        token=_checked_token(found.get("token") if token is None else token),
        source=source or None,
        retries=retries,
        timeout=seconds,
    )


def _checked_url(url: object, shown: str) -> SplitResult:
    if not isinstance(url, str):
        raise Invalid(f"{shown} must be text, not {type(url).__name__}")
    # First, and without showing it: every other message names the URL.
    if "@" in re.split(r"[/?#]", url.partition("://")[2] or url, maxsplit=1)[0]:
        raise Invalid(
            f"{shown} has a user name or a password in it; leave them out, and give the credential "
            "as token= or PALIMP_TOKEN"
        )
    bare = re.split(r"[?#]", url, maxsplit=1)[0]
    if not _VISIBLE.match(url):
        raise Invalid(
            f"{shown} {bare!r:.200} is empty or has a character that no URL has; give one such as "
            f"{URL_DEFAULT} (international names in their xn-- form)"
        )
    if bare != url:
        raise Invalid(
            f"{shown} {bare!r:.200} goes on with ? or #; give scheme, host, port and at most a path"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise Invalid(f"{shown} {url!r:.200} cannot be read: {error}") from error
    if parts.scheme not in ("http", "https") or "://" not in url:
        raise Invalid(f"{shown} {url!r:.200} does not begin with http:// or https://")
    if not host or port == 0:
        raise Invalid(f"{shown} {url!r:.200} has no {'port' if host else 'host'}")
    return parts


def _checked_token(token: object) -> str | None:
    if not token:
        return None
    if not isinstance(token, str) or not _VISIBLE.match(token):
        raise Invalid(
            "the token has a space or another character that a header cannot carry (a line end, "
            "as a file has?); give it without"
        )
    return token
