"""Palimpsest: an agent-memory database.

import palimp

with palimp.open("./memory") as mem:
    alice = mem.profile("alice")
    alice.remember("Prefers aisle seats", topic="user.seat")
    for hit in alice.recall("which seat does she like?"):
        print(hit.score, hit.text, hit.channels)
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .api import (
    Answered,
    Boundary,
    Branches,
    BranchInfo,
    CheckpointInfo,
    Checkpoints,
    Decided,
    DocumentCollection,
    DocumentCollections,
    Dropped,
    EmbedGeneration,
    EmbedStatus,
    EndedSession,
    Entity,
    EntityInput,
    Event,
    EventAppended,
    EventInput,
    EventsAppended,
    Explain,
    Extracted,
    Feature,
    Finding,
    GotValue,
    History,
    Hit,
    Ingested,
    InsertedDocuments,
    ItemResult,
    LineageForgotten,
    Maintained,
    Memory,
    MemoryInput,
    MergedReview,
    Proposal,
    Recall,
    Reembedded,
    Relation,
    RelationInput,
    Restored,
    Review,
    ReviewConflict,
    ReviewPair,
    Rewound,
    Rows,
    SessionInfo,
    SessionText,
    Side,
    StoredVector,
    Timeline,
    TimelineStats,
    Turn,
    TurnHit,
    TurnInput,
    Turns,
    TurnSearch,
    UpdatedDocuments,
    Upserted,
    ValuePut,
    VectorCollection,
    VectorCollections,
    VectorHit,
    VectorInput,
    VectorSearch,
    Verification,
    Written,
)
from .client import (
    Client,
    Documents,
    DocumentsReading,
    KeySpace,
    KeySpaceReading,
    PastProfile,
    Profile,
    ReviewBranch,
    Session,
    Transcript,
    Vectors,
    VectorsReading,
)
from .errors import (
    Conflict,
    Denied,
    Error,
    Internal,
    Invalid,
    NotFound,
    Unavailable,
    Unconfigured,
)
from .points import Point
from .version import __version__

if TYPE_CHECKING:
    from .client import (
        AsyncClient,
        AsyncDocuments,
        AsyncDocumentsReading,
        AsyncKeySpace,
        AsyncKeySpaceReading,
        AsyncPastProfile,
        AsyncProfile,
        AsyncReviewBranch,
        AsyncSession,
        AsyncTranscript,
        AsyncVectors,
        AsyncVectorsReading,
    )
    from .client.transports import Transport

__all__ = [
    "Answered",
    "AsyncClient",
    "AsyncDocuments",
    "AsyncDocumentsReading",
    "AsyncKeySpace",
    "AsyncKeySpaceReading",
    "AsyncPastProfile",
    "AsyncProfile",
    "AsyncReviewBranch",
    "AsyncSession",
    "AsyncTranscript",
    "AsyncVectors",
    "AsyncVectorsReading",
    "Boundary",
    "BranchInfo",
    "Branches",
    "CheckpointInfo",
    "Checkpoints",
    "Client",
    "Conflict",
    "Decided",
    "Denied",
    "DocumentCollection",
    "DocumentCollections",
    "Documents",
    "DocumentsReading",
    "Dropped",
    "EmbedGeneration",
    "EmbedStatus",
    "EndedSession",
    "Entity",
    "EntityInput",
    "Error",
    "Event",
    "EventAppended",
    "EventInput",
    "EventsAppended",
    "Explain",
    "Extracted",
    "Feature",
    "Finding",
    "GotValue",
    "History",
    "Hit",
    "Ingested",
    "InsertedDocuments",
    "Internal",
    "Invalid",
    "ItemResult",
    "KeySpace",
    "KeySpaceReading",
    "LineageForgotten",
    "Maintained",
    "Memory",
    "MemoryInput",
    "MergedReview",
    "NotFound",
    "PastProfile",
    "Point",
    "Profile",
    "Proposal",
    "Recall",
    "Reembedded",
    "Relation",
    "RelationInput",
    "Restored",
    "Review",
    "ReviewBranch",
    "ReviewConflict",
    "ReviewPair",
    "Rewound",
    "Rows",
    "Session",
    "SessionInfo",
    "SessionText",
    "Side",
    "StoredVector",
    "Timeline",
    "TimelineStats",
    "Transcript",
    "Turn",
    "TurnHit",
    "TurnInput",
    "TurnSearch",
    "Turns",
    "Unavailable",
    "Unconfigured",
    "UpdatedDocuments",
    "Upserted",
    "ValuePut",
    "VectorCollection",
    "VectorCollections",
    "VectorHit",
    "VectorInput",
    "VectorSearch",
    "Vectors",
    "VectorsReading",
    "Verification",
    "Written",
    "__version__",
    "connect",
    "connect_async",
    "open",
    "open_async",
]


def __getattr__(name: str) -> Any:
    # The asynchronous client is imported by who asks for it: most programs use the other one.
    if not name.startswith("Async") or name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import client

    return getattr(client, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def connect(
    url: str | None = None,
    *,
    token: str | None = None,
    source: str | None = None,
    retries: int = 4,
    timeout: float = 30.0,
) -> Client:
    """Return a client of a node that runs elsewhere: what `open` returns, with the same answers.

    Nothing is sent before the first call. `url` defaults to `PALIMP_URL`, else
    `http://127.0.0.1:8080`; it may have a path, where a proxy puts the node under one. `token`
    defaults to `PALIMP_TOKEN`, `source` to `PALIMP_SOURCE`.

    A call that meets a broken line or a busy node is repeated, up to `retries` times; a write is
    carried out once all the same. When that does not help it raises `Unavailable`, and
    `details["in_doubt"]` is true where a write may have happened. `timeout` is how many seconds
    may pass without anything happening. Raises `Invalid` for a URL or a setting that does not fit.
    """
    from .client.settings import connection
    from .client.transports.remote import Remote

    to = connection(url, token=token, source=source, retries=retries, timeout=timeout)
    return Client(Remote(to))


def connect_async(
    url: str | None = None,
    *,
    token: str | None = None,
    source: str | None = None,
    retries: int = 4,
    timeout: float = 30.0,
) -> AsyncClient:
    """Return a client of a node like `connect`, for an event loop: `async with connect_async()`."""
    from .client import AsyncClient
    from .client.settings import connection
    from .client.transports.remote import AsyncRemote

    to = connection(url, token=token, source=source, retries=retries, timeout=timeout)
    return AsyncClient(AsyncRemote(to))


def open(path: str | os.PathLike[str] | None = None, /, **settings: Any) -> Client:
    """Open a folder of memories and return its client.

    The folder is made when it does not exist. The first process that opens it owns it until its
    client is closed or the process ends; others reach it through the owner, and one of them takes
    it over when the owner is gone. `path` defaults to the setting `data_dir` (`PALIMP_DATA_DIR`,
    else `./memory`); keywords win over `PALIMP_*` variables, those over the TOML file named by
    `PALIMP_CONFIG`. Raises `Invalid` for an unknown setting, for one that differs from the owner's
    where all must agree, and for a folder that is not ours or on a network; `Unavailable` for one
    written by a newer release.
    """
    return Client(_folder(path, settings))


def open_async(path: str | os.PathLike[str] | None = None, /, **settings: Any) -> AsyncClient:
    """Open a folder like `open`, for an event loop: `async with open_async(...) as mem`."""
    from .client import AsyncClient
    from .client.transports.threaded import Threaded

    return AsyncClient(Threaded(_folder(path, settings)))


def _folder(path: str | os.PathLike[str] | None, settings: dict[str, Any]) -> Transport:
    from .client.transports.folder import Folder
    from .node import load_settings

    if path is not None:
        settings = {**settings, "data_dir": path}
    loaded = load_settings(settings)
    if loaded.read_only:
        from .client.transports.reading import open_for_reading

        return open_for_reading(loaded)
    return Folder(loaded)
