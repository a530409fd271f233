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
    Boundary,
    Branches,
    BranchInfo,
    CheckpointInfo,
    Checkpoints,
    Dropped,
    EndedSession,
    Explain,
    Feature,
    Finding,
    History,
    Hit,
    Ingested,
    ItemResult,
    Maintained,
    Memory,
    MemoryInput,
    Recall,
    Restored,
    Rewound,
    SessionInfo,
    Turn,
    TurnHit,
    TurnInput,
    Turns,
    TurnSearch,
    Verification,
    Written,
)
from .client import (
    AsyncClient,
    AsyncPastProfile,
    AsyncProfile,
    AsyncSession,
    AsyncTranscript,
    Client,
    PastProfile,
    Profile,
    Session,
    Transcript,
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

if TYPE_CHECKING:
    from .node import Node

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "AsyncPastProfile",
    "AsyncProfile",
    "AsyncSession",
    "AsyncTranscript",
    "Boundary",
    "BranchInfo",
    "Branches",
    "CheckpointInfo",
    "Checkpoints",
    "Client",
    "Conflict",
    "Denied",
    "Dropped",
    "EndedSession",
    "Error",
    "Explain",
    "Feature",
    "Finding",
    "History",
    "Hit",
    "Ingested",
    "Internal",
    "Invalid",
    "ItemResult",
    "Maintained",
    "Memory",
    "MemoryInput",
    "NotFound",
    "PastProfile",
    "Point",
    "Profile",
    "Recall",
    "Restored",
    "Rewound",
    "Session",
    "SessionInfo",
    "Transcript",
    "Turn",
    "TurnHit",
    "TurnInput",
    "TurnSearch",
    "Turns",
    "Unavailable",
    "Unconfigured",
    "Verification",
    "Written",
    "__version__",
    "open",
    "open_async",
]


def open(path: str | os.PathLike[str] | None = None, /, **settings: Any) -> Client:
    """Open a folder of memories in this process and return its client.

    The folder is made when it does not exist, and held until the client is closed: a second process
    gets `Unavailable` naming the first. `path` defaults to the setting `data_dir`
    (`PALIMP_DATA_DIR`, else `./memory`); keywords win over `PALIMP_*` variables, those over the
    TOML file named by `PALIMP_CONFIG`. Raises `Invalid` for an unknown setting or a folder that is
    not ours, `Unavailable` for one written by a newer release.
    """
    from .client.transports.embedded import Embedded

    return Client(Embedded(_node(path, settings)))


def open_async(path: str | os.PathLike[str] | None = None, /, **settings: Any) -> AsyncClient:
    """Open a folder like `open`, for an event loop: `async with open_async(...) as mem`."""
    from .client.transports.embedded import AsyncEmbedded

    return AsyncClient(AsyncEmbedded(_node(path, settings)))


def _node(path: str | os.PathLike[str] | None, settings: dict[str, Any]) -> Node:
    from .node import Node, load_settings

    if path is not None:
        settings = {**settings, "data_dir": path}
    return Node(load_settings(settings))
