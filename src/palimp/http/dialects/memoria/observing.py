"""What is taken from a conversation: by a model where there is one, else every message as it is."""

from __future__ import annotations

from typing import Any

from ....api import Target
from ....api.extraction import Extract, Extracted
from ....api.memories import MemoryInput
from ....api.sessions import TurnInput
from ....errors import Error
from ..foreign import Route
from .call import Call
from .refusals import is_blocked, unprocessable
from .shapes import CONFIDENCE, KINDS, checked_tier, checked_type
from .writing import checked_content, subject_of, words, write

__all__ = ["ROUTES"]

_ROLES = ("user", "assistant")
_TURNS, _TURN_CHARS, _ALL_CHARS = 20, 500, 6_000
_RAW_CONFIDENCE, _PIPELINE_CONFIDENCE = 0.7, 0.75
_NO_MODEL = "No LLM is configured: each message was stored as it is"
_MODEL_FAILED = "The LLM could not be asked: each message was stored as it is"


def observe(call: Call) -> Any:
    """Write what a conversation says that is worth it."""
    given = _messages(call)
    session, subject = call.text("session_id", required=False) or None, subject_of(call)
    target = call.target(call.text("branch", required=False))
    warning = _NO_MODEL
    if call.node.context.extractor is not None and given:
        try:
            found = _extracted(call, target, given, session, subject)
        except Error:
            # Its policy, its model or what it says: what was said is not lost by that.
            warning = _MODEL_FAILED
        else:
            return {"memories": _written(call, target, found)}
    stored = _written(call, target, _raw(call, given, session, subject))
    return {"memories": stored, "warning": warning}


def _messages(call: Call) -> list[tuple[str, str]]:
    """Return who said what, of users and assistants, without what is empty."""
    given = call.fields.get("messages")
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise unprocessable("Validation error: missing field `messages`, a list of messages")
    found = [(one.text("role"), one.text("content")) for one in map(call.item, given)]
    return [(role, said) for role, said in found if role in _ROLES and said.strip()]


def _extracted(
    call: Call,
    target: Target,
    given: list[tuple[str, str]],
    session: str | None,
    subject: str | None,
) -> list[MemoryInput]:
    """Return what a model found, with the tier of what is inferred."""
    left, turns = _ALL_CHARS, []
    for role, said in reversed(given[-_TURNS:]):
        kept = said[: min(_TURN_CHARS, left)]
        left -= len(kept)
        if kept:
            turns.append(TurnInput(role=role, content=kept))
    # Tried only: what is written is a memory of that system, and no near duplicate of one.
    request = Extract(turns=tuple(reversed(turns)), session=session, project=subject, dry_run=True)
    done: Extracted = call.do("extract", request, target=target)
    now, found = call.node.context.clock.now_ms(), list[MemoryInput]()
    for one in done.proposals:
        if one.decision == "created" and one.text:
            kind = KINDS.get((one.draft or {}).get("type", ""), "semantic")
            confidence = _RAW_CONFIDENCE if one.confidence is None else one.confidence
            found.append(
                MemoryInput(
                    **words(kind, one.text, subject),
                    session=session,
                    source=call.author,
                    trust="T3",
                    confidence=confidence,
                    observed_at=now + len(found),
                )
            )
    return found


def _raw(
    call: Call, given: list[tuple[str, str]], session: str | None, subject: str | None
) -> list[MemoryInput]:
    now = call.node.context.clock.now_ms()
    return [
        MemoryInput(
            **words("semantic", said, subject),
            session=session,
            source=call.author,
            trust="T1",
            confidence=_RAW_CONFIDENCE,
            observed_at=now + place,
        )
        for place, (_, said) in enumerate(given)
    ]


def _written(call: Call, target: Target, memories: list[MemoryInput]) -> list[dict[str, Any]]:
    """Write one after the other; what may not be kept is left out."""
    found = []
    for memory in memories:
        try:
            done = write(call, target, memory)
        except Error as error:
            if not is_blocked(error):
                raise
            continue
        found.append({name: done[name] for name in ("memory_id", "content", "memory_type")})
    return found


def pipeline(call: Call) -> Any:
    """Write candidates one by one, and say how many were kept out or changed."""
    given = call.fields.get("candidates")
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise unprocessable("Validation error: missing field `candidates`, a list of memories")
    call.text("sandbox_query", required=False)
    target, errors = call.target(), []
    stored = rejected = redacted = 0
    for one in map(call.item, given):
        try:
            memory = _candidate(one)
            done = write(call, target, memory)
        except Error as error:
            rejected += 1
            if not is_blocked(error):
                errors.append(str(error))
            continue
        stored += 1
        redacted += done["content"] != memory.text
    return {
        "memories_stored": stored,
        "memories_rejected": rejected,
        "memories_redacted": redacted,
        "errors": errors,
    }


def _candidate(one: Call) -> MemoryInput:
    kind = checked_type(one.text("memory_type", required=False) or "semantic")
    tier = one.text("trust_tier", required=False)
    return MemoryInput(
        **words(kind, checked_content(one.text("content")), None),
        source=one.author,
        trust=checked_tier(tier or "T3"),
        confidence=_PIPELINE_CONFIDENCE if tier is None else CONFIDENCE[tier],
        observed_at=one.node.context.clock.now_ms(),
    )


_TEST = "tests/dialects/memoria/test_observing.py"

ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/observe", "user", observe, _TEST),
    Route("POST", "/v1/pipeline/run", "user", pipeline, _TEST),
)
