"""The keyword arguments of the client's methods, typed once for both colours of the client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, TypeAlias, TypedDict

from ..api import (
    Consistency,
    Decision,
    Depth,
    EntityInput,
    ExtractionMethod,
    MemoryInput,
    MemoryType,
    ProposalKind,
    RelationInput,
    Scalar,
    Tier,
    Wait,
)
from ..api.recall import Channel
from ..points import Point

__all__ = [
    "AnnotationFields",
    "AskFields",
    "ClusterFields",
    "ContextFields",
    "EntityLike",
    "EventFields",
    "ExtractFields",
    "FilterFields",
    "HasId",
    "IdLike",
    "ListFields",
    "MemoryFields",
    "MemoryLike",
    "PointLike",
    "ProposalFields",
    "ReadFields",
    "RecallFields",
    "Time",
    "TimelineFields",
]

Time: TypeAlias = datetime | int | str
"""A point in time: a datetime (naive means UTC), milliseconds since 1970, or RFC 3339 text.

Where a listing begins and ends it may also be how long ago: `90m`, `24h`, `7d`.
"""


PointLike: TypeAlias = Point | str | datetime
"""A point of a branch's history: a `Point`, a checkpoint's name, or a time."""


class HasId(Protocol):
    """Anything that carries an id: a memory, a hit, the result of a write."""

    @property
    def id(self) -> str:
        """The id."""


IdLike: TypeAlias = str | HasId
MemoryLike: TypeAlias = Mapping[str, Any] | MemoryInput
EntityLike: TypeAlias = str | Mapping[str, Any] | EntityInput


class MemoryFields(TypedDict, total=False):
    """What can be said of a memory besides its text; `MemoryInput` says what each means."""

    type: MemoryType
    kind: str
    topic: str
    content: Any
    keywords: str
    tags: Sequence[str]
    metadata: Mapping[str, Any]
    source: str
    session: str
    agent: str
    speaker: str
    project: str
    environment: str
    importance: float
    confidence: float
    trust: str
    observed_at: Time
    ttl: timedelta | float
    expires_at: Time
    dedup_key: str
    dedup_window: timedelta | float
    extracted_key: str
    derived_from: Sequence[IdLike]
    source_span: tuple[int, int]
    embedding: Sequence[float]
    relations: Sequence[Mapping[str, Any] | RelationInput]
    entities: Sequence[EntityLike]


class AnnotationFields(TypedDict, total=False):
    """What can be said about a memory that is there; `Annotate` says what each means."""

    metadata: Mapping[str, Any]
    expect_metadata: Mapping[str, Any]
    tags: Sequence[str]
    importance: float
    confidence: float
    trust: str
    source: str


class ReadFields(TypedDict, total=False):
    """How something is read; `Options` says what each means."""

    min_txid: int
    consistency: Consistency


class FilterFields(TypedDict, total=False):
    """Which memories are meant; `Filters` says what each means."""

    type: MemoryType | Sequence[MemoryType]
    kind: str | Sequence[str]
    session: str
    source: str
    sources: Sequence[str]
    agent: str
    speaker: str
    tags: Sequence[str]
    tags_any: Sequence[str]
    since: Time
    until: Time
    project: str
    project_or_none: str
    any_project: bool
    environment: str
    state: str
    trust: str
    importance_min: float
    include_superseded: bool
    flags: Sequence[str]
    tier: Tier
    metadata: Mapping[str, Scalar]


class ListFields(FilterFields, ReadFields, total=False):
    """Filters of a listing."""

    topic: str


class ClusterFields(FilterFields, ReadFields, total=False):
    """Filters of a listing of clusters."""


class AskFields(FilterFields, ReadFields, total=False):
    """What a question takes besides query and k; `Ask` says what each means."""

    min_score: float
    max_tokens: int


class ExtractFields(TypedDict, total=False):
    """What extraction takes besides the turns; `Extract` says what each means."""

    session: str
    from_seq: int
    to_seq: int
    source: str
    method: ExtractionMethod
    dry_run: bool
    review: bool
    min_confidence: float
    project: str
    environment: str
    wait: Wait


class ProposalFields(ReadFields, total=False):
    """Which proposals are meant; `ListProposals` says what each means."""

    kind: ProposalKind
    decision: Decision
    session: str
    source: str


class RecallFields(FilterFields, ReadFields, total=False):
    """What a recall takes besides query and k; `RecallRequest` says what each means."""

    embedding: Sequence[float]
    topic: str
    min_score: float
    max_tokens: int
    window: int
    include_turns: bool
    explain: bool
    scores: bool
    depth: Depth
    weights: str | Mapping[str, float]
    channels: Sequence[Channel]
    feedback_weight: float
    steps: int


class EventFields(TypedDict, total=False):
    """What can be said of an event besides agent and text; `EventInput` says what each means."""

    kind: str
    event: str
    session: str
    metadata: Mapping[str, Any]
    tags: Sequence[str]
    importance: float
    parent: str
    dedup_key: str


class TimelineFields(ReadFields, total=False):
    """Which events are meant, and in which order; `ListTimeline` says what each means."""

    agent: str
    session: str
    kind: str | Sequence[str]
    event: str | Sequence[str]
    tags: Sequence[str]
    contains: str
    since: Time
    until: Time
    importance_min: float
    dedup_key: str
    order: Literal["asc", "desc"]


class ContextFields(ReadFields, total=False):
    """What a session's text is to have; `SessionContext` says what each means."""

    since: Time | None
    kinds: Sequence[str]
    max_tokens: int | None
    limit: int
