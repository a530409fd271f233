"""One open database: all or nothing, durable, snapshots, txids."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from palimp.engine import Database, LocalEngine
from palimp.errors import Internal, Unavailable


def prepare(connection: apsw.Connection) -> None:
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")


def check(connection: apsw.Connection, name: str) -> None:
    connection.execute("SELECT count(*) FROM t").fetchall()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[LocalEngine]:
    made = LocalEngine(tmp_path / "hot", prepare, check=check)
    yield made
    made.close()


@pytest.fixture
def database(engine: LocalEngine) -> Iterator[Database]:
    with engine.use("ns--p", create=True) as found:
        assert found is not None
        yield found


def put(value: object) -> Any:
    return lambda connection: connection.execute("INSERT INTO t (b) VALUES (?)", (value,))


def values(database: Database) -> list[Any]:
    return [b for (b,) in database.read(lambda c: c.execute("SELECT b FROM t").fetchall()).value]


def test_txids_count_commits_that_changed_something(database: Database) -> None:
    assert database.read(lambda c: None).txid == 0
    assert database.write(put(1)).txid == 1
    assert database.write(lambda c: c.execute("SELECT 1").fetchall()).txid == 1
    assert database.write(lambda c: c.execute("UPDATE t SET b = 2 WHERE a = 99")).txid == 1
    assert database.write(put(2)).txid == 2
    assert database.read(lambda c: None).txid == 2


def test_what_raises_leaves_nothing(database: Database) -> None:
    def fails(connection: apsw.Connection) -> None:
        put(1)(connection)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        database.write(fails)
    assert values(database) == []
    assert database.write(put(2)).txid == 1


@pytest.mark.parametrize("sql", ["ROLLBACK", "INSERT OR ROLLBACK INTO t (a) VALUES (1), (1)"])
def test_an_operation_that_ends_the_transaction_does_not_commit_half(
    database: Database, sql: str
) -> None:
    def escapes(connection: apsw.Connection) -> None:
        put("lost")(connection)
        connection.execute(sql)

    with pytest.raises((apsw.ConstraintError, Internal)):
        database.write(escapes)
    assert values(database) == []
    assert database.write(put("next")).txid == 1


def test_a_reader_sees_one_state_while_writes_go_on(database: Database) -> None:
    database.write(put(1))
    inside, written = threading.Event(), threading.Event()
    seen: list[Any] = []

    def look(connection: apsw.Connection) -> None:
        seen.append(connection.execute("SELECT count(*) FROM t").get)
        inside.set()
        assert written.wait(10)
        seen.append(connection.execute("SELECT count(*) FROM t").get)

    reader = threading.Thread(target=lambda: database.read(look))
    reader.start()
    assert inside.wait(10)
    assert database.write(put(2)).txid == 2
    written.set()
    reader.join()
    assert seen == [1, 1]
    assert len(values(database)) == 2


def test_a_read_cannot_write(database: Database) -> None:
    with pytest.raises(Unavailable, match="cannot be written"):
        database.read(put(1))
    assert values(database) == []


def test_many_threads_lose_nothing_and_share_no_txid(database: Database) -> None:
    txids: list[int] = []

    def work(number: int) -> None:
        txids.extend(database.write(put(f"{number}-{turn}")).txid for turn in range(25))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(txids) == list(range(1, 201))
    assert len(set(values(database))) == 200


def test_sqlite_is_as_durable_as_promised(database: Database) -> None:
    def pragmas(connection: apsw.Connection) -> list[Any]:
        names = ("journal_mode", "synchronous", "secure_delete")
        return [connection.execute(f"PRAGMA {name}").get for name in names]

    assert database.write(pragmas).value == ["wal", 2, 1]


def test_attachments_live_with_the_handle(tmp_path: Path) -> None:
    class Cache:
        pass

    engine = LocalEngine(tmp_path / "hot", prepare, check=check, hot_cap=1)
    found = []
    for name in ("ns--p", "ns--p", "ns--other", "ns--p"):
        with engine.use(name, create=True) as database:
            assert database is not None
            found.append(database.attachment(Cache, Cache))
    engine.close()
    assert found[0] is found[1]
    assert found[0] is not found[3]


def test_a_closed_engine_opens_nothing(tmp_path: Path) -> None:
    engine = LocalEngine(tmp_path / "hot", prepare, check=check)
    engine.close()
    with pytest.raises(Unavailable, match="closed"), engine.use("ns--p", create=True):
        pass
    assert engine.names() == []


def test_a_foreign_lock_is_named_and_nothing_is_lost(database: Database, tmp_path: Path) -> None:
    database.write(put(1))
    other = apsw.Connection(str(tmp_path / "hot" / "ns--p" / "main.db"))
    other.execute("BEGIN IMMEDIATE")
    database._writer.set_busy_timeout(10)
    with pytest.raises(Unavailable, match="locked by another process") as caught:
        database.write(put(2))
    assert caught.value.retry_after
    other.execute("ROLLBACK")
    other.close()
    assert database.write(put(3)).txid == 2


def test_a_damaged_file_is_named(engine: LocalEngine, tmp_path: Path) -> None:
    (tmp_path / "hot" / "ns--bad").mkdir()
    (tmp_path / "hot" / "ns--bad" / "main.db").write_bytes(b"no database" * 1000)
    with pytest.raises(Internal, match="ns--bad is damaged"), engine.use("ns--bad", create=False):
        pass


def test_reading_what_does_not_exist_makes_nothing(engine: LocalEngine, tmp_path: Path) -> None:
    with engine.use("ns--nobody", create=False) as found:
        assert found is None
    assert engine.names() == []
    assert list((tmp_path / "hot").iterdir()) == []


def test_more_databases_than_may_be_open(tmp_path: Path) -> None:
    engine = LocalEngine(tmp_path / "hot", prepare, check=check, hot_cap=3)
    for turn in range(2):
        for number in range(10):
            with engine.use(f"ns--p{number}", create=True) as database:
                assert database is not None
                assert database.write(put(number)).txid == turn + 1
    assert len(engine._open) <= 3
    assert len(engine.names()) == 10
    engine.close()


def test_a_handle_in_use_is_not_closed(tmp_path: Path) -> None:
    engine = LocalEngine(tmp_path / "hot", prepare, check=check, hot_cap=1)
    with engine.use("ns--a", create=True) as first, engine.use("ns--b", create=True) as second:
        assert first is not None
        assert second is not None
        first.write(put(1))
        second.write(put(1))
    with engine.use("ns--c", create=True):
        assert len(engine._open) == 1
    engine.close()


def test_threads_that_open_the_same_database_get_the_same(tmp_path: Path) -> None:
    engine = LocalEngine(tmp_path / "hot", prepare, check=check)
    found: list[Database | None] = []

    def work() -> None:
        with engine.use("ns--p", create=True) as database:
            found.append(database)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(database) for database in found}) == 1
    engine.close()


WRITER = """
import sys
import palimp
mem = palimp.open(sys.argv[1], embed_provider="none")
alice = mem.profile("alice")
n = int(sys.argv[2])
while True:
    written = alice.ingest([{"text": f"memory {n}"}, {"text": f"shadow of {n}"}])
    print(n, flush=True)
    n += 1
"""


def test_acknowledged_memories_survive_sigkill(tmp_path: Path) -> None:
    """Killed at a random moment, ten times on the same folder: nothing acknowledged is missing."""
    import palimp

    acknowledged = 0
    for _ in range(10):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "m"), str(acknowledged)],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            for _ in range(20):
                acknowledged = int(process.stdout.readline()) + 1
            os.kill(process.pid, signal.SIGKILL)
            # What was printed before the kill was acknowledged too.
            for line in process.stdout:
                acknowledged = int(line) + 1 if line.endswith("\n") else acknowledged
    with palimp.open(tmp_path / "m") as mem:
        found = {memory.text for memory in mem.profile("alice").list()}
    assert {f"memory {n}" for n in range(acknowledged)} <= found
    # Batches are whole: each memory has its shadow.
    assert {t.removeprefix("memory ") for t in found if t.startswith("memory")} == {
        t.removeprefix("shadow of ") for t in found if t.startswith("shadow")
    }
