"""Object storage behind one small protocol: in memory, in a folder, or in the cloud.

`protocol.py` is the contract, `tests/conformance/test_store.py` holds every implementation to it.
"""

from .changing import change_object
from .counting import CountingStore
from .identity import identify
from .opening import open_store
from .protocol import (
    AlreadyThere,
    Entry,
    LostRace,
    ObjectStore,
    Page,
    Stored,
    Version,
    VersionMismatch,
)
from .selftest import self_test
from .volatile import VolatileStore

__all__ = [
    "AlreadyThere",
    "CountingStore",
    "Entry",
    "LostRace",
    "ObjectStore",
    "Page",
    "Stored",
    "Version",
    "VersionMismatch",
    "VolatileStore",
    "change_object",
    "identify",
    "open_store",
    "self_test",
]
