"""What the recorder sees, and what the model of the disk lets a power cut leave of it."""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from disk_model import MOODS, SECTOR, Disk, Synced
from recorder import Recorder

from palimp.disk import sync_path

State = tuple[tuple[str, bytes | None], ...]
A, B = b"a" * SECTOR, b"b" * SECTOR


def record(tmp_path: Path, work: Callable[[Path], object]) -> Recorder:
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    recorder = Recorder(folder)
    with recorder:
        work(folder)
    return recorder


def outcomes(tmp_path: Path, work: Callable[[Path], object]) -> set[State]:
    """Return everything that may be left when the power goes after `work`."""
    recorder = record(tmp_path, work)
    recorder.check()
    disk = Disk(recorder.base)
    for event in recorder.log:
        disk.apply(event)
    found = set()
    for seed in range(80):
        for mood in MOODS:
            found.add(tuple(sorted(disk.image(mood, random.Random(seed)).items())))
    return found


def put(path: Path, data: bytes, *, sync: bool = True) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        if sync:
            stream.flush()
            os.fsync(stream.fileno())


def test_what_was_synced_is_there(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        put(folder / "f", A)
        sync_path(folder)

    assert outcomes(tmp_path, work) == {(("f", A),)}


def test_a_name_needs_its_folder_synced(tmp_path: Path) -> None:
    assert outcomes(tmp_path, lambda folder: put(folder / "f", A)) == {(), (("f", A),)}


def test_a_content_needs_its_file_synced(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        put(folder / "f", A + B, sync=False)
        sync_path(folder)

    zeros = bytes(SECTOR)
    assert outcomes(tmp_path, work) == {
        (("f", content),) for content in (b"", zeros + zeros, A + zeros, zeros + B, A + B)
    }


def test_what_is_overwritten_is_torn_at_sectors(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        put(folder / "f", A + A)
        sync_path(folder)
        descriptor = os.open(folder / "f", os.O_WRONLY)
        os.pwrite(descriptor, B + B[:10], 0)
        os.close(descriptor)

    tail = A[10:]
    assert outcomes(tmp_path, work) == {
        (("f", first + second + tail),) for first in (A, B) for second in (A[:10], B[:10])
    }


def test_a_file_that_is_made_anew_may_be_empty_or_old(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        put(folder / "f", A)
        sync_path(folder)
        put(folder / "f", B, sync=False)

    assert outcomes(tmp_path, work) == {(("f", content),) for content in (A, b"", bytes(SECTOR), B)}


def test_a_rename_puts_what_was_synced_in_its_place_or_leaves_the_old(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        put(folder / "f", A)
        sync_path(folder)
        put(folder / "new", B)
        os.rename(folder / "new", folder / "f")

    assert outcomes(tmp_path, work) == {(("f", A),), (("f", A), ("new", B)), (("f", B),)}


def test_the_names_of_a_folder_survive_in_order(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        for name in "abc":
            put(folder / name, b"")
        os.unlink(folder / "a")

    names = {tuple(name for name, _ in one) for one in outcomes(tmp_path, work)}
    assert names == {(), ("a",), ("a", "b"), ("a", "b", "c"), ("b", "c")}


def test_a_link_is_one_more_name(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        put(folder / "new", A)
        os.link(folder / "new", folder / "f")
        sync_path(folder)
        os.unlink(folder / "new")

    assert outcomes(tmp_path, work) == {(("f", A),), (("f", A), ("new", A))}


def test_a_folder_whose_name_was_not_synced_takes_all_with_it(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        (folder / "d").mkdir()
        put(folder / "d" / "f", A)
        sync_path(folder / "d")

    assert outcomes(tmp_path, work) == {(), (("d", None), ("d/f", A))}


@pytest.mark.parametrize("synced", [None, "d", "e"])
def test_a_rename_to_another_folder_is_never_lost_half(synced: str | None, tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        for name in "de":
            (folder / name).mkdir()
        put(folder / "d" / "f", A)
        for name in ("", "d", "e"):
            sync_path(folder / name)
        os.rename(folder / "d" / "f", folder / "e" / "f")
        if synced:
            sync_path(folder / synced)

    before = (("d", None), ("d/f", A), ("e", None))
    both = (*before, ("e/f", A))
    after = (("d", None), ("e", None), ("e/f", A))
    wanted = {None: {before, both, after}, "d": {after}, "e": {both, after}}
    assert outcomes(tmp_path, work) == wanted[synced]


def test_every_way_of_writing_is_seen(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        (folder / "text").write_text("häfen\n", "utf-8")
        with (folder / "text").open("a") as stream:
            stream.write("more")
        with (folder / "text").open("r+b") as stream:
            stream.seek(2)
            stream.write(b"X")
            stream.truncate(6)
        with open(folder / "raw", "xb", buffering=0) as raw:
            raw.write(b"raw")
        shutil.copy(folder / "text", folder / "copy")
        (folder / "deep" / "er").mkdir(parents=True)
        (folder / "deep" / "er" / "f").write_bytes(A)
        shutil.copytree(folder / "deep", folder / "other")
        shutil.rmtree(folder / "deep")
        os.replace(folder / "copy", folder / "raw")
        (folder / "other").rename(folder / "moved")
        descriptor = os.open(folder / "raw", os.O_RDWR)
        os.ftruncate(descriptor, 3)
        os.lseek(descriptor, 5, os.SEEK_SET)
        os.write(descriptor, b"end")
        os.close(descriptor)

    record(tmp_path, work).check()
    assert (tmp_path / "folder" / "raw").read_bytes() == b"h\xc3X\0\0end"


def test_what_the_recorder_cannot_see_fails_the_run(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        put(folder / "f", A)
        os.truncate(folder / "f", 1)

    with pytest.raises(AssertionError, match="not all that happens to \\['f'\\] is recorded"):
        record(tmp_path, work).check()


def test_sqlite_is_seen_with_its_log_and_its_syncs(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        connection = apsw.Connection(str(folder / "main.db"))
        assert connection.pragma("journal_mode", "wal") == "wal"
        connection.execute("CREATE TABLE t (a)")
        reader = apsw.Connection(str(folder / "main.db"), flags=apsw.SQLITE_OPEN_READONLY)
        connection.execute("INSERT INTO t VALUES (randomblob(20000))")
        assert reader.execute("SELECT count(*) FROM t").get == 1
        reader.close()
        seen.extend(sorted(os.listdir(folder)))
        connection.close()

    seen: list[str] = []
    recorder = record(tmp_path, work)
    recorder.check()
    assert seen == ["main.db", "main.db-shm", "main.db-wal"]
    sites = {event.site for event in recorder.log if isinstance(event, Synced)}
    assert {"SQLite, main.db", "SQLite, main.db-wal", "SQLite, main.db-wal, its folder"} <= sites


def test_everything_is_put_back(tmp_path: Path) -> None:
    before = os.open, os.fsync, open
    record(tmp_path, lambda _: None)
    assert (os.open, os.fsync, open) == before
    assert "recorded" not in apsw.vfs_names()
    with pytest.raises(ZeroDivisionError):
        record(tmp_path, lambda _: 1 // 0)
    assert (os.open, os.fsync, open) == before
