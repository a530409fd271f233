"""What locks of a catalog promise, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from palimp.catalog import open_catalog
from palimp.catalog.coordination import SqlLocks
from palimp.catalog.locks import Held, Lock, Locks, NoLocks
from palimp.clock import Clock, ManualClock
from palimp.errors import Invalid, Unavailable

from .catalog_backends import PostgreSQL, mariadb, postgres, url

__all__ = ["mariadb", "postgres", "url"]


@pytest.fixture
def catalog(url: str) -> Iterator[Any]:
    found = open_catalog(url, Clock())
    yield found
    found.close()


@pytest.fixture
def table(catalog: Any) -> SqlLocks:
    return SqlLocks(catalog)


def run_out(catalog: Any) -> None:
    """Have every lock run out now, whatever the time is."""
    with catalog.changing() as connection:
        connection.exec_driver_sql("UPDATE palimp_locks SET expires_at = 1")


def test_one_of_twenty_that_come_at_once_has_it(url: str) -> None:
    catalogs = [open_catalog(url, Clock()) for _ in range(20)]
    catalogs[0].prepare()
    barrier, found = threading.Barrier(20), list[Lock | None]()

    def race(number: int) -> None:
        locks = SqlLocks(catalogs[number])
        barrier.wait(30)
        found.append(locks.acquire("rebuild", f"node-{number}", 60))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [one for one in found if one is not None]
    assert len(found) == 20
    assert len(winners) == 1
    assert SqlLocks(catalogs[0]).held() == winners
    for catalog in catalogs:
        catalog.close()


def test_another_gets_it_when_it_is_released_and_with_a_higher_token(table: SqlLocks) -> None:
    first = table.acquire("a", "one", 60)
    assert first is not None
    assert table.acquire("a", "two", 60) is None
    assert table.acquire("b", "two", 60) is not None, "another name is another lock"
    table.release(first)
    second = table.acquire("a", "two", 60)
    assert second is not None
    assert second.token > first.token


def test_its_holder_is_given_it_again_for_longer(table: SqlLocks) -> None:
    first = table.acquire("a", "one", 10)
    again = table.acquire("a", "one", 60)
    assert first is not None
    assert again is not None
    assert again.token == first.token
    assert again.expires_at >= first.expires_at + 40_000


def test_one_that_ran_out_is_taken_over_and_its_holder_can_do_nothing_with_it(
    catalog: Any, table: SqlLocks
) -> None:
    first = table.acquire("a", "one", 60)
    assert first is not None
    run_out(catalog)
    assert table.held() == []
    assert not table.renew(first, 60), "not renewed once it ran out, though nobody has it"
    second = table.acquire("a", "two", 60)
    assert second is not None
    assert second.token > first.token
    assert not table.renew(first, 60)
    table.release(first)
    assert [one.holder for one in table.held()] == ["two"]
    assert table.renew(second, 60)


def test_who_lets_it_run_out_and_takes_it_again_has_another_token(
    catalog: Any, table: SqlLocks
) -> None:
    first = table.acquire("a", "one", 60)
    assert first is not None
    run_out(catalog)
    second = table.acquire("a", "one", 60)
    assert second is not None
    assert second.token > first.token


def test_the_clocks_of_nodes_are_not_asked(url: str) -> None:
    # A year behind, and a year ahead.
    year = 365 * 86_400_000
    behind = open_catalog(url, ManualClock(Clock().now_ms() - year))
    ahead = open_catalog(url, ManualClock(Clock().now_ms() + year))
    first = SqlLocks(behind).acquire("a", "behind", 60)
    assert first is not None
    assert SqlLocks(ahead).acquire("a", "ahead", 60) is None
    assert SqlLocks(ahead).held() == [first]
    assert abs(first.expires_at - 60_000 - Clock().now_ms()) < 30_000, (
        "the machine's is the database's"
    )
    behind.close()
    ahead.close()


def test_it_is_renewed_while_it_is_held_and_let_go_after(url: str, table: SqlLocks) -> None:
    class Seen(SqlLocks):
        renewed = threading.Event()
        times = 0

        def renew(self, lock: Lock, seconds: float) -> bool:
            found = super().renew(lock, seconds)
            self.times += 1
            if self.times == 3:
                self.renewed.set()
            return found

    other = open_catalog(url, Clock())
    seen = Seen(other)
    with Locks(seen, "one", Clock()).hold("a", 3.0) as held:
        assert held is not None
        assert seen.renewed.wait(60), "three beats are as long as the lock was given for"
        held.check()
        assert table.acquire("a", "two", 3.0) is None
        with Locks(table, "two", Clock()).hold("a", 3.0) as others:
            assert others is None
    assert table.acquire("a", "two", 3.0) is not None
    other.close()


def test_whoever_holds_it_is_told_when_it_was_taken_back(catalog: Any, table: SqlLocks) -> None:
    with Locks(table, "one", Clock()).hold("a", 3.0) as held:
        assert held is not None
        with catalog.changing() as connection:
            connection.exec_driver_sql("UPDATE palimp_locks SET holder = 'two', token = 99")
        # By the next renewal.
        wait_for_loss(held)
        with pytest.raises(
            Unavailable, match="lock 'a' was held here and is not any more"
        ) as caught:
            held.check()
    assert caught.value.details["reason"] == "lock"
    assert [one.holder for one in table.held()] == ["two"], "only the holder releases"


def wait_for_loss(held: Held) -> None:
    end = Clock().monotonic() + 60
    while not held.lost and Clock().monotonic() < end:
        Clock().sleep(0.05)


def test_without_an_answer_it_is_lost_before_it_is_in_the_database() -> None:
    clock = ManualClock()
    held = Held("lock 'a'", 1, 60.0, clock, clock.boottime())

    def silent() -> bool:
        raise Unavailable("the catalog is down", reason="catalog")

    clock.advance(40)
    held.renew(silent)
    assert not held.lost
    clock.advance(19)
    held.renew(lambda: True)
    clock.advance(59)
    assert not held.lost, "from when the last renewal was asked for"
    clock.advance(1)
    assert held.lost


def test_where_there_is_no_catalog_there_is_nobody_else() -> None:
    with NoLocks().hold("a") as held, NoLocks().hold("a") as again:
        assert held is not None
        assert again is not None
        held.check()


HOLDER = """
import sys
from palimp.catalog import open_catalog
from palimp.catalog.coordination import SqlLocks
from palimp.catalog.locks import Locks
from palimp.clock import Clock
from palimp.errors import Unavailable
catalog = open_catalog(sys.argv[1], Clock())
with Locks(SqlLocks(catalog), "stopped", Clock()).hold("a", 2.0) as held:
    print("held", held.token, flush=True)
    sys.stdin.readline()
    try:
        held.check()
    except Unavailable as error:
        print("lost", error.details["reason"], flush=True)
    else:
        print("still held", flush=True)
catalog.close()
"""


def test_a_process_that_was_stopped_learns_that_it_lost_it(url: str, table: SqlLocks) -> None:
    command = [sys.executable, "-W", "error", "-c", HOLDER, url]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            word, token = process.stdout.readline().split()
            assert word == "held"
            assert table.acquire("a", "other", 60) is None
            os.kill(process.pid, signal.SIGSTOP)
            taken = None
            end = Clock().monotonic() + 60
            while taken is None and Clock().monotonic() < end:
                Clock().sleep(0.1)
                taken = table.acquire("a", "other", 60)
            assert taken is not None, "it runs out while its holder is stopped"
            assert taken.token > int(token)
            os.kill(process.pid, signal.SIGCONT)
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "lost lock\n"
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert [one.holder for one in table.held()] == ["other"], "it released what is not its own"


def test_a_catalog_is_of_one_store(url: str) -> None:
    first = open_catalog(url, Clock())
    first.bind("store_a")
    first.prepare()
    again = open_catalog(url, Clock())
    again.bind("store_a")
    again.prepare()
    other = open_catalog(url, Clock())
    other.bind("store_b")
    with pytest.raises(Invalid, match=r"is of object store store_a, and this node is on store_b"):
        other.prepare()
    with pytest.raises(Invalid, match="Set PALIMP_CATALOG_URL"):
        other.profiles("acme")
    for catalog in (first, again, other):
        catalog.close()


def test_a_server_that_was_killed_lets_no_second_one_have_it(postgres: PostgreSQL) -> None:
    catalog = open_catalog(postgres.database(), Clock())
    table = SqlLocks(catalog)
    first = table.acquire("a", "one", 60)
    assert first is not None
    postgres.kill()
    try:
        with pytest.raises(Unavailable, match="catalog"):
            table.renew(first, 60)
    finally:
        postgres.start()
    assert table.acquire("a", "two", 60) is None
    assert table.renew(first, 60)
    catalog.close()
