"""Engines for tests: one table of words, any store, a clock that is moved by hand or the machine's."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from palimp.clock import Clock, ManualClock
from palimp.engine import Address, Branch, Engine, Options, Repeat
from palimp.engine.claims import Leaser
from palimp.engine.protocol.records import Manifest, decode, manifest_key
from palimp.points import Point
from palimp.store import ObjectStore
from palimp.store.faulty import NO_FAULT, Fault, Kind

P = Address("ns", "p")


def prepare(connection: apsw.Connection) -> None:
    connection.execute("CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT)")


def check(connection: apsw.Connection, _name: str) -> None:
    connection.execute("SELECT count(*) FROM words").fetchall()


def insert(word: str) -> Callable[[apsw.Connection], str]:
    def operation(connection: apsw.Connection) -> str:
        connection.execute("INSERT INTO words (word) VALUES (?)", (word,))
        return word

    return operation


def select(connection: apsw.Connection) -> list[str]:
    return [word for (word,) in connection.execute("SELECT word FROM words ORDER BY id")]


def repeat(request_id: str) -> Repeat:
    digest = hashlib.sha256(request_id.encode()).digest()
    return Repeat(request_id, digest, lambda value: json.dumps(value).encode(), json.loads)


def put(
    engine: Engine, word: str, address: Address = P, *, durable: bool = False, request: str = ""
) -> int:
    """Write a word and return its txid."""
    with engine.use(address, create=True) as branch:
        assert branch is not None
        asked = repeat(request) if request else None
        return branch.write(insert(word), durable=durable, repeat=asked).txid


def fill(engine: Engine, count: int, address: Address = P) -> list[int]:
    """Write so many words, each its own durable segment; return the txids."""
    return [put(engine, f"w{n}", address, durable=True) for n in range(count)]


def words(engine: Engine, address: Address = P) -> list[str] | None:
    """Return the words of a branch in order, None where it was never written."""
    with engine.use(address, create=False) as branch:
        return None if branch is None else branch.read(select).value


def words_at(engine: Engine, point: Point | int | str, address: Address = P) -> list[str]:
    """Return the words as they were at a point: a txid, a checkpoint's name, or any point."""
    if not isinstance(point, Point):
        point = Point.parse(str(point))
    with engine.past(address, point) as past:
        return past.read(select).value


@contextmanager
def using(engine: Engine, address: Address = P) -> Iterator[Branch]:
    """Have a branch that was written."""
    with engine.use(address, create=False) as branch:
        assert branch is not None
        yield branch


def key_of(engine: Engine, address: Address = P) -> tuple[str, str]:
    with using(engine, address) as branch:
        return branch.key


def stored(store: ObjectStore, key: tuple[str, str]) -> Manifest:
    """Return the manifest as it is in the store."""
    found = store.get(manifest_key(*key))
    assert found is not None
    return decode(found.data, Manifest, manifest_key(*key))


def objects(store: ObjectStore, key: tuple[str, str]) -> set[str]:
    """Return the segments and history objects below a branch's prefix."""
    prefix = f"v1/db/{key[0]}/{key[1]}/"
    entries = store.list(prefix, None, 10_000).entries
    return {entry.key for entry in entries} - {manifest_key(*key)}


def recovered(engine: Engine, address: Address = P) -> dict[str, list[str] | None]:
    """Return the recovered branches of a profile and what is in them."""
    return {
        info.name: words(engine, address._replace(branch=info.name))
        for info in engine.branches(address)
        if info.recovered
    }


def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.002)


class Switch:
    """Decides the faults of a store: none until it is `down`; then what `kind` says for `keys`."""

    def __init__(self) -> None:
        self.down = False
        self.kind = Kind.ERROR
        self.operations: tuple[str, ...] = ()
        self.refused = 0

    def __call__(self, operation: str, _key: str) -> Fault:
        if not self.down or (self.operations and operation not in self.operations):
            return NO_FAULT
        self.refused += 1
        return Fault(self.kind)


class Engines:
    """Makes engines below a folder, each with a folder of its own, and closes them all."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._open: list[Engine] = []

    def __call__(
        self,
        store: ObjectStore,
        folder: str = "a",
        *,
        node: str = "",
        clock: Clock | None = None,
        leaser: Leaser | None = None,
        **options: Any,
    ) -> Engine:
        """Open a folder on a store.

        Where a clock is moved by hand (or none is given) nothing happens unless it is asked for.
        """
        path = self.root / folder
        (path / "hot").mkdir(parents=True, exist_ok=True)
        made = Engine(
            path / "hot",
            path / "cache",
            store,
            prepare=prepare,
            check=check,
            node=node or folder,
            clock=clock or ManualClock(),
            options=Options(**{"disk_reserve": 0, **options}),
            leaser=leaser,
        )
        if isinstance(made._clock, ManualClock):
            made._keeper.close()
        self._open.append(made)
        return made

    def close(self, engine: Engine) -> None:
        """Stop in order."""
        self._open.remove(engine)
        engine.close(5.0)

    def copy(self, folder: str, to: str) -> None:
        """Take a folder as a process that is killed now would leave it."""
        shutil.copytree(self.root / folder, self.root / to)

    def wipe(self, folder: str) -> None:
        """Lose the disk."""
        shutil.rmtree(self.root / folder)

    def close_all(self) -> None:
        """Stop what a test has left, whatever came of it."""
        while self._open:
            self._open.pop().close(0.2)
