"""How a branch's history stays true in object storage: generators that do no I/O themselves.

Each operation is a generator that yields one request at a time (`requests.py`) and is sent the
answer. A driver carries the requests out on a real store; the simulation under `tests/simulation`
carries them out on a scheduler that reorders, loses, delays and crashes. The same code runs in
both.
"""

from __future__ import annotations

from .branches import delete_branch, fork, read_branches
from .collect import collect
from .compact import compact
from .lane import Fenced, Lane
from .names import Found, delete_profile, find_profile
from .own import Taken, stop_cleanly, take_ownership
from .records import Manifest, Owner, SegmentRef
from .ship import Piece, add_checkpoint, drop_checkpoint, ship

__all__ = [
    "Fenced",
    "Found",
    "Lane",
    "Manifest",
    "Owner",
    "Piece",
    "SegmentRef",
    "Taken",
    "add_checkpoint",
    "collect",
    "compact",
    "delete_branch",
    "delete_profile",
    "drop_checkpoint",
    "find_profile",
    "fork",
    "read_branches",
    "ship",
    "stop_cleanly",
    "take_ownership",
]
