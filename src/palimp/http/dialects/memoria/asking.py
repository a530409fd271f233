"""What a search is narrowed to: session, subject, types, tier and metadata, as they are sent."""

from __future__ import annotations

from typing import Any, NamedTuple

from .call import Call
from .refusals import unprocessable
from .shapes import checked_tier, checked_type
from .writing import subject_of

__all__ = ["Rule", "asked_of", "session_rule"]

_SCOPES = ("prefer", "only")


class Rule(NamedTuple):
    """What a hit has to be; `session` is None unless nothing but it and what has none is meant."""

    session: str | None = None
    subject: str | None = None
    kinds: tuple[str, ...] = ()

    def fields(self) -> dict[str, Any]:
        """Return the filters but for the session, which is one or none."""
        return {"project": self.subject, "kinds": self.kinds}


def session_rule(call: Call) -> Rule:
    """Return what a body narrows a search to; raises 422 for a scope without a session."""
    session = call.text("session_id", required=False) or None
    scope = call.text("session_scope", required=False)
    if scope is not None and scope not in _SCOPES:
        raise unprocessable("Validation error: session_scope must be 'prefer' or 'only'")
    if scope is not None and session is None:
        raise unprocessable("Validation error: session_scope needs session_id")
    kinds = tuple(checked_type(one) for one in call.texts("memory_types") or ())
    return Rule(session if scope == "only" else None, subject_of(call), kinds)


def asked_of(call: Call, known: set[str]) -> dict[str, Any]:
    """Return the filters of a strict body: unknown fields and blank texts are refused."""
    unknown = sorted(call.fields.keys() - known)
    if unknown:
        raise unprocessable(f"Validation error: unknown field `{unknown[0]:.80}`")
    for name in ("subject_id", "session_id", "trust_tier", "branch"):
        text = call.text(name, required=False)
        if text is not None and not text.strip():
            raise unprocessable(f"Validation error: {name} is blank")
    metadata = call.fields.get("extra_metadata_filter")
    if metadata is not None and not _is_flat(metadata):
        raise unprocessable("Validation error: extra_metadata_filter must be an object of scalars")
    tier = call.text("trust_tier", required=False)
    return {
        "project": subject_of(call),
        "session": call.text("session_id", required=False),
        "trust": None if tier is None else checked_tier(tier),
        "kinds": tuple(checked_type(one) for one in call.texts("memory_types") or ()),
        "metadata": metadata or None,
    }


def _is_flat(value: Any) -> bool:
    return isinstance(value, dict) and not any(
        isinstance(one, dict | list) for one in value.values()
    )
