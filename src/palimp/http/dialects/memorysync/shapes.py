"""Memories as they travel, and what of ours says what of theirs."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import msgspec

from ....api import Memory
from ....clock import format_ms
from .call import Call
from .names import DIALECT
from .refusals import too_large, unprocessable

__all__ = [
    "IMPORTANCE",
    "checked_metadata",
    "checked_tags",
    "inner",
    "outer",
    "shape",
    "stamp",
    "text_key",
    "user_number",
    "with_inner",
]

IMPORTANCE = 0.5
# What the dialect keeps beside a caller's metadata: event_type, extracted_type, content_type,
# client_ref, counts; and a key of the caller's that has this name.
_INNER = "_ms"
_DEPTH_MAX = 32
_USER_BYTES = 6
_TYPES = {"fact": "fact", "event": "event", "instruction": "decision", "task": "event"}


def shape(memory: Memory, call: Call, *, score: float | None = None) -> dict[str, Any]:
    """Return a memory as it travels; `score` where it was found by a query."""
    kept = inner(memory.metadata)
    metadata = outer(memory.metadata)
    updated = max(
        memory.created_at,
        memory.activated_at or 0,
        memory.superseded_at or 0,
        kept.get("updated_at") or 0,
    )
    found: dict[str, Any] = {
        "id": memory.handle,
        "user_id": user_number(call.end_user),
        "text": memory.text,
        "summary": None,
        "created_at": stamp(memory.created_at),
        "updated_at": stamp(updated),
        "metadata": metadata,
        "tags": list(memory.tags),
        "source": memory.source,
        "event_type": kept.get("event_type"),
        "tier": memory.memory_tier or "hot",
        "importance": IMPORTANCE if memory.importance is None else memory.importance,
        "is_summary": memory.kind == "summary",
        "expires_at": None if memory.expires_at is None else stamp(memory.expires_at),
        "key_points": metadata.get("key_points") or [],
        "quality_score": memory.confidence,
        "memory_type": kept.get("extracted_type") or memory.kind or _TYPES[memory.type],
        "project_id": memory.project,
        "environment": call.environment,
        "extracted_type": kept.get("extracted_type"),
        "extracted_key": kept.get("extracted_key"),
        "content_type": kept.get("content_type"),
        "client_ref": kept.get("client_ref"),
        "provenance": kept.get("provenance"),
        "retention_status": memory.state,
        "evidence_count": kept.get("evidence_count", 0),
        "usage_count": memory.access_count,
        "last_accessed_at": None
        if memory.last_accessed_at is None
        else stamp(memory.last_accessed_at),
        "decryption_failed": memory.decryption_failed,
    }
    if score is not None:
        found["score"] = score
    return found


def inner(stored: dict[str, Any] | None) -> dict[str, Any]:
    """Return what the dialect keeps beside a memory's metadata."""
    found = (stored or {}).get(_INNER)
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if name != _INNER}


def outer(stored: dict[str, Any] | None) -> dict[str, Any]:
    """Return a memory's metadata exactly as the caller gave it."""
    given = dict(stored or {})
    kept = given.pop(_INNER, None)
    if isinstance(kept, dict) and _INNER in kept:
        given[_INNER] = kept[_INNER]
    return given


def with_inner(metadata: dict[str, Any] | None, kept: dict[str, Any]) -> dict[str, Any] | None:
    """Return metadata as it is stored: the caller's, and what the dialect keeps beside it."""
    found = dict(metadata or {})
    beside = {name: value for name, value in kept.items() if value is not None and name != _INNER}
    if _INNER in found:
        beside[_INNER] = found.pop(_INNER)
    if beside:
        found[_INNER] = beside
    return found or None


def checked_metadata(call: Call) -> dict[str, Any] | None:
    """Return the metadata of a body; raises 413 for what is too large, 422 for what is none."""
    found = call.fields("metadata")
    if found is None:
        return None
    if _depth(found) > _DEPTH_MAX:
        raise unprocessable(f"metadata is nested more than {_DEPTH_MAX} deep", "metadata")
    size, most = len(msgspec.json.encode(found)), call.node.settings.metadata_max_bytes
    if size > most:
        raise too_large("metadata", size, most)
    return found


def checked_tags(call: Call) -> tuple[str, ...] | None:
    """Return the tags of a body: lower case, each once; None where it has none."""
    found = call.texts("tags")
    if found is None:
        return None
    return tuple(dict.fromkeys(tag.strip().lower() for tag in found if tag.strip()))


def text_key(call: Call, text: str) -> str:
    """Return what tells by a text whether it came before, without saying it."""
    plain = text.casefold()
    credentials = call.node.context.credentials
    if credentials is not None:
        hashes: list[str] = credentials.hashes(DIALECT, plain)
        return hashes[0]
    return hashlib.blake2b(plain.encode("utf-8", "surrogatepass")).hexdigest()


def stamp(ms: int) -> str:
    """Return a time as ISO 8601 with its offset, which is always UTC's."""
    return format_ms(ms, pattern=_isoformat)


def user_number(end_user: str) -> int:
    """Return the number by which an end user travels: the same on every node."""
    data = end_user.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=_USER_BYTES).digest(), "big")


def _isoformat(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds")


def _depth(value: Any) -> int:
    """Return how deep something is nested, without recursion: it may be very deep."""
    deepest, left = 0, [(value, 1)]
    while left:
        one, depth = left.pop()
        deepest = max(deepest, depth)
        if isinstance(one, dict):
            left += [(inside, depth + 1) for inside in one.values()]
        elif isinstance(one, list):
            left += [(inside, depth + 1) for inside in one]
    return deepest
