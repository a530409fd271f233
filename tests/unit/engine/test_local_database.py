"""A local database: durable rounds, snapshots, places, switching and closing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palimp.clock import Clock, ManualClock
from palimp.engine.local_database import LocalDatabase, Repeat, Template, Terms, create_file
from palimp.engine.rounds import Ticket
from palimp.errors import Conflict, Error, Internal, Invalid, Unavailable


def prepare(connection: apsw.Connection) -> None:
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b UNIQUE)")
    connection.execute(
        "CREATE TRIGGER bad BEFORE INSERT ON t WHEN new.b = 'poison' "
        "BEGIN SELECT RAISE(ROLLBACK, 'poisoned'); END"
    )


class Owner:
    """What stands around a database: it hands out, it hears."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.terms = Terms(1, 1 << 40)
        self.heard: list[int] = []
        self.gates = 0
        self.checked = 0
        self.at_gate: Callable[[], None] = lambda: None
        self.at_commit: Callable[[int], None] = lambda txid: None
        self.clock = ManualClock()
        self.database = self.make(**options)
        if not path.exists():
            create_file(path, prepare)
        self.database.switch(path)

    def make(self, **options: Any) -> LocalDatabase:
        return LocalDatabase(
            "ns--p",
            check=self.check,
            gate=self.gate,
            committed=self.committed,
            clock=options.pop("clock", self.clock),
            **options,
        )

    def check(self, connection: apsw.Connection, name: str) -> None:
        assert name == "ns--p"
        connection.execute("SELECT count(*) FROM t").fetchall()
        self.checked += 1

    def gate(self) -> Terms:
        self.gates += 1
        self.at_gate()
        return self.terms

    def committed(self, txid: int) -> None:
        self.heard.append(txid)
        self.at_commit(txid)


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    made = Owner(tmp_path / "main.db")
    yield made
    made.database.close()


@pytest.fixture
def database(owner: Owner) -> LocalDatabase:
    return owner.database


def put(value: object) -> Any:
    def operation(connection: apsw.Connection) -> object:
        connection.execute("INSERT INTO t (b) VALUES (?)", (value,))
        return value

    return operation


def values(database: LocalDatabase) -> list[Any]:
    return database.read(lambda c: [b for (b,) in c.execute("SELECT b FROM t ORDER BY a")]).value


def request(name: str, digest: bytes = b"d") -> Repeat:
    return Repeat(name, digest, lambda value: str(value).encode(), bytes.decode)


def wait_until(true: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(10_000):
        if true():
            return
        pause.wait(0.001)
    raise AssertionError("it never came")


class Round:
    """Writes that wait in line in this order, each in a thread, until the block ends."""

    def __init__(self, database: LocalDatabase, *writes: Any) -> None:
        self.outcomes: list[Any] = [None] * len(writes)
        with database.writers_place():
            before = database.waiting
            self.threads = []
            for number, write in enumerate(writes):
                thread = threading.Thread(target=self._write, args=(database, number, write))
                self.threads.append(thread)
                thread.start()
                wait_until(lambda n=number: database.waiting == before + n + 1)
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()

    def _write(self, database: LocalDatabase, number: int, write: Any) -> None:
        operation, repeat = write if isinstance(write, tuple) else (write, None)
        try:
            self.outcomes[number] = database.write(operation, repeat)
        except (Error, apsw.Error, ArithmeticError, KeyboardInterrupt) as error:
            self.outcomes[number] = error


class Reading(threading.Thread):
    """A read that stays inside until it is told to end."""

    def __init__(self, database: LocalDatabase, query: Any = lambda c: None) -> None:
        super().__init__()
        self.database, self.query = database, query
        self.inside, self.may_end = threading.Event(), threading.Event()
        self.outcome: Any = None
        self.start()
        assert self.inside.wait(10)

    def run(self) -> None:
        def stay(connection: apsw.Connection) -> Any:
            before = self.query(connection)
            self.inside.set()
            assert self.may_end.wait(10)
            return before, self.query(connection)

        try:
            self.outcome = self.database.read(stay)
        except Unavailable as error:
            self.outcome = error

    def end(self) -> Any:
        self.may_end.set()
        self.join(10)
        assert not self.is_alive()
        return self.outcome


# -- writes ---------------------------------------------------------------------------------------


def test_txids_count_rounds_that_changed_something(owner: Owner) -> None:
    database = owner.database
    assert database.read(lambda c: None).txid == 0
    assert database.write(put(1)) == (1, 1, False)
    assert database.write(lambda c: c.execute("SELECT 1").fetchall()).txid == 1
    assert database.write(put(2)).txid == 2
    assert database.read(lambda c: None).txid == 2
    assert owner.heard == [1, 2]
    assert (owner.gates, database.rounds, database.writes) == (3, 3, 3)


def test_behind_a_change_of_rows_and_tables_what_did_nothing_takes_no_txid(owner: Owner) -> None:
    def both(connection: apsw.Connection) -> None:
        connection.execute("CREATE TABLE more (a)")
        connection.execute("INSERT INTO more VALUES (1)")

    database = owner.database
    first = database.write(both).txid
    assert database.write(lambda c: c.execute("SELECT 1").fetchall()).txid == first


def test_it_is_known_where_nothing_but_what_is_derived_was_written(
    owner: Owner, tmp_path: Path
) -> None:
    database = owner.database
    first = database.write(put(1)).txid
    assert database.only_derived(first, first)
    derived = database.write(put(2), derived=True).txid
    last = database.write(put(3), derived=True).txid
    database.write(lambda c: c.execute("SELECT 1").fetchall())
    assert database.only_derived(first, last)
    assert database.only_derived(derived, last)
    assert not database.only_derived(first, last + 1)
    assert not database.only_derived(last, first)
    moved = database.write(put(4)).txid
    assert not database.only_derived(first, moved)
    assert not database.only_derived(last, moved)
    # Of what others wrote nothing is known.
    database.switch(tmp_path / "main.db")
    assert not database.only_derived(last, moved)
    assert database.write(put(5), derived=True).txid == moved + 1
    assert database.only_derived(moved, moved + 1)
    assert not database.only_derived(last, moved + 1)


def test_a_round_is_derived_where_all_who_changed_something_are(owner: Owner) -> None:
    database = owner.database
    first = database.write(put(0)).txid
    tickets = [Ticket(put(1), derived=True), Ticket(put(2))]
    with database.writers_place():
        database._round(tickets)
    assert [ticket.outcome("t").txid for ticket in tickets] == [first + 1, first + 1]
    assert not database.only_derived(first, first + 1)


def test_sqlite_is_as_durable_as_promised(database: LocalDatabase) -> None:
    names = ("journal_mode", "synchronous", "secure_delete", "locking_mode")

    def pragmas(connection: apsw.Connection) -> list[Any]:
        return [connection.execute(f"PRAGMA {name}").get for name in names]

    assert database.write(pragmas).value == ["wal", 2, 1, "normal"]
    with database.writers_place():
        assert database.writer().config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, -1) == 1


def test_many_threads_lose_nothing_and_leave_no_gap(database: LocalDatabase) -> None:
    def work(number: int) -> list[Any]:
        return [database.write(put(f"{number}-{turn}")) for turn in range(50)]

    with ThreadPoolExecutor(32) as pool:
        done = [committed for found in pool.map(work, range(32)) for committed in found]
    assert len(done) == len(set(values(database))) == database.writes == 1600
    txids = sorted({committed.txid for committed in done})
    assert txids == list(range(1, len(txids) + 1))
    assert len(txids) == database.rounds == database.read(lambda c: None).txid


def test_what_waits_is_written_together(owner: Owner) -> None:
    database = owner.database
    done = Round(database, *[put(n) for n in range(10)])
    assert done.outcomes == [(n, 1, False) for n in range(10)]
    assert (owner.gates, owner.heard, database.rounds, database.writes) == (1, [1], 1, 10)
    assert values(database) == list(range(10))


def test_a_slow_operation_gathers_those_behind_it(database: LocalDatabase) -> None:
    started, may_end = threading.Event(), threading.Event()

    def slow(connection: apsw.Connection) -> None:
        put("slow")(connection)
        started.set()
        assert may_end.wait(10)

    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(database.write, slow)
        assert started.wait(10)
        others = [pool.submit(database.write, put(n)) for n in range(8)]
        wait_until(lambda: database.waiting == 8)
        may_end.set()
        assert first.result().txid == 1
        assert {other.result().txid for other in others} == {2}
    assert (database.rounds, database.writes, database.waiting) == (2, 9, 0)


def test_a_culprit_fails_alone(database: LocalDatabase) -> None:
    database.write(put("there"))
    culprits = [
        put("poison"),
        lambda c: c.execute("INSERT OR ROLLBACK INTO t (b) VALUES ('there')"),
        put("there"),
        lambda c: [put("half")(c), 1 / 0],
        lambda c: c.execute("ROLLBACK"),
    ]
    writes = [write for n, bad in enumerate(culprits) for write in (put(n), bad)]
    outcomes = Round(database, *writes).outcomes
    assert outcomes[::2] == [(n, 2, False) for n in range(5)]
    kinds = [type(outcome) for outcome in outcomes[1::2]]
    constraint = apsw.ConstraintError
    assert kinds == [constraint, constraint, constraint, ZeroDivisionError, Internal]
    assert values(database) == ["there", *range(5)]


def test_an_interrupted_thread_takes_nobody_with_it(owner: Owner) -> None:
    def interrupted(connection: apsw.Connection) -> None:
        put("half")(connection)
        raise KeyboardInterrupt

    done = Round(owner.database, interrupted, put(1), put(2))
    assert isinstance(done.outcomes[0], KeyboardInterrupt)
    assert done.outcomes[1:] == [(1, 1, False), (2, 1, False)]
    assert values(owner.database) == [1, 2]


def test_too_many_are_refused(tmp_path: Path) -> None:
    owner = Owner(tmp_path / "main.db", queue_depth=3)
    database = owner.database
    refused: list[Unavailable] = []

    def fourth() -> None:
        with pytest.raises(Unavailable, match="3 writes wait already, 3 may") as caught:
            database.write(put("too many"))
        refused.append(caught.value)

    with ThreadPoolExecutor(4) as pool:
        with database.writers_place():
            waiting = [pool.submit(database.write, put(n)) for n in range(3)]
            wait_until(lambda: database.waiting == 3)
            pool.submit(fourth).result(10)
        assert {write.result(10).txid for write in waiting} <= {1, 2, 3}
    assert (refused[0].code, refused[0].retry_after) == ("overloaded", 0.1)
    assert len(values(database)) == 3
    database.close()


def test_terms_are_kept(owner: Owner) -> None:
    database = owner.database
    owner.terms = Terms(100, 100)
    assert database.write(put(1)).txid == 100
    with pytest.raises(Unavailable, match="up to 100") as caught:
        database.write(put(2))
    assert (caught.value.details, caught.value.retry_after) == ({"reason": "limit"}, 1.0)
    assert database.write(lambda c: "idle") == ("idle", 100, False)
    owner.terms = Terms(100, 200)
    assert database.write(put(3)).txid == 101
    assert owner.heard == [100, 101]


def test_a_gate_that_raises_fails_the_round_before_it_began(owner: Owner) -> None:
    def shut() -> None:
        raise Unavailable("no lease", reason="fenced") from OSError("why")

    owner.at_gate = shut
    outcomes = Round(owner.database, put(1), put(2), put(3)).outcomes
    assert [str(outcome) for outcome in outcomes] == ["no lease"] * 3
    assert [type(outcome.__cause__) for outcome in outcomes] == [OSError] * 3
    assert len(set(map(id, outcomes))) == 3
    assert owner.gates == 1
    owner.at_gate = lambda: None
    assert owner.database.write(put(4)).txid == 1
    assert values(owner.database) == [4]


def test_a_gate_may_switch_the_file(owner: Owner, tmp_path: Path) -> None:
    database = owner.database
    database.write(put("old"))
    create_file(tmp_path / "other.db", prepare)
    before = database.lineage

    def switch() -> None:
        with database.writers_place():
            database.switch(tmp_path / "other.db")
        owner.at_gate = lambda: None

    owner.at_gate = switch
    assert Round(database, put(1), put(2)).outcomes == [(1, 1, False), (2, 1, False)]
    assert database.lineage != before
    assert values(database) == [1, 2]


def test_what_follows_a_commit_cannot_fail_it(
    owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(txid: int) -> None:
        raise ZeroDivisionError

    owner.at_commit = fails
    assert Round(owner.database, put(1), put(2)).outcomes == [(1, 1, False), (2, 1, False)]
    assert "txid 1 is committed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_who_hears_of_a_commit_is_in_the_writers_place(owner: Owner) -> None:
    seen: list[Any] = []
    owner.at_commit = lambda txid: seen.append((txid, owner.database.txid()))
    owner.database.write(put(1))
    assert seen == [(1, 1)]


def test_a_full_disk_fails_the_write_and_keeps_what_was(database: LocalDatabase) -> None:
    database.write(put("before"))
    with database.writers_place():
        writer = database.writer()
        pages = writer.execute("PRAGMA page_count").get
        writer.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    with pytest.raises(Unavailable, match="disk is full") as caught:
        database.write(put("x" * 100_000))
    assert caught.value.details == {"reason": "disk"}
    assert isinstance(caught.value.__cause__, apsw.FullError)
    outcomes = Round(database, put("a"), put("y" * 100_000), put("b")).outcomes
    assert outcomes[0].txid == outcomes[2].txid == 2
    assert values(database) == ["before", "a", "b"]


def test_a_commit_the_disk_refuses_is_in_doubt(tmp_path: Path) -> None:
    base = apsw.vfs_names()[0]

    class Failing(apsw.VFS):
        broken = False

        def __init__(self) -> None:
            super().__init__("failing", base)

        def xOpen(self, name: Any, flags: Any) -> apsw.VFSFile:
            return File(name, flags)

    class File(apsw.VFSFile):
        def __init__(self, name: Any, flags: Any) -> None:
            super().__init__(base, name, flags)

        def xSync(self, flags: int) -> None:
            if vfs.broken:
                raise apsw.IOError("the cable is out")
            super().xSync(flags)

    vfs = Failing()
    owner = Owner(tmp_path / "main.db")
    database = owner.database
    apsw.set_default_vfs("failing")
    try:
        database.write(put(1))
        vfs.broken = True
        outcomes = Round(database, put(2), put(3)).outcomes
        for outcome in outcomes:
            assert isinstance(outcome, Unavailable)
            assert outcome.details == {"reason": "disk", "in_doubt": True}
            assert isinstance(outcome.__cause__, apsw.IOError)
        vfs.broken = False
        assert database.write(put(4)).txid == 2
        assert values(database) == [1, 4]
        database.close()
    finally:
        apsw.set_default_vfs(base)
        vfs.unregister()


def test_a_write_in_the_writers_place_lets_nobody_else_write(owner: Owner) -> None:
    database = owner.database
    with ThreadPoolExecutor(1) as pool:
        with database.writers_place():
            other = pool.submit(database.write, put("other"))
            wait_until(lambda: database.waiting == 1)
            assert database.write(put("mine")).txid == 1
            assert values(database) == ["mine"]
        assert other.result(10).txid == 2


def test_a_write_inside_of_another_is_refused(owner: Owner) -> None:
    database = owner.database
    with pytest.raises(AssertionError, match="inside of a write"):
        database.write(lambda c: database.write(put(1)))
    with pytest.raises(AssertionError, match="inside of a read"):
        database.read(lambda c: database.write(put(1)))
    with pytest.raises(AssertionError, match="inside of a read"):
        database.read(lambda c: database.read(put(1)))
    assert database.write(put(2)).txid == 1


# -- requests -------------------------------------------------------------------------------------


def test_requests_are_answered_once_done_also_after_reopening(tmp_path: Path) -> None:
    owner = Owner(tmp_path / "main.db")
    assert owner.database.write(put("x"), request("r-1")) == ("x", 1, False)
    assert owner.database.write(put("x"), request("r-1")) == ("x", 1, True)
    owner.database.close()
    again = Owner(tmp_path / "main.db")
    writes = [
        (put("x"), request("r-1")),
        (put("y"), request("r-2")),
        (put("y"), request("r-2")),
        (put("z"), request("r-1", b"other")),
    ]
    outcomes = Round(again.database, *writes).outcomes
    assert outcomes[:3] == [("x", 1, True), ("y", 2, False), ("y", 2, True)]
    assert isinstance(outcomes[3], Conflict)
    assert "r-1" in str(outcomes[3])
    assert values(again.database) == ["x", "y"]
    with pytest.raises(Invalid):
        again.database.write(put("z"), request("not visible"))
    assert again.gates == 1
    again.database.close()


# -- reads ----------------------------------------------------------------------------------------


def test_a_reader_sees_one_state_while_writes_go_on(database: LocalDatabase) -> None:
    database.write(put(1))
    reading = Reading(database, lambda c: c.execute("SELECT count(*) FROM t").get)
    assert database.write(put(2)).txid == 2
    assert reading.end() == ((1, 1), 1, False)
    assert values(database) == [1, 2]


def test_a_read_cannot_write(database: LocalDatabase) -> None:
    with pytest.raises(Unavailable, match="cannot be written"):
        database.read(put(1))
    assert values(database) == []


def test_a_cursor_left_open_does_not_keep_the_past_in_sight(database: LocalDatabase) -> None:
    database.write(put(1))
    database.write(put(2))

    def unfinished(connection: apsw.Connection) -> apsw.Cursor:
        cursor = connection.execute("SELECT b FROM t")
        next(cursor)
        return cursor

    held = database.read(unfinished).value
    database.write(put(3))
    assert values(database) == [1, 2, 3]
    with pytest.raises((apsw.ConnectionClosedError, apsw.CursorClosedError)):
        next(held)


def test_a_file_may_be_read_before_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "main.db"
    create_file(path, prepare)
    owner = Owner(path)
    assert (owner.database.opened, owner.checked) == (False, 0)
    assert values(owner.database) == []
    assert (owner.database.opened, owner.checked) == (True, 1)
    assert owner.database.write(put(1)).txid == 1
    assert (values(owner.database), owner.checked) == ([1], 2)
    owner.database.close()


def test_only_a_read_that_is_long_is_interrupted(owner: Owner) -> None:
    database = owner.database
    assert not database.interrupt_long_reads(0)
    endless = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s) SELECT max(n) FROM s"
    with ThreadPoolExecutor(1) as pool:
        inside = threading.Event()

        def query(connection: apsw.Connection) -> Any:
            inside.set()
            return connection.execute(endless).fetchall()

        found = pool.submit(database.read, query)
        assert inside.wait(10)
        owner.clock.advance(5)
        assert not database.interrupt_long_reads(5)
        owner.clock.advance(1)
        # It may not be in a statement yet, and then hears nothing of it: hence again.
        wait_until(lambda: database.interrupt_long_reads(5) is not found.done())
        wait_until(lambda: found.done() or not database.interrupt_long_reads(5))
        with pytest.raises(Unavailable, match="interrupted") as caught:
            found.result(10)
    assert caught.value.code == "request_timeout"
    assert values(database) == []


# -- places, switching, closing -------------------------------------------------------------------


def test_the_writers_place_is_waited_for_and_nested(database: LocalDatabase) -> None:
    with ThreadPoolExecutor(1) as pool, database.writers_place(), database.writers_place(0):

        def elsewhere() -> None:
            with database.writers_place(0.01):
                pass

        with pytest.raises(Unavailable, match=r"ns--p was busy for 0.01 s") as caught:
            pool.submit(elsewhere).result(10)
        assert (caught.value.code, caught.value.details) == ("unavailable", {"reason": "busy"})
        assert database.txid() == 0
    with pytest.raises(AssertionError, match="outside"):
        database.writer()
    with pytest.raises(AssertionError, match="outside"):
        database.txid()


def test_switching_forgets_what_was_attached(owner: Owner, tmp_path: Path) -> None:
    database = owner.database
    first = database.attachment(list, list)
    assert database.attachment(list, list) is first
    before = database.lineage
    database.switch(tmp_path / "main.db")
    assert database.attachment(list, list) is not first
    assert database.lineage != before
    assert not database.opened


def test_switching_waits_for_a_read_and_those_behind_it_see_the_new_file(
    owner: Owner, tmp_path: Path
) -> None:
    database = owner.database
    database.write(put("old"))
    create_file(tmp_path / "other.db", prepare)
    reading = Reading(database)
    with ThreadPoolExecutor(2) as pool:
        switched = pool.submit(database.switch, tmp_path / "other.db")
        wait_until(lambda: database._reading.waiting == 1)
        behind = pool.submit(values, database)
        wait_until(lambda: database._reading.waiting == 2)
        assert not switched.done()
        reading.end()
        switched.result(10)
        assert behind.result(10) == []
    assert not (tmp_path / "main.db-wal").exists()


def test_without_a_file_nothing_can_be_used(owner: Owner) -> None:
    owner.database.switch(None)
    assert not owner.database.has_file
    with pytest.raises(Unavailable, match="being opened anew"):
        owner.database.read(lambda c: None)
    with pytest.raises(Unavailable, match="being opened anew"):
        owner.database.write(put(1))


def test_closing_if_nobody_is_there(owner: Owner, tmp_path: Path) -> None:
    database = owner.database
    database.write(put(1))
    reading = Reading(database)
    assert not database.try_close()
    reading.end()
    with database.writers_place():
        assert not database.try_close()
    kept, lineage = database.attachment(list, list), database.lineage
    assert database.opened
    assert database.try_close()
    assert not database.opened
    assert sorted(path.name for path in tmp_path.iterdir()) == ["main.db"]
    assert values(database) == [1]
    assert database.write(put(2)).txid == 2
    assert (database.attachment(list, list), database.lineage) == (kept, lineage)


def test_closing_waits_and_ends_all_use(owner: Owner, tmp_path: Path) -> None:
    database = owner.database
    database.write(put(1))
    reading = Reading(database)
    with pytest.raises(Unavailable, match="busy"):
        database.close(0.01)
    assert database.write(put(2)).txid == 2
    reading.end()
    database.close()
    database.close()
    gates = owner.gates
    for use in (lambda: database.write(put(3)), lambda: database.read(lambda c: None)):
        with pytest.raises(Unavailable, match="closed") as caught:
            use()
        assert caught.value.details == {"reason": "closed"}
    assert owner.gates == gates
    assert sorted(path.name for path in tmp_path.iterdir()) == ["main.db"]


def test_who_waits_while_it_closes_is_told(database: LocalDatabase) -> None:
    with ThreadPoolExecutor(2) as pool:
        with database.writers_place():
            closing = pool.submit(database.close)
            wait_until(lambda: database.waiting == 1)
            write = pool.submit(database.write, put(1))
            wait_until(lambda: database.waiting == 2)
        closing.result(10)
        with pytest.raises(Unavailable, match="closed"):
            write.result(10)


def test_a_file_that_is_refused_leaves_no_connection(owner: Owner, tmp_path: Path) -> None:
    seen: list[apsw.Connection] = []

    def refuse(connection: apsw.Connection, name: str) -> None:
        seen.append(connection)
        connection.execute("SELECT count(*) FROM t").fetchall()
        raise Unavailable("newer schema", reason="schema")

    owner.database._check = refuse
    with pytest.raises(Unavailable, match="newer schema"):
        owner.database.write(put(1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["main.db"]
    with pytest.raises(Unavailable, match="newer schema"):
        owner.database.read(lambda c: None)
    assert not owner.database.opened
    for connection in seen:
        with pytest.raises(apsw.ConnectionClosedError):
            connection.execute("SELECT 1")


def test_a_writer_that_could_not_roll_back_is_opened_anew(owner: Owner) -> None:
    database = owner.database
    held: list[Any] = []

    def stuck(connection: apsw.Connection) -> None:
        connection.execute("INSERT INTO t (b) VALUES (1), (2)")
        held.append(connection.execute("SELECT b FROM t"))
        next(held[0])
        connection.interrupt()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.write(stuck)
    assert database.write(put("after")).txid == 1
    assert values(database) == ["after"]


# -- new files ------------------------------------------------------------------------------------


def test_a_template_makes_files_that_open_alike(tmp_path: Path) -> None:
    made: list[int] = []

    def prepare_once(connection: apsw.Connection) -> None:
        made.append(1)
        prepare(connection)

    template = Template(prepare_once)
    paths = [tmp_path / f"{n}.db" for n in range(3)]
    for path in paths:
        template.write_to(path)
    assert len(made) == 1
    assert len({path.read_bytes() for path in paths}) == 1
    # Folded, and marked for WAL mode by SQLite.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.db", "1.db", "2.db"]
    assert paths[0].read_bytes()[18:20] == b"\x02\x02"
    for path in paths:
        owner = Owner(path)
        assert owner.database.write(put(path.name)).txid == 1
        assert values(owner.database) == [path.name]
        owner.database.close()


# -- at random ------------------------------------------------------------------------------------

KINDS = ("ok", "raises", "poison", "nothing", "rollback", "twice", "request")


def random_operation(kind: str, key: str) -> Any:
    def operation(connection: apsw.Connection) -> str:
        if kind != "nothing":
            put(key)(connection)
        if kind == "raises":
            raise ZeroDivisionError
        if kind == "poison":
            put("poison")(connection)
        if kind == "rollback":
            connection.execute("ROLLBACK")
        if kind == "twice":
            put(key)(connection)
        return key

    return operation


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    plans=st.lists(
        st.lists(st.sampled_from(KINDS), min_size=1, max_size=8), min_size=1, max_size=8
    ),
    together=st.booleans(),
)
def test_what_succeeded_is_there_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, plans: list[list[str]], together: bool
) -> None:
    owner = Owner(tmp_path_factory.mktemp("random") / "main.db", clock=Clock())
    database = owner.database
    done: dict[str, int] = {}
    failed: set[str] = set()

    def work(number: int, plan: list[str]) -> None:
        for turn, kind in enumerate(plan):
            key = f"{number}-{turn}"
            repeats = [request(key)] * 2 if kind == "request" else [None]
            for repeat in repeats:
                try:
                    committed = database.write(random_operation(kind, key), repeat)
                except (Internal, apsw.ConstraintError, ZeroDivisionError):
                    failed.add(key)
                else:
                    assert committed.value == key
                    assert done.setdefault(key, committed.txid) == committed.txid

    with ThreadPoolExecutor(len(plans)) as pool:
        if together:
            with database.writers_place():
                found = [pool.submit(work, n, plan) for n, plan in enumerate(plans)]
                wait_until(lambda: database.waiting == len(plans))
        else:
            found = [pool.submit(work, n, plan) for n, plan in enumerate(plans)]
        for each in found:
            each.result(30)
    good = ("ok", "nothing", "request")
    kinds = {f"{n}-{turn}": kind for n, plan in enumerate(plans) for turn, kind in enumerate(plan)}
    assert set(done) == {key for key, kind in kinds.items() if kind in good}
    assert failed == set(kinds) - set(done)
    written = {key for key in done if kinds[key] != "nothing"}
    assert sorted(values(database)) == sorted(written)
    # Each txid once, without a gap, and each was told.
    assert owner.heard == list(range(1, len(owner.heard) + 1))
    assert {done[key] for key in written} == set(owner.heard)
    database.close()
