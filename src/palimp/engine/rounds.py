"""Rounds: who may write, and how the operations of many threads become one transaction.

The order is the design: an operation is put in line; whoever has the place takes those at the head
of the line, runs each inside a savepoint, commits them together, and wakes the threads whose
operation is done. A thread hears of nothing before COMMIT returned.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from threading import get_ident
from traceback import clear_frames
from typing import Any, Generic, NamedTuple, TypeVar

import apsw

from ..clock import Clock
from ..errors import Error, Internal, Kept, Unavailable
from .answers import Repeat, find_answer, keep_answer, prune
from .faults import sqlite_faults

__all__ = [
    "ROUND_MAX",
    "STATE_TABLE",
    "TXID",
    "Committed",
    "Line",
    "Rounds",
    "Terms",
    "Ticket",
    "Waiter",
]

T = TypeVar("T")

STATE_TABLE = "__palimp_engine"
ROUND_MAX = 64
# Finding what is too old reads the whole table: a millisecond or two where it is full.
_PRUNE_EVERY = 256
_OVERLOAD_RETRY_SECONDS = 0.1
_BUSY_RETRY_SECONDS = 1.0
_LIMIT_RETRY_SECONDS = 1.0
TXID = f"SELECT value FROM {STATE_TABLE} WHERE key = 'txid'"
_SET_TXID = f"UPDATE {STATE_TABLE} SET value = ? WHERE key = 'txid'"


class Terms(NamedTuple):
    """What the owner may hand out: txids from `first_txid` on, none beyond `limit`."""

    first_txid: int
    limit: int


class Committed(NamedTuple, Generic[T]):
    """A value with the txid it was written by or read at; `repeated` if it was stored before."""

    value: T
    txid: int
    repeated: bool = False


class Waiter:
    """Somebody in line. `done` when there is nothing left to wait for."""

    __slots__ = ("done", "taken", "wake")

    def __init__(self) -> None:
        self.done = False
        self.taken = False
        # Held from the start and released once; made only by who has to wait.
        self.wake: threading.Lock | None = None


class Ticket(Waiter):
    """An operation in line and, once `done`, what became of it.

    One that is `alone` shares its transaction with no other. What a `derived` one writes follows
    from what is there.
    """

    __slots__ = (
        "alone",
        "changed",
        "derived",
        "kept",
        "operation",
        "repeat",
        "stored",
        "txid",
        "value",
    )

    def __init__(
        self,
        operation: Callable[[apsw.Connection], Any],
        repeat: Repeat | None = None,
        *,
        alone: bool = False,
        derived: bool = False,
    ) -> None:
        super().__init__()
        self.alone = alone
        self.derived = derived
        self.operation = operation
        self.repeat = repeat
        self.kept = Kept()
        self.value: Any = None
        # The answer of the request this one repeats.
        self.stored: bytes | None = None
        self.txid = 0
        self.changed = False

    def fail(self, error: Exception) -> None:
        """Make this error the outcome."""
        self.kept.error = error
        self.done = True

    def outcome(self, name: str) -> Committed[Any]:
        """Return the answer or raise the error, in the thread that waits for it, once."""
        error, self.kept.error = self.kept.error, None
        if error is not None:
            try:
                with sqlite_faults(name):
                    raise error
            finally:
                # An error that its own traceback refers to would keep cursors open until the
                # garbage collector comes by.
                del error
        assert self.done, "an outcome before there is one"
        if self.repeat is not None and self.stored is not None:
            return Committed(self.repeat.decode(self.stored), self.txid, repeated=True)
        return Committed(self.value, self.txid)


class Line:
    """A place for one thread at a time, and the line before it: first come, first served.

    The head of the queue has the place. It stays there until it leaves, so whoever is interrupted
    loses nobody behind it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._mutex = threading.Lock()
        self._queue: deque[Waiter] = deque()
        self._thread = 0

    @property
    def mine(self) -> bool:
        """Whether this thread has the place."""
        return self._thread == get_ident()

    @property
    def waiting(self) -> int:
        """How many wait, without those whose turn it is."""
        with self._mutex:
            return self._count_waiting()

    def enter(self, waiter: Waiter, *, seconds: float = -1.0, depth: int | None = None) -> bool:
        """Wait for the place; False if another thread did meanwhile what was waited for.

        `Unavailable` at once if `depth` wait already, or after `seconds` without a turn.
        """
        try:
            with self._mutex:
                if depth is not None and len(self._queue) >= depth:
                    self._refuse_overload(depth)
                self._queue.append(waiter)
                if len(self._queue) > 1:
                    waiter.wake = threading.Lock()
                    waiter.wake.acquire()
            if waiter.wake is not None:
                self._wait(waiter.wake, seconds)
            if waiter.done:
                return False
            waiter.taken = True
            self._thread = get_ident()
        except BaseException:
            self._withdraw(waiter)
            raise
        return True

    def try_enter(self, waiter: Waiter) -> bool:
        """Take the place if nobody has it or waits for it; False at once otherwise."""
        with self._mutex:
            if self._queue:
                return False
            self._queue.append(waiter)
        waiter.taken = True
        self._thread = get_ident()
        return True

    def leave(self, waiter: Waiter) -> None:
        """Give the place to the next in line, and wake those that are done."""
        waiter.done = True
        self._thread = 0
        with self._mutex:
            self._hand_over()

    def take(self, own: Ticket) -> list[Ticket]:
        """Return a round's worth of tickets: one's own, which is at the head, and those behind."""
        if own.alone or len(self._queue) == 1:
            return [own]
        taken: list[Ticket] = []
        with self._mutex:
            for waiter in self._queue:
                # Who wants the place, or a transaction, alone has its turn after those before it.
                if not isinstance(waiter, Ticket) or waiter.alone or len(taken) == ROUND_MAX:
                    break
                if not waiter.done:
                    waiter.taken = True
                    taken.append(waiter)
        return taken

    def _wait(self, wake: threading.Lock, seconds: float) -> None:
        if not wake.acquire(timeout=seconds):
            raise Unavailable(
                f"{self._name} was busy for {seconds:g} s with what came before; repeat it",
                retry_after=_BUSY_RETRY_SECONDS,
                reason="busy",
            )

    def _hand_over(self) -> None:
        queue = self._queue
        while queue and queue[0].done:
            gone = queue.popleft()
            if gone.wake is not None and gone.wake.locked():
                gone.wake.release()
        if queue:
            for waiter in queue:
                if not waiter.taken:
                    break
                # The round was interrupted; they wait again.
                waiter.taken = False
            head = queue[0].wake
            assert head is not None, "only who finds nobody before it needs no waking"
            head.release()

    def _withdraw(self, waiter: Waiter) -> None:
        with self._mutex:
            if waiter not in self._queue:
                return
            if self._queue[0] is waiter:
                # The turn came in the same moment.
                waiter.done = True
                self._thread = 0
                self._hand_over()
            else:
                self._queue.remove(waiter)

    def _refuse_overload(self, depth: int) -> None:
        waiting = self._count_waiting()
        if waiting >= depth:
            raise Unavailable(
                f"{self._name}: {waiting} writes wait already, {depth} may; repeat it in a moment, "
                "put many writes into one call, or spread them over profiles",
                code="overloaded",
                reason="queue",
                retry_after=_OVERLOAD_RETRY_SECONDS,
                waiting=waiting,
            )

    def _count_waiting(self) -> int:
        return sum(not waiter.taken and not waiter.done for waiter in self._queue)


class Rounds:
    """Runs tickets on the writer's connection, many in one transaction.

    Belongs to one open connection. For the thread in the writer's place.
    """

    def __init__(self, connection: apsw.Connection, name: str, clock: Clock) -> None:
        self._connection = connection
        self._name = name
        self._clock = clock
        self._inside = False
        # Of what is committed, and as it was last seen in a transaction.
        self._schema = self._schema_seen = self._schema_version()
        # Due with the first request: a process that never sees 256 of them prunes too.
        self._unpruned = _PRUNE_EVERY
        # Request ids in this attempt, also of tickets that failed: it only says when to prune.
        self._inserted = 0
        # Of the last `run`, also if it was interrupted right after COMMIT: how many operations it
        # committed, under which txid if they changed anything, and whether all who did are derived.
        self.carried = 0
        self.landed: int | None = None
        self.derived = False
        # The transaction could not be ended: the connection was closed.
        self.broken = False
        connection.set_commit_hook(self._refuse_commit)

    def txid(self) -> int:
        """Return the txid in the file."""
        return int(self._connection.execute(TXID).get)

    def run(self, tickets: list[Ticket], terms: Terms) -> None:
        """Commit the tickets together; each that is `done` afterwards has its outcome.

        One that ends the transaction fails, and the others are run again without it. Raises what
        concerns all that are not done: a BEGIN or COMMIT that failed, an interrupt.
        """
        self.carried, self.landed = 0, None
        pending = tickets
        # Every turn takes one away: at most as many turns as tickets.
        while pending:
            culprit = self._attempt(pending, terms)
            if culprit is None:
                return
            culprit.done = True
            pending = [ticket for ticket in pending if ticket is not culprit]

    def _attempt(self, tickets: list[Ticket], terms: Terms) -> Ticket | None:
        """Commit all the tickets; or nothing, and return the one because of which."""
        connection = self._connection
        self._schema_seen = self._schema
        self._inserted = txid = 0
        try:
            connection.execute("BEGIN IMMEDIATE")
            last = self.txid()
            number = max(last + 1, terms.first_txid)
            changed = False
            for ticket in tickets:
                if len(tickets) == 1:
                    # It needs no savepoint: what rolls it back rolls all back.
                    self._carry_out(ticket, number, terms)
                elif not self._carry_out_beside_others(ticket, number, terms):
                    self._roll_back()
                    return ticket
                changed = changed or ticket.changed
            if changed:
                if self._inserted and self._prune_is_due():
                    prune(connection, self._clock.now_ms())
                connection.execute(_SET_TXID, (number,))
                txid = number
                self._schema_seen = self._schema_version()
            self._commit()
        except BaseException as error:
            rolled_back = self._roll_back()
            # A signal may arrive after COMMIT returned: what it interrupts has happened then.
            signalled = rolled_back and not isinstance(error, (Error, apsw.Error))
            if signalled and txid and self.txid() == txid:
                self._succeed(tickets, last, txid)
            else:
                _let_go(tickets, error)
            raise
        self._succeed(tickets, last, txid)
        return None

    def _carry_out_beside_others(self, ticket: Ticket, number: int, terms: Terms) -> bool:
        """Run a ticket so that it can fail alone; False if the transaction did not survive it."""
        connection = self._connection
        connection.execute("SAVEPOINT __palimp_ticket")
        with ticket.kept:
            self._carry_out(ticket, number, terms)
            connection.execute("RELEASE __palimp_ticket")
        error = ticket.kept.error
        return error is None or self._roll_back_ticket(ticket, error)

    def _roll_back_ticket(self, ticket: Ticket, error: Exception) -> bool:
        connection = self._connection
        self._inside = ticket.changed = False
        _let_go([ticket], error)
        try:
            connection.execute("ROLLBACK TO __palimp_ticket")
            connection.execute("RELEASE __palimp_ticket")
        except apsw.Error:
            # The transaction was ended, whether or not another was begun in its place.
            return False
        return True

    def _carry_out(self, ticket: Ticket, number: int, terms: Terms) -> None:
        connection = self._connection
        # An earlier attempt does not count.
        ticket.kept.error = ticket.stored = None
        before = connection.total_changes()
        self._inside = True
        if ticket.repeat is None:
            self._operate(ticket)
        else:
            self._answer(ticket, ticket.repeat, number)
        self._inside = False
        ticket.changed = connection.total_changes() != before
        if not ticket.changed:
            # What DDL does is not counted. Behind an operation of the round that did both, one that
            # did nothing may seem to have changed something; the txid is there all the same.
            self._schema_seen = self._schema_version()
            ticket.changed = self._schema_seen != self._schema
        if ticket.changed and number > terms.limit:
            raise Unavailable(
                f"{self._name} may not commit txid {number} yet: its owner may hand out up to "
                f"{terms.limit}; repeat it",
                retry_after=_LIMIT_RETRY_SECONDS,
                reason="limit",
            )

    def _operate(self, ticket: Ticket) -> None:
        ticket.value = ticket.operation(self._connection)
        if not self._connection.in_transaction:
            # RAISE(ROLLBACK) or a ROLLBACK of its own, which it kept to itself.
            raise Internal(f"{self._name}: an operation ended its own transaction")

    def _answer(self, ticket: Ticket, repeat: Repeat, number: int) -> None:
        answer = find_answer(self._connection, repeat)
        if answer is not None:
            ticket.txid, ticket.stored = answer
            return
        self._operate(ticket)
        self._inserted += 1
        result = repeat.encode(ticket.value)
        keep_answer(self._connection, repeat, number, result, self._clock.now_ms())

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except apsw.IOError as error:
            raise Unavailable(
                f"{self._name}: the disk refused a commit ({error}); whether it was kept shows "
                "when the file is next opened. Check free space, then repeat it with the same "
                "request id",
                reason="disk",
                in_doubt=True,
            ) from error

    def _succeed(self, tickets: list[Ticket], last: int, txid: int) -> None:
        self._schema = self._schema_seen
        self.landed = txid or None
        self.derived = all(ticket.derived for ticket in tickets if ticket.changed)
        for ticket in tickets:
            if ticket.stored is None:
                # A repeat has the txid it was written with.
                ticket.txid = txid or last
            if ticket.kept.error is None:
                self.carried += 1
            ticket.done = True
        if self._inserted:
            self._unpruned = 0 if self._prune_is_due() else self._unpruned + self._inserted

    def _prune_is_due(self) -> bool:
        return self._unpruned + self._inserted >= _PRUNE_EVERY

    def _schema_version(self) -> int:
        return int(self._connection.execute("PRAGMA schema_version").get)

    def _refuse_commit(self) -> bool:
        # A COMMIT of an operation's own would keep half of a round that is run again.
        return self._inside

    def _roll_back(self) -> bool:
        """End the transaction without a trace; False if only closing the connection did it."""
        self._inside = False
        try:
            # An interrupt or a full disk may have ended it already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error:
            self.broken = True
            self._connection.close(force=True)
            return False
        return True


def _let_go(tickets: list[Ticket], error: BaseException) -> None:
    """Close the cursors of operations that failed.

    In a value or in the frames of a traceback they would live on, and while a statement that
    writes is unfinished nobody can commit.
    """
    for ticket in tickets:
        ticket.value = None
    clear_frames(error.__traceback__)
