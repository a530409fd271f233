"""The HTTP surfaces of other memory systems, each translated to our operations and back.

A dialect holds no policy and no SQL: each of its requests becomes one of ours, which is admitted,
authenticated, limited, counted and carried out like any other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ...api.convert import nearest
from ...errors import Invalid
from ..api import Api, Limits
from ..messages import Receive, Scope, Send
from .memoturn import Memoturn

__all__ = ["DIALECTS", "Dialect", "check_dialect"]

Dialect = Callable[[Scope, Receive, Send], Awaitable[None]]
# By the word under which each is mounted.
DIALECTS: dict[str, Callable[[Api, Limits], Dialect]] = {"memoturn": Memoturn}


def check_dialect(name: str) -> str:
    """Return the name of a dialect; raises `Invalid` for others."""
    if name not in DIALECTS:
        raise Invalid(
            f"there is no dialect {name!r:.80}{nearest(name, list(DIALECTS))}; there is "
            f"{', '.join(DIALECTS)}"
        )
    return name
