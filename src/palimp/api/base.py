"""What every struct of the wire shares: frozen, keyword-only, and the wire's field names."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["PYTHON_NAMES", "WIRE_NAMES", "Request", "Result"]

# Python says topic, session and agent; the wire says topic_key, session_id and agent_id.
WIRE_NAMES: dict[str, str] = {"topic": "topic_key", "session": "session_id", "agent": "agent_id"}
PYTHON_NAMES: dict[str, str] = {wire: name for name, wire in WIRE_NAMES.items()}


class Request(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=WIRE_NAMES
):
    """A request: an unknown field is refused by name, so a misspelt filter never matches all."""


class Result(msgspec.Struct, frozen=True, kw_only=True, rename=WIRE_NAMES):
    """A result: unknown fields are ignored, so that an older client reads a newer node."""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as the JSON object that travels on the wire."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain
