"""OPERATIONS: everything that can be asked of Palimpsest, once.

Routes, scope checks, the client's calls and the reference pages are made from this table; an
operation outside it does not exist, and a test holds every surface against it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .base import Request, Result
from .branches import (
    Boundary,
    Branches,
    CheckpointDropped,
    CheckpointInfo,
    Checkpoints,
    CreateCheckpoint,
    DeleteBranch,
    DeletedBranch,
    DropCheckpoint,
    Export,
    Exported,
    Fork,
    Forked,
    GetManifest,
    GotManifest,
    Import,
    Imported,
    ListBranches,
    ListCheckpoints,
    ListPoints,
    PointPage,
    Rewind,
    Rewound,
    Sync,
    Verification,
    Verify,
    Wake,
    Woken,
)
from .memories import (
    Forget,
    Forgotten,
    GetMemory,
    GotMemory,
    History,
    HistoryOf,
    Ingest,
    Ingested,
    ListMemories,
    MemoryPage,
    Supersede,
    Written,
)
from .profiles import ListNames, ListProfiles, Maintain, Maintained, NamePage, ProfilePage
from .recall import Recall, RecallRequest
from .sessions import (
    Append,
    Appended,
    EndedSession,
    EndSession,
    ListSessions,
    SearchTurns,
    SessionPage,
    Turns,
    TurnSearch,
    Window,
)

__all__ = ["NO_OPTIONS", "OPERATIONS", "Durability", "Operation", "Options", "Target"]

Durability = Literal["local", "durable"]


class Target(msgspec.Struct, frozen=True):
    """What an operation is aimed at: a namespace, one of its profiles, or (both None) the node.

    `at` is a point of the branch in wire form (`palimp.points`): what is read is what the branch
    held there. A write has none.
    """

    namespace: str | None = None
    profile: str | None = None
    branch: str = "main"
    at: str | None = None


class Options(msgspec.Struct, frozen=True):
    """How a write is carried out, beside what is written.

    A repeat with the same `request_id` gets the answer of the first. When it returns, a `local`
    write survives the process and a power cut, a `durable` one the loss of the machine too.
    """

    request_id: str | None = None
    durability: Durability | None = None


NO_OPTIONS = Options()


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One row: what it is called, how it travels, and what it takes and gives."""

    name: str
    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    request: type[Request]
    result: type[Result]
    scope: Literal["read", "write", "admin"]
    writes: bool
    idempotent: bool
    summary: str


_PROFILE = "/v1/memory/{namespace}/{profile}"
_SESSION = _PROFILE + "/sessions/{session_id}"


def _row(
    name: str,
    route: str,
    request: type[Request],
    result: type[Result],
    access: str,
    summary: str,
) -> Operation:
    """Build a row; `access` is a scope, then `writes` and `idempotent` where they hold."""
    method, path = route.split(" ")
    scope, *flags = access.split(" ")
    return msgspec.convert(
        {
            "name": name,
            "method": method,
            "path": path,
            "request": request,
            "result": result,
            "scope": scope,
            "writes": "writes" in flags,
            "idempotent": "idempotent" in flags or "writes" not in flags,
            "summary": summary,
        },
        Operation,
    )


_ROWS = (
    _row(
        "memories.ingest",
        f"POST {_PROFILE}/memories",
        Ingest,
        Ingested,
        "write writes idempotent",
        "Write 1 to 1,000 memories in one transaction; the same memory twice is a duplicate.",
    ),
    _row(
        "memories.get",
        f"GET {_PROFILE}/memories/{{id}}",
        GetMemory,
        GotMemory,
        "read",
        "Read one memory with the ids it supersedes and is superseded by.",
    ),
    _row(
        "memories.list",
        f"GET {_PROFILE}/memories",
        ListMemories,
        MemoryPage,
        "read",
        "Read memories page by page, newest first, by filter.",
    ),
    _row(
        "memories.supersede",
        f"POST {_PROFILE}/memories/{{id}}/supersede",
        Supersede,
        Written,
        "write writes idempotent",
        "Replace a memory by a newer one; the old one stays in its history.",
    ),
    _row(
        "memories.forget",
        f"DELETE {_PROFILE}/memories/{{id}}",
        Forget,
        Forgotten,
        "write writes idempotent",
        "Remove one memory from the present: row, index entry and vectors.",
    ),
    _row(
        "memories.history",
        f"GET {_PROFILE}/history",
        HistoryOf,
        History,
        "read",
        "Read how a memory or a topic changed, oldest first.",
    ),
    _row(
        "recall",
        f"POST {_PROFILE}/recall",
        RecallRequest,
        Recall,
        "read",
        "Rank the memories that matter to a question, and say why.",
    ),
    _row(
        "sessions.list",
        f"GET {_PROFILE}/sessions",
        ListSessions,
        SessionPage,
        "read",
        "Read the sessions of a profile, most recently active first.",
    ),
    _row(
        "sessions.append",
        f"POST {_SESSION}/turns",
        Append,
        Appended,
        "write writes",
        "Append turns to a session's transcript in one transaction.",
    ),
    _row(
        "sessions.window",
        f"GET {_SESSION}/turns",
        Window,
        Turns,
        "read",
        "Read the last turns of a session, oldest first.",
    ),
    _row(
        "sessions.search",
        f"POST {_SESSION}/search",
        SearchTurns,
        TurnSearch,
        "read",
        "Rank the turns of one session.",
    ),
    _row(
        "sessions.end",
        f"DELETE {_SESSION}",
        EndSession,
        EndedSession,
        "write writes idempotent",
        "End a session: remove its tasks and, when asked, its transcript.",
    ),
    _row(
        "branches.list",
        f"GET {_PROFILE}/branches",
        ListBranches,
        Branches,
        "read",
        "Read the branches of a profile.",
    ),
    _row(
        "branches.fork",
        f"POST {_PROFILE}/branches",
        Fork,
        Forked,
        "write writes",
        "Make a branch of what a branch holds, or held at a point.",
    ),
    _row(
        "branches.delete",
        f"DELETE {_PROFILE}/branches/{{branch}}",
        DeleteBranch,
        DeletedBranch,
        "admin writes idempotent",
        "Remove a branch; its writers are stopped.",
    ),
    _row(
        "checkpoints.create",
        f"POST {_PROFILE}/checkpoints",
        CreateCheckpoint,
        CheckpointInfo,
        "write writes",
        "Name what a branch holds now, so that it stays readable.",
    ),
    _row(
        "checkpoints.list",
        f"GET {_PROFILE}/checkpoints",
        ListCheckpoints,
        Checkpoints,
        "read",
        "Read the checkpoints of a branch.",
    ),
    _row(
        "checkpoints.delete",
        f"DELETE {_PROFILE}/checkpoints/{{name}}",
        DropCheckpoint,
        CheckpointDropped,
        "write writes idempotent",
        "Remove the name of a checkpoint.",
    ),
    _row(
        "points.list",
        f"GET {_PROFILE}/points",
        ListPoints,
        PointPage,
        "read",
        "Read which txids of a branch can be read, forked from and returned to.",
    ),
    _row(
        "rewind",
        f"POST {_PROFILE}/rewind",
        Rewind,
        Rewound,
        "admin writes",
        "Return a branch to a point, in a commit that can be undone like any other.",
    ),
    _row(
        "sync",
        f"POST {_PROFILE}/sync",
        Sync,
        Boundary,
        "write writes idempotent",
        "Store all that was acknowledged so far where it survives the node.",
    ),
    _row(
        "export",
        f"GET {_PROFILE}/export",
        Export,
        Exported,
        "read",
        "Read a branch, as it is or was at a point, as one plain SQLite file.",
    ),
    _row(
        "import",
        f"POST {_PROFILE}/import",
        Import,
        Imported,
        "admin writes",
        "Fill a profile that was never written with an exported file.",
    ),
    _row(
        "verify",
        f"GET {_PROFILE}/verify",
        Verify,
        Verification,
        "read",
        "Check every object of a profile's history, byte by byte.",
    ),
    _row(
        "manifest",
        f"GET {_PROFILE}/manifest",
        GetManifest,
        GotManifest,
        "read",
        "Read what the manifest of a branch says.",
    ),
    _row(
        "wake",
        f"POST {_PROFILE}/wake",
        Wake,
        Woken,
        "admin writes idempotent",
        "Build the local file of a branch from the object store.",
    ),
    _row(
        "profiles.list",
        "GET /v1/memory/{namespace}",
        ListProfiles,
        ProfilePage,
        "read",
        "Read the profiles of a namespace.",
    ),
    _row(
        "names.list",
        "GET /v1/memory",
        ListNames,
        NamePage,
        "read",
        "Read the namespaces and profiles of the whole store.",
    ),
    _row(
        "maintain",
        "POST /v1/maintain",
        Maintain,
        Maintained,
        "admin writes idempotent",
        "Run the background work that is due: missing vectors, expired tasks.",
    ),
)

OPERATIONS: dict[str, Operation] = {row.name: row for row in _ROWS}
