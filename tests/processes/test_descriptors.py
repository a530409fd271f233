"""What an owner and a visitor cost in descriptors and threads, and that nothing of it adds up."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from actors import Actor
from crew import wait

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

Act = Callable[..., Actor]


def descriptors(actor: Actor) -> int:
    return len(list(Path(f"/proc/{actor.pid}/fd").iterdir()))


def threads(actor: Actor) -> int:
    return len(list(Path(f"/proc/{actor.pid}/task").iterdir()))


def test_sharing_costs_an_owner_without_visitors_little(act: Act) -> None:
    before = act(opened=False)
    bare = descriptors(before), threads(before)
    before.run("open_folder()")
    # The lock, the listening socket, and a pair that wakes the thread that waits at it; beside it
    # there is the engine's.
    assert descriptors(before) - bare[0] <= 5
    assert threads(before) - bare[1] <= 2


def test_visitors_that_went_leave_nothing(act: Act) -> None:
    owner = act()
    visitor = act()
    visitor.run("p.remember('x'); p.list()")
    some = descriptors(owner)
    for _ in range(4):
        visitor.run("""
for number in range(25):
    with palimp.open(**settings) as other:
        other.profile("alice").remember("y")
""")
    wait(lambda: descriptors(owner) <= some + 1, f"{descriptors(owner)} descriptors, not {some}")
    assert threads(owner) <= 2 + 64 + 8


def test_a_visitor_keeps_few_connections(act: Act) -> None:
    act()
    visitor = act()
    visitor.run("p.remember('x')")
    some = descriptors(visitor)
    visitor.run("""
threads = [threading.Thread(target=lambda: [p.recall('x') for _ in range(3)]) for _ in range(60)]
for thread in threads: thread.start()
for thread in threads: thread.join()
""")
    assert descriptors(visitor) <= some + 32


def test_connections_that_say_nothing_keep_nobody_out(act: Act, folder: Path) -> None:
    owner, visitor = act(), act()
    visitor.run("p.remember('x')")
    some = descriptors(owner)
    silent = [socket.socket(socket.AF_UNIX) for _ in range(200)]
    for sock in silent:
        sock.connect(str(folder / "socket"))
        sock.sendall(b"GET /v1/no")
    visitor.run("p.remember('y')")
    for sock in silent:
        sock.close()
    wait(lambda: descriptors(owner) <= some + 1, f"{descriptors(owner)} descriptors, not {some}")


def test_an_owner_with_many_descriptors_is_reached(act: Act) -> None:
    """`select` knows none above 1,023."""
    owner = act(
        before="import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)); "
        "many = [open('/dev/null') for _ in range(1100)]"
    )
    visitor = act()
    visitor.run("p.remember('x')")
    assert owner.run("result = len(list(p.list()))") == 1
