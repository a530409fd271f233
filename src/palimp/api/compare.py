"""Comparing branches on the wire: what differs, merging it, picking from it, taking it back."""

from __future__ import annotations

from typing import Literal

import msgspec

from .base import Request, Result
from .limits import CHANGES_DEFAULT, PICK_CANDIDATES_DEFAULT
from .memories import Memory
from .operation import DATABASE, row

__all__ = [
    "ROWS",
    "ApplyChanges",
    "Change",
    "ChangeKind",
    "Chosen",
    "ConflictKind",
    "Diff",
    "DiffBranches",
    "MemoryConflict",
    "Merge",
    "MergeStrategy",
    "Merged",
    "NotMerged",
    "Outcome",
    "Pick",
    "PickCandidate",
    "Picked",
    "Resolution",
    "Revert",
    "Side",
]

# Of two versions that were changed apart: the target's, or the source's.
Side = Literal["ours", "theirs"]
# What to do where a conflict is not decided by `resolve`.
Resolution = Literal["abort", "ours", "theirs"]
MergeStrategy = Literal["merge", "append", "accept"]
ChangeKind = Literal["added", "updated", "removed"]
ConflictKind = Literal["changed", "removed", "topic"]
Outcome = Literal["apply", "skip", "conflict"]


class Change(Result, frozen=True, kw_only=True):
    """One change of a memory, under the id by which it is chosen.

    `added`: `new` was not there. `updated`: `old` became `new`, which has another id where it was
    superseded. `removed`: `old` was forgotten, deleted or archived; `new` is None or what is left.
    `fields` names what differs where the id is the same.
    """

    id: str
    change: ChangeKind
    old: Memory | None = None
    new: Memory | None = None
    fields: tuple[str, ...] = ()


class MemoryConflict(Result, frozen=True, kw_only=True):
    """A memory that both sides changed since they parted, and differently.

    `kind`: `changed` on both, `removed` on one and changed on the other, or a `topic` that got
    another value on each. `ours` is the target's version and `theirs` the source's, `base` that of
    the point where they parted; None where there is none. `withheld` are ids that come with
    `theirs` and wait for the decision too.
    """

    id: str
    kind: ConflictKind
    ours: Memory | None = None
    theirs: Memory | None = None
    base: Memory | None = None
    withheld: tuple[str, ...] = ()


class DiffBranches(Request, frozen=True, kw_only=True):
    """Compare the branch with another one, `against`, since they parted; `main` unless given.

    Up to `limit` entries of each list; `counts` says how many there are.
    """

    against: str = "main"
    limit: int = CHANGES_DEFAULT


class Diff(Result, frozen=True, kw_only=True):
    """What the branch changed (`added`, `updated`, `removed`) that the other one does not have.

    `behind` is what only the other one changed, `conflicts` what both did, `counts` how many of
    each there are. Documents, KV pairs, turns and tables of SQL are not compared.
    """

    branch: str
    against: str
    added: tuple[Change, ...]
    updated: tuple[Change, ...]
    removed: tuple[Change, ...]
    conflicts: tuple[MemoryConflict, ...]
    behind: tuple[Change, ...]
    counts: dict[str, int]
    base_txid: int
    txid: int
    against_txid: int


class Merge(Request, frozen=True, kw_only=True):
    """Bring what another branch, `source`, changed since the two parted into this one.

    Strategy `merge` takes over what was added, updated and removed; `append` only what was added,
    and touches nothing that is here; `accept` what was added, which takes the place of what says
    almost the same here. Memories come with their vectors, relations and entities; documents, KV
    pairs, turns and tables of SQL stay as they are.

    What both sides changed is a conflict: decided by `resolve` (id to side), else by
    `on_conflict`; `abort` then changes nothing at all. With `expect_txid` the merge is refused
    where this branch has moved on from there, with `expect_source_txid` where the source has;
    vectors and relations that the node adds by itself are no such move. With `dry_run` nothing
    changes and the answer is what would.
    """

    source: str
    strategy: MergeStrategy = "merge"
    on_conflict: Resolution = "abort"
    resolve: dict[str, Side] = msgspec.field(default_factory=dict)
    expect_txid: int | None = None
    expect_source_txid: int | None = None
    dry_run: bool = False


class NotMerged(Result, frozen=True, kw_only=True):
    """An id that was asked for and not brought over, and why."""

    id: str
    reason: str


class Merged(Result, frozen=True, kw_only=True):
    """What a merge did, or would do (`dry_run`): ids, in the order they came to hold.

    `updated` holds pairs of the older and the newer id, `replaced` those of what took the place of
    something alike (strategy `accept`). `kept` are conflicts that were decided for this branch.
    `skipped` are ids that were asked for and had nothing to bring. `checkpoint` names the state
    before; None where nothing changed. A dry run lists `conflicts` that are not decided; done for
    real they are an error.
    """

    source: str
    added: tuple[str, ...] = ()
    updated: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()
    replaced: tuple[tuple[str, str], ...] = ()
    conflicts: tuple[MemoryConflict, ...] = ()
    kept: tuple[str, ...] = ()
    skipped: tuple[NotMerged, ...] = ()
    checkpoint: str | None = None
    dry_run: bool = False
    source_txid: int = 0
    txid: int = 0


class ApplyChanges(Request, frozen=True, kw_only=True):
    """Bring the changes with these `ids` (`Change.id`) from `source`, and no others.

    An id that has nothing to bring any more is skipped and named. A conflict among them is decided
    by `resolve`; what that leaves open stays as it is here, skipped and named.
    """

    source: str
    ids: tuple[str, ...]
    resolve: dict[str, Side] = msgspec.field(default_factory=dict)
    expect_txid: int | None = None
    dry_run: bool = False


class Chosen(Request, frozen=True, kw_only=True):
    """Which memories of the source: `ids`, a range of its history, or what a `query` finds.

    A range are the changes between the points `since` and `until` of the source. A query takes
    the `k` best with at least `min_score`.
    """

    ids: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    query: str | None = None
    k: int = 5
    min_score: float = 0.0


class Pick(Request, frozen=True, kw_only=True):
    """Bring memories of another branch here as they are there, wherever the two parted.

    What is not here is added. What is here and differs is a conflict: `abort` changes nothing,
    `ours` leaves it, `theirs` takes it over. With `dry_run` nothing changes, and up to `limit`
    candidates from `offset` on are shown.
    """

    source: str
    choose: Chosen
    on_conflict: Resolution = "abort"
    expect_txid: int | None = None
    dry_run: bool = False
    limit: int = PICK_CANDIDATES_DEFAULT
    offset: int = 0


class PickCandidate(Result, frozen=True, kw_only=True):
    """A memory that would be brought (`apply`), left (`skip`) or stands in the way (`conflict`).

    `score` where a query chose it.
    """

    memory: Memory
    outcome: Outcome
    exists: bool
    score: float | None = None


class Picked(Result, frozen=True, kw_only=True):
    """What a pick did, or would do; `skipped` are ids left as they are here, and why.

    `candidate_count` is how many differ, `conflict_count` how many of those are here already.
    """

    source: str
    picked: tuple[str, ...] = ()
    skipped: tuple[NotMerged, ...] = ()
    candidates: tuple[PickCandidate, ...] = ()
    candidate_count: int = 0
    conflict_count: int = 0
    checkpoint: str | None = None
    dry_run: bool = False
    txid: int = 0


class Revert(Request, frozen=True, kw_only=True):
    """Take back what this branch changed between two points, `since` and `until`; keep the rest.

    What was changed again after `until` is a conflict, decided as in a merge: `ours` leaves it as
    it is now, `theirs` makes it what it was at `since`.
    """

    since: str
    until: str
    on_conflict: Resolution = "abort"
    resolve: dict[str, Side] = msgspec.field(default_factory=dict)
    expect_txid: int | None = None
    dry_run: bool = False


_BRANCH = DATABASE + "/branches/{branch}"

ROWS = (
    row(
        "branches.diff",
        f"GET {_BRANCH}/diff",
        DiffBranches,
        Diff,
        "read",
        "Compare a branch with another one since they parted.",
    ),
    row(
        "branches.merge",
        f"POST {_BRANCH}/merge",
        Merge,
        Merged,
        "write writes idempotent",
        "Bring what another branch changed into this one.",
    ),
    row(
        "branches.apply",
        f"POST {_BRANCH}/apply",
        ApplyChanges,
        Merged,
        "write writes idempotent",
        "Bring chosen changes of another branch into this one.",
    ),
    row(
        "branches.pick",
        f"POST {_BRANCH}/pick",
        Pick,
        Picked,
        "write writes idempotent",
        "Bring chosen memories of another branch into this one, as they are there.",
    ),
    row(
        "branches.revert",
        f"POST {_BRANCH}/revert",
        Revert,
        Merged,
        "write writes idempotent",
        "Take back what a branch changed between two points, and keep what is newer.",
    ),
)
