"""The client, its profiles and their sessions."""

from __future__ import annotations

from .client import AsyncClient
from .documents import AsyncDocuments, AsyncDocumentsReading
from .kv import AsyncKeySpace, AsyncKeySpaceReading
from .past import AsyncPastProfile
from .profile import AsyncProfile
from .review import AsyncReviewBranch
from .session import AsyncSession, AsyncTranscript
from .vectors import AsyncVectors, AsyncVectorsReading

__all__ = [
    "AsyncClient",
    "AsyncDocuments",
    "AsyncDocumentsReading",
    "AsyncKeySpace",
    "AsyncKeySpaceReading",
    "AsyncPastProfile",
    "AsyncProfile",
    "AsyncReviewBranch",
    "AsyncSession",
    "AsyncTranscript",
    "AsyncVectors",
    "AsyncVectorsReading",
]
