"""The client, its profiles and their sessions."""

from __future__ import annotations

from .client import AsyncClient
from .profile import AsyncProfile
from .session import AsyncSession

__all__ = ["AsyncClient", "AsyncProfile", "AsyncSession"]
