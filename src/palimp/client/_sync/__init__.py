# Made from client/_async by scripts/unasync.py; change it there.
"""The client, its profiles and their sessions."""

from __future__ import annotations

from .client import Client
from .documents import Documents, DocumentsReading
from .kv import KeySpace, KeySpaceReading
from .past import PastProfile
from .profile import Profile
from .review import ReviewBranch
from .session import Session, Transcript
from .vectors import Vectors, VectorsReading

__all__ = [
    "Client",
    "Documents",
    "DocumentsReading",
    "KeySpace",
    "KeySpaceReading",
    "PastProfile",
    "Profile",
    "ReviewBranch",
    "Session",
    "Transcript",
    "Vectors",
    "VectorsReading",
]
