"""How a branch's history stays true in object storage: generators that do no I/O themselves.

Each operation is a generator that yields one request at a time (`requests.py`) and is sent the
answer. A driver carries the requests out on a real store; the simulation under `tests/simulation`
carries them out on a scheduler that reorders, loses, delays and crashes. The same code runs in
both.
"""

from __future__ import annotations

from .branches import Child, Wanted, delete_branch, fork, list_branches, recover
from .collect import collect, collect_deleted
from .condense import condense, is_crowded
from .erase import (
    coarsen,
    kept_points,
    mark_erasing,
    store_point,
    unmark_erasing,
    unmarked,
)
from .heads import expire, remove_branch
from .lane import Fenced, Lane
from .names import (
    Found,
    Located,
    delete_profile,
    find_profile,
    locate,
    make_profile,
    read_name,
)
from .own import Taken, stop_cleanly, take_ownership
from .records import History, HistoryRef, Manifest, Owner, Parent, SegmentRef
from .retain import Keep, retain
from .ship import Piece, add_checkpoint, drop_checkpoint, rebase, ship
from .timeline import Timeline, read_timeline

__all__ = [
    "Child",
    "Fenced",
    "Found",
    "History",
    "HistoryRef",
    "Keep",
    "Lane",
    "Located",
    "Manifest",
    "Owner",
    "Parent",
    "Piece",
    "SegmentRef",
    "Taken",
    "Timeline",
    "Wanted",
    "add_checkpoint",
    "coarsen",
    "collect",
    "collect_deleted",
    "condense",
    "delete_branch",
    "delete_profile",
    "drop_checkpoint",
    "expire",
    "find_profile",
    "fork",
    "is_crowded",
    "kept_points",
    "list_branches",
    "locate",
    "make_profile",
    "mark_erasing",
    "read_name",
    "read_timeline",
    "rebase",
    "recover",
    "remove_branch",
    "retain",
    "ship",
    "stop_cleanly",
    "store_point",
    "take_ownership",
    "unmark_erasing",
    "unmarked",
]
