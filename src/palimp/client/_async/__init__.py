"""The client, its profiles and their sessions."""

from __future__ import annotations

from .client import AsyncClient
from .past import AsyncPastProfile
from .profile import AsyncProfile
from .session import AsyncSession, AsyncTranscript

__all__ = ["AsyncClient", "AsyncPastProfile", "AsyncProfile", "AsyncSession", "AsyncTranscript"]
