"""What goes into extraction by rules and what comes out."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["Category", "Decision", "Proposal", "Statement", "Turn", "Type"]

Category = Literal["identity", "preference", "decision", "date", "instruction", "none"]
Type = Literal["fact", "event", "instruction", "task"]
Decision = Literal["created", "discarded_low_signal", "discarded_transient"]


class Turn(NamedTuple):
    """One turn: `speaker` is a name where there is one, `at_ms` when it was said."""

    seq: int
    role: str
    text: str
    speaker: str | None = None
    at_ms: int | None = None


class Proposal(NamedTuple):
    """One memory the rules found, or a turn they left out and why.

    `text` is a sentence of its own in the third person; `span` are the characters of the turn it
    was made of. Where `single`, only the latest under `extracted_key` is true, so that the key can
    be the topic: another employer, or the same liking denied (`polarity` False). `keywords` name
    the slot. `observed_at` is the time it speaks of, or when it was said.
    """

    category: Category
    type: Type
    text: str
    extracted_key: str | None
    confidence: float
    seq: int
    span: tuple[int, int]
    keywords: str | None
    observed_at: int | None
    value: str | None
    polarity: bool
    single: bool
    decision: Decision
    reason: str


class Statement(NamedTuple):
    """What a stored sentence says, in a form that two of them can be compared in.

    `slot` is the predicate (`employer`, `likes`), `value` its normalised value, `single` whether a
    subject has only one value of it at a time. `time` is `now`, `past`, `future`, or the time the
    sentence names. `key` is the canonical key of subject and slot (and value where not `single`).
    """

    subject: str
    slot: str
    value: str
    polarity: bool
    single: bool
    time: str
    key: str
