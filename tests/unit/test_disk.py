"""Forcing names and contents to the disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from palimp.disk import sync_path


def test_files_and_folders_are_synced_and_nothing_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    (tmp_path / "file").write_text("x")
    sync_path(tmp_path / "file")
    sync_path(tmp_path)
    assert synced == [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync_path(tmp_path / "missing")
