"""Whether a folder is where locks hold: not on a network, and not where `flock` does nothing."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

from ..errors import Invalid

__all__ = ["LOCK_TEST", "check_file_system", "kind_of"]

LOCK_TEST = ".lock-test"

_MOUNTS = Path("/proc/self/mountinfo")
# Known to keep a lock and a socket where all processes of one machine see them.
_LOCAL = frozenset(
    "apfs bcachefs btrfs exfat ext2 ext3 ext4 f2fs jfs overlay ramfs reiserfs tmpfs ufs vfat xfs "
    "zfs".split()
)
# A lock of another machine may not be seen, its socket never is, and SQLite's log needs both.
_NETWORK = frozenset(
    "afs beegfs ceph cifs gfs2 glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 pvfs2 smb3 smbfs "
    "fuse.gcsfuse fuse.glusterfs fuse.juicefs fuse.rclone fuse.s3fs fuse.sshfs".split()
)
_SECONDS = 10
_FREE, _HELD = 3, 4
_TRY = f"""
import fcntl, os, sys
try:
    fcntl.flock(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit({_HELD})
sys.exit({_FREE})
"""


def check_file_system(folder: Path) -> None:
    """Raise `Invalid` for a folder on a network, or on a file system where locks do not hold.

    Of one that is not known to be either, two processes try.
    """
    kind = kind_of(folder)
    if kind in _LOCAL:
        return
    if kind in _NETWORK:
        raise Invalid(
            f"{folder} is on a network file system ({kind}), where processes on other machines "
            "would not see its lock; use a folder on a local disk, and PALIMP_OBJECT_STORE for a "
            "history that several machines reach"
        )
    if not _locks_hold(folder):
        raise Invalid(
            f"{folder} is on a file system ({kind or 'unknown'}) where a lock of one process does "
            "not keep another out; use a folder on a local disk"
        )


def kind_of(folder: Path) -> str:
    """Return the type of the file system a folder is on, empty where the system does not say."""
    try:
        mounts = _MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    path = os.path.realpath(folder)
    best, kind = "", ""
    for line in mounts:
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4].replace("\\040", " ").replace("\\011", "\t")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        # Of two on one point the later one is on top.
        if inside and len(point) >= len(best):
            best, kind = point, after.partition(" ")[0]
    return kind


def _locks_hold(folder: Path) -> bool:
    """Whether a second process is kept out by a lock of this one."""
    import subprocess  # 2 ms that only an unknown file system should cost

    path = folder / LOCK_TEST
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        done = subprocess.run(  # noqa: S603 - our own interpreter and words of our own
            [sys.executable, "-I", "-c", _TRY, str(path)], timeout=_SECONDS, check=False
        )
        return done.returncode == _HELD
    except (OSError, subprocess.TimeoutExpired):
        return False
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)
