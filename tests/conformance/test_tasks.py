"""Tasks: what their table promises on SQLite and on PostgreSQL, and what every client may ask."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palimp.api import Erase
from palimp.catalog import open_catalog
from palimp.catalog.task_rows import Item, NewTask, Progress, TaskRow
from palimp.clock import Clock
from palimp.errors import Invalid, NotFound, Unconfigured

from .catalog_backends import mariadb, postgres, url

__all__ = ["mariadb", "postgres", "url"]

pytest.importorskip(
    "sqlalchemy", reason="sqlalchemy is not installed (pip install 'palimp[server]')"
)

from palimp.catalog.task_table import SqlTasks

MINUTE = 60.0


@pytest.fixture
def catalog(url: str) -> Iterator[Any]:
    found = open_catalog(url, Clock())
    yield found
    found.close()


@pytest.fixture
def table(catalog: Any) -> SqlTasks:
    return SqlTasks(catalog)


def new(identity: str) -> NewTask:
    return NewTask(identity, "verify", '{"kind":"verify"}', "owner")


def silence(catalog: Any) -> None:
    """Have every runner been silent for too long."""
    with catalog.changing() as connection:
        connection.exec_driver_sql("UPDATE palimp_tasks SET expires_at = 1")


def claimed(table: SqlTasks, runner: str = "one") -> TaskRow:
    found = table.claim(runner, MINUTE)
    assert found is not None
    return found


def reached(cursor: str, done: int, **more: Any) -> Progress:
    fields = {"walked": False, "failed": 0, "total": 9, "result": '{"objects":3}', **more}
    return Progress(cursor=cursor, done=done, **fields)


def test_a_task_that_is_made_again_is_the_same(table: SqlTasks) -> None:
    first = table.create(new("task_a"))
    assert first.state == "waiting"
    assert abs(first.created_at - Clock().now_ms()) < 30_000
    run = claimed(table)
    again = table.create(NewTask("task_a", "export", "{}", "another"))
    assert (again.kind, again.state, again.token) == ("verify", "running", run.token)


def test_the_oldest_is_claimed_first_and_each_by_one(table: SqlTasks, url: str) -> None:
    for name in ("task_b", "task_a", "task_c"):
        table.create(new(name))
        Clock().sleep(0.002)
    catalogs = [open_catalog(url, Clock()) for _ in range(6)]
    barrier, found = threading.Barrier(6), list[TaskRow | None]()

    def race(number: int) -> None:
        barrier.wait(30)
        found.append(SqlTasks(catalogs[number]).claim(f"node-{number}", MINUTE))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = [one.id for one in found if one is not None]
    assert sorted(taken) == sorted(set(taken)), "each has one runner"
    rest = iter(lambda: table.claim("late", MINUTE), None)
    # Who lost every race of a look comes again.
    assert sorted([*taken, *(one.id for one in rest)]) == ["task_a", "task_b", "task_c"]
    for catalog in catalogs:
        catalog.close()


def test_in_the_order_in_which_they_were_made(table: SqlTasks) -> None:
    for name in ("task_b", "task_a", "task_c"):
        table.create(new(name))
        Clock().sleep(0.005)
    assert [claimed(table).id for _ in range(3)] == ["task_b", "task_a", "task_c"]
    newest = table.page(None, None, 2)
    assert [one.id for one in newest] == ["task_c", "task_a"]
    before = (newest[-1].created_at, newest[-1].id)
    assert [one.id for one in table.page(None, before, 2)] == ["task_b"]
    assert table.page("done", None, 2) == []


def test_who_was_silent_for_too_long_is_followed_and_notes_nothing_any_more(
    catalog: Any, table: SqlTasks
) -> None:
    table.create(new("task_a"))
    first = claimed(table, "one")
    assert table.advance("task_a", first.token, reached("acme--b", 2), MINUTE)
    assert table.claim("two", MINUTE) is None
    silence(catalog)
    assert table.renew("task_a", first.token, MINUTE), "nobody has followed yet"
    silence(catalog)
    second = claimed(table, "two")
    assert second.token > first.token
    assert (second.cursor, second.done, second.result) == ("acme--b", 2, '{"objects":3}')
    assert not table.renew("task_a", first.token, MINUTE)
    assert not table.advance("task_a", first.token, reached("acme--z", 8), MINUTE)
    assert not table.finish("task_a", first.token, "done", None)
    assert not table.give_back("task_a", first.token)
    now = table.get("task_a")
    assert now is not None
    assert (now.state, now.runner, now.cursor, now.done) == ("running", "two", "acme--b", 2)


def test_what_is_given_back_goes_on_at_once_elsewhere(table: SqlTasks) -> None:
    table.create(new("task_a"))
    first = claimed(table, "one")
    assert table.advance("task_a", first.token, reached("acme--b", 2), MINUTE)
    assert table.give_back("task_a", first.token)
    second = claimed(table, "two")
    assert (second.cursor, second.started_at) == ("acme--b", first.started_at)


def test_progress_that_is_noted_twice_is_noted_once(table: SqlTasks) -> None:
    table.create(new("task_a"))
    run = claimed(table)
    items = (Item("acme", "c", 1, None, "damaged"), Item("acme", "d", 1, 0.0, "away"))
    for _ in range(2):
        assert table.advance("task_a", run.token, reached("acme--d", 2, items=items), MINUTE)
    now = table.get("task_a")
    assert now is not None
    assert now.done == 2
    assert table.failures("task_a", 9) == [("acme", "c", "damaged")]
    assert table.due("task_a", 9) == ([("acme", "d", 1)], 0.0)


def test_what_is_to_be_tried_again_waits_for_its_time(table: SqlTasks) -> None:
    table.create(new("task_a"))
    run = claimed(table)
    assert table.due("task_a", 9) == ([], None)
    items = (Item("acme", "c", 2, 50.0, "away"), Item("acme", "d", 1, 5.0, "away"))
    assert table.advance("task_a", run.token, reached("acme--d", 0, items=items), MINUTE)
    found, wait = table.due("task_a", 9)
    assert found == []
    assert wait is not None
    assert 0 < wait <= 5
    again = reached("acme--d", 1, settled=(("acme", "d"),))
    assert table.advance("task_a", run.token, again, MINUTE)
    _, wait = table.due("task_a", 9)
    assert wait is not None
    assert 5 < wait <= 50


def test_a_cancelled_task_is_refused_to_its_run_and_can_be_gone_on_with(table: SqlTasks) -> None:
    table.create(new("task_a"))
    run = claimed(table)
    assert table.advance("task_a", run.token, reached("acme--b", 2), MINUTE)
    cancelled = table.cancel("task_a")
    assert cancelled is not None
    assert (cancelled.state, cancelled.done) == ("cancelled", 2)
    assert cancelled.finished_at is not None
    assert not table.renew("task_a", run.token, MINUTE)
    assert not table.advance("task_a", run.token, reached("acme--c", 3), MINUTE)
    assert table.claim("two", MINUTE) is None
    again = table.retry("task_a")
    assert again is not None
    assert (again.state, again.finished_at) == ("waiting", None)
    assert claimed(table, "two").cursor == "acme--b"


def test_what_failed_is_due_again_once_that_is_asked_for(table: SqlTasks) -> None:
    table.create(new("task_a"))
    run = claimed(table)
    items = (Item("acme", "c", 1, None, "damaged"),)
    assert table.advance("task_a", run.token, reached("z", 2, failed=1, items=items), MINUTE)
    assert table.finish("task_a", run.token, "failed", None)
    again = table.retry("task_a")
    assert again is not None
    assert (again.state, again.done, again.failed) == ("waiting", 2, 0)
    assert table.failures("task_a", 9) == []
    assert table.due("task_a", 9) == ([("acme", "c", 0)], 0.0)


def test_one_that_is_done_is_neither_cancelled_nor_gone_on_with(table: SqlTasks) -> None:
    table.create(new("task_a"))
    run = claimed(table)
    assert table.finish("task_a", run.token, "done", None)
    for change in (table.cancel, table.retry):
        found = change("task_a")
        assert found is not None
        assert found.state == "done"
        assert change("task_b") is None


def test_those_that_ended_go_after_a_while_with_what_failed_in_them(
    catalog: Any, table: SqlTasks
) -> None:
    for name in ("task_a", "task_b"):
        table.create(new(name))
        run = claimed(table)
        items = (Item("acme", "c", 1, None, "damaged"),)
        table.advance(name, run.token, reached("z", 0, failed=1, items=items), MINUTE)
    table.finish("task_b", run.token, "failed", None)
    assert table.remove_finished(3_600) == 0
    with catalog.changing() as connection:
        connection.exec_driver_sql("UPDATE palimp_tasks SET finished_at = finished_at - 7200000")
    assert table.remove_finished(3_600) == 1
    assert table.get("task_b") is None
    assert table.failures("task_b", 9) == []
    assert table.failures("task_a", 9) == [("acme", "c", "damaged")], "it runs, however long"


# -- clients ----------------------------------------------------------------------------------


@pytest.fixture
def fleet(do: Any, tmp_path: Path) -> Iterator[Any]:
    """A client of a node with a catalog, and four profiles in two namespaces."""
    client = do.open(
        tmp_path / "memory", embed_provider="none", catalog_url=f"sqlite:///{tmp_path}/catalog.db"
    )
    for namespace, name in (("acme", "a"), ("acme", "b"), ("acme", "c-1"), ("beta", "a")):
        do(client.profile(name, namespace=namespace).remember(f"of {name}", session="s42"))
    yield client
    do(client.close())


def ended(do: Any, client: Any, task: Any) -> Any:
    """Wait for a task to end."""
    end = Clock().monotonic() + 60
    while task.state in ("waiting", "running") and Clock().monotonic() < end:
        Clock().sleep(0.05)
        task = do(client.task(task))
    assert task.state not in ("waiting", "running"), task
    return task


def test_a_task_comes_to_the_profiles_it_is_for(do: Any, fleet: Any) -> None:
    for selection, count in (
        ({"all": True}, 4),
        ({"namespaces": ["acme"]}, 3),
        ({"namespaces": ["beta", "acme"], "match": "a"}, 2),
        ({"all": True, "match": "c-*"}, 1),
        ({"namespaces": "gamma"}, 0),
    ):
        done = ended(do, fleet, do(fleet.create_task("verify", **selection)))
        assert (done.state, done.done, done.total, done.failed) == ("done", count, count, 0)
        assert done.result.get("objects", 0) >= count
        assert done.errors == ()
    found = do.all(fleet.tasks())
    assert len(found) == 5
    assert [one.created_at for one in found] == sorted(
        (one.created_at for one in found), reverse=True
    )
    assert {one.created_by for one in found} == {"owner"}
    assert do.all(fleet.tasks(state="running")) == []


def test_a_dry_run_counts_and_does_nothing(do: Any, fleet: Any, tmp_path: Path) -> None:
    to = (tmp_path / "out").as_uri()
    done = ended(do, fleet, do(fleet.create_task("export", all=True, dry_run=True, to=to)))
    assert (done.state, done.done, done.result) == ("done", 4, {})
    assert not list((tmp_path / "out").glob("*/*"))
    wanted = {"session": "s42"}
    task = do(fleet.create_task("erase", namespaces=["acme"], dry_run=True, erase=wanted))
    done = ended(do, fleet, task)
    assert done.result["rows"] == 3
    assert len(do(fleet.profile("a", namespace="acme").recall("of a"))) == 1


def test_an_export_puts_a_file_of_each_that_can_be_opened(
    do: Any, fleet: Any, tmp_path: Path
) -> None:
    to = (tmp_path / "out").as_uri()
    task = do(fleet.create_task("export", namespaces=["acme"], match="?", to=to))
    done = ended(do, fleet, task)
    assert (done.state, done.result["files"]) == ("done", 2)
    files = sorted((tmp_path / "out" / done.id).iterdir())
    assert [file.name for file in files] == ["acme--a.db", "acme--b.db"]
    assert done.result["bytes"] == sum(file.stat().st_size for file in files)
    with sqlite3.connect(files[1]) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_an_erasure_is_asked_for_of_every_profile(do: Any, fleet: Any) -> None:
    wanted = Erase(session="s42", reason="asked for", grace=0)
    done = ended(do, fleet, do(fleet.create_task("erase", namespaces=["acme"], erase=wanted)))
    assert (done.state, done.result) == ("done", {"erasures": 3, "rows": 3, "blocked": 0})
    for name, left in (("a", 0), ("c-1", 0)):
        profile = fleet.profile(name, namespace="acme")
        assert len(do(profile.recall("of"))) == left
        [job] = do.all(profile.erasures())
        assert job.status == "done"
    assert len(do(fleet.profile("a", namespace="beta").recall("of a"))) == 1


def test_lifecycle_is_run_for_every_profile(do: Any, fleet: Any) -> None:
    for name in ("a", "b"):
        profile = fleet.profile(name, namespace="acme")
        do(profile.remember("soon over", type="task", expires_at=Clock().now_ms() + 50))
    Clock().sleep(0.1)
    done = ended(do, fleet, do(fleet.create_task("lifecycle", namespaces=["acme"])))
    assert (done.state, done.done) == ("done", 3)
    assert done.result == {
        "expired": 2, "archived": 0, "soft_deleted": 0, "purged": 0, "cooled": 0, "swept": 0
    }  # fmt: skip
    profile = fleet.profile("b", namespace="acme")
    assert [one.text for one in do.all(profile.list())] == ["of b"]
    alone = do(profile.lifecycle.run())
    assert alone.expired == 0
    assert alone.txid > 0
    with pytest.raises(NotFound):
        do(fleet.profile("nobody", namespace="acme").lifecycle.run())


def test_the_memories_of_a_project_are_given_over_everywhere(do: Any, fleet: Any) -> None:
    for name in ("a", "b"):
        profile = fleet.profile(name, namespace="acme")
        do(profile.ingest([{"text": f"{name} {n}", "project": "old"} for n in range(1_000)]))
        do(profile.remember(f"{name} and more", project="old"))
    given = {"project": "old", "to": "new"}
    task = do(fleet.create_task("reassign", namespaces=["acme"], dry_run=True, reassign=given))
    assert ended(do, fleet, task).result == {}
    done = ended(do, fleet, do(fleet.create_task("reassign", all=True, reassign=given)))
    assert (done.state, done.done, done.result) == ("done", 4, {"memories": 2_002})
    by_project = do(fleet.profile("a", namespace="acme").stats()).by_project
    assert {name: group.count for name, group in by_project.items()} == {"new": 1_001, "": 1}
    again = ended(do, fleet, do(fleet.create_task("reassign", all=True, reassign=given)))
    assert again.result == {"memories": 0}


def test_reembedding_without_an_embedder_ends_the_task_and_says_why(do: Any, fleet: Any) -> None:
    done = ended(do, fleet, do(fleet.create_task("reembed", all=True)))
    assert (done.state, done.done) == ("failed", 0)
    assert done.message is not None
    assert "nothing can be embedded" in done.message


def test_a_request_that_is_repeated_begins_one_task(do: Any, fleet: Any) -> None:
    first = do(fleet.create_task("verify", all=True, request_id="r-1"))
    again = do(fleet.create_task("verify", all=True, request_id="r-1"))
    assert again.id == first.id
    assert do(fleet.create_task("verify", all=True, request_id="r-2")).id != first.id


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "verify"}, "for no profiles"),
        ({"kind": "verify", "match": "a*"}, "for no profiles"),
        ({"kind": "verify", "all": True, "namespaces": ["acme"]}, "all and namespaces"),
        ({"kind": "verify", "namespaces": ["Acme"]}, "namespace 'Acme'"),
        ({"kind": "verify", "all": True, "match": ""}, "match has 0 characters"),
        ({"kind": "export", "all": True}, "'export' needs 'to'"),
        ({"kind": "verify", "all": True, "to": "s3://b"}, "'verify' takes no 'to'"),
        ({"kind": "export", "all": True, "to": "mem://"}, "gone with the process"),
        ({"kind": "export", "all": True, "to": "out"}, "unsupported"),
        ({"kind": "erase", "all": True}, "'erase' needs 'erase'"),
        ({"kind": "erase", "all": True, "erase": {}}, "not of nothing"),
        ({"kind": "erase", "all": True, "erase": {"dry_run": True, "source": "x"}}, "of the task"),
        ({"kind": "reassign", "all": True}, "'reassign' needs 'reassign'"),
        ({"kind": "verify", "all": True, "reassign": {"project": "a"}}, "takes no 'reassign'"),
        (
            {"kind": "reassign", "all": True, "reassign": {"project": "a", "to": "a"}},
            "in project 'a' already",
        ),
        ({"kind": "compact", "all": True}, "invalid enum value"),
    ],
)
def test_what_no_node_could_do_is_refused(
    do: Any, fleet: Any, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(Invalid, match=said):
        do(fleet.create_task(**fields))
    assert do.all(fleet.tasks()) == []


def test_what_is_not_there_is_said_and_what_is_over_is_left(do: Any, fleet: Any) -> None:
    for ask in (fleet.task, fleet.cancel_task, fleet.retry_task):
        with pytest.raises(NotFound, match="no task 'task_x'"):
            do(ask("task_x"))
    done = ended(do, fleet, do(fleet.create_task("verify", all=True)))
    for change in (fleet.cancel_task, fleet.retry_task):
        assert do(change(done)) == done


def test_without_a_catalog_it_is_said_what_to_set(do: Any, client: Any) -> None:
    with pytest.raises(Unconfigured, match="set PALIMP_CATALOG_URL"):
        do(client.create_task("verify", all=True))
    with pytest.raises(Unconfigured, match="palimp serve"):
        do.all(client.tasks())


def test_the_spec_is_shown_as_it_was_asked_for(do: Any, fleet: Any) -> None:
    task = do(fleet.create_task("verify", namespaces=["acme"], match="c-*"))
    assert task.spec == {"kind": "verify", "namespaces": ["acme"], "match": "c-*"}
    assert json.dumps(task.to_dict())
