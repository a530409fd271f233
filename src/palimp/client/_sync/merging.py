# Made from client/_async by scripts/unasync.py; change it there.
"""Branches of a profile against each other: comparing, merging, picking, taking back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ...api import Durability, to_request
from ...api.compare import (
    ApplyChanges,
    Chosen,
    Diff,
    DiffBranches,
    Merge,
    Merged,
    MergeStrategy,
    Pick,
    Picked,
    Resolution,
    Revert,
    Side,
)
from ...api.limits import CHANGES_DEFAULT, K_DEFAULT, PICK_CANDIDATES_DEFAULT
from ..fields import IdLike, PointLike
from ..inputs import branch_name, point, text_id
from .annotating import Annotating

if TYPE_CHECKING:
    from .profile import Profile

__all__ = ["Merging"]


class Merging(Annotating):
    """What a branch can be asked about another one of the same profile, given by name or itself.

    Memories are compared by id against the point where both parted, and come with their vectors,
    relations and entities; documents, KV pairs, turns and tables of SQL are neither compared nor
    changed. Before anything is changed a checkpoint is made; the answer names it.
    """

    __slots__ = ()

    def diff(
        self, base: Profile | str = "main", *, limit: int = CHANGES_DEFAULT
    ) -> Diff:
        """Return what this branch changed that `base` does not have, and the other way round.

        Up to `limit` entries of each list; `counts` says how many there are.
        """
        fields = {"against": branch_name(base), "limit": limit}
        request = to_request(DiffBranches, fields, "diff")
        found: Diff = self.client.call("branches.diff", self.target, request)
        return found

    def merge(
        self,
        source: Profile | str,
        *,
        strategy: MergeStrategy = "merge",
        on_conflict: Resolution = "abort",
        resolve: Mapping[str, Side] | None = None,
        expect_txid: int | None = None,
        expect_source_txid: int | None = None,
        dry_run: bool = False,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> Merged:
        """Bring what `source` changed since both parted into this branch, in one transaction.

        `append` brings only what was added; with `accept` that takes the place of what says almost
        the same here. What both changed is a conflict: `resolve` decides it by id for `ours` (this
        branch) or `theirs`, `on_conflict` all others; `abort` raises `Conflict` with them in its
        details and changes nothing. Merged again it changes nothing. With `expect_txid` (the `txid`
        of a dry run) it raises `Conflict` where this branch has moved on; what the node
        adds by itself, such as vectors, does not count.
        """
        fields = {
            "source": branch_name(source),
            "strategy": strategy,
            "on_conflict": on_conflict,
            "resolve": dict(resolve or {}),
            "expect_txid": expect_txid,
            "expect_source_txid": expect_source_txid,
            "dry_run": dry_run,
        }
        request = to_request(Merge, fields, "merge")
        done: Merged = self._write("branches.merge", request, durability, request_id)
        return done

    def apply(
        self,
        source: Profile | str,
        ids: Iterable[IdLike],
        *,
        resolve: Mapping[str, Side] | None = None,
        expect_txid: int | None = None,
        dry_run: bool = False,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> Merged:
        """Bring the changes of `source` with these ids, which a diff names, and no others.

        What has nothing to bring any more, or is a conflict nobody resolves, is in `skipped`.
        """
        fields = {
            "source": branch_name(source),
            "ids": [text_id(one) for one in ids],
            "resolve": dict(resolve or {}),
            "expect_txid": expect_txid,
            "dry_run": dry_run,
        }
        request = to_request(ApplyChanges, fields, "apply")
        done: Merged = self._write("branches.apply", request, durability, request_id)
        return done

    def pick(
        self,
        source: Profile | str,
        ids: Iterable[IdLike] = (),
        *,
        since: PointLike | None = None,
        until: PointLike | None = None,
        query: str | None = None,
        k: int = K_DEFAULT,
        min_score: float = 0.0,
        on_conflict: Resolution = "abort",
        expect_txid: int | None = None,
        dry_run: bool = False,
        limit: int = PICK_CANDIDATES_DEFAULT,
        offset: int = 0,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> Picked:
        """Bring memories of `source` as they are there, wherever both parted.

        They are chosen by `ids`, by what changed there between two of its points, or as the best
        `k` for a `query`. What is here and differs is a conflict, for `on_conflict` to decide.
        """
        chosen = {
            "ids": [text_id(one) for one in ids],
            "since": None if since is None else str(point(since)),
            "until": None if until is None else str(point(until)),
            "query": query,
            "k": k,
            "min_score": min_score,
        }
        fields = {
            "source": branch_name(source),
            "choose": to_request(Chosen, chosen, "pick"),
            "on_conflict": on_conflict,
            "expect_txid": expect_txid,
            "dry_run": dry_run,
            "limit": limit,
            "offset": offset,
        }
        request = to_request(Pick, fields, "pick")
        done: Picked = self._write("branches.pick", request, durability, request_id)
        return done

    def revert(
        self,
        since: PointLike,
        until: PointLike,
        *,
        on_conflict: Resolution = "abort",
        resolve: Mapping[str, Side] | None = None,
        expect_txid: int | None = None,
        dry_run: bool = False,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> Merged:
        """Take back what this branch changed between two of its points, and keep what is newer.

        What was changed again since is a conflict: `theirs` makes it what it was at `since`.
        """
        fields = {
            "since": str(point(since)),
            "until": str(point(until)),
            "on_conflict": on_conflict,
            "resolve": dict(resolve or {}),
            "expect_txid": expect_txid,
            "dry_run": dry_run,
        }
        request = to_request(Revert, fields, "revert")
        done: Merged = self._write("branches.revert", request, durability, request_id)
        return done
