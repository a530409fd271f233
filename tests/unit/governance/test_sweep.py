"""Sweeping: what goes, what stays, how much at a time."""

import apsw
import pytest

from palimp.api import GetMemory, MemoryInput
from palimp.governance import Effective
from palimp.governance.sweep import SWEEP_BATCH, Sweep, is_due, sweep
from palimp.ids import PUBLIC_ID_KEY
from palimp.profile import PlainSealer, prepare
from palimp.profile.memories import Writer, draft, get_memory, ingest

SEALER = PlainSealer()


class Database:
    """A profile's tables in memory."""

    def __init__(self) -> None:
        self.connection = apsw.Connection(":memory:")
        prepare(self.connection)

    def write(self, now_ms: int, *memories: MemoryInput) -> list[str]:
        drafts = [draft(one) for one in memories]
        outcome = ingest(self.connection, drafts, Writer(now_ms, PUBLIC_ID_KEY, SEALER))
        return [one.id for one in outcome.results]

    def texts(self) -> list[str]:
        rows = self.connection.execute("SELECT text FROM __palimp_memories ORDER BY handle")
        return [text for (text,) in rows]

    def sweep(self, policy: Effective, now_ms: int) -> int:
        limits = Sweep.of(policy, now_ms)
        assert limits is not None
        due = is_due(self.connection, limits)
        done = sweep(self.connection, limits, SEALER)
        assert due == (done > 0)
        return done


@pytest.fixture
def database() -> Database:
    return Database()


def event(text: str, **more: object) -> MemoryInput:
    return MemoryInput(text=text, type="event", **more)  # type: ignore[arg-type]


def seat(text: str, topic: str | None = "seat") -> MemoryInput:
    return MemoryInput(text=text, topic=topic)


def test_no_limits_no_sweep() -> None:
    assert Sweep.of(Effective(memory_task_ttl_max_secs=60), 1_000) is None


def test_events_go_by_when_they_were_written(database: Database) -> None:
    database.write(0, event("old"), seat("a fact"), event("told of 1970", observed_at=1))
    database.write(1, event("young", observed_at=1))
    policy = Effective(memory_event_max_age_secs=60)
    assert database.sweep(policy, 59_999) == 0
    assert database.sweep(policy, 60_000) == 2
    assert database.texts() == ["a fact", "young"]
    assert database.sweep(policy, 60_001) == 1


def test_superseded_memories_go_by_when_they_were_superseded(database: Database) -> None:
    database.write(0, seat("first"))
    database.write(10_000, seat("second"))
    last = database.write(70_000, seat("third"))[0]
    policy = Effective(memory_superseded_max_age_secs=60)
    assert database.sweep(policy, 69_999) == 0
    assert database.sweep(policy, 70_000) == 1
    assert database.texts() == ["second", "third"]
    assert database.sweep(policy, 10**9) == 1
    # What holds now is never too old, and says no more that it replaced what is gone.
    assert database.texts() == ["third"]
    assert get_memory(database.connection, last, SEALER, 10**9).supersedes == ()
    assert GetMemory(id=last)


def test_of_every_type_and_topic_the_last_superseded_stay(database: Database) -> None:
    for number in range(5):
        database.write(number, seat(f"seat {number}"))
        database.write(number, seat(f"meal {number}", "meal"))
        database.write(number, MemoryInput(text=f"rule {number}", type="instruction", topic="seat"))
    assert database.sweep(Effective(memory_superseded_max_count=2), 100) == 6
    kept = [f"{what} {number}" for number in (2, 3, 4) for what in ("seat", "meal", "rule")]
    assert database.texts() == kept
    assert database.sweep(Effective(memory_superseded_max_count=1), 100) == 3


def test_a_pass_is_bounded_and_the_oldest_go_first(database: Database) -> None:
    drafts = [event(f"event {number}") for number in range(SWEEP_BATCH + 7)]
    database.write(0, *drafts)
    policy = Effective(memory_event_max_age_secs=60)
    assert database.sweep(policy, 10**6) == SWEEP_BATCH
    assert database.texts() == [f"event {SWEEP_BATCH + n}" for n in range(7)]
    assert database.sweep(policy, 10**6) == 7


def test_words_leave_the_index_too(database: Database) -> None:
    database.write(0, event("zanzibar at dawn"), seat("a fact"))
    database.sweep(Effective(memory_event_max_age_secs=60), 10**6)
    found = database.connection.execute(
        "SELECT count(*) FROM __palimp_memories_fts WHERE __palimp_memories_fts MATCH 'zanzibar'"
    ).get
    assert found == 0
