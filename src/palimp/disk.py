"""What makes a change of the file system survive a power cut."""

from __future__ import annotations

import os

__all__ = ["sync_path"]


def sync_path(path: str | os.PathLike[str]) -> None:
    """Force a file, or the names in a folder, to the disk; raises `OSError` where it refuses."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
