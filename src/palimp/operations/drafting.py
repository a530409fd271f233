"""From what was found in turns to memories that could be written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ..api import MemoryInput
from ..api.extraction import Decision, Extract
from ..clock import format_ms
from ..errors import Error
from ..ids import memory_id
from ..profile.extracted import Candidate
from ..profile.lineage import session_reference, source_reference, turn_reference
from ..profile.memories import Draft, Writer, draft
from ..profile.proposals import NewProposal, proposal_id

if TYPE_CHECKING:
    from ..models.extract import Found
    from ..models.rules import Turn
    from .redacting import Screen

__all__ = ["Origin", "candidates_of"]

_TOPIC_TYPES = ("fact", "instruction")
# Only a user may say how an assistant is to behave: what a tool or a page says is read, not obeyed.
_TRUSTED_ROLE = "user"


class Origin(NamedTuple):
    """Where candidates come from: what was asked, the model's name, and the turns by number."""

    request: Extract
    model: str | None
    turns: Sequence[Turn]

    @property
    def stored(self) -> bool:
        """Whether the turns stand in a session, and are not only said to."""
        return not self.request.turns


def candidates_of(
    found: Sequence[Found], origin: Origin, writer: Writer, screen: Screen | None
) -> list[Candidate]:
    """Return what may be written, in the order of the turns; `screen` decides what may be kept."""
    turns = {turn.seq: turn for turn in origin.turns}
    ordered = sorted(found, key=lambda one: one.seq or 0)
    return [
        _candidate(one, turns.get(one.seq) if one.seq else None, origin, writer, screen)
        for one in ordered
    ]


def _candidate(
    found: Found, turn: Turn | None, origin: Origin, writer: Writer, screen: Screen | None
) -> Candidate:
    from ..models.extract import is_low_signal

    request = origin.request
    decision: Decision = found.decision or "created"
    reason = found.reason
    checked: Draft | None = None
    flags: tuple[str, ...] = ()
    try:
        given = _memory(found, turn, origin)
        if screen is not None:
            given, flags, said = screen.memory(given)
            reason = "; ".join(filter(None, (reason, said))) or None
            found = found._replace(text=given.text, keywords=given.keywords)
        checked = draft(given, flags)
    except Error as error:
        # Its words may be what the policy does not let in.
        found, given = found._replace(text="", key=None), MemoryInput(text="")
        decision, reason = "discarded_policy", str(error)
    low = is_low_signal(found.text, found.confidence, request.min_confidence)
    if decision == "created" and low is not None:
        decision, reason = "discarded_low_signal", low
    trusted = found.type != "instruction" or (turn is not None and turn.role == _TRUSTED_ROLE)
    if not trusted and decision == "created":
        role = turn.role if turn is not None else "nobody"
        reason = f"it tells the assistant what to do, and {role!r:.40} said it, not the user"
    kept = checked is not None and decision != "discarded_policy"
    said_at = turn.at_ms if turn is not None else None
    proposal = NewProposal(
        id=proposal_id(
            writer.id_key,
            "memory",
            found.text if checked is None else memory_id(writer.id_key, checked.canonical),
            request.session,
            request.source,
            found.seq,
            said_at,
        ),
        kind="memory",
        decision=decision,
        text=found.text or None,
        draft=msgspec.json.encode(given).decode() if kept else None,
        reason=reason,
        category=found.category,
        extracted_key=found.key,
        confidence=found.confidence,
        source=request.source,
        session=request.session,
        seq=found.seq,
        span=found.span,
        model=origin.model,
    )
    return Candidate(
        proposal,
        checked if decision == "created" else None,
        replaces=found.replaces,
        certain=origin.stored or said_at is not None,
        trusted=trusted,
    )


def _memory(found: Found, turn: Turn | None, origin: Origin) -> MemoryInput:
    request = origin.request
    derived = []
    if request.session is not None and turn is not None:
        derived.append(
            turn_reference(request.session, turn.seq)
            if origin.stored
            else session_reference(request.session)
        )
    if request.source is not None:
        derived.append(source_reference(request.source))
    topic = found.key if found.single and found.type in _TOPIC_TYPES else None
    dedup_key = None
    if found.type == "event" and found.observed_at is not None:
        # The same may happen again on another day.
        dedup_key = format_ms(found.observed_at, pattern="%Y-%m-%d")
    return MemoryInput(
        text=found.text,
        type=found.type,
        topic=topic,
        keywords=found.keywords,
        source=request.source,
        session=request.session,
        speaker=turn.speaker if turn is not None else None,
        project=request.project,
        environment=request.environment,
        confidence=found.confidence,
        observed_at=found.observed_at,
        dedup_key=dedup_key,
        derived_from=tuple(derived),
        source_span=found.span,
    )
