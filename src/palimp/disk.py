"""What makes a change of the file system survive a power cut."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["make_folders", "replace_file", "sync_path"]


_SYNCED: set[Path] = set()
_SYNCED_MAX = 10_000


def sync_path(path: str | os.PathLike[str]) -> None:
    """Force a file, or the names in a folder, to the disk; raises `OSError` where it refuses."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Put `data` under `path`, whole or not at all; when `durable` it stays after a power cut.

    One writer a path at a time: the temporary's name is made of it.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        _write(fresh, data, durable=durable)
        os.rename(fresh, path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    if durable:
        sync_path(path.parent)


def _write(path: Path, data: bytes, *, durable: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(path: Path, root: Path, *, durable: bool = True) -> bool:
    """Make `path` and what is missing below `root`; whether `path` itself was missing.

    When `durable` they stay after a power cut. Then the name of one that is there already is synced
    too, once a process: who made it may have been killed before it did, or not have needed it.
    """
    folders, folder, made = [], path, False
    while folder != root:
        folders.append(folder)
        folder = folder.parent
    for folder in reversed(folders):
        made = not folder.is_dir()
        if made:
            # One of this path may have been synced, and removed since.
            _SYNCED.discard(folder)
            folder.mkdir(mode=0o700, exist_ok=True)
        if not durable or folder in _SYNCED:
            continue
        sync_path(folder.parent)
        if len(_SYNCED) >= _SYNCED_MAX:
            _SYNCED.clear()
        _SYNCED.add(folder)
    return made
