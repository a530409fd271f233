"""What a forked child inherits of an open folder, and what it must not do with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from actors import Actor, Refused

Act = Callable[..., Actor]

pytestmark = pytest.mark.usefixtures("sound")

# The actor goes on as its own child; the parent waits until it is killed, and says nothing more.
GOES_ON = """
parent = os.getpid()
if os.fork():
    while True: time.sleep(10)
"""


def texts(actor: Actor) -> list[str]:
    found = actor.run("result = sorted(m.text for m in p.list())")
    assert isinstance(found, list)
    return found


def test_a_child_that_ends_as_programs_do_leaves_its_parent_alone(act: Act) -> None:
    """It reads, writes, and ends with all that an interpreter does at its end."""
    parent = act()
    parent.run("p.remember('before')")
    parent.run("""
child = os.fork()
if child == 0:
    assert mem._transport.node is None
    assert [m.text for m in p.list()] == ["before"]
    p.remember("by the child")
    import gc
    gc.collect()
    sys.exit(0)
result = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert result == 0, result
""")
    assert parent.owns
    parent.run("p.remember('after')")
    assert texts(parent) == ["after", "before", "by the child"]
    assert parent.run("mem.close(); open_folder(); result = len(list(p.list()))") == 3


def test_children_that_close_do_not_close_their_parents_folder(act: Act) -> None:
    parent = act()
    parent.run("""
p.remember("before")
for number in range(3):
    child = os.fork()
    if child == 0:
        if number: p.remember(f"by {number}")
        mem.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
p.remember("after")
""")
    assert parent.owns
    assert texts(parent) == ["after", "before", "by 1", "by 2"]


def test_a_child_takes_over_when_its_parent_is_killed(act: Act) -> None:
    parent = act()
    parent.run("p.remember('before')")
    parent.start(GOES_ON + "p.remember('by the child'); result = os.getpid()")
    child = parent.answer()
    parent.kill()
    parent.run("p.remember('as the owner')")
    assert parent.owns
    assert texts(parent) == ["as the owner", "before", "by the child"]
    other = act()
    assert not other.owns
    assert texts(other) == ["as the owner", "before", "by the child"]
    assert child != parent.pid


def test_children_of_children_and_of_visitors(act: Act) -> None:
    owner, visitor = act(), act()
    visitor.run("p.remember('by the visitor')")
    visitor.start(GOES_ON + GOES_ON + "p.remember('by a grandchild')")
    visitor.answer()
    owner.kill()
    visitor.kill()
    # Both its parents have the folder open, or had.
    visitor.run("p.remember('as the owner')")
    assert visitor.owns
    assert texts(visitor) == ["as the owner", "by a grandchild", "by the visitor"]


def test_a_child_of_a_parent_in_the_middle_of_a_transaction_takes_over(act: Act) -> None:
    """SQLite's notes of its parent's locks, on files by inode, are in its memory for ever."""
    parent = act()
    parent.run("""
p.remember("before")
from palimp.engine import Address
engine = mem._transport.node.context.engine
inside = threading.Event()
def operation(connection):
    connection.execute("CREATE TABLE strange (x)")
    connection.execute("INSERT INTO strange VALUES (randomblob(9000000))")
    inside.set()
    time.sleep(60)
def work():
    with engine.use(Address("default", "alice", "main"), create=False) as branch:
        branch.write(operation)
threading.Thread(target=work, daemon=True).start()
assert inside.wait(20)
""")
    parent.start(GOES_ON + "result = 1")
    parent.answer()
    parent.kill()
    parent.run("p.remember('as the owner')")
    assert parent.owns
    assert texts(parent) == ["as the owner", "before"]


def test_a_child_with_sqlite_in_pieces_does_not_take_over(act: Act) -> None:
    """It was forked while another thread had a lock that all connections share."""
    parent = act(store_timeout=0.5, shutdown_timeout=0.5)
    parent.run("p.remember('before')")
    parent.start(
        GOES_ON
        + """
import palimp.node.inherited as inherited
inherited._use_sqlite = lambda: time.sleep(60)
inherited._PROBE_SECONDS = 0.1
p.remember("as a visitor")
"""
    )
    parent.answer()
    parent.kill()
    with pytest.raises(Refused, match="was forked while another thread was in the middle") as c:
        parent.run("p.remember('as the owner')")
    assert c.value.details["reason"] == "forked"
    # It keeps nobody else from it, and finds whoever does.
    other = act()
    assert other.owns
    parent.run("p.remember('as a visitor again')")
    assert texts(other) == ["as a visitor", "as a visitor again", "before"]


def test_a_fork_waits_for_what_a_thread_imports(act: Act) -> None:
    """Else the child could never import it: an owner whose visitors nobody hears."""
    slow = """
import palimp.node.door as door
import_module = door.import_module
def slow(name):
    importing.set()
    time.sleep(0.5)
    return import_module(name)
door.import_module = slow
importing = threading.Event()
"""
    parent = act(before=slow)
    visitor = act(opened=False)
    visitor.start("open_folder(); p.remember('by a visitor')")
    parent.start("assert importing.wait(20)" + GOES_ON + "p.remember('by the child')")
    parent.answer()
    visitor.answer()
    parent.kill()
    parent.run("p.remember('as the owner')")
    assert parent.owns
    assert texts(visitor) == ["as the owner", "by a visitor", "by the child"]


def test_forks_while_threads_are_at_work(act: Act) -> None:
    parent = act()
    statuses = parent.run("""
p.remember("first")
over, done = False, []
def work(name):
    number = 0
    while not over:
        number += 1
        done.append((name, number, p.remember(f"{name} {number}", request_id=f"{name}-{number}")))
        p.recall(f"{name}", k=3)
threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
for thread in threads: thread.start()
result = []
for number in range(12):
    child = os.fork()
    if child == 0:
        p.remember(f"child {number}")
        assert len(list(p.list())) > number + 1
        sys.exit(0)
    result.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
over = True
for thread in threads: thread.join()
""")
    assert statuses == [0] * 12
    assert parent.owns
    found = texts(parent)
    assert len(found) == len(set(found)) == parent.run("result = len(done) + 13")


POOLS = """
import multiprocessing, sys
import palimp

def write(number):
    with palimp.open({folder!r}, embed_provider="none") as mem:
        mem.profile("alice").remember(f"from the pool {{number}}")
    return number

if __name__ == "__main__":
    mem = palimp.open({folder!r}, embed_provider="none")
    mem.profile("alice").remember("before")
    with multiprocessing.get_context(sys.argv[1]).Pool(3) as pool:
        assert sorted(pool.map(write, range(12))) == list(range(12))
    mem.profile("alice").remember("after")
    assert mem._transport.node is not None
    print(len(list(mem.profile("alice").list())))
    mem.close()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes(method: str, folder: Path, tmp_path: Path) -> None:
    assert run(POOLS.format(folder=str(folder)), tmp_path, method) == "14\n"


LOOPS = """
import asyncio, os, sys
import palimp

async def work(name):
    async with palimp.open_async({folder!r}, embed_provider="none") as mem:
        alice = mem.profile("alice")
        await asyncio.gather(*(alice.remember(f"{{name}} {{n}}") for n in range(10)))

async def main():
    async with palimp.open_async({folder!r}, embed_provider="none") as mem:
        alice = mem.profile("alice")
        await alice.remember("before")
        # A visitor, in this process, and in one of its own.
        await work("second")
        child = os.fork()
        if child == 0:
            # The loop is the parent's; the child has one of its own.
            asyncio._set_running_loop(None)
            asyncio.run(work("child"))
            os._exit(0)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert status == 0, status
        await alice.remember("after")
        print(len([m async for m in alice.list()]))

asyncio.run(main())
"""


def test_loops_of_events(folder: Path, tmp_path: Path) -> None:
    assert run(LOOPS.format(folder=str(folder)), tmp_path) == "22\n"


def run(program: str, place: Path, *arguments: str) -> str:
    path = place / "program.py"
    path.write_text(program)
    command = [sys.executable, "-W", "error", str(path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout
