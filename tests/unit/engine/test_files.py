"""The local files of a branch: which one counts, what is noted beside it, what goes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from palimp.engine.files import BranchFiles
from palimp.errors import Internal
from palimp.ltx import PageChecksums

PAGE = 512


@pytest.fixture
def files(tmp_path: Path) -> BranchFiles:
    return BranchFiles(tmp_path, "db", "main")


def made(files: BranchFiles, content: bytes = bytes(2 * PAGE)) -> Path:
    path = files.new_incarnation()
    path.write_bytes(content)
    files.make_current(path)
    return path


def sums(content: bytes = bytes(2 * PAGE)) -> PageChecksums:
    return PageChecksums.of(content, PAGE)


def test_a_file_counts_from_one_moment_on_and_the_one_before_goes(files: BranchFiles) -> None:
    assert files.current() is None
    assert files.size() == 0
    first = made(files)
    second = files.new_incarnation()
    second.write_bytes(b"later")
    assert files.current() == first
    files.make_current(second)
    assert files.current() == second
    assert not first.parent.exists()
    assert files.size() == 5
    second.with_name("main.db-wal").write_bytes(b"log")
    assert files.size() == 8


def test_what_a_crash_left_goes_and_what_counts_stays(files: BranchFiles) -> None:
    path = made(files)
    torn = files.new_incarnation()
    torn.write_bytes(b"half")
    files.remove_old()
    assert files.current() == path
    assert not torn.parent.exists()


@pytest.mark.parametrize("content", ["", "../elsewhere", "i_gone", "/etc"])
def test_a_name_that_leads_nowhere_counts_as_none(files: BranchFiles, content: str) -> None:
    made(files)
    (files.folder / "current").write_text(content)
    assert files.current() is None


def test_epochs_of_this_folder_are_known_after_a_restart(
    files: BranchFiles, tmp_path: Path
) -> None:
    for epoch in range(1, 21):
        files.record_epoch(epoch, f"n{epoch}")
    again = BranchFiles(tmp_path, "db", "main")
    assert [epoch for epoch in range(1, 21) if again.is_ours(f"n{epoch}")] == list(range(5, 21))
    assert not again.is_ours("of somebody else")


def test_a_damaged_record_of_epochs_is_not_taken_for_none(files: BranchFiles) -> None:
    files.record_epoch(1, "n1")
    (files.folder / "owner.json").write_text("{")
    with pytest.raises(Internal, match=r"owner\.json is damaged"):
        files.is_ours("n1")


def test_page_checksums_are_trusted_while_nothing_touched_the_file(files: BranchFiles) -> None:
    path = made(files)
    assert files.read_clean(path, 7) is None
    files.write_clean(path, 7, sums())
    found = files.read_clean(path, 7)
    assert found is not None
    assert found.checksum == sums().checksum
    assert files.read_clean(path, 8) is None


@pytest.mark.parametrize("touch", ["time", "size", "sums", "cut", "json", "other"])
def test_whatever_does_not_agree_makes_them_untrusted(files: BranchFiles, touch: str) -> None:
    path = made(files)
    files.write_clean(path, 7, sums())
    if touch == "time":
        stat = path.stat()
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    elif touch == "size":
        stat = path.stat()
        path.write_bytes(bytes(3 * PAGE))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    elif touch == "sums":
        (files.folder / "clean.sums").write_bytes(bytes(16))
    elif touch == "cut":
        (files.folder / "clean.sums").write_bytes(sums().to_bytes()[:-1])
    elif touch == "json":
        (files.folder / "clean.json").write_text("{}")
    else:
        path = made(files)
    assert files.read_clean(path, 7) is None


def test_a_file_that_was_set_aside_waits_with_what_is_known_of_it(files: BranchFiles) -> None:
    path = made(files, b"commits")
    for epoch in (1, 3, 9):
        files.record_epoch(epoch, f"n{epoch}")
    files.note_shipped(5, "0123456789abcdef")
    stray = files.set_aside(path, 4)
    assert files.current() is None
    assert files.strays() == [stray]
    assert stray.read_bytes() == b"commits"
    assert files.epoch_of(stray) == 3
    shipped = files.shipped_of(stray)
    assert shipped is not None
    assert (shipped.txid, shipped.checksum) == (5, "0123456789abcdef")
    # What is known of it goes with it, and is not said of the next file.
    other = files.set_aside(made(files), 0)
    assert files.shipped_of(other) is None
    assert files.epoch_of(other) == 0
    files.remove_old()
    assert files.strays() == sorted([stray, other])
    with pytest.raises(Internal, match="nowhere else"):
        files.remove()
    for one in (stray, other):
        files.remove_stray(one)
    assert files.strays() == []


def test_removing_leaves_no_folder_and_not_that_of_another_branch(
    files: BranchFiles, tmp_path: Path
) -> None:
    made(files)
    other = BranchFiles(tmp_path, "db", "other")
    made(other)
    files.remove()
    assert not files.folder.exists()
    assert other.current() is not None
    other.remove()
    assert list(tmp_path.iterdir()) == []
    # Of nothing there is nothing to remove.
    files.remove()


def test_discarding_removes_the_file_and_keeps_the_epochs(files: BranchFiles) -> None:
    path = made(files)
    files.record_epoch(1, "n1")
    files.discard()
    assert files.current() is None
    assert not path.parent.exists()
    assert files.is_ours("n1")
