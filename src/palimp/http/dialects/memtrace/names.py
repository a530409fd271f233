"""What ids, types and tags of that system look like, and its answers to others."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from ....ids import random_bytes
from .refusals import bad

__all__ = [
    "AGENT",
    "AGENT_NAME",
    "DIALECT",
    "SESSION",
    "check_id",
    "check_tags",
    "check_type",
    "is_id",
    "name_key",
    "new_id",
]

DIALECT = "memtrace"
# Under these and an id, or the hash of a name, things are kept in the scope of their organisation.
AGENT = "agent/"
AGENT_NAME = "agent-name/"
SESSION = "session/"
_ID_BYTES = 12
_NAME_BYTES = 20
_ID = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,127}\Z")
_TYPE = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,63}\Z")
_TAG = re.compile(r"[a-zA-Z0-9_.-]{1,64}\Z")
_NO_ID = "invalid ID format: must be alphanumeric with underscores/hyphens, max 128 chars"
_NO_TYPE = "invalid type format: must be alphanumeric with underscores, max 64 chars"
_NO_TAG = "invalid tag format: must be alphanumeric with underscores/hyphens/dots, max 64 chars"


def new_id(prefix: str) -> str:
    """Return a new id: `agent_` or `sess_`, and 24 hex digits."""
    return f"{prefix}_{random_bytes(_ID_BYTES).hex()}"


def is_id(text: str) -> bool:
    """Whether a text may be an id."""
    return _ID.match(text) is not None


def check_id(text: str | None, field: str) -> str | None:
    """Return an id, None for an empty one; raises `Invalid` (400) for what is none."""
    if text and not is_id(text):
        raise bad(f"invalid {field}: {_NO_ID}")
    return text or None


def check_type(text: str | None, field: str) -> str | None:
    """Return a type, None for an empty one; raises `Invalid` (400) for what is none."""
    if text and not _TYPE.match(text):
        raise bad(f"invalid {field}: {_NO_TYPE}")
    return text or None


def check_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return those that are not empty; raises `Invalid` (400) for what is none."""
    found = tuple(one for one in tags if one)
    for one in found:
        if not _TAG.match(one):
            raise bad(f"invalid tag '{one:.80}': {_NO_TAG}")
    return found


def name_key(name: str) -> str:
    """Return the key under which the agent of that name is kept, whatever it is called."""
    data = name.encode("utf-8", "surrogatepass")
    return AGENT_NAME + hashlib.blake2b(data, digest_size=_NAME_BYTES).hexdigest()
