"""An owner that dies, stops, closes or is busy, and what its visitors see of it."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from actors import Actor, Refused

import palimp

Act = Callable[..., Actor]

# A visitor that loses patience sooner.
HASTY = "import palimp.client.transports.socket as s; s.SILENT_SECONDS = 0.3"
# The owner's next answer to a write is none: it dies when all is committed.
DIES = "import palimp.http.api as a; a.encode_answer = lambda *_: os._exit(1)"
SLOW = """
import palimp.operations.memories as m
get = m.history
def slow(*given):
    open(p_path, "w").close()
    time.sleep(2)
    return get(*given)
m.history = slow
"""


@pytest.fixture
def owner(act: Act) -> Actor:
    actor = act()
    actor.run("p.remember('of the owner')")
    assert actor.owns
    return actor


@pytest.fixture
def visitor(owner: Actor, act: Act) -> Actor:
    actor = act()
    assert not actor.owns
    return actor


@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize(
    ("write", "read"),
    [
        ("p.remember('x').status", "[m.text for m in p.list()].count('x')"),
        ("p.session('s').append('user', 'x').seq", "len(p.session('s').window())"),
        (
            "p.supersede(next(p.list()), 'x').status",
            "[m.text for m in p.list(include_superseded=True)].count('x')",
        ),
        ("p.forget(next(p.list()))", "1 + len(list(p.list()))"),
        ("p.drop_checkpoint('c')", "1 + len(p.checkpoints())"),
        ("p.delete_branch('b')", "len(p.branches())"),
        ("p.fork('d').branch_name", "len(p.branches()) - 2"),
        ("mem.delete_database('acme--gone')", "len(list(mem.namespaces()))"),
    ],
    ids=(
        "remember append supersede forget drop_checkpoint delete_branch fork delete_database"
    ).split(),
)
def test_a_write_whose_owner_dies_before_it_answers_is_done_once(
    owner: Actor, visitor: Actor, write: str, read: str
) -> None:
    owner.run("p.checkpoint('c'); p.fork('b'); mem.create_database('acme--gone')")
    owner.run(DIES)
    result = visitor.run(f"result = {write}")
    assert owner.process.wait(10) == 1
    assert visitor.owns
    assert result in ("created", "superseded", 1, True, None, "d")
    assert visitor.run(f"result = {read}") == 1


def test_an_import_that_may_have_been_done_is_said_to_be_in_doubt(
    owner: Actor, visitor: Actor, tmp_path: Path
) -> None:
    file = str(tmp_path / "file")
    owner.run(f"p.export({file!r})")
    owner.run(DIES)
    with pytest.raises(Refused, match="an attempt before this got no answer") as caught:
        visitor.run(f"mem.profile('bob').import_({file!r})")
    assert caught.value.kind == "Conflict"
    assert caught.value.details["in_doubt"] is True
    assert visitor.run("result = len(list(mem.profile('bob').list()))") == 1


def test_a_database_that_may_have_been_made_is_said_to_be_in_doubt(
    owner: Actor, visitor: Actor
) -> None:
    owner.run(DIES)
    with pytest.raises(Refused, match="an attempt before this got no answer") as caught:
        visitor.run("mem.create_database('acme--new')")
    assert caught.value.details["in_doubt"] is True
    assert visitor.run("result = len([d for d in mem.databases() if d.name == 'acme--new'])") == 1


@pytest.mark.usefixtures("sound")
def test_a_stopped_owner_is_named_and_its_answer_is_had_later(owner: Actor, visitor: Actor) -> None:
    owner.signal(signal.SIGSTOP)
    with pytest.raises(Refused) as caught:
        visitor.run("p.remember('once', request_id='r1')", seconds=20)
    assert caught.value.kind == "Unavailable"
    assert f"is owned by process {owner.pid} (" in caught.value.message
    assert "has not answered for 5 s; end it or wait" in caught.value.message
    assert caught.value.details == {"reason": "silent", "in_doubt": True, "request_id": "r1"}
    owner.signal(signal.SIGCONT)
    first = visitor.run("result = p.remember('once', request_id='r1').txid")
    assert visitor.run("result = p.remember('once', request_id='r1').txid") == first
    assert owner.run("result = [m.text for m in p.list()]") == ["once", "of the owner"]
    assert owner.owns


def test_a_stopped_owner_that_no_more_can_wait_for_is_silent_too(
    owner: Actor, act: Act, folder: Path
) -> None:
    """Whoever asks a stopped owner again and again fills the queue in front of its socket."""
    act().run("p.recall('x')")
    owner.signal(signal.SIGSTOP)
    waiting = []
    try:
        while True:
            sock = socket.socket(socket.AF_UNIX)
            waiting.append(sock)
            sock.setblocking(False)
            try:
                sock.connect(str(folder / "socket"))
            except BlockingIOError:
                break
        visitor = act(opened=False, before=HASTY)
        with pytest.raises(Refused, match="has not answered") as caught:
            visitor.run("open_folder()", seconds=20)
        assert caught.value.details["reason"] == "silent"
    finally:
        for sock in waiting:
            sock.close()
        owner.signal(signal.SIGCONT)
    visitor.run("open_folder(); p.remember('after')")
    assert owner.run("result = len(list(p.list()))") == 2


def test_a_busy_owner_is_waited_for(owner: Actor, act: Act, tmp_path: Path) -> None:
    owner.run(f"p_path = {str(tmp_path / 'begun')!r}" + SLOW)
    visitor = act(before=HASTY)
    # Six times as long as the visitor's patience.
    assert visitor.run("result = len(p.history(next(p.list())))") == 1
    assert owner.owns


@pytest.mark.usefixtures("sound")
def test_an_owner_that_closes_answers_who_is_inside_and_the_next_takes_over(
    owner: Actor, visitor: Actor, act: Act, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    owner.run(f"p_path = {str(begun)!r}" + SLOW)
    other = act()
    visitor.start("result = len(p.history(next(p.list())))")
    while not begun.exists():
        pass
    owner.start("mem.close()")
    other.run("p.remember('while it closes')")
    assert visitor.answer() == 1
    owner.answer()
    assert other.owns
    assert visitor.run("result = len(list(p.list()))") == 2
    assert not visitor.owns
    with pytest.raises(Refused, match="this client is closed"):
        owner.run("p.remember('too late')")


@pytest.mark.usefixtures("sound")
def test_of_many_visitors_one_takes_over(owner: Actor, act: Act, folder: Path) -> None:
    visitors = [act() for _ in range(6)]
    owner.kill()
    for number, visitor in enumerate(visitors):
        visitor.start(f"p.remember('after {number}')")
    for visitor in visitors:
        visitor.answer()
    owners = [visitor for visitor in visitors if visitor.owns]
    assert len(owners) == 1
    assert (folder / "lock").read_text().startswith(f"process {owners[0].pid} (")
    for visitor in visitors:
        assert visitor.run("result = len(list(p.list()))") == 7


def test_what_a_dead_owner_left_is_no_obstacle(owner: Actor, act: Act, folder: Path) -> None:
    owner.kill()
    assert (folder / "socket").exists()
    nextone = act()
    assert nextone.owns
    assert nextone.run("result = [m.text for m in p.list()]") == ["of the owner"]


def test_the_words_in_the_lock_file_are_for_people_only(
    owner: Actor, act: Act, folder: Path
) -> None:
    (folder / "lock").write_bytes(b"\xff\x00 nonsense " * 100)
    visitor = act(before=HASTY)
    visitor.run("p.remember('x')")
    owner.signal(signal.SIGSTOP)
    with pytest.raises(Refused, match="nonsense") as caught:
        visitor.run("p.recall('x')", seconds=20)
    assert caught.value.details["reason"] == "silent"
    owner.signal(signal.SIGCONT)
    visitor.run("p.remember('y')")


def test_a_second_client_of_the_same_process_visits_the_first(folder: Path) -> None:
    first = palimp.open(folder, embed_provider="none")
    second = palimp.open(folder, embed_provider="none")
    second.profile("alice").remember("by the second")
    assert [m.text for m in first.profile("alice").list()] == ["by the second"]
    first.close()
    second.profile("alice").remember("as the owner")
    assert second._transport.node is not None
    assert len(list(second.profile("alice").list())) == 2
    second.close()
    assert not (folder / "socket").exists()


def test_a_visitor_that_is_closed_does_nothing_more(owner: Actor, folder: Path) -> None:
    client = palimp.open(folder, embed_provider="none")
    client.close()
    client.close()
    with pytest.raises(palimp.Unavailable, match="this client is closed") as caught:
        client.profile("alice").recall("x")
    assert caught.value.details["reason"] == "closed"
    owner.kill()
    with pytest.raises(palimp.Unavailable, match="this client is closed"):
        client.profile("alice").recall("x")


def test_an_owner_that_ends_without_a_close_leaves_no_error_behind(
    owner: Actor, visitor: Actor
) -> None:
    visitor.run("""
def work():
    while not over:
        p.remember(str(time.monotonic()))
        done.append(1)
over, done = False, []
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
while len(done) < 20: time.sleep(0.01)
""")
    owner.finish()
    count = visitor.run("""
least = len(done) + 20
while len(done) < least: time.sleep(0.01)
over = True
for thread in threads: thread.join()
result = len(done)
""")
    assert visitor.owns
    assert visitor.run("result = len(list(p.list()))") == count + 1


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be another user")
def test_another_user_is_turned_away(owner: Actor, act: Act, folder: Path, tmp_path: Path) -> None:
    for path in (folder, *tmp_path.parents, tmp_path):
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    (folder / "socket").chmod(0o777)
    act().run("p.recall('x')")
    said = """
import socket
sock = socket.socket(socket.AF_UNIX)
sock.connect(%r)
try:
    sock.sendall(b"GET /health HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n")
    result = sock.recv(100).decode()
except OSError as error:
    result = ""
"""
    # Imported before: the interpreter may be where strangers may not read.
    before = "import socket, palimp.client.transports.folder, palimp.node; os.setuid(65534)"
    stranger = act(opened=False, before=before)
    assert stranger.run(said % str(folder / "socket")) == ""
    assert act(opened=False).run(said % str(folder / "socket")).startswith("HTTP/1.1 200")
    with pytest.raises(Refused, match="cannot be used: Permission denied") as caught:
        stranger.run("open_folder()")
    assert caught.value.details["reason"] == "folder"
