"""What the default tools take and give: small structs, from which their schemas are made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from ..api import Memory, MemoryType
from ..api.base import Request
from ..api.limits import K_DEFAULT
from ..clock import format_ms

__all__ = [
    "BranchAction",
    "BranchLine",
    "BranchState",
    "CheckpointLine",
    "Detail",
    "ForgetArguments",
    "Forgot",
    "Found",
    "GetArguments",
    "HistoryArguments",
    "MemoryBatch",
    "RecallArguments",
    "Recalled",
    "RememberArguments",
    "RewindArguments",
    "RewoundTo",
    "Stored",
    "SupersedeArguments",
    "TurnBatch",
    "Version",
    "Versions",
    "words",
]


def _about(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


class RememberArguments(Request, frozen=True, kw_only=True):
    """One memory."""

    text: Annotated[str, _about("One self-contained statement")]
    type: MemoryType | None = None
    topic: Annotated[str | None, _about("Key like user.seat; replaces what held on it")] = None
    tags: tuple[str, ...] = ()
    session: str | None = None
    observed_at: Annotated[str | None, _about("RFC 3339")] = None
    ttl: Annotated[float | None, _about("Seconds a task lives")] = None


class MemoryBatch(Request, frozen=True, kw_only=True):
    """Memories that are checked one by one, so that an error can say which."""

    memories: tuple[dict[str, Any], ...]


class TurnBatch(Request, frozen=True, kw_only=True):
    """Turns that are checked one by one, so that an error can say which."""

    session: str
    turns: tuple[dict[str, Any], ...]


class RecallArguments(Request, frozen=True, kw_only=True):
    """A question."""

    query: str | None = None
    topic: Annotated[str | None, _about("Exact topic")] = None
    k: int = K_DEFAULT
    type: MemoryType | None = None
    session: str | None = None
    since: str | None = None
    until: str | None = None
    max_tokens: int | None = None
    include_superseded: bool = False
    at: Annotated[str | None, _about("Past point: checkpoint, txid or time")] = None


class GetArguments(Request, frozen=True, kw_only=True):
    """Which memory."""

    id: str


class SupersedeArguments(Request, frozen=True, kw_only=True):
    """Which memory, and what holds instead."""

    id: str
    text: str
    topic: str | None = None
    observed_at: str | None = None


class ForgetArguments(Request, frozen=True, kw_only=True):
    """Which memory."""

    id: str


class HistoryArguments(Request, frozen=True, kw_only=True):
    """A memory or a topic."""

    id: str | None = None
    topic: str | None = None


class BranchAction(Request, frozen=True, kw_only=True):
    """What to do with branches and checkpoints."""

    action: Literal["list", "checkpoint", "fork", "delete"]
    name: str | None = None
    at: Annotated[str | None, _about("Fork from this past point")] = None
    ttl: Annotated[float | None, _about("Seconds a fork lives")] = None


class RewindArguments(Request, frozen=True, kw_only=True):
    """Where to."""

    to: Annotated[str, _about("Checkpoint, txid or RFC 3339 time")]


class _Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a tool answers; what says nothing is left out."""


class Stored(_Answer, frozen=True, kw_only=True):
    """What a write did."""

    id: str
    status: str
    superseded: tuple[str, ...] = ()


class Version(_Answer, frozen=True, kw_only=True):
    """A memory in few words."""

    id: str
    text: str
    type: str
    when: str
    topic: str | None = None
    superseded_by: str | None = None


class Found(Version, frozen=True, kw_only=True):
    """A memory that recall found."""

    score: float


class Detail(Version, frozen=True, kw_only=True):
    """A memory with all that is known of it in few words."""

    kind: str | None = None
    tags: tuple[str, ...] = ()
    source: str | None = None
    session: str | None = None
    speaker: str | None = None
    importance: float | None = None
    superseded_at: str | None = None
    expires_at: str | None = None
    supersedes: tuple[str, ...] = ()


class Recalled(_Answer, frozen=True, kw_only=True):
    """The memories that matter, best first."""

    memories: tuple[Found, ...]


class Versions(_Answer, frozen=True, kw_only=True):
    """The versions of a memory, oldest first."""

    memories: tuple[Version, ...]


class Forgot(_Answer, frozen=True, kw_only=True):
    """Whether there was such a memory."""

    forgotten: bool


class BranchLine(_Answer, frozen=True, kw_only=True):
    """A branch."""

    name: str
    txid: int
    parent: str | None = None


class CheckpointLine(_Answer, frozen=True, kw_only=True):
    """A checkpoint."""

    name: str
    when: str


class BranchState(_Answer, frozen=True, kw_only=True):
    """What was listed, or what was made or deleted under which name."""

    name: str | None = None
    branches: tuple[BranchLine, ...] = ()
    checkpoints: tuple[CheckpointLine, ...] = ()


class RewoundTo(_Answer, frozen=True, kw_only=True):
    """Where a rewind went, and the point that undoes it."""

    to_txid: int
    undo: str


def words(memory: Memory) -> dict[str, Any]:
    """Return what `Version` says of a memory."""
    when = memory.created_at if memory.observed_at is None else memory.observed_at
    return {
        "id": memory.id,
        "text": memory.text,
        "type": memory.type,
        "when": format_ms(when),
        "topic": memory.topic,
        "superseded_by": memory.superseded_by,
    }
