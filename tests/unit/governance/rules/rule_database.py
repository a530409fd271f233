"""A profile's tables in memory, and the rules of governance on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import apsw
import numpy as np

from palimp.api import MemoryInput
from palimp.governance.rules import RULES, Decision, Look, carry_out
from palimp.ids import PUBLIC_ID_KEY
from palimp.profile import PlainSealer, governed, prepare
from palimp.profile.generations import register
from palimp.profile.indexing import MEMORIES
from palimp.profile.memories import Writer, draft, ingest, states
from palimp.profile.memories.states import Act
from palimp.profile.relations import tables
from palimp.profile.vectors import sign_codes, unit

T = TypeVar("T")

SEALER = PlainSealer()
HOUR = 3_600_000
DAY = 24 * HOUR
NOW = 1_000 * DAY
LOOK = Look(NOW, SEALER, PUBLIC_ID_KEY)
RUN = "gov_1"


class Database:
    """A profile's tables in memory, and the rules on them."""

    def __init__(self) -> None:
        self.connection = apsw.Connection(":memory:")
        prepare(self.connection)
        governed.begin(self.connection, RUN, NOW, "pre_governance_1", "{}")

    def ask(self, query: Callable[[apsw.Connection], T]) -> T:
        return query(self.connection)

    def write(self, text: str, at: int = NOW, **more: Any) -> int:
        given = draft(MemoryInput(text=text, **more))
        return ingest(self.connection, [given], Writer(at, PUBLIC_ID_KEY, SEALER)).handles[0]

    def embed(self, handle: int, vector: Sequence[float]) -> None:
        row = unit(vector)
        model, _ = register(self.connection, "test", len(vector))
        (signs,) = sign_codes(row[np.newaxis, :])
        self.connection.execute(
            f"INSERT INTO {MEMORIES.codes} (model, handle, signs) VALUES (?, ?, ?)",
            (model, handle, signs),
        )
        self.connection.execute(
            f"INSERT INTO {MEMORIES.vectors} VALUES (?, ?, ?)",
            (handle << 8 | model, self.connection.last_insert_rowid(), row.tobytes()),
        )

    def relate(self, source: int, target: int, weight: float, kind: str = "association") -> None:
        tables.prepare(self.connection)
        self.connection.execute(
            f"INSERT INTO {tables.RELATIONS} VALUES (?, ?, ?, ?, 'given', 1)",
            (source, target, kind, weight),
        )

    def id(self, handle: int) -> str:
        found = self.connection.execute(
            "SELECT id FROM __palimp_memories WHERE handle = ?", (handle,)
        ).get
        assert found is not None
        return str(found)

    def find(self, step: str, now_ms: int = NOW) -> list[Decision]:
        look = LOOK._replace(now_ms=now_ms)
        return [one for page in RULES[step].find(self.ask, look) for one in page]

    def do(self, step: str, now_ms: int = NOW) -> list[Decision]:
        look = LOOK._replace(now_ms=now_ms)
        act = Act(now_ms, reason=f"governance {step}", grace_ms=900 * DAY)
        found = self.find(step, now_ms)
        return carry_out(self.connection, RUN, RULES[step], found, look, act)

    def state(self, handle: int) -> str | None:
        for table in ("__palimp_memories", "__palimp_deleted"):
            if self.connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).get:
                found = self.connection.execute(
                    f"SELECT state FROM {table} WHERE handle = ?", (handle,)
                ).get
                if found is not None:
                    return str(found)
        return None

    def row(self, handle: int, column: str) -> Any:
        return self.connection.execute(
            f"SELECT {column} FROM __palimp_memories WHERE handle = ?", (handle,)
        ).get

    def hold(self, handle: int) -> None:
        states.hold(self.connection, self.id(handle), Act(NOW), absent=False)
