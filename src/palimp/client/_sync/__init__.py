# Made from client/_async by scripts/unasync.py; change it there.
"""The client, its profiles and their sessions."""

from __future__ import annotations

from .client import Client
from .past import PastProfile
from .profile import Profile
from .session import Session, Transcript

__all__ = ["Client", "PastProfile", "Profile", "Session", "Transcript"]
