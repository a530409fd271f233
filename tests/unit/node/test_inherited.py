"""Files that are open already get new inodes before a forked process opens them."""

from __future__ import annotations

import builtins
import fcntl
import importlib
import os
import shutil
import threading
from pathlib import Path

import pytest

import palimp
from palimp.errors import Unavailable
from palimp.node import inherited
from palimp.node.inherited import renew_files, sqlite_works


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with palimp.open(tmp_path / "memory", embed_provider="none") as mem:
        for name in ("alice", "bob"):
            mem.profile(name).remember(f"of {name}")
    return tmp_path / "memory"


def files(folder: Path) -> list[Path]:
    return sorted((folder / "hot").glob("*/*/*/main.db"))


def test_only_what_is_open_gets_a_new_inode_and_stays_what_it_was(folder: Path) -> None:
    mine, other = files(folder)[:2]
    before = {path: (path.stat(), path.read_bytes()) for path in (mine, other)}
    (mine.parent / "main.db-shm").write_bytes(b"marks")
    (mine.parent / "main.db-wal").write_bytes(b"log")
    with mine.open("rb"):
        assert renew_files(folder)
    for path in (mine, other):
        old, data = before[path]
        assert path.read_bytes() == data
        assert (path.stat().st_mtime_ns, path.stat().st_mode) == (old.st_mtime_ns, old.st_mode)
    assert mine.stat().st_ino != before[mine][0].st_ino
    assert other.stat().st_ino == before[other][0].st_ino
    assert sorted(path.name for path in mine.parent.iterdir()) == ["main.db", "main.db-wal"]
    (mine.parent / "main.db-wal").unlink()
    with palimp.open(folder, embed_provider="none") as mem:
        assert [next(mem.profile(name).list()).text for name in ("alice", "bob")] == [
            "of alice",
            "of bob",
        ]


def test_a_folder_that_somebody_has_is_left_alone(folder: Path) -> None:
    path = files(folder)[0]
    inode = path.stat().st_ino
    with path.open("rb"), (folder / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not renew_files(folder)
    assert path.stat().st_ino == inode


def test_a_folder_that_is_not_there_has_nothing_to_renew(tmp_path: Path) -> None:
    assert renew_files(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_full_disk_is_said_and_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", full)
    path = files(folder)[0]
    before = path.read_bytes()
    with path.open("rb"), pytest.raises(Unavailable, match="with more free space") as caught:
        renew_files(folder)
    assert caught.value.details["reason"] == "folder"
    assert path.read_bytes() == before
    with (folder / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_whether_sqlite_works_is_found_out_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inherited, "_works", None)
    assert sqlite_works()
    over = threading.Event()
    monkeypatch.setattr(inherited, "_use_sqlite", over.wait)
    monkeypatch.setattr(inherited, "_PROBE_SECONDS", 0.05)
    assert sqlite_works()
    monkeypatch.setattr(inherited, "_works", None)
    assert not sqlite_works()
    over.set()
    assert not sqlite_works()


def test_what_another_thread_imports_at_the_fork_keeps_from_owning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what the forking thread itself imports does not, once it has."""
    (tmp_path / "half_done.py").write_text("import builtins\nbuiltins.half_done()\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("forked", "_works", "_half_imported"):
        monkeypatch.setattr(inherited, name, getattr(inherited, name))
    inside, over = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        over.wait(10)

    monkeypatch.setattr(builtins, "half_done", wait, raising=False)
    importer = threading.Thread(target=importlib.import_module, args=("half_done",))
    importer.start()
    assert inside.wait(10)
    inherited._forked()
    assert not inherited.can_own()
    over.set()
    importer.join(10)
    assert inherited.can_own()
    inherited._forked()
    assert inherited.can_own()


def test_a_forked_process_knows_it_is_one() -> None:
    child = os.fork()
    if child == 0:
        os._exit(inherited.forked and inherited._works is None)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
