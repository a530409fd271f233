"""Who carries out tasks: what is tried again, what is skipped, where the next run goes on."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp.api import Options, Target
from palimp.api.base import Request
from palimp.api.tasks import CreateTask
from palimp.client.transports.embedded import Embedded
from palimp.clock import Clock
from palimp.errors import Unavailable
from palimp.node import Node, load_settings
from palimp.operations.fleet import pages

pytest.importorskip("alembic", reason="alembic is not installed (pip install 'palimp[server]')")

from palimp.catalog import start_catalog
from palimp.catalog.task_rows import NewTask, TaskRow
from palimp.catalog.task_table import SqlTasks
from palimp.node.task_run import Times
from palimp.node.task_runner import TaskRunner

COUNT = 40
NAMES = [f"p{number:02}" for number in range(COUNT)]
QUICK = Times(silent=60.0, poll=0.05, again=(0.0, 0.0, 0.0))


class House:
    """A node with forty profiles, and a catalog beside it."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}/catalog.db"
        self.node = Node(load_settings({"data_dir": path / "m", "embed_provider": "none"}))
        client = palimp.Client(Embedded(self.node))
        for name in NAMES:
            client.profile(name, namespace="acme").remember(f"of {name}")
        self.catalog = start_catalog(self.url, Clock())
        self.seen: Counter[str] = Counter()
        self.before: Callable[[str], None] = lambda _: None
        self._runners: list[TaskRunner] = []

    def call(self, operation: str, target: Target, request: Request, options: Options) -> Any:
        assert target.profile is not None
        self.seen[target.profile] += 1
        self.before(target.profile)
        return self.node.call(operation, target, request, options)

    def runner(self, times: Times = QUICK, **more: Any) -> TaskRunner:
        engine = self.node.context.engine
        call = more.pop("call", self.call)
        found = TaskRunner(
            self.catalog, "node", call, engine.names, self.node.context.metrics, times=times
        )
        self._runners.append(found)
        return found

    def begin(self, runner: TaskRunner, spec: str = '{"kind":"verify","all":true}') -> str:
        made = runner.table.create(NewTask("task_a", "verify", spec, "owner"))
        runner.wake()
        return made.id

    def wait(self, runner: TaskRunner, *states: str) -> TaskRow:
        end = Clock().monotonic() + 60
        while Clock().monotonic() < end:
            found = runner.table.get("task_a")
            assert found is not None
            if found.state in (states or ("done", "failed")):
                return found
            Clock().sleep(0.02)
        raise AssertionError(f"still {found}")

    def close_runners(self) -> None:
        while self._runners:
            self._runners.pop().close()

    def close(self) -> None:
        self.close_runners()
        self.catalog.close()
        self.node.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    found = House(tmp_path)
    yield found
    found.close()


def away(name: str) -> Unavailable:
    return Unavailable(f"{name} is being moved", reason="moving")


def test_every_profile_is_come_to_once(house: House) -> None:
    runner = house.runner()
    house.begin(runner)
    done = house.wait(runner)
    assert (done.state, done.done, done.total, done.walked) == ("done", COUNT, COUNT, True)
    assert house.seen == Counter(NAMES)
    # It is counted a moment after its row says so: the runner is closed first.
    house.close_runners()
    counted = house.node.context.metrics.snapshot()
    assert counted['task_profiles{kind="verify",outcome="done"}'] == COUNT
    assert counted['tasks_ended{kind="verify",state="done"}'] == 1


def test_one_that_is_away_is_tried_again_within_the_task(house: House) -> None:
    def before(name: str) -> None:
        if name in ("p03", "p20") and house.seen[name] <= 2:
            raise away(name)

    house.before = before
    runner = house.runner()
    house.begin(runner)
    done = house.wait(runner)
    assert (done.state, done.done, done.failed) == ("done", COUNT, 0)
    assert house.seen["p03"] == house.seen["p20"] == 3
    assert runner.table.due("task_a", 9) == ([], None)


def test_one_that_stays_away_is_named_and_tried_again_when_asked(house: House) -> None:
    def before(name: str) -> None:
        if name == "p07":
            raise away(name)

    house.before = before
    runner = house.runner()
    house.begin(runner)
    done = house.wait(runner)
    assert (done.state, done.done, done.failed, done.total) == ("failed", COUNT - 1, 1, COUNT)
    assert house.seen["p07"] == 1 + len(QUICK.again)
    assert runner.table.failures("task_a", 9) == [("acme", "p07", "p07 is being moved")]
    house.before, before_retry = lambda _: None, house.seen.copy()
    runner.table.retry("task_a")
    runner.wake()
    done = house.wait(runner)
    assert (done.state, done.done, done.failed) == ("done", COUNT, 0)
    assert house.seen - before_retry == Counter(["p07"]), "the others are done already"


def test_a_defect_in_one_profile_leaves_the_others_alone(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    def before(name: str) -> None:
        if name == "p11":
            raise ZeroDivisionError("somewhere")

    house.before = before
    runner = house.runner()
    house.begin(runner)
    done = house.wait(runner)
    assert (done.done, done.failed, house.seen["p11"]) == (COUNT - 1, 1, 1)
    assert "a defect of the node" in runner.table.failures("task_a", 9)[0][2]
    assert "somewhere" in caplog.text


def test_one_that_is_deleted_meanwhile_is_passed_over(house: House) -> None:
    client = palimp.Client(Embedded(house.node))

    def before(name: str) -> None:
        # All names are listed by now.
        if name == "p00":
            client.delete_database("acme--p39")

    house.before = before
    runner = house.runner()
    house.begin(runner)
    done = house.wait(runner)
    assert (done.state, done.done, done.total) == ("done", COUNT - 1, COUNT - 1)
    assert '"gone":1' in done.result


def test_a_runner_that_is_closed_gives_it_back_and_the_next_goes_on(house: House) -> None:
    enough = threading.Event()

    def before(name: str) -> None:
        if name >= "p20":
            enough.set()
            closing.wait(30)

    closing = threading.Event()
    house.before = before
    first = house.runner()
    house.begin(first)
    assert enough.wait(30)
    thread = threading.Thread(target=first.close)
    thread.start()
    while not first._closed.is_set():
        Clock().sleep(0.01)
    closing.set()
    thread.join(30)
    left = first.table.get("task_a")
    assert left is not None
    assert (left.state, left.cursor, left.done) == ("waiting", "acme--p15", 16)
    house.before = lambda _: None
    second = house.runner()
    second.start()
    done = house.wait(second)
    assert (done.state, done.done, done.total) == ("done", COUNT, COUNT)
    repeated = {name for name, times in house.seen.items() if times > 1}
    assert repeated <= set(NAMES[16:32]), "no more than those under way"
    assert set(house.seen) == set(NAMES)


def test_a_runner_that_was_silent_is_followed_and_notes_nothing_any_more(house: House) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def stopped(operation: str, target: Target, request: Request, options: Options) -> Any:
        if target.profile == "p20":
            reached.set()
            assert go_on.wait(60)
        return house.node.call(operation, target, request, options)

    first = house.runner(call=stopped)
    house.begin(first)
    assert reached.wait(30)
    with house.catalog.changing() as connection:
        connection.exec_driver_sql("UPDATE palimp_tasks SET expires_at = 1")
    second = house.runner()
    second.start()
    done = house.wait(second)
    assert (done.state, done.done, done.token) == ("done", COUNT, 2)
    assert set(house.seen) == set(NAMES[16:]), "from where the first had noted it was"
    go_on.set()
    first.close()
    again = second.table.get("task_a")
    assert again == done


def test_one_that_is_cancelled_ends_where_it_is(house: House) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def before(name: str) -> None:
        if name == "p20":
            reached.set()
            assert go_on.wait(30)

    house.before = before
    runner = house.runner()
    house.begin(runner)
    assert reached.wait(30)
    runner.table.cancel("task_a")
    go_on.set()
    runner.table.create(NewTask("task_b", "verify", '{"kind":"verify","namespaces":["x"]}', ""))
    end = Clock().monotonic() + 30
    while (last := runner.table.get("task_b")) and last.state != "done":
        assert Clock().monotonic() < end
        Clock().sleep(0.02)
    found = runner.table.get("task_a")
    assert found is not None
    assert (found.state, found.done) == ("cancelled", 16)
    assert max(house.seen) < "p32"


def test_what_a_newer_release_asked_for_is_refused_and_said(house: House) -> None:
    runner = house.runner()
    house.begin(runner, '{"kind":"verify","all":true,"colour":"blue"}')
    done = house.wait(runner)
    assert done.state == "failed"
    assert done.message is not None
    assert "this release does not know" in done.message


def test_who_only_reads_leaves_tasks_to_others(tmp_path: Path, house: House) -> None:
    engine, metrics = house.node.context.engine, house.node.context.metrics
    reader = TaskRunner(
        house.catalog, "reader", house.call, engine.names, metrics, works=False, times=QUICK
    )
    reader.table.create(NewTask("task_a", "verify", '{"kind":"verify","all":true}', ""))
    reader.wake()
    reader.start()
    assert reader._thread is None
    other = house.runner()
    other.start()
    assert house.wait(other).state == "done"
    reader.close()


KILLED = r"""
import os
import sys
from pathlib import Path
from palimp.catalog import start_catalog
from palimp.clock import Clock
from palimp.node import Node, load_settings
from palimp.node.task_run import Times
from palimp.node.task_runner import TaskRunner

path = Path(sys.argv[1])
node = Node(load_settings({"data_dir": path / "m", "embed_provider": "none"}))
catalog = start_catalog(f"sqlite:///{path}/catalog.db", Clock())

def call(operation, target, request, options):
    os.write(1, f"{target.profile}\n".encode())
    Clock().sleep(0.02)
    return node.call(operation, target, request, options)

runner = TaskRunner(
    catalog, "node", call, node.context.engine.names, node.context.metrics,
    times=Times(silent=2.0, poll=0.1),
)
runner.start()
sys.stdin.read()
"""


def test_a_process_that_was_killed_is_followed_by_the_next(tmp_path: Path) -> None:
    house = House(tmp_path)
    table = house.runner().table
    table.create(NewTask("task_a", "verify", '{"kind":"verify","all":true}', "owner"))
    house.close()
    seen: Counter[str] = Counter()
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while sum(seen.values()) < 20:
            seen[process.stdout.readline().strip()] += 1
        process.kill()
        seen.update(line.strip() for line in process.stdout)
    catalog = start_catalog(house.url, Clock())
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        again = SqlTasks(catalog)
        end = Clock().monotonic() + 60
        while (found := again.get("task_a")) and found.state != "done":
            assert Clock().monotonic() < end, found
            Clock().sleep(0.05)
        process.kill()
        seen.update(line.strip() for line in process.stdout)
    assert found is not None
    assert (found.done, found.total, found.token) == (COUNT, COUNT, 2)
    assert set(seen) == set(NAMES)
    assert sum(seen.values()) <= COUNT + 16, "what was noted is not repeated"
    catalog.close()


def names_of(*known: tuple[str, str]) -> Callable[..., tuple[list[tuple[str, str]], bool]]:
    """Return what lists names as an engine does, two at a time."""
    ordered = sorted(known, key=lambda one: f"{one[0]}/{one[1]}.json")

    def names(
        namespace: str | None, after: tuple[str, str] | None, _limit: int
    ) -> tuple[list[tuple[str, str]], bool]:
        found = [one for one in ordered if namespace in (None, one[0])]
        if after is not None:
            place = f"{after[0]}/{after[1]}.json"
            found = [one for one in found if f"{one[0]}/{one[1]}.json" > place]
        return found[:2], len(found) > 2

    return names


@pytest.mark.parametrize("spec", [{"all": True}, {"namespaces": ("b", "a-x", "a")}])
def test_from_wherever_a_run_ended_the_next_comes_to_the_rest(spec: dict[str, Any]) -> None:
    known = [("a", "x"), ("a", "x-1"), ("a-x", "q"), ("a", "y"), ("b", "m"), ("b", "n")]
    names, wanted = names_of(*known), CreateTask(kind="verify", **spec)
    whole = [one for found, _ in pages(names, wanted, None) for one in found]
    assert sorted(map(tuple, whole)) == sorted(known)
    for place, last in enumerate(whole):
        rest = [one for found, _ in pages(names, wanted, str(last)) for one in found]
        assert rest == whole[place + 1 :]
