"""From a URL to a store."""

from __future__ import annotations

import re

from ..clock import Clock
from ..errors import Invalid
from .protocol import ObjectStore

__all__ = ["open_store"]

_URL = re.compile(r"([a-z0-9+]+)://([^?#]*)\Z")


def open_store(url: str, *, clock: Clock | None = None) -> ObjectStore:
    """Return the store of a URL; touches a folder for `file://` and nothing else otherwise.

    `file:///absolute/path`, `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`
    (a prefix is optional) or `mem://`. Credentials and endpoints come from the environment
    (`AWS_*`, `GOOGLE_*`, `AZURE_*`), never from the URL. Run `self_test` on what comes back before
    it is trusted. Raises `Invalid` for another URL, `Unconfigured` where the extra is missing.
    """
    match = _URL.match(url) if isinstance(url, str) else None
    scheme, rest = match.groups() if match else ("", "")
    if scheme == "mem" and not rest:
        from .volatile import VolatileStore

        return VolatileStore()
    if scheme == "file":
        from urllib.parse import unquote

        from .directory import DirectoryStore

        return DirectoryStore(_absolute(url, unquote(rest)))
    if scheme in ("s3", "gs", "az") and not rest.startswith("/") and rest:
        from .connecting import connect

        bucket, _, prefix = rest.partition("/")
        return connect(scheme, bucket, prefix.strip("/"), clock=clock or Clock())
    raise Invalid(
        f"unsupported PALIMP_OBJECT_STORE: {_shown(url)!r:.200}; give file://, s3://, gs://, az:// "
        "or mem://"
    )


def _absolute(url: str, path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise Invalid(f"PALIMP_OBJECT_STORE {url!r:.200} names no absolute path; give file:///path")
    return path


def _shown(url: object) -> str:
    """Return the URL without what may be a password."""
    return re.sub(r"//[^/@]*@", "//***@", str(url))
