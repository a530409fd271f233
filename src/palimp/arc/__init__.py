"""Events in an Arc time-series database, over HTTP, by way of a durable spool on this node's disk.

What was accepted is on the disk; from there it comes to Arc once, in its order, however often this
node, Arc or the way between them fails (docs/internals/arc.md). Knows nothing of profiles.
"""

from .binding import ArcBinding, ArcOptions, check_binding
from .pool import ArcPool
from .rows import Import, Parked
from .store import ArcEvents

__all__ = [
    "ArcBinding",
    "ArcEvents",
    "ArcOptions",
    "ArcPool",
    "Import",
    "Parked",
    "check_binding",
]
