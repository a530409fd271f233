"""The client: one surface over every way to reach a node.

`_async` is the only source; `_sync` is made from it by `scripts/unasync.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    # Imported by who asks for it: most programs use the other one.
    if not name.startswith("Async") or name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import _async

    return getattr(_async, name)
