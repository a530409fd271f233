"""The client: one surface over every way to reach a node.

`_async` is the only source; `_sync` is made from it by `scripts/unasync.py`.
"""

from __future__ import annotations

from ._async import (
    AsyncClient,
    AsyncPastProfile,
    AsyncProfile,
    AsyncSession,
    AsyncTranscript,
)
from ._sync import Client, PastProfile, Profile, Session, Transcript

__all__ = [
    "AsyncClient",
    "AsyncPastProfile",
    "AsyncProfile",
    "AsyncSession",
    "AsyncTranscript",
    "Client",
    "PastProfile",
    "Profile",
    "Session",
    "Transcript",
]
