"""What an operator may set about the engine, and what all its branches share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import apsw
import msgspec

from ..clock import Clock
from ..observe import Metrics
from ..store import ObjectStore
from .claims import Claims
from .driver import Outside
from .lanes import Lanes
from .protocol import Manifest

__all__ = [
    "DAY_MS",
    "Cleanse",
    "Complete",
    "LookInto",
    "Options",
    "Parts",
    "Shipments",
    "complete_nothing",
]

DAY_MS = 86_400_000
# Frees a state of what is erased, in a transaction of the caller.
Cleanse: TypeAlias = Callable[[apsw.Connection], object]
# Makes, in a database that is new, those of the named objects that are not made at once.
Complete: TypeAlias = Callable[[apsw.Connection, Sequence[str]], None]
# Is told the key of a branch, its manifest, and the segment or snapshot that was shipped.
Listener: TypeAlias = Callable[[tuple[str, str], Manifest, bytes], None]
# Reads what stands in a file before it is imported, and raises where it may not be.
LookInto: TypeAlias = Callable[[apsw.Connection], None]


class Options(msgspec.Struct, frozen=True):
    """Times in seconds unless the name says ms; sizes in bytes."""

    # What is committed is shipped after so long, or when the log has grown by so much: commits
    # write the same pages again and again, so that this makes a segment of about a megabyte.
    ship_interval: float = 5.0
    ship_wal_bytes: int = 4 << 20
    # Above it writes are refused until the store has caught up.
    backlog_bytes: int = 256 << 20
    queue_depth: int = 256
    hot_cap: int = 128
    hot_idle: float = 60.0
    warm_idle: float = 3_600.0
    # Of the local files; 0: as much as there is.
    disk_budget: int = 0
    # Free space below which writes are refused.
    disk_reserve: int = 64 << 20
    # Of restored earlier states.
    past_budget: int = 1 << 30
    # How far back every boundary can be read, and how far back the last snapshot of a day.
    fine_ms: int = DAY_MS
    snapshots_ms: int = 30 * DAY_MS
    # What caps these two for a profile, by its namespace and name; None: nothing does.
    retention: Callable[[str, str], tuple[int | None, int | None]] | None = None
    # What frees states of a database of these erasures; with None of all it ever had, and None
    # where it had none.
    erasures: Callable[[str, tuple[str, ...] | None], Cleanse | None] | None = None
    # How long a caller waits for the object store.
    patience: float = 30.0
    # A branch that another node took is not taken back for so long.
    fenced_pause: float = 60.0
    # Of a branch this node does not own: how old what it reads may be.
    staleness: float = 5.0
    # A log longer than this is folded into its file; one that long interrupts slow readers.
    wal_bytes: int = 4 << 20
    wal_bytes_max: int = 64 << 20
    read_seconds_max: float = 5.0


class Shipments:
    """Tells one listener of every shipment, in the branch's lane: it returns at once."""

    def __init__(self) -> None:
        self.listener: Listener | None = None

    def tell(self, key: tuple[str, str], manifest: Manifest, data: bytes) -> None:
        """Say that a segment or snapshot was stored and linked."""
        if self.listener is not None:
            self.listener(key, manifest, data)


class Parts(msgspec.Struct, frozen=True):
    """What the branches of one engine share.

    `dirty` and `hurry` are told the key of a branch that has something to ship: after the interval,
    or now. `check_pressure` raises where no write may be taken now.
    """

    root: Path
    store: ObjectStore
    outside: Outside
    lanes: Lanes
    options: Options
    clock: Clock
    metrics: Metrics
    node: str
    check: Callable[[apsw.Connection, str], None]
    make_file: Callable[[Path], None]
    dirty: Callable[[tuple[str, str]], None]
    hurry: Callable[[tuple[str, str]], None]
    check_pressure: Callable[[str], None]
    # Where several nodes share the store; else None.
    claims: Claims | None = None
    shipments: Shipments = msgspec.field(default_factory=Shipments)


def complete_nothing(_connection: apsw.Connection, _names: Sequence[str]) -> None:
    """Make nothing: where all there can be is made at once."""
