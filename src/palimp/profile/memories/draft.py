"""From a caller's memory to one that can be written: every rule checked before a row is touched."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from ...api import MemoryInput, MemoryType
from ...api.limits import (
    ABBREVIATION_BYTES_MAX,
    CONTENT_BYTES_MAX,
    DERIVED_FROM_MAX,
    KEYWORDS_BYTES_MAX,
    LABEL_BYTES_MAX,
    METADATA_BYTES_MAX,
    TAGS_MAX,
    TASK_TTL_DEFAULT_SECONDS,
    TEXT_BYTES_MAX,
    TTL_SECONDS_MAX,
)
from ...clock import parse_ms
from ...errors import Invalid
from ..checks import check_embedding, check_label, check_share, check_text, encode_json

__all__ = ["Draft", "draft", "metadata_text", "tags_text"]

_TOPIC_TYPES = ("fact", "instruction")
_TYPE_DEFAULT: MemoryType = "fact"


class Draft(NamedTuple):
    """A checked memory: texts in canonical form, times in milliseconds, content as JSON or None.

    `flags` says, as a JSON list, what a policy lets stand in it. `keyed` is whether more than its
    content says what it is a duplicate of, `related` whether it brings relations or entities.
    """

    given: MemoryInput
    type: MemoryType
    content: str | None
    metadata: str | None
    tags: str | None
    observed_at: int | None
    ttl_ms: int | None
    canonical: bytes
    flags: str | None = None
    expires_at: int | None = None
    window_ms: int | None = None
    keyed: bool = False
    related: bool = False


def draft(given: MemoryInput, flags: tuple[str, ...] = ()) -> Draft:
    """Check one memory and return it ready to write; raises `Invalid` naming field and limit."""
    kind = given.type or _TYPE_DEFAULT
    check_text(given.text, "text", TEXT_BYTES_MAX)
    for name in ("kind", "topic", "source", "session", "agent", "speaker", "project"):
        check_label(getattr(given, name), name)
    check_label(given.environment, "environment")
    check_label(given.dedup_key, "dedup_key")
    check_label(given.trust, "trust", ABBREVIATION_BYTES_MAX)
    check_label(given.keywords, "keywords", KEYWORDS_BYTES_MAX)
    check_share(given.importance, "importance")
    check_share(given.confidence, "confidence")
    check_embedding(given.embedding)
    if given.topic is not None and kind not in _TOPIC_TYPES:
        raise Invalid(
            f"topic {given.topic!r:.80} on {_article(kind)}: only facts and instructions have one, "
            "because only they are superseded by it; leave it out or change the type"
        )
    content = None
    if given.content is not msgspec.UNSET:
        content = encode_json(given.content, "content", CONTENT_BYTES_MAX)
    plain = encode_json({"text": given.text}, "text", 2 * TEXT_BYTES_MAX + CONTENT_BYTES_MAX)
    identity: list[object] = [kind, given.topic, msgspec.Raw((content or plain).encode())]
    if given.dedup_key is not None:
        identity.append(given.dedup_key)
    keyed = given.extracted_key is not None or given.dedup_window is not None
    if keyed:
        check_label(given.extracted_key, "extracted_key")
        # The same elsewhere is a memory of its own.
        identity.append({"of": [given.extracted_key, given.project, given.environment]})
    related = bool(given.relations or given.entities)
    if related:
        # Not before: most memories bring none.
        from ..relations.given import check_memory

        check_memory(given)
    return Draft(
        given=given,
        type=kind,
        content=None if content == plain else content,
        metadata=None if given.metadata is None else metadata_text(given.metadata),
        tags=tags_text(given.tags),
        observed_at=_optional_ms(given.observed_at, "observed_at"),
        ttl_ms=_ttl_ms(given, kind),
        canonical=msgspec.json.encode(identity),
        flags=msgspec.json.encode(flags).decode() if flags else None,
        expires_at=_optional_ms(given.expires_at, "expires_at"),
        window_ms=_window_ms(given) if keyed else None,
        keyed=keyed,
        related=related,
    )


def _window_ms(given: MemoryInput) -> int | None:
    seconds = given.dedup_window
    if seconds is None:
        return None
    if given.dedup_key is None:
        raise Invalid("dedup_window without a dedup_key: it is the window of that key; give one")
    if not 0 < seconds <= TTL_SECONDS_MAX:
        raise Invalid(
            f"dedup_window is {seconds} seconds; give more than 0, at most {TTL_SECONDS_MAX:,}"
        )
    return max(1, round(seconds * 1000))


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def metadata_text(metadata: dict[str, Any]) -> str:
    """Return metadata as a row has it."""
    return encode_json(metadata, "metadata", METADATA_BYTES_MAX)


def _optional_ms(value: int | str | None, field: str) -> int | None:
    return None if value is None else parse_ms(value, field)


def tags_text(tags: tuple[str, ...]) -> str | None:
    """Return tags as a row has them, each once; None for none."""
    if len(tags) > TAGS_MAX:
        raise Invalid(f"tags has {len(tags):,} entries, at most {TAGS_MAX} are allowed")
    for place, tag in enumerate(tags):
        check_label(tag, f"tags[{place}]")
    unique = list(dict.fromkeys(tags))
    return encode_json(unique, "tags", TAGS_MAX * LABEL_BYTES_MAX * 2) if unique else None


def _ttl_ms(given: MemoryInput, kind: MemoryType) -> int | None:
    if len(given.derived_from) > DERIVED_FROM_MAX:
        raise Invalid(
            f"derived_from names {len(given.derived_from):,} memories, at most "
            f"{DERIVED_FROM_MAX:,} are allowed"
        )
    for place, source in enumerate(given.derived_from):
        check_label(source, f"derived_from[{place}]")
    if kind != "task":
        if given.ttl is not None:
            raise Invalid(
                f"ttl on {_article(kind)}: only tasks have one; leave it out, or give expires_at"
            )
        return None
    seconds = TASK_TTL_DEFAULT_SECONDS if given.ttl is None else given.ttl
    if not 0 < seconds <= TTL_SECONDS_MAX:
        raise Invalid(f"ttl is {seconds} seconds; give more than 0, at most {TTL_SECONDS_MAX:,}")
    return max(1, round(seconds * 1000))
