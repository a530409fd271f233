"""Rounds: who may write, one transaction for many, one culprit alone, one answer a request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from palimp.clock import ManualClock
from palimp.engine.answers import REQUEST_BYTES_MAX, Repeat, check_request_id
from palimp.engine.local_database import create_file
from palimp.engine.rounds import ROUND_MAX, Line, Rounds, Terms, Ticket, Waiter
from palimp.errors import Conflict, Internal, Invalid, Unavailable

TERMS = Terms(1, 1 << 40)


def prepare(connection: apsw.Connection) -> None:
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b UNIQUE)")
    connection.execute(
        "CREATE TRIGGER bad BEFORE INSERT ON t WHEN new.b = 'poison' "
        "BEGIN SELECT RAISE(ROLLBACK, 'poisoned'); END"
    )


class World:
    """A connection with its rounds."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            create_file(path, prepare)
        self.connection = apsw.Connection(str(path))
        self.clock = ManualClock()
        self.rounds = Rounds(self.connection, "ns--p", self.clock)

    def run(self, *tickets: Ticket, terms: Terms = TERMS) -> None:
        self.rounds.run(list(tickets), terms)
        assert not self.connection.in_transaction

    def values(self) -> list[Any]:
        return [b for (b,) in self.connection.execute("SELECT b FROM t ORDER BY a")]

    def requests(self, what: str) -> Any:
        return self.connection.execute(f"SELECT {what} FROM __palimp_requests").get


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "main.db")
    yield made
    made.connection.close()


def put(value: object, repeat: Repeat | None = None) -> Ticket:
    def operation(connection: apsw.Connection) -> object:
        connection.execute("INSERT INTO t (b) VALUES (?)", (value,))
        return value

    return Ticket(operation, repeat)


def sql(*statements: str) -> Ticket:
    def operation(connection: apsw.Connection) -> None:
        for statement in statements:
            connection.execute(statement).fetchall()

    return Ticket(operation)


def request(name: str, digest: bytes = b"d", size: int = 0) -> Repeat:
    return Repeat(name, digest, lambda value: str(value).encode() + b"." * size, bytes.decode)


def outcome(ticket: Ticket) -> Any:
    return ticket.outcome("ns--p")


# -- rounds ---------------------------------------------------------------------------------------


def test_a_round_is_one_txid_for_all_that_is_in_it(world: World) -> None:
    tickets = [put(n) for n in range(5)]
    world.run(*tickets)
    assert [outcome(ticket) for ticket in tickets] == [(n, 1, False) for n in range(5)]
    assert (world.rounds.landed, world.rounds.carried, world.rounds.txid()) == (1, 5, 1)


@pytest.mark.parametrize("count", [1, 3])
def test_a_round_that_changed_nothing_takes_no_txid(world: World, count: int) -> None:
    world.run(put("before"))
    for statement in ("SELECT 1", "UPDATE t SET b = 2 WHERE a = 99"):
        tickets = [sql(statement) for _ in range(count)]
        world.run(*tickets)
        assert {outcome(ticket).txid for ticket in tickets} == {1}
        assert world.rounds.landed is None
    assert world.rounds.txid() == 1


def test_ddl_takes_a_txid_and_what_follows_it_does_not(world: World) -> None:
    world.run(sql("CREATE TABLE u (a)"))
    assert world.rounds.landed == 1
    world.run(sql("SELECT 1"))
    assert (world.rounds.landed, world.rounds.txid()) == (None, 1)


def test_what_was_rolled_back_takes_no_txid(world: World) -> None:
    world.run(put("x"))
    tickets = [put("x"), put("x"), sql("SELECT 1")]
    world.run(*tickets)
    assert (world.rounds.landed, world.rounds.carried) == (None, 1)
    assert world.rounds.txid() == 1


UNFINISHED = "INSERT INTO t VALUES (7, 7), (8, 8) RETURNING a"
CULPRITS: dict[str, Callable[[], Ticket]] = {
    "RAISE(ROLLBACK)": lambda: put("poison"),
    "OR ROLLBACK": lambda: sql("INSERT OR ROLLBACK INTO t (b) VALUES ('twice'), ('twice')"),
    "ROLLBACK": lambda: sql("ROLLBACK"),
    "ROLLBACK and more": lambda: sql("ROLLBACK", "INSERT INTO t (b) VALUES ('escaped')"),
    "another transaction": lambda: sql("ROLLBACK", "BEGIN", "INSERT INTO t (b) VALUES ('lost')"),
    "COMMIT": lambda: sql("INSERT INTO t (b) VALUES ('half')", "COMMIT"),
    "unique": lambda: put("first"),
    "Python": lambda: Ticket(lambda c: [c.execute("INSERT INTO t (b) VALUES (9)"), 1 / 0]),
    "savepoint": lambda: sql("RELEASE __palimp_ticket"),
    "unfinished": lambda: Ticket(lambda c: c.execute(UNFINISHED)),
}  # fmt: skip


@pytest.mark.parametrize("kind", CULPRITS)
@pytest.mark.parametrize("place", [1, 3])
def test_a_culprit_fails_alone(world: World, kind: str, place: int) -> None:
    others = [put("first"), put("second"), put("third")]
    culprit = CULPRITS[kind]()
    tickets = [*others[:place], culprit, *others[place:]]
    world.run(*tickets)
    assert [outcome(ticket).txid for ticket in others] == [1, 1, 1]
    with pytest.raises((apsw.Error, Internal, Unavailable, ZeroDivisionError)):
        outcome(culprit)
    assert world.values() == ["first", "second", "third"]
    assert (world.rounds.landed, world.rounds.carried) == (1, 3)


@pytest.mark.parametrize(
    "kind", ["RAISE(ROLLBACK)", "OR ROLLBACK", "ROLLBACK", "ROLLBACK and more", "COMMIT"]
)
def test_a_culprit_alone_leaves_nothing(world: World, kind: str) -> None:
    culprit = CULPRITS[kind]()
    with pytest.raises((apsw.Error, Internal)):
        world.run(culprit)
    assert not world.connection.in_transaction
    assert not culprit.done
    assert world.values() == []
    follower = put("next")
    world.run(follower)
    assert outcome(follower).txid == 1


def iterates(connection: apsw.Connection) -> None:
    # In a variable, which the traceback keeps.
    rows = connection.execute(UNFINISHED)
    raise LookupError(next(rows))


@pytest.mark.parametrize("operation", [CULPRITS["unfinished"]().operation, iterates])
def test_a_write_left_unfinished_keeps_nobody_from_writing(world: World, operation: Any) -> None:
    with pytest.raises((apsw.BusyError, LookupError)) as held:
        world.run(Ticket(operation))
    tickets = [put("a"), Ticket(operation), put("b")]
    world.run(*tickets)
    world.run(put("c"))
    assert world.values() == ["a", "b", "c"]
    assert held.value is not None


def test_a_round_of_culprits_ends(world: World) -> None:
    tickets = [put("poison") for _ in range(ROUND_MAX - 1)]
    last = put("good")
    world.run(*tickets, last)
    assert outcome(last).txid == 1
    for ticket in tickets:
        with pytest.raises(apsw.ConstraintError, match="poisoned"):
            outcome(ticket)


def test_an_error_of_an_attempt_that_did_not_count_is_forgotten(world: World) -> None:
    runs: list[int] = []

    def fails_once(connection: apsw.Connection) -> str:
        runs.append(1)
        if len(runs) == 1:
            raise ValueError("only the first time")
        connection.execute("INSERT INTO t (b) VALUES ('again')")
        return "again"

    ticket = Ticket(fails_once)
    world.run(ticket, put("poison"))
    assert outcome(ticket) == ("again", 1, False)


def test_a_culprit_that_kept_quiet_is_named_a_defect(world: World) -> None:
    culprit, other = sql("ROLLBACK"), put(1)
    world.run(culprit, other)
    with pytest.raises(Internal, match="ended its own transaction"):
        outcome(culprit)


def test_a_full_disk_fails_who_fills_it_and_nobody_else(world: World) -> None:
    world.connection.execute("PRAGMA journal_mode").fetchall()
    pages = world.connection.execute("PRAGMA page_count").get
    world.connection.execute(f"PRAGMA max_page_count = {pages + 2}").fetchall()
    small, large, after = put("small"), put("x" * 1_000_000), put("after")
    world.run(small, large, after)
    assert outcome(small).txid == outcome(after).txid == 1
    with pytest.raises(Unavailable, match="disk is full") as caught:
        outcome(large)
    assert caught.value.details == {"reason": "disk"}
    assert world.values() == ["small", "after"]


def test_a_jump_and_a_limit_of_txids(world: World) -> None:
    world.run(put(1), terms=Terms(100, 101))
    assert world.rounds.landed == 100
    world.run(put(2), terms=Terms(1, 101))
    assert world.rounds.landed == 101
    refused, idle = [put(3), put(4)], sql("SELECT 1")
    world.run(refused[0], idle, refused[1], terms=Terms(1, 101))
    assert outcome(idle).txid == 101
    for ticket in refused:
        with pytest.raises(Unavailable, match=r"txid 102 .* up to 101") as caught:
            outcome(ticket)
        assert (caught.value.details, caught.value.retry_after) == ({"reason": "limit"}, 1.0)
    assert world.values() == [1, 2]


@pytest.mark.parametrize("count", [1, 3])
def test_an_interrupt_rolls_back_and_leaves_the_others_undone(world: World, count: int) -> None:
    def interrupted(connection: apsw.Connection) -> None:
        connection.execute("INSERT INTO t (b) VALUES ('half')")
        raise KeyboardInterrupt

    tickets = [put(n) for n in range(count - 1)]
    with pytest.raises(KeyboardInterrupt):
        world.run(*tickets, Ticket(interrupted))
    assert not world.connection.in_transaction
    assert not any(ticket.done for ticket in tickets)
    assert (world.values(), world.rounds.landed) == ([], None)


def test_an_interrupt_after_commit_does_not_unmake_it(world: World) -> None:
    class Interrupting(Rounds):
        def _commit(self) -> None:
            super()._commit()
            raise KeyboardInterrupt

    rounds = Interrupting(world.connection, "ns--p", world.clock)
    tickets = [put(1), put(2)]
    with pytest.raises(KeyboardInterrupt):
        rounds.run(tickets, TERMS)
    assert [outcome(ticket).txid for ticket in tickets] == [1, 1]
    assert (rounds.landed, world.values()) == (1, [1, 2])


def test_a_rollback_that_fails_closes_the_connection(tmp_path: Path) -> None:
    world = World(tmp_path / "main.db")

    def stuck(connection: apsw.Connection) -> None:
        connection.execute("INSERT INTO t (b) VALUES (1), (2)")
        # While this cursor is open, the interrupt hits every later statement: ROLLBACK too.
        cursor = connection.execute("SELECT b FROM t")
        next(cursor)
        connection.interrupt()
        held.append(cursor)
        raise KeyError

    held: list[Any] = []
    with pytest.raises(KeyError):
        world.rounds.run([Ticket(stuck)], TERMS)
    assert world.rounds.broken
    again = World(tmp_path / "main.db")
    assert again.values() == []
    again.connection.close()


# -- requests -------------------------------------------------------------------------------------


def test_a_repeat_is_answered_and_not_done_again(tmp_path: Path) -> None:
    path = tmp_path / "main.db"
    for turn in range(3):
        world = World(path)
        ticket = put("once", request("r-1"))
        world.run(ticket)
        assert outcome(ticket) == ("once", 1, turn > 0)
        assert (world.values(), world.rounds.txid()) == (["once"], 1)
        assert world.rounds.landed == (None if turn else 1)
        world.connection.close()


def test_two_of_one_request_in_one_round(world: World) -> None:
    tickets = [put("once", request("r-1")), put(0), put("once", request("r-1"))]
    world.run(*tickets)
    assert [outcome(t) for t in tickets] == [("once", 1, False), (0, 1, False), ("once", 1, True)]
    assert world.values() == ["once", 0]


def test_the_repeat_of_one_that_failed_is_done(world: World) -> None:
    def fails(connection: apsw.Connection) -> None:
        raise ValueError("not yet")

    failed, second = Ticket(fails, request("r-1")), put("x", request("r-1"))
    world.run(failed, second)
    with pytest.raises(ValueError, match="not yet"):
        outcome(failed)
    assert outcome(second) == ("x", 1, False)


def test_a_repeat_in_a_round_that_is_run_again_is_not_taken_for_done(world: World) -> None:
    tickets = [put("a", request("r-1")), put("a", request("r-1")), put("poison"), put("b")]
    world.run(*tickets)
    assert outcome(tickets[0]) == ("a", 1, False)
    assert outcome(tickets[1]) == ("a", 1, True)
    assert world.values() == ["a", "b"]


def test_an_answer_found_in_an_attempt_that_did_not_count_is_forgotten(world: World) -> None:
    runs: list[int] = []

    def once(connection: apsw.Connection) -> str:
        runs.append(1)
        if len(runs) == 2:
            raise ValueError("the second time")
        return "first"

    failed, other = Ticket(once, request("r-1")), put("other", request("r-1"))
    world.run(failed, other, put("poison"))
    with pytest.raises(ValueError, match="the second time"):
        outcome(failed)
    assert outcome(other) == ("other", 1, False)


def test_one_id_for_two_requests_is_a_conflict(world: World) -> None:
    world.run(put("x", request("r-1")))
    other, beside = put("y", request("r-1", b"other")), put("z")
    world.run(other, beside)
    with pytest.raises(Conflict, match=r"request id r-1 .* txid 1"):
        outcome(other)
    assert world.values() == ["x", "z"]


def test_a_request_takes_a_txid_even_if_it_changed_nothing_else(world: World) -> None:
    ticket = Ticket(lambda c: "nothing", request("r-1"))
    world.run(ticket)
    assert outcome(ticket) == ("nothing", 1, False)
    assert world.requests("id, txid, at, digest, result") == (
        "r-1", 1, world.clock.now_ms(), b"d", b"nothing",
    )  # fmt: skip


def test_an_answer_that_cannot_be_encoded_undoes_the_write(world: World) -> None:
    def refuse(value: Any) -> bytes:
        raise TypeError("no bytes for it")

    bad, good = put("x", Repeat("r", b"d", refuse, bytes.decode)), put("y")
    world.run(bad, good)
    with pytest.raises(TypeError, match="no bytes"):
        outcome(bad)
    assert (world.values(), world.requests("count(*)")) == (["y"], 0)


def test_a_large_answer_is_not_kept_and_its_request_not_done_again(world: World) -> None:
    fits, large = (
        request("fits", size=REQUEST_BYTES_MAX - 1),
        request("large", size=REQUEST_BYTES_MAX),
    )
    world.run(put("x", fits), put("y", large))
    assert world.requests("sum(length(result))") == REQUEST_BYTES_MAX
    repeats = [put("x", fits), put("y", large)]
    world.run(*repeats)
    assert outcome(repeats[0]).repeated
    with pytest.raises(Conflict, match="large was done with txid 1 and is not done again"):
        outcome(repeats[1])
    assert world.values() == ["x", "y"]


def test_old_requests_are_forgotten_now_and_then(world: World) -> None:
    world.run(put(0, request("old")))
    world.clock.advance(24 * 3600 + 1)
    for n in range(1, 256):
        world.run(put(n, request(f"r-{n}")))
    assert world.requests("count(*)") == 256
    world.run(put(256, request("r-256")))
    assert world.requests("count(*)") == 256
    again = put("done anew", request("old"))
    world.run(again)
    assert not outcome(again).repeated


def test_the_first_request_after_opening_prunes_too(tmp_path: Path) -> None:
    for n in range(3):
        world = World(tmp_path / "main.db")
        world.clock.advance(n * 25 * 3600)
        world.run(put(n, request(f"r-{n}")))
        assert world.requests("count(*)") == 1
        world.connection.close()


def test_requests_and_answers_are_bounded(world: World) -> None:
    fill = (
        "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 10300) "
        "INSERT INTO __palimp_requests SELECT 'f-' || n, n, ?, x'00', zeroblob(500) FROM s"
    )
    world.connection.execute(fill, (world.clock.now_ms(),))
    world.run(put("x", request("last")), terms=Terms(20_000, 1 << 40))
    rows, size = world.requests("count(*), sum(length(result))")
    assert rows == 10_000
    assert 4 * 1024 * 1024 - 500 <= size <= 4 * 1024 * 1024
    # The newest stay, with their answers.
    assert world.requests("min(txid)") == 302
    assert (
        world.requests("max(txid) FILTER (WHERE result IS NULL)") == 10_301 - (size - 1) // 500 - 1
    )


@pytest.mark.parametrize("value", ["", "a b", "a" * 129, "é", "tab\t", "a\n"])
def test_what_is_no_request_id(value: str) -> None:
    with pytest.raises(Invalid, match="visible ASCII"):
        check_request_id(value)


@pytest.mark.parametrize("value", ["!", "~" * 128, "req_01-a.b"])
def test_what_is_a_request_id(value: str) -> None:
    check_request_id(value)


# -- the line -------------------------------------------------------------------------------------


class Visitor(threading.Thread):
    """Waits in a line, in a thread of its own, and stays until it is told to leave."""

    def __init__(self, line: Line, waiter: Waiter | None = None, seconds: float = -1.0) -> None:
        super().__init__()
        self.line, self.seconds = line, seconds
        self.waiter = waiter or Waiter()
        self.inside, self.may_leave = threading.Event(), threading.Event()
        self.had: bool | None = None
        self.error: Exception | None = None
        before = line.waiting
        self.start()
        # In line before the next one comes.
        while line.waiting == before and not self.inside.wait(0.001) and self.is_alive():
            pass

    def run(self) -> None:
        try:
            self.had = self.line.enter(self.waiter, seconds=self.seconds)
        except Unavailable as error:
            self.error = error
            return
        self.inside.set()
        if self.had:
            assert self.may_leave.wait(10)
            self.line.leave(self.waiter)

    def leave(self) -> None:
        self.may_leave.set()
        self.join(10)
        assert not self.is_alive()


def test_first_come_first_served() -> None:
    line = Line("x")
    visitors = [Visitor(line) for _ in range(5)]
    for number, visitor in enumerate(visitors):
        assert visitor.inside.wait(10)
        assert line.waiting == 4 - number
        assert not any(other.inside.is_set() for other in visitors[number + 1 :])
        visitor.leave()
    assert line.try_enter(Waiter())


def test_who_waits_too_long_leaves_the_line() -> None:
    line = Line("x")
    first, second = Visitor(line), Visitor(line, seconds=0.01)
    third = Visitor(line)
    second.join(10)
    assert isinstance(second.error, Unavailable)
    assert second.error.details == {"reason": "busy"}
    first.leave()
    assert third.inside.wait(10)
    third.leave()
    assert line.waiting == 0


def test_nobody_takes_the_place_past_others() -> None:
    line = Line("x")
    first = Visitor(line)
    assert not line.try_enter(Waiter())
    first.leave()
    waiter = Waiter()
    assert line.try_enter(waiter)
    assert line.mine
    line.leave(waiter)
    assert not line.mine


def test_tickets_are_taken_up_to_who_wants_the_place_itself() -> None:
    line = Line("x")
    own = Ticket(lambda c: None)
    assert line.enter(own)
    ahead, claim, behind = Ticket(lambda c: None), Waiter(), Ticket(lambda c: None)
    visitors = [Visitor(line, ahead), Visitor(line, claim), Visitor(line, behind)]
    assert line.take(own) == [own, ahead]
    assert line.waiting == 2
    ahead.done = True
    line.leave(own)
    visitors[0].join(10)
    assert visitors[0].had is False
    assert visitors[1].inside.wait(10)
    assert not visitors[2].inside.is_set()
    visitors[1].leave()
    visitors[2].leave()


def test_who_is_alone_shares_a_round_with_nobody() -> None:
    line = Line("x")
    own = Ticket(lambda c: None)
    assert line.enter(own)
    ahead, alone, behind = (Ticket(lambda c: None, alone=n == 1) for n in range(3))
    visitors = [Visitor(line, ticket) for ticket in (ahead, alone, behind)]
    assert line.take(own) == [own, ahead]
    ahead.done = True
    line.leave(own)
    assert visitors[1].inside.wait(10)
    assert line.take(alone) == [alone]
    assert not visitors[2].inside.is_set()
    for visitor in visitors:
        visitor.leave()


def test_a_round_has_a_bound() -> None:
    line = Line("x")
    own = Ticket(lambda c: None)
    assert line.enter(own)
    visitors = [Visitor(line, Ticket(lambda c: None)) for _ in range(ROUND_MAX + 5)]
    assert line.take(own) == [own, *(v.waiter for v in visitors[: ROUND_MAX - 1])]
    line.leave(own)
    assert line.waiting <= ROUND_MAX + 5
    for visitor in visitors:
        visitor.leave()
    assert line.waiting == 0


def test_an_interrupted_round_leaves_its_tickets_in_line() -> None:
    line = Line("x")
    own = Ticket(lambda c: None)
    assert line.enter(own)
    visitors = [Visitor(line, Ticket(lambda c: None)) for _ in range(3)]
    assert len(line.take(own)) == 4
    # One was the culprit; the others wait again when the leader goes without having done them.
    visitors[1].waiter.done = True
    line.leave(own)
    assert visitors[0].inside.wait(10)
    assert line.waiting == 1
    first = visitors[0].waiter
    assert isinstance(first, Ticket)
    assert line.take(first) == [first, visitors[2].waiter]
    visitors[0].leave()
    visitors[1].join(10)
    assert visitors[1].had is False
    visitors[2].leave()
