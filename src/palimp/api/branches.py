"""History on the wire: branches, checkpoints, points, and what moves or checks a whole profile."""

from __future__ import annotations

from typing import Any

import msgspec

from ..points import Point
from .base import Request, Result, Sequenced
from .limits import PAGE_DEFAULT
from .operation import DATABASE, row

__all__ = [
    "ROWS",
    "Boundary",
    "BranchInfo",
    "Branches",
    "CheckpointDropped",
    "CheckpointInfo",
    "Checkpoints",
    "CreateCheckpoint",
    "DeleteBranch",
    "DeletedBranch",
    "DropCheckpoint",
    "Export",
    "Exported",
    "Finding",
    "Fork",
    "Forked",
    "GetManifest",
    "GotManifest",
    "Import",
    "Imported",
    "ListBranches",
    "ListCheckpoints",
    "ListPoints",
    "PointPage",
    "Restored",
    "Rewind",
    "Rewound",
    "Sync",
    "Verification",
    "Verify",
    "Wake",
    "Woken",
]


class Boundary(Result, frozen=True, kw_only=True):
    """A txid that can be read, forked from or returned to, and when it was made (UTC ms)."""

    txid: int
    at: int

    @property
    def point(self) -> Point:
        """The point that means this boundary."""
        return Point.txid(self.txid)


class CheckpointInfo(Boundary, frozen=True, kw_only=True):
    """A boundary with a name. It stays readable until the name is dropped."""

    name: str

    @property
    def point(self) -> Point:
        """The point that means this checkpoint."""
        return Point.checkpoint(self.name)


class CreateCheckpoint(Request, frozen=True, kw_only=True):
    """Name what the branch holds now; `name` begins with a letter.

    Or with the word for what comes next, `before`: `pre_{word}_` and 8 hex digits, of which the
    newest 20 stay.
    """

    name: str | None = None
    before: str | None = None


class ListCheckpoints(Request, frozen=True, kw_only=True):
    """Read the checkpoints of a branch."""


class Checkpoints(Result, Sequenced[CheckpointInfo], frozen=True, kw_only=True):
    """The checkpoints of a branch, by txid."""

    checkpoints: tuple[CheckpointInfo, ...]

    def _items(self) -> tuple[CheckpointInfo, ...]:
        return self.checkpoints


class DropCheckpoint(Request, frozen=True, kw_only=True):
    """Remove the name of a checkpoint; what it named stays as long as any other boundary does."""

    name: str


class CheckpointDropped(Result, frozen=True, kw_only=True):
    """The name that is free again."""

    name: str


class ListPoints(Request, frozen=True, kw_only=True):
    """Read the boundaries of a branch, newest first; `cursor` comes from the page before."""

    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class PointPage(Result, frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last."""

    points: tuple[Boundary, ...]
    next_cursor: str | None


class Rewind(Request, frozen=True, kw_only=True):
    """Return the branch to the point `to`, in a commit of its own: nothing of its history goes."""

    to: str


class Rewound(Result, frozen=True, kw_only=True):
    """What a rewind did: `txid` holds again what `to_txid` held; before it stood `from_txid`."""

    from_txid: int
    to_txid: int
    txid: int

    @property
    def undo(self) -> Point:
        """The point to rewind to when the rewind was a mistake."""
        return Point.txid(self.from_txid)


class ListBranches(Request, frozen=True, kw_only=True):
    """Read the branches of a profile."""


class BranchInfo(Result, frozen=True, kw_only=True):
    """One branch: where it was forked from, its newest boundary, when it goes by itself.

    `checkpoints` counts them. `ttl_at` is None for a branch that stays. `recovered` marks what was
    saved of a local file that could not continue its branch.
    """

    name: str
    branch_id: str
    txid: int
    at: int
    parent: str | None = None
    parent_txid: int | None = None
    checkpoints: int = 0
    ttl_at: int | None = None
    recovered: bool = False


class Branches(Result, Sequenced[BranchInfo], frozen=True, kw_only=True):
    """The branches of a profile."""

    branches: tuple[BranchInfo, ...]

    def _items(self) -> tuple[BranchInfo, ...]:
        return self.branches


class Fork(Request, frozen=True, kw_only=True):
    """Make the branch `name` of this branch as it is now, or was at the point `at`.

    `from` names the branch to fork where the target does not, `checkpoint` is a point by its name.
    With `ttl` (seconds) it is a burner: it is removed by itself when the time is over.
    """

    name: str
    from_: str | None = msgspec.field(default=None, name="from")
    at: str | None = None
    checkpoint: str | None = None
    ttl: float | None = None


class Forked(Result, frozen=True, kw_only=True):
    """The new branch: it holds what its parent held at `txid`."""

    name: str
    branch_id: str
    txid: int
    ttl_at: int | None = None


class DeleteBranch(Request, frozen=True, kw_only=True):
    """Remove a branch and what only it holds; `main` goes with its profile only."""


class DeletedBranch(Result, frozen=True, kw_only=True):
    """The name that is free again."""

    name: str


class Sync(Request, frozen=True, kw_only=True):
    """Store all that was acknowledged so far where it survives this machine."""


class Export(Request, frozen=True, kw_only=True):
    """Read a whole branch as one plain SQLite file."""


class Exported(Result, frozen=True, kw_only=True):
    """A plain SQLite file, and the txid it holds."""

    data: bytes
    txid: int


class Import(Request, frozen=True, kw_only=True):
    """Fill a profile that was never written with an exported file."""

    data: bytes


class Imported(Result, frozen=True, kw_only=True):
    """The txid that holds what was imported; `note` says what was flagged in it."""

    txid: int
    note: str | None = None


class Verify(Request, frozen=True, kw_only=True):
    """Read every object of a profile's history and check it."""


class Finding(Result, frozen=True, kw_only=True):
    """One object that is not sound, the txids it stands for, and what can still be read."""

    key: str
    branch: str
    min_txid: int
    max_txid: int
    what: str
    readable: str


class Verification(Result, Sequenced[Finding], frozen=True, kw_only=True):
    """What was read, and a sequence of what is not sound: empty where everything is."""

    branches: int
    objects: int
    bytes: int
    findings: tuple[Finding, ...] = ()

    def _items(self) -> tuple[Finding, ...]:
        return self.findings


class GetManifest(Request, frozen=True, kw_only=True):
    """Read the manifest of a branch, for debugging: its form changes with the release."""


class GotManifest(Result, frozen=True, kw_only=True):
    """What the manifest object says."""

    manifest: dict[str, Any]


class Wake(Request, frozen=True, kw_only=True):
    """Build the local file of a branch from the object store."""


class Woken(Result, frozen=True, kw_only=True):
    """The txid the local file holds."""

    txid: int


class Restored(Result, frozen=True, kw_only=True):
    """How many profiles and branches have a local file, and the errors of those that have none.

    `failed` holds a line for each: the branch and the error's message.
    """

    profiles: int
    branches: int
    failed: tuple[str, ...] = ()


_BRANCH = DATABASE + "/branches/{branch}"

ROWS = (
    row(
        "branches.list",
        f"GET {DATABASE}/branches",
        ListBranches,
        Branches,
        "read",
        "Read the branches of a profile.",
    ),
    row(
        "branches.fork",
        f"POST {DATABASE}/branches",
        Fork,
        Forked,
        "write writes 201",
        "Make a branch of what a branch holds, or held at a point.",
    ),
    row(
        "branches.delete",
        f"DELETE {_BRANCH}",
        DeleteBranch,
        DeletedBranch,
        "admin writes idempotent 204",
        "Remove a branch; its writers are stopped.",
    ),
    row(
        "checkpoints.create",
        f"POST {_BRANCH}/checkpoint",
        CreateCheckpoint,
        CheckpointInfo,
        "admin writes",
        "Name what a branch holds now, so that it stays readable.",
    ),
    row(
        "checkpoints.list",
        f"GET {_BRANCH}/checkpoints",
        ListCheckpoints,
        Checkpoints,
        "read",
        "Read the checkpoints of a branch.",
    ),
    row(
        "checkpoints.delete",
        f"DELETE {_BRANCH}/checkpoints/{{name}}",
        DropCheckpoint,
        CheckpointDropped,
        "admin writes idempotent 204",
        "Remove the name of a checkpoint.",
    ),
    row(
        "points.list",
        f"GET {_BRANCH}/points",
        ListPoints,
        PointPage,
        "read",
        "Read which txids of a branch can be read, forked from and returned to.",
    ),
    row(
        "rewind",
        f"POST {_BRANCH}/rewind",
        Rewind,
        Rewound,
        "admin writes",
        "Return a branch to a point, in a commit that can be undone like any other.",
    ),
    row(
        "sync",
        f"POST {DATABASE}/sync",
        Sync,
        Boundary,
        "write writes idempotent",
        "Store all that was acknowledged so far where it survives the node.",
    ),
    row(
        "export",
        f"GET {DATABASE}/export",
        Export,
        Exported,
        "read",
        "Read a branch, as it is or was at a point, as one plain SQLite file.",
    ),
    row(
        "import",
        f"POST {DATABASE}/import",
        Import,
        Imported,
        "admin writes 201",
        "Fill a profile that was never written with an exported file.",
    ),
    row(
        "verify",
        f"GET {DATABASE}/verify",
        Verify,
        Verification,
        "read",
        "Check every object of a profile's history, byte by byte.",
    ),
    row(
        "manifest",
        f"GET {DATABASE}/manifest",
        GetManifest,
        GotManifest,
        "read",
        "Read what the manifest of a branch says.",
    ),
    row(
        "wake",
        f"POST {DATABASE}/wake",
        Wake,
        Woken,
        "admin writes idempotent",
        "Build the local file of a branch from the object store.",
    ),
)
