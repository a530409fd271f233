"""The client: one surface over every way to reach a node.

`_async` is the only source; `_sync` is made from it by `scripts/unasync.py`.
"""

from __future__ import annotations

from ._async import AsyncClient, AsyncProfile, AsyncSession
from ._sync import Client, Profile, Session

__all__ = ["AsyncClient", "AsyncProfile", "AsyncSession", "Client", "Profile", "Session"]
