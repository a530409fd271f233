"""The client: one surface over every way to reach a node.

`_async` is the only source; `_sync` is made from it by `scripts/unasync.py`.
"""

from __future__ import annotations

from ._async import (
    AsyncClient,
    AsyncDocuments,
    AsyncDocumentsReading,
    AsyncKeySpace,
    AsyncKeySpaceReading,
    AsyncPastProfile,
    AsyncProfile,
    AsyncReviewBranch,
    AsyncSession,
    AsyncTranscript,
    AsyncVectors,
    AsyncVectorsReading,
)
from ._sync import (
    Client,
    Documents,
    DocumentsReading,
    KeySpace,
    KeySpaceReading,
    PastProfile,
    Profile,
    ReviewBranch,
    Session,
    Transcript,
    Vectors,
    VectorsReading,
)

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
