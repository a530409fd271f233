"""Where a folder may be: what the system says of it, and what two processes find out."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from palimp.errors import Invalid
from palimp.node import file_system
from palimp.node.file_system import check_file_system, kind_of
from palimp.node.folder import Folder


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, and a table of mounts that says where it is."""
    table = tmp_path / "mountinfo"
    monkeypatch.setattr(file_system, "_MOUNTS", table)
    made = tmp_path / "a folder" / "memory"
    made.mkdir(parents=True)
    say(made, "ext4")
    return made


def say(folder: Path, kind: str, *more: str) -> None:
    point = str(folder.parent).replace(" ", "\\040")
    lines = [
        "22 1 0:20 / / rw - overlay overlay rw",
        f"30 22 0:30 / {point} rw shared:1 - {kind} x rw",
    ]
    file_system._MOUNTS.write_text("\n".join((*lines, *more)) + "\n")


def test_the_innermost_and_last_mount_says_the_kind(mounted: Path) -> None:
    assert kind_of(mounted) == "ext4"
    assert kind_of(mounted.parent.parent) == "overlay"
    # A name that only begins like it is not inside.
    assert kind_of(mounted.parent.with_name("a folder too")) == "overlay"
    point = str(mounted.parent).replace(" ", "\\040")
    say(mounted, "ext4", f"31 22 0:31 / {point} rw - nfs4 host:/x rw")
    assert kind_of(mounted) == "nfs4"
    link = mounted.parent.parent / "link"
    link.symlink_to(mounted)
    assert kind_of(link) == "nfs4"


def test_a_system_without_a_table_says_nothing(mounted: Path) -> None:
    file_system._MOUNTS.unlink()
    assert kind_of(mounted) == ""


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "lustre"])
def test_a_network_is_refused_before_anything_is_made(mounted: Path, kind: str) -> None:
    say(mounted, kind)
    with pytest.raises(
        Invalid, match=rf"on a network file system \({kind}\).*use a folder on a local disk"
    ):
        Folder(mounted)
    assert not os.listdir(mounted)


def test_an_unknown_one_is_tried_by_two_processes(mounted: Path) -> None:
    say(mounted, "newfs")
    Folder(mounted).close()
    # Nothing stays of the trial.
    assert sorted(os.listdir(mounted)) == ["README.txt", "hot", "lock", "palimp.json"]


@pytest.mark.parametrize("kind", ["newfs", ""])
def test_one_where_a_lock_holds_nobody_is_refused(
    mounted: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind:
        say(mounted, kind)
    else:
        file_system._MOUNTS.unlink()
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    with pytest.raises(
        Invalid, match=rf"file system \({kind or 'unknown'}\) where a lock of one process"
    ):
        check_file_system(mounted)
    assert not os.listdir(mounted)


def test_one_without_locks_is_refused(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    say(mounted, "newfs")
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(Invalid, match="a lock of one process does not keep another out"):
        check_file_system(mounted)
