"""One memory on its way in: what it becomes here, and what is said of it."""

from __future__ import annotations

from typing import Any

from ....api import Ingest, ItemResult, Memory, Target
from ....api.annotating import Annotate
from ....api.lifecycle import DeleteMemory
from ....api.memories import GetMemory, MemoryInput, Wait
from ....clock import parse_ms
from ....errors import Invalid, NotFound
from ....ids import random_bytes
from .call import Call
from .refusals import missing, unprocessable
from .shapes import CONFIDENCE, TYPES, checked_tier, checked_type, shape

__all__ = [
    "annotated",
    "checked_content",
    "dedup_key",
    "find",
    "input_of",
    "subject_of",
    "unsaved",
    "words",
    "write",
]

_CONTENT_BYTES_MAX = 32_768
_SUBJECT_BYTES_MAX = 128
_KEY_BYTES = 16
_WAIT: Wait = "related"
_ECHOED = ("kind", "source", "session", "project", "confidence", "trust", "observed_at", "metadata")


def input_of(call: Call, *, batch: bool = False, subject: str | None = None) -> MemoryInput:
    """Return the memory that a body says.

    One of a batch gets no time and no confidence of its own, and is a duplicate of nothing.
    """
    content = checked_content(call.text("content"))
    kind = checked_type(call.text("memory_type", required=False) or "semantic")
    tier = checked_tier(call.text("trust_tier", required=False) or "T1")
    metadata = call.fields.get("extra_metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise unprocessable("Validation error: extra_metadata must be an object")
    confidence = None if batch else call.real("initial_confidence")
    observed = None if batch else call.text("observed_at", required=False)
    about = subject_of(call) or subject
    return MemoryInput(
        **words(kind, content, about, alone=batch),
        metadata=metadata,
        source=call.author,
        session=call.text("session_id", required=False) or None,
        confidence=CONFIDENCE[tier] if confidence is None else confidence,
        trust=tier,
        observed_at=call.node.context.clock.now_ms()
        if observed is None
        else parse_ms(observed, "observed_at"),
    )


def words(kind: str, content: str, subject: str | None, *, alone: bool = False) -> dict[str, Any]:
    """Return what a memory of a type says; `alone`: it is a duplicate of nothing."""
    fields: dict[str, Any] = {"text": content, "type": TYPES[kind].type, "kind": kind}
    trimmed = content.strip()
    if trimmed != content:
        # By this it is a duplicate, and not by the blanks around it.
        fields["content"] = {"text": trimmed}
    unique = alone or kind == "working"
    key = random_bytes(_KEY_BYTES).hex() if unique else dedup_key(kind, subject)
    return {**fields, "project": subject, "dedup_key": key}


def dedup_key(kind: str, subject: str | None) -> str:
    """Return within what memories of the same words are one."""
    return f"{kind}/{subject or ''}"


def subject_of(call: Call) -> str | None:
    """Return the subject; blank is none, and one that is too long is refused."""
    found = (call.text("subject_id", required=False) or "").strip()
    if len(found.encode()) > _SUBJECT_BYTES_MAX:
        raise unprocessable(
            f"Validation error: subject_id has more than {_SUBJECT_BYTES_MAX} bytes"
        )
    return found or None


def checked_content(content: str, *, bytes_max: int | None = _CONTENT_BYTES_MAX) -> str:
    """Return a content; raises 422 for an empty one, and one that is too long."""
    if not content.strip():
        raise unprocessable("Validation error: content is empty")
    size = len(content.encode("utf-8", "surrogatepass"))
    if bytes_max is not None and size > bytes_max:
        raise unprocessable(
            f"Validation error: content has {size:,} bytes; at most {bytes_max:,} fit"
        )
    return content


def write(call: Call, target: Target, given: MemoryInput) -> dict[str, Any]:
    """Write one memory and return it as it travels.

    It returns when it has its vector and took the place of what says almost the same, so that this
    is so at once; `working` memory waits for nothing. Where the model that embeds is away it is
    embedded later.
    """
    wait = None if given.kind == "working" else _WAIT
    done = call.do("memories.ingest", Ingest(memories=(given,), wait=wait), target=target)
    (one,) = done.results
    if one.status == "created":
        return unsaved(call, target, one, given)
    found = find(call, one.id, target)
    if one.status == "revived" and found.session != given.session:
        # What was removed is of another session, and stays removed: this is a memory of its own.
        call.do("memories.delete", DeleteMemory(id=one.id), target=target)
        fields = {name: getattr(given, name) for name in given.__struct_fields__}
        fields["dedup_key"] = random_bytes(_KEY_BYTES).hex()
        return write(call, target, MemoryInput(**fields))
    if given.metadata is not None and (found.metadata or {}) != given.metadata:
        found = annotated(call, target, found.id, given.metadata)
    return {**shape(found, call.user), "created_at": None}


def unsaved(call: Call, target: Target, one: ItemResult, given: MemoryInput) -> dict[str, Any]:
    """Return a memory that was just written: read again where a rule may have changed it."""
    if one.note is not None:
        return {**shape(find(call, one.id, target), call.user), "created_at": None}
    fields = {name: getattr(given, name) for name in _ECHOED}
    memory = Memory(
        id=one.id, type=given.type or "fact", text=given.text, content=None, created_at=0, **fields
    )
    return {**shape(memory, call.user), "created_at": None}


def find(call: Call, identity: str, target: Target) -> Memory:
    """Return a memory that is there, in whatever state; raises 404."""
    try:
        found: Memory = call.do("memories.get", GetMemory(id=identity), target=target).memory
    except (NotFound, Invalid) as error:
        raise missing(f"Memory not found: {identity:.100}") from error
    return found


def annotated(call: Call, target: Target, identity: str, metadata: dict[str, Any]) -> Memory:
    """Let other metadata be said of a memory, and return it."""
    request = Annotate(id=identity, metadata=metadata)
    found: Memory = call.do("memories.annotate", request, target=target).memory
    return found
