"""Who may visit a folder, how it is reached, and what becomes of it when it is moved or copied."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from actors import Actor, Refused

import palimp

Act = Callable[..., Actor]


@pytest.fixture
def owner(act: Act) -> Actor:
    actor = act()
    actor.run("p.remember('of the owner')")
    return actor


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("object_store", "file:///somewhere/else"),
        ("node_id", "another"),
        ("embed_provider", "bundled"),
        ("pitr_retention_secs", 1),
        ("pitr_snapshot_retention_secs", 1),
    ],
)
def test_a_visitor_with_another_setting_is_refused(
    owner: Actor, folder: Path, setting: str, value: Any
) -> None:
    settings = {"embed_provider": "none", setting: value}
    with pytest.raises(palimp.Invalid) as caught:
        palimp.open(folder, **settings)
    said = str(caught.value)
    assert f"{setting} " in said
    assert repr(value) in said
    assert f"PALIMP_{setting.upper()}" in said
    assert f"process {owner.pid} (" in said
    owner.run("p.remember('still at work')")
    assert owner.owns


def test_settings_of_one_s_own_may_differ(owner: Actor, folder: Path) -> None:
    with palimp.open(folder, embed_provider="none", source="tests", ship_interval=1) as mem:
        mem.profile("alice").remember("x")
    assert owner.run("result = next(p.list()).source") == "tests"


def test_a_visitor_s_durability_holds_for_its_writes(owner: Actor, folder: Path) -> None:
    owner.run("p.sync()")
    with palimp.open(folder, embed_provider="none", durability="durable") as mem:
        alice = mem.profile("alice")
        durable = alice.remember("durable").txid
        # What is not durable is no boundary yet.
        assert next(iter(alice.points())).txid == durable
    local = owner.run("result = p.remember('local').txid")
    newest = owner.run("result = next(iter(p.points())).txid")
    assert durable == newest < local


def test_an_owner_that_speaks_another_version_is_named(act: Act, folder: Path) -> None:
    owner = act(before="import palimp.node.node as n; n.API_VERSION = 99")
    with pytest.raises(palimp.Unavailable, match="speaks version 99 of the wire") as caught:
        palimp.open(folder, embed_provider="none")
    assert caught.value.details["reason"] == "format"
    assert f"process {owner.pid} (" in str(caught.value)


def test_a_socket_removed_by_hand_keeps_new_visitors_out(
    owner: Actor, act: Act, folder: Path
) -> None:
    inside = act()
    inside.run("p.recall('x')")
    (folder / "socket").unlink()
    inside.run("p.remember('by who was inside')")
    short = {"store_timeout": 0.2, "shutdown_timeout": 0.2}
    with pytest.raises(palimp.Unavailable, match="nobody answered at its socket") as caught:
        palimp.open(folder, embed_provider="none", **short)
    assert caught.value.details["reason"] == "locked"
    assert f"is open in process {owner.pid} (" in str(caught.value)
    owner.run("p.remember('by the owner')")
    owner.run("mem.close()")
    with palimp.open(folder, embed_provider="none") as mem:
        assert len(list(mem.profile("alice").list())) == 3


def test_a_long_path_is_reached(act: Act, tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 25) / ("longer" * 20) / "memory"
    folder.parent.mkdir(parents=True)
    owner, visitor = act(folder), act(folder)
    visitor.run("p.remember('far away')")
    assert owner.run("result = [m.text for m in p.list()]") == ["far away"]
    owner.kill()
    visitor.run("p.remember('as the owner')")
    assert visitor.owns


def test_a_path_through_a_link_is_the_same_folder(
    owner: Actor, act: Act, folder: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    visitor = act(link)
    visitor.run("p.remember('through the link')")
    assert not visitor.owns
    owner.kill()
    visitor.run("p.remember('as the owner')")
    assert visitor.owns
    assert act().run("result = len(list(p.list()))") == 3


def test_a_relative_path_stays_when_the_program_moves(act: Act, tmp_path: Path) -> None:
    before = f"os.chdir({str(tmp_path)!r})"
    owner, visitor = (act(Path("memory"), before=before) for _ in range(2))
    for actor in (owner, visitor):
        actor.run("os.mkdir(f'elsewhere{os.getpid()}'); os.chdir(f'elsewhere{os.getpid()}')")
    visitor.run("p.remember('by the visitor')")
    owner.run("mem.profile('bob').remember('by the owner')")
    owner.kill()
    visitor.run("mem.profile('carol').remember('as the owner')")
    assert visitor.owns
    assert sorted(path.name for path in tmp_path.glob("*")) == sorted(
        ["memory", f"elsewhere{owner.pid}", f"elsewhere{visitor.pid}"]
    )
    assert not list(tmp_path.glob("elsewhere*/*"))


def test_a_directory_that_is_gone_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(palimp.Unavailable, match="the current directory is gone") as caught:
        palimp.open("memory")
    assert caught.value.details["reason"] == "folder"


def test_a_folder_that_was_moved_is_not_made_anew(
    owner: Actor, act: Act, folder: Path, tmp_path: Path
) -> None:
    visitor = act()
    visitor.run("p.remember('x')")
    folder.rename(tmp_path / "moved")
    owner.kill()
    for _ in range(2):
        with pytest.raises(Refused, match="it was moved, removed or replaced") as caught:
            visitor.run("p.remember('y')")
        assert caught.value.details["reason"] == "folder"
    assert not folder.exists()
    folder.mkdir()
    with pytest.raises(Refused, match="it was moved, removed or replaced"):
        visitor.run("p.recall('y')")
    assert not list(folder.iterdir())
    folder.rmdir()
    (tmp_path / "moved").rename(folder)
    visitor.run("p.remember('z')")
    assert visitor.run("result = len(list(p.list()))") == 3


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be another user")
def test_a_folder_that_may_not_be_read_is_said_to_be(act: Act, tmp_path: Path) -> None:
    for path in (tmp_path, *tmp_path.parents):
        if path != Path("/") and path.stat().st_uid == 0:
            path.chmod(path.stat().st_mode | 0o055)
    before = "import palimp.client.transports.folder, palimp.node; os.setuid(65534)"
    with pytest.raises(Refused, match="cannot be used: Permission denied; check") as caught:
        act(tmp_path / "memory", before=before)
    assert caught.value.details["reason"] == "folder"


def test_several_visitors_of_one_process(owner: Actor, folder: Path) -> None:
    clients = [palimp.open(folder, embed_provider="none") for _ in range(5)]
    for number, client in enumerate(clients):
        client.profile("alice").remember(f"x {number}")
    for client in clients:
        assert len(list(client.profile("alice").list())) == 6
        client.close()


@pytest.mark.parametrize("alive", [False, True], ids=["closed", "live"])
def test_of_two_copies_the_first_to_open_wins(act: Act, tmp_path: Path, alive: bool) -> None:
    """Copied with its store elsewhere: the other finds out, and loses nothing it acknowledged."""
    store = {"object_store": (tmp_path / "store").as_uri()}
    first = act(tmp_path / "first", **store)
    first.run("p.remember('before'); p.sync(); p.remember('not shipped')")
    if not alive:
        first.run("mem.close()")
    shutil.copytree(
        tmp_path / "first", tmp_path / "second", ignore=shutil.ignore_patterns("socket")
    )
    second = act(tmp_path / "second", **store)
    second.run("p.remember('of the second', durability='durable')")
    if not alive:
        first.run("open_folder()")
    first.run("""
acknowledged = []
for number in range(20):
    try:
        p.remember(f"of the first {number}", durability="durable")
        acknowledged.append(f"of the first {number}")
    except palimp.Unavailable as error:
        assert error.details["reason"] == "fenced", error.details
        time.sleep(0.1)
""")
    # Who lost the branch has it again after a new start, and then the other has lost it.
    first.run("""
mem.close()
open_folder()
p.remember("of the first, later", durability="durable")
acknowledged.append("of the first, later")
mem.close()
""")
    second.run("""
mem.close()
open_folder()
p.remember("of the second, later", durability="durable")
mem.close()
""")
    last = act(tmp_path / "last", **store)
    found = set(
        last.run("""
result = []
for branch in p.branches():
    result += [m.text for m in p.branch(branch.name).list()]
""")
    )
    acknowledged = set(first.run("result = acknowledged"))
    assert {
        "before",
        "not shipped",
        "of the second",
        "of the second, later",
    } | acknowledged <= found
    assert last.run("result = sum(len(v.findings) for _, v in mem.verify())") == 0
