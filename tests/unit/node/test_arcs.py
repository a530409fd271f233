"""The Arcs of a node: events carried there, bound and taken away while it runs, once each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from palimp.api import Target
from palimp.api.arcs import BindArc, GetArc, RemoveArc
from palimp.api.events import AppendEvents, EventInput, ListTimeline
from palimp.errors import Unconfigured
from palimp.node import Node
from palimp.operations.organisations import arc_of, org_target

pytest.importorskip(
    "sqlalchemy", reason="sqlalchemy is not installed (pip install 'palimp[server]')"
)

from ...arc_double import ArcDouble, Fault
from .arcs import append, make_org, node_on, texts

TOKEN = "arc-token"
HERE = str(Path(__file__).parent)


@pytest.fixture
def arc(tmp_path: Path) -> Iterator[ArcDouble]:
    with ArcDouble(tmp_path / "arc.duckdb", token=TOKEN) as found:
        yield found


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    found = node_on(tmp_path)
    yield found
    found.close()


def until(done: Callable[[], bool], what: str) -> None:
    """Wait until something is so; the limit is there only so that a defect ends."""
    pause = threading.Event()
    for _ in range(1_500):
        if done():
            return
        pause.wait(0.02)
    raise AssertionError(f"never: {what}")


def bind(node: Node, org: str, arc: ArcDouble, database: str = "db") -> None:
    request = BindArc(org=org, url=arc.url, database=database, api_key=TOKEN)
    node.call("arc.bind", Target(), request)


def state(node: Node, org: str) -> str:
    held = arc_of(node.context, org)
    return "none" if held is None else held.row.state


def stored(arc: ArcDouble, database: str = "db") -> list[str]:
    return [row["content"] for row in sorted(arc.rows(database), key=lambda row: row["at_us"])]


def test_a_node_without_an_arc_starts_nothing_and_imports_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from arcs import append, make_org, node_on, texts\n"
        "node = node_on(Path(sys.argv[1]))\n"
        "org = make_org(node)\n"
        "append(node, org, 'hello')\n"
        "assert texts(node, org) == ['hello']\n"
        "assert not [name for name in sys.modules if name.startswith('palimp.arc.')]\n"
        "assert not [one for one in threading.enumerate() if 'arc' in one.name]\n"
        "node.close()\n"
        "assert not (Path(sys.argv[1]) / 'memory' / 'spool').exists()\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), HERE], check=True)


def test_what_the_profile_has_is_carried_before_it_is_read_there(
    node: Node, arc: ArcDouble
) -> None:
    org = make_org(node)
    before = [f"early {i}" for i in range(1_203)]
    for start in range(0, len(before), 1_000):
        append(node, org, *before[start : start + 1_000])
    # Arc takes nothing yet: everything goes on in the profile.
    arc.faults.append(Fault("write", status=503, times=-1))
    bind(node, org, arc)
    append(node, org, "meanwhile")
    assert state(node, org) == "draining"
    assert texts(node, org)[-1:] == before[999:1_000]
    arc.faults.clear()
    until(lambda: state(node, org) == "bound", "bound")
    append(node, org, "afterwards")
    until(lambda: len(stored(arc)) == 1_205, "all of them are in Arc")
    assert stored(arc) == [*before, "meanwhile", "afterwards"]
    newest = ListTimeline(limit=2)
    page = node.call("timeline.list", org_target(org), newest)
    assert [one.text for one in page.events] == ["afterwards", "meanwhile"]  # type: ignore[attr-defined]


def test_what_a_node_wrote_to_the_profile_after_the_change_is_carried_too(
    node: Node, arc: ArcDouble
) -> None:
    org = make_org(node)
    append(node, org, "early")
    bind(node, org, arc)
    until(lambda: state(node, org) == "bound", "bound")
    # As a node does that has not heard of it: past the store of the organisation's events.
    from palimp.operations.events import ProfileEvents

    late = AppendEvents(events=(EventInput(agent="a", text="late"),))
    ProfileEvents(node.context, org_target(org)).append(late)
    until(lambda: stored(arc) == ["early", "late"], "the late one is in Arc")


def test_an_arc_is_given_taken_away_and_given_back_without_a_restart(
    node: Node, arc: ArcDouble
) -> None:
    org = make_org(node)
    bind(node, org, arc)
    until(lambda: state(node, org) == "bound", "bound")
    append(node, org, "one")
    until(lambda: stored(arc) == ["one"], "it is in Arc")
    arc.stop()
    append(node, org, "two")
    removed = node.call("arc.remove", Target(), RemoveArc(org=org))
    assert removed.spooled == 1  # type: ignore[attr-defined]
    with pytest.raises(Unconfigured, match="no arc instance configured for this org"):
        append(node, org, "three")
    with pytest.raises(Unconfigured, match="no arc instance configured for this org"):
        texts(node, org)
    arc.start()
    bind(node, org, arc)
    until(lambda: stored(arc) == ["one", "two"], "what waited is in Arc, and nothing twice")
    until(lambda: state(node, org) == "bound", "bound")
    append(node, org, "four")
    until(lambda: stored(arc) == ["one", "two", "four"], "it goes on")
    assert texts(node, org) == ["one", "two", "four"]


def test_an_arc_that_another_node_was_told_of_holds_here_within_seconds(
    tmp_path: Path, arc: ArcDouble
) -> None:
    shared = {
        "object_store": (tmp_path / "objects").as_uri(),
        "leases": "sql",
        "cluster_key": "c" * 16,
        "api_key_secret": "s" * 16,
        "maintenance_secs": 0.1,
    }
    first, second = (
        node_on(tmp_path, data_dir=str(tmp_path / name), **shared) for name in ("a", "b")
    )
    try:
        for number, one in enumerate((first, second), 1):
            one.join(f"http://127.0.0.1:{number}")
        org = make_org(first)
        assert _goes_to_arc(second, org) is False
        bind(first, org, arc)
        until(lambda: _goes_to_arc(first, org), "the one that was told")
        until(lambda: _goes_to_arc(second, org), "the other heard of it")
        second.call("arc.remove", Target(), RemoveArc(org=org))
        until(lambda: _refuses(first, org), "the first heard that it was taken away")
    finally:
        first.close()
        second.close()


def _goes_to_arc(node: Node, org: str) -> bool:
    return node.context.event_stores.of(org_target(org)) is not None


def _refuses(node: Node, org: str) -> bool:
    try:
        node.context.event_stores.of(org_target(org))
    except Unconfigured:
        return True
    return False


def test_more_than_the_spool_takes_at_once_is_carried_in_parts(
    tmp_path: Path, arc: ArcDouble
) -> None:
    node = node_on(tmp_path, arc_spool_bytes=1 << 20)
    try:
        org = make_org(node)
        long = [f"{i} " + "x" * 9_000 for i in range(300)]
        append(node, org, *long)
        # A page of these is more than it takes at once.
        bind(node, org, arc)
        append(node, org, "last")
        until(lambda: state(node, org) == "bound", "bound")
        until(lambda: len(stored(arc)) == 301, "all of them are in Arc")
        assert stored(arc) == [*long, "last"]
    finally:
        node.close()


def test_a_kill_in_the_middle_of_carrying_loses_and_doubles_nothing(
    tmp_path: Path, arc: ArcDouble
) -> None:
    node = node_on(tmp_path)
    org = make_org(node)
    expected = [f"event {i}" for i in range(2_000)]
    append(node, org, *expected[:1_000])
    append(node, org, *expected[1_000:])
    bind(node, org, arc)
    node.close()
    for number in range(6):
        code = (
            "import sys, time\n"
            "from pathlib import Path\n"
            "sys.path.insert(0, sys.argv[2])\n"
            "from arcs import node_on\n"
            "node = node_on(Path(sys.argv[1]))\n"
            "print('up', flush=True)\n"
            "time.sleep(60)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), HERE], stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"up\n"
            threading.Event().wait(0.15 * number)
            os.kill(child.pid, signal.SIGKILL)
    node = node_on(tmp_path)
    try:
        until(lambda: state(node, org) == "bound", "bound")
        until(lambda: len(stored(arc)) >= 2_000, "all of them are in Arc")
        assert stored(arc) == expected
        found = node.call("arc.get", Target(), GetArc(org=org))
        assert (found.spooled, found.parked) == (0, 0)  # type: ignore[attr-defined]
    finally:
        node.close()
