"""The page at /docs: one file that asks this node for its description, and nobody else."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import lru_cache
from importlib.resources import files

__all__ = ["page", "policy"]


@lru_cache(maxsize=1)
def page() -> bytes:
    """Return the page."""
    return (files(__package__) / "docs.html").read_bytes()


@lru_cache(maxsize=1)
def policy() -> str:
    """Return what the page may do: run what stands in it, ask this node, nothing else."""
    script, style = (_hash(name) for name in ("script", "style"))
    return (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash(tag: str) -> str:
    found = re.search(rb"<%s>(.*?)</%s>" % (tag.encode(), tag.encode()), page(), re.DOTALL)
    assert found is not None
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1]).digest()).decode()}'"
