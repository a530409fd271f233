"""Read-only opening: no write gets through, and a folder that may not be written can be read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import palimp
from palimp.errors import Denied, NotFound

# Everything is imported by use in another folder first: a user who may not write may not be able
# to read this Python's modules either.
CHILD = """
import os, sys
import palimp, palimp.client.transports.reading
place, other = sys.argv[1:3]
def look(mem):
    alice = mem.profile("alice")
    return ([m.text for m in alice.list()], [h.text for h in alice.recall("seat")],
            [h.text for h in alice.at("before").recall("seat")], len(list(mem.verify())))
with palimp.open(other) as mem:
    mem.profile("alice").remember("x"); mem.profile("alice").checkpoint("before"); look(mem)
os.setuid(65534)
def content():
    return sorted((root, name, os.stat(os.path.join(root, name)).st_mtime_ns)
                  for root, _, names in os.walk(place) for name in names)
before = content()
with palimp.open(place, read_only=True) as mem:
    print(look(mem))
    try:
        mem.profile("alice").remember("y")
    except palimp.Denied as error:
        print(error.code)
print(content() == before)
try:
    palimp.open(place)
except palimp.Unavailable as error:
    print(error.details["reason"])
"""


def fill(path: Path) -> None:
    with palimp.open(path) as mem:
        alice = mem.profile("alice")
        old = alice.remember("An aisle seat")
        alice.checkpoint("before")
        alice.supersede(old.id, "A window seat")


def test_every_read_works_and_every_write_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "m")
    with palimp.open(tmp_path / "m", read_only=True) as mem:
        alice = mem.profile("alice")
        assert [hit.text for hit in alice.recall("seat")] == ["A window seat"]
        assert [hit.text for hit in alice.at("before").recall("seat")] == ["An aisle seat"]
        calls = (
            lambda: alice.remember("x"),
            lambda: alice.session("s").append("user", "x"),
            lambda: alice.rewind("before"),
            lambda: alice.fork("trial"),
            lambda: alice.drop_checkpoint("before"),
            mem.maintain,
        )
        for call in calls:
            with pytest.raises(Denied, match="opened read-only") as caught:
                call()
            assert caught.value.code == "forbidden"
        assert len(list(alice.list(include_superseded=True))) == 2


def test_it_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no Palimpsest folder"):
        palimp.open(tmp_path / "m", read_only=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound):
        palimp.open(tmp_path / "empty", read_only=True)
    assert os.listdir(tmp_path) == ["empty"]


def test_others_write_while_it_reads(tmp_path: Path) -> None:
    fill(tmp_path / "m")
    with (
        palimp.open(tmp_path / "m", read_only=True) as reader,
        palimp.open(tmp_path / "m") as writer,
    ):
        writer.profile("bob").remember("hello")
        assert [m.text for m in reader.profile("bob").list()] == ["hello"]


@pytest.mark.skipif(os.getuid() != 0, reason="another user: needs root")
def test_a_folder_that_may_not_be_written_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    place = tmp_path / "m"
    fill(place)
    subprocess.run(["chmod", "-R", "a+rX,a-w", str(place)], check=True)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_mode & 0o055 != 0o055:
            # The child has another user, and the group of this one.
            parent.chmod(parent.stat().st_mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(place), str(tmp_path / "other")],
        capture_output=True, text=True, timeout=60, env={**os.environ, "TMPDIR": "/tmp"},
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "(['A window seat'], ['A window seat'], ['An aisle seat'], 1)",
        "forbidden",
        "True",
        "folder",
    ]


@pytest.mark.skipif(os.getuid() != 0, reason="another user: needs root")
def test_what_was_not_stored_yet_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with palimp.open(tmp_path / "m", ship_interval=3600) as mem:
        mem.profile("alice").remember("not shipped")
        monkeypatch.setattr(os, "access", lambda *_: False)
        with palimp.open(tmp_path / "m", read_only=True) as reader:
            assert list(reader.profile("alice").list()) == []
    assert "is not seen by this one" in caplog.text
