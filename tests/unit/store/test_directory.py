"""The directory store's order of steps, and what is left when it ends between two of them."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from palimp.errors import Invalid, Unavailable, Unconfigured
from palimp.store import AlreadyThere, VersionMismatch
from palimp.store.directory import DirectoryStore
from palimp.store.files import Files
from palimp.store.stripes import STRIPES, Stripes

STEPS = ("write_new", "sync_file", "link", "rename", "unlink", "sync_folder", "make_folder")


class Watched(Files):
    """Notes each step, and fails at one."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.fail: tuple[str, int] | None = None


def _watched(name: str) -> Any:
    def step(self: Watched, *arguments: Any) -> Any:
        last = arguments[0] if isinstance(arguments[0], str) else ""
        self.steps.append(f"{name} {last.rsplit('/', 1)[-1]}".strip())
        if self.fail and self.fail[0] == name:
            raise OSError(self.fail[1], os.strerror(self.fail[1]), *arguments[:1])
        return getattr(Files, name)(self, *arguments)

    return step


for _name in STEPS:
    setattr(Watched, _name, _watched(_name))


@pytest.fixture
def files() -> Watched:
    return Watched()


@pytest.fixture
def store(tmp_path: Path, files: Watched) -> DirectoryStore:
    store = DirectoryStore(tmp_path / "objects", files=files)
    files.steps.clear()
    return store


def stripe_name(key: str, tmp_path: Path) -> str:
    return f".{Stripes(str(tmp_path / 'objects'), Files()).number(key):02x}.new"


def test_a_create_is_durable_step_by_step(
    store: DirectoryStore, files: Watched, tmp_path: Path
) -> None:
    new = stripe_name("a/b/k", tmp_path)
    store.create("a/b/k", b"1")
    assert files.steps == [
        "make_folder a", "sync_folder objects", "make_folder b", "sync_folder a",
        f"unlink {new}", f"write_new {new}", "sync_file", f"link {new}", f"unlink {new}",
        "sync_folder b",
    ]  # fmt: skip


def test_a_replace_is_durable_step_by_step(
    store: DirectoryStore, files: Watched, tmp_path: Path
) -> None:
    version = store.create("a/k", b"1")
    new = stripe_name("a/k", tmp_path)
    files.steps.clear()
    store.replace("a/k", b"2", version)
    assert files.steps == [
        f"unlink {new}", f"write_new {new}", "sync_file", f"rename {new}", "sync_folder a"
    ]  # fmt: skip


def test_a_folder_somebody_else_made_is_synced_before_use(tmp_path: Path) -> None:
    # Its maker may have been killed before it synced the parent.
    DirectoryStore(tmp_path / "objects").create("a/b/one", b"")
    files = Watched()
    second = DirectoryStore(tmp_path / "objects", files=files)
    files.steps.clear()
    second.create("a/b/two", b"")
    assert files.steps[:4] == [
        "make_folder a", "sync_folder objects", "make_folder b", "sync_folder a"
    ]  # fmt: skip
    files.steps.clear()
    second.create("a/b/three", b"")
    assert not any(step.startswith("make_folder") for step in files.steps)


def test_what_is_not_durable_yet_is_synced_before_it_is_shown(
    store: DirectoryStore, files: Watched, tmp_path: Path
) -> None:
    # The folder's sync fails after the rename: visible, in doubt, and a power cut could undo it.
    version = store.create("a/k", b"1")
    files.fail = ("sync_folder", errno.EIO)
    with pytest.raises(Unavailable) as caught:
        store.replace("a/k", b"2", version)
    assert caught.value.details == {"reason": "disk", "in_doubt": True}
    # Nobody is told what is there while it cannot be made durable,
    for call in (
        lambda: store.get("a/k"),
        lambda: store.get_range("a/k", 0, 1),
        lambda: store.replace("a/k", b"2", version),
        lambda: store.create("a/k", b"2"),
    ):
        with pytest.raises(Unavailable):
            call()
    # and afterwards only when it has been.
    files.fail = None
    files.steps.clear()
    assert store.get("a/k").data == b"2"  # type: ignore[union-attr]
    assert files.steps == ["sync_folder a"]
    assert store.get("a/k").data == b"2"  # type: ignore[union-attr]
    assert files.steps == ["sync_folder a"]
    with pytest.raises(VersionMismatch):
        store.replace("a/k", b"2", version)


@pytest.mark.parametrize(
    ("step", "in_doubt"),
    [("make_folder", False), ("write_new", False), ("sync_file", False), ("link", True),
     ("sync_folder", False)],
)  # fmt: skip
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_an_error_of_the_disk_is_unavailable(
    store: DirectoryStore, files: Watched, step: str, in_doubt: bool, number: int
) -> None:
    files.fail = (step, number)
    with pytest.raises(Unavailable) as caught:
        store.create("a/k", b"1")
    expected = "permissions" if number == errno.EROFS else "disk"
    assert caught.value.details == {"reason": expected, "in_doubt": in_doubt}
    assert isinstance(caught.value.__cause__, OSError)
    files.fail = None
    assert store.get("a/k") is None
    assert store.list().entries == []
    store.create("a/k", b"1")
    assert list((Path(store.name.removeprefix("file://")) / "a").iterdir()) != []


def test_a_full_disk_can_be_emptied(store: DirectoryStore, files: Watched) -> None:
    store.create("a/k", b"1")
    files.fail = ("write_new", errno.ENOSPC)
    store.delete("a/k")
    assert store.get("a/k") is None


def test_a_file_system_without_links_is_named(store: DirectoryStore, files: Watched) -> None:
    files.fail = ("link", errno.EOPNOTSUPP)
    with pytest.raises(Unconfigured, match="no locks or hard links"):
        store.create("k", b"1")


def test_a_key_that_is_a_folder_is_invalid(store: DirectoryStore) -> None:
    version = store.create("a/b", b"1")
    with pytest.raises(Invalid, match="folder of another"):
        store.create("a", b"1")
    with pytest.raises(Invalid, match="folder of another"):
        store.create("a/b/c", b"1")
    assert store.get("a") is None
    assert store.get("a/b/c") is None
    with pytest.raises(VersionMismatch):
        store.replace("a", b"2", version)


def test_a_stale_temporary_shadows_nothing_and_goes(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "objects")
    store.create("a/k", b"live")
    # What a create killed after `link` leaves: a second name of the object itself.
    temporary = tmp_path / "objects" / "a" / stripe_name("a/k", tmp_path)
    os.link(tmp_path / "objects" / "a" / "k", temporary)
    version = store.get("a/k").version  # type: ignore[union-attr]
    store.replace("a/k", b"new", version)
    assert store.get("a/k").data == b"new"  # type: ignore[union-attr]
    assert not temporary.exists()
    os.link(tmp_path / "objects" / "a" / "k", temporary)
    store.delete("a/k")
    store.create("a/k", b"again")
    assert store.get("a/k").data == b"again"  # type: ignore[union-attr]
    other = temporary.with_name(".00.new")
    other.write_bytes(b"half")
    assert [entry.key for entry in store.list().entries] == ["a/k"]
    assert not other.exists()


def test_a_temporary_at_work_is_left_alone(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "objects")
    store.create("a/k", b"1")
    temporary = tmp_path / "objects" / "a" / stripe_name("a/k", tmp_path)
    temporary.write_bytes(b"at work")
    with store._stripes.held("a/k"):
        assert len(store.list().entries) == 1
    assert temporary.exists()


def test_files_of_others_are_not_objects(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "objects")
    store.create("k", b"1")
    (tmp_path / "objects" / "README.txt").write_text("no key: capitals")
    (tmp_path / "objects" / ".hidden").mkdir()
    (tmp_path / "objects" / "link").symlink_to(tmp_path / "objects" / "k")
    (tmp_path / "objects" / "loop").symlink_to(tmp_path)
    assert [entry.key for entry in store.list().entries] == ["k"]


def test_a_mark_that_is_nonsense_is_forgotten(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "objects")
    store.create("k", b"1")
    for mark in (b"\0" * 30, b"../../etc", b"gone/away", b"\xff"):
        stripes = list((tmp_path / "objects" / ".stripes").iterdir())
        assert len(stripes) == STRIPES
        for stripe in stripes:
            stripe.write_bytes(mark)
        assert store.get("k").data == b"1"  # type: ignore[union-attr]


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        DirectoryStore(tmp_path / "no" / "parents")
    (tmp_path / "file").write_text("")
    with pytest.raises(Invalid):
        DirectoryStore(tmp_path / "file")


KILLS = """
import json, os, signal, sys
from palimp.store.directory import DirectoryStore
from palimp.store.files import Files
from palimp.store import AlreadyThere, VersionMismatch

class Killing(Files):
    left = -1
    def step(self):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
for name in ("write_new", "sync_file", "link", "rename", "unlink", "sync_folder", "make_folder"):
    def wrapped(self, *arguments, name=name):
        self.step()
        done = getattr(Files, name)(self, *arguments)
        self.step()
        return done
    setattr(Killing, name, wrapped)

root, results = sys.argv[1], []
for operation in ("create", "replace", "delete"):
    for step in range(1, 60):
        folder = f"{root}/{operation}-{step}"
        plain = DirectoryStore(folder)
        version = None if operation == "create" else plain.create("a/k", b"old")
        child = os.fork()
        if child == 0:
            files = Killing()
            store = DirectoryStore(folder, files=files)
            files.left = step
            if operation == "create": store.create("a/k", b"new")
            elif operation == "replace": store.replace("a/k", b"new", version)
            else: store.delete("a/k")
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        after = DirectoryStore(folder)
        stored = after.get("a/k")
        try:
            repeated = "done"
            if operation == "create": after.create("a/k", b"new")
            elif operation == "replace": after.replace("a/k", b"new", version)
            else: after.delete("a/k")
        except (AlreadyThere, VersionMismatch):
            repeated = "lost"
        final = after.get("a/k")
        listed = [entry.key for entry in after.list().entries]
        files_left = sorted(os.listdir(f"{folder}/a"))
        results.append([operation, step, ended, stored and stored.data.decode(), repeated,
                        final and final.data.decode(), listed, files_left])
        if ended == 0:
            break
print(json.dumps(results))
"""


def test_killed_before_and_after_every_step(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLS, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert {row[0] for row in results if row[2] == 0} == {"create", "replace", "delete"}
    assert len(results) > 25
    for operation, step, ended, seen, repeated, final, listed, left in results:
        where = (operation, step)
        assert ended in (0, -9), where
        if operation == "delete":
            assert seen in ("old", None), where
            assert (final, listed, left) == (None, [], []), where
            continue
        assert seen in ("new", None if operation == "create" else "old"), where
        # Whoever repeats it is told the truth: it had happened, or it happens now.
        assert repeated == ("lost" if seen == "new" else "done"), where
        assert (final, listed, left) == ("new", ["a/k"], ["k"]), where


def test_a_child_forked_in_a_hold_does_not_keep_the_lock(tmp_path: Path) -> None:
    code = """
import os, sys, threading, time
from palimp.store.directory import DirectoryStore
from palimp.store.files import Files
inside, go = threading.Event(), threading.Event()
class Slow(Files):
    def link(self, *arguments):
        inside.set(); go.wait(); super().link(*arguments)
store = DirectoryStore(sys.argv[1], files=Slow())
thread = threading.Thread(target=store.create, args=("k", b"1")); thread.start()
inside.wait()
child = os.fork()
if child == 0:
    os.read(0, 1)  # outlives the parent's hold
    os._exit(0)
go.set(); thread.join()
other = DirectoryStore(sys.argv[1])
version = other.get("k").version
other.replace("k", b"2", version)
print("free", flush=True)
os.kill(child, 9); os.waitpid(child, 0)
"""
    running = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "objects")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.communicate(timeout=20)[0] == "free\n"
    assert running.returncode == 0


def test_a_lost_create_says_already_there(store: DirectoryStore) -> None:
    store.create("k", b"1")
    with pytest.raises(AlreadyThere):
        store.create("k", b"1")
