"""Events: how many a second, a session's text, and what a search over a million of them takes.

The floor of a write is the same rows and indexes by hand in SQLite; that of a read is the same rows
found by hand through the index they need, all columns, as rows. Nothing is embedded, so that only
what an event takes is measured. `Store` is what is measured: another store of events is another one
of these.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw
from floor import ByHand
from harness import Row, in_turn
from machine import filesystem, folder

import palimp

_BATCHES = (1, 100, 1_000)
_SESSION_EVENTS = 10_000
_SEARCHED = 1_000_000
# A session is that of one agent, a run of events.
_AGENTS, _TAGS, _SESSIONS, _RUN = 20, 50, 1_000, 50
_STEP_MS = 1_000
_KINDS = ("episodic", "episodic", "episodic", "decision", "session", "entity")
_WORDS = ("general", "tool_call", "tool_call", "error")
_SUBJECTS = "build deploy test review query index backup restore release rollback".split()
_PLACES = "staging production the-cache db-1 db-2 worker-7 gateway queue-3 laptop runner".split()
_TIMELINE = """CREATE INDEX timeline ON memories
(occurred_at, handle, agent, kind, source, expires_at)
WHERE type = 'event' AND state = 'active' AND superseded_at IS NULL"""
_FTS = "INSERT INTO fts (rowid, text, keywords, label, before, after) VALUES (?, ?, ?, ?, ?, ?)"
_FTS_DELETE = """INSERT INTO fts (fts, rowid, text, keywords, label, before, after)
VALUES ('delete', ?, ?, ?, ?, ?, ?)"""
_HOLDS = "type = 'event' AND state = 'active' AND superseded_at IS NULL"


class Store(NamedTuple):
    """A store of events: what it is called, and a call of it that appends, in a folder."""

    name: str
    opened: Callable[[Path], Any]


def measure(*, quick: bool) -> list[Row]:
    """Measure appending, the text of a session, and searches, each beside its floor."""
    stores = (Store("embedded", _embedded),)
    return [
        *(appending(store, size, quick=quick) for store in stores for size in _BATCHES),
        _context(2_000 if quick else _SESSION_EVENTS),
        *_searches(50_000 if quick else _SEARCHED),
    ]


@contextmanager
def _embedded(path: Path) -> Iterator[Callable[[list[dict[str, Any]]], object]]:
    with palimp.open(path / "memory", embed_provider="none") as mem:
        yield mem.profile("bench").timeline.extend


def event(number: int) -> dict[str, Any]:
    """Return an event as an agent would say it: a sentence, two tags, small metadata."""
    subject = _SUBJECTS[number % len(_SUBJECTS)]
    place = _PLACES[number // 7 % len(_PLACES)]
    return {
        "agent": f"agent-{number // _RUN % _AGENTS}",
        "text": f"{subject} on {place} took {number % 977} ms, step {number} of the run",
        "kind": _KINDS[number % len(_KINDS)],
        "event": _WORDS[number % len(_WORDS)],
        "session": f"session-{number // _RUN % _SESSIONS}",
        "tags": [f"tag-{number % _TAGS}", subject],
        "metadata": {"step": number},
        "importance": number % 10 / 10,
    }


# -- appending -------------------------------------------------------------------------------------


def appending(store: Store, size: int, *, quick: bool) -> Row:
    count = {1: 600, 100: 40, 1_000: 8}[size] // (4 if quick else 1)
    warmup = max(1, count // 10)
    batches = [
        [event(at * size + number) for number in range(size)] for at in range(count + warmup)
    ]
    with folder() as path, store.opened(path) as extend:
        hand = _Hand(path / "by-hand.db")
        ours, floor = in_turn(
            [lambda at: extend(batches[at]), lambda at: hand.append(batches[at])],
            count,
            warmup,
        )
        hand.close()
        place = filesystem(path)
    return Row(
        f"append {size:,} event{'s' if size > 1 else ''}, {store.name}",
        ours.median,
        "us",
        floor.median,
        "the same rows and indexes by hand",
        note=f"{size * 1e6 / ours.median:,.0f} events a second, by hand "
        f"{size * 1e6 / floor.median:,.0f}; {place}, p95 {ours.p95:,.0f} us, no embedder",
        detail={"ours": ours.as_json(), "by_hand": floor.as_json(), "batch": size},
    )


class _Hand(ByHand):
    """Events by hand: the row with its indexes, and its words with those before and after."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.create()
        self._connection.execute(_TIMELINE)
        # The entry of each session's last event, to write it again when one comes behind it.
        self._ends: dict[str, list[Any]] = {}

    def append(self, events: Sequence[dict[str, Any]]) -> None:
        now_ms = int(time.time() * 1_000)
        fresh: dict[int, list[Any]] = {}
        with self._connection:
            for one in events:
                self._row_of(one, now_ms)
                handle = self._connection.last_insert_rowid()
                words = " ".join((one["kind"], *one["tags"]))
                entry = [handle, one["text"], words, "", "", ""]
                before = self._ends.get(one["session"])
                if before is not None:
                    entry[4] = before[1]
                    if before[0] not in fresh:
                        self._connection.execute(_FTS_DELETE, before)
                    before[5] = one["text"]
                    fresh[before[0]] = before
                fresh[handle] = self._ends[one["session"]] = entry
            self._connection.executemany(_FTS, fresh.values())

    def _row_of(self, one: dict[str, Any], now_ms: int) -> None:
        tags = '["' + '","'.join(one["tags"]) + '"]'
        self._connection.execute(
            """INSERT INTO memories (id, type, kind, text, tags, metadata, source, session, agent,
            importance, created_at, occurred_at, activated_at, dedup_key)
            VALUES (?, 'event', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (
                f"mem_{time.perf_counter_ns():032x}", one["kind"], one["text"], tags,
                f'{{"step":{one["metadata"]["step"]}}}', one["event"], one["session"],
                one["agent"], one["importance"], now_ms, now_ms, now_ms, f"{id(one):032x}",
            ),
        )  # fmt: skip
        self._connection.execute(
            """INSERT INTO sessions VALUES (?1, ?2)
            ON CONFLICT (id) DO UPDATE SET last_active_at = ?2""",
            (one["session"], now_ms),
        )


# -- the text of a session -------------------------------------------------------------------------


def _context(count: int) -> Row:
    with folder() as path, palimp.open(path / "memory", embed_provider="none") as mem:
        profile = mem.profile("bench")
        for start in range(0, count, 1_000):
            given = [{**event(n), "session": "one"} for n in range(start, start + 1_000)]
            profile.timeline.extend(given)
        session = profile.session("one")
        assert session.context().found == 100
        plain = _plain(path, profile)
        read = """SELECT * FROM __palimp_memories WHERE session = 'one' AND type = 'event'
        AND occurred_at > ? ORDER BY occurred_at DESC, handle DESC LIMIT 100"""
        since = int(time.time() * 1_000) - 86_400_000
        whole, small, floor = in_turn(
            [
                lambda _: session.context(),
                lambda _: session.context(max_tokens=500),
                lambda _: plain.execute(read, (since,)).fetchall(),
            ],
            200,
            20,
        )
        plain.close()
    return Row(
        f"text of a session of {count:,} events",
        whole.median,
        "us",
        floor.median,
        "its newest 100 rows read by hand",
        note=f"at most 500 tokens: {small.median:,.0f} us; p95 {whole.p95:,.0f} us",
        detail={"ours": whole.as_json(), "max_tokens": small.as_json(), "by_hand": floor.as_json()},
    )


def _plain(path: Path, profile: Any) -> apsw.Connection:
    """Return a connection of its own to the file of a profile."""
    profile.export(path / "plain.db")
    return apsw.Connection(str(path / "plain.db"), flags=apsw.SQLITE_OPEN_READONLY)


# -- searching -------------------------------------------------------------------------------------


class _Ask(NamedTuple):
    what: str
    fields: dict[str, Any]
    sql: str
    calls: int


def _searches(count: int) -> list[Row]:
    now_ms = int(time.time() * 1_000)
    with folder() as path:
        _fill(path, count, now_ms)
        with palimp.open(path / "memory", embed_provider="none") as mem:
            profile = mem.profile("bench")
            assert profile.timeline.stats().count == count
            plain = _plain(path, profile)
            rows = [_search(profile, plain, ask, count) for ask in _asks(count, now_ms)]
            plain.close()
    return rows


def _fill(path: Path, count: int, now_ms: int) -> None:
    """Make a profile of events a second apart, the last one now: a file by hand, imported.

    Their words are not indexed: no search of these looks at that, and it would take ten minutes.
    """
    with palimp.open(path / "memory", embed_provider="none") as mem:
        first = mem.profile("first")
        first.ingest([_memory(0, now_ms)])
        first.export(path / "filled.db")
        connection = apsw.Connection(str(path / "filled.db"))
        columns = [row[1] for row in connection.execute("PRAGMA table_info(__palimp_memories)")]
        (like,) = connection.execute("SELECT * FROM __palimp_memories").fetchall()
        known = dict(zip(columns, like, strict=True))
        names = ("handle", "id", "kind", "text", "tags", "metadata", "source", "session", "agent")
        changed = (*names, "importance", "observed_at", "occurred_at")
        kept = [name for name in columns if name not in changed]
        marks = ", ".join("?" * len(columns))
        insert = f"INSERT INTO __palimp_memories ({', '.join((*changed, *kept))}) VALUES ({marks})"
        rest = [known[name] for name in kept]
        with connection:
            connection.executemany(
                insert,
                ((*_row(number, now_ms - (count - number) * _STEP_MS), *rest)
                 for number in range(1, count)),
            )  # fmt: skip
        connection.close()
        mem.profile("bench").import_(path / "filled.db")
    (path / "filled.db").unlink()


def _memory(number: int, at_ms: int) -> dict[str, Any]:
    given = event(number)
    given["source"] = given.pop("event")
    return {**given, "type": "event", "observed_at": at_ms, "dedup_key": f"{number}"}


def _row(number: int, at_ms: int) -> tuple[Any, ...]:
    one = event(number)
    tags = '["' + '","'.join(one["tags"]) + '"]'
    return (
        number + 1, f"mem_{number:032x}", one["kind"], one["text"], tags,
        f'{{"step":{number}}}', one["event"], one["session"], one["agent"], one["importance"],
        at_ms, at_ms,
    )  # fmt: skip


def _asks(count: int, now_ms: int) -> list[_Ask]:
    """Return what is looked for; of `sql` each takes what stands in the index it needs."""
    noon = now_ms - count // 2 * _STEP_MS
    window = {"since": noon, "until": noon + 3_600_000}
    day = {"since": noon, "until": noon + 86_400_000}
    between = "occurred_at > {since} AND occurred_at < {until}"
    tag = "EXISTS (SELECT 1 FROM json_each(tags) WHERE value = 'tag-7')"
    return [
        _Ask("an hour", window, between.format(**window), 200),
        _Ask(
            "a day, a tag and a text",
            {**day, "tags": ["tag-7"], "contains": "on db-1"},
            f"{between.format(**day)} AND {tag} AND instr(text, 'on db-1')",
            50,
        ),
        _Ask("the newest of an agent", {"agent": "agent-3"}, "agent = 'agent-3'", 200),
        _Ask("the newest with a tag", {"tags": ["tag-7"]}, tag, 200),
        _Ask(
            "a session, a text",
            {"session": "session-7", "contains": "took 5"},
            "session = 'session-7' AND instr(text, 'took 5')",
            200,
        ),
        _Ask(
            "a text that stands in one event, no window",
            {"contains": f"step {count // 3} of"},
            f"instr(text, 'step {count // 3} of')",
            3,
        ),
        _Ask(
            "a tag that no event has, no window",
            {"tags": ["nothing"]},
            "EXISTS (SELECT 1 FROM json_each(tags) WHERE value = 'nothing')",
            3,
        ),
    ]


def _search(profile: Any, plain: apsw.Connection, ask: _Ask, count: int) -> Row:
    read = f"""SELECT * FROM __palimp_memories WHERE {_HOLDS} AND {ask.sql}
    ORDER BY occurred_at DESC, handle DESC LIMIT 101"""
    found = profile.timeline.page(**ask.fields)
    by_hand = plain.execute(read).fetchall()
    assert len(by_hand) == len(found) + found.more, (ask.what, len(by_hand), len(found))
    ours, floor = in_turn(
        [lambda _: profile.timeline.page(**ask.fields), lambda _: plain.execute(read).fetchall()],
        ask.calls,
        1,
    )
    return Row(
        f"search {count:,} events: {ask.what}",
        ours.median / 1_000,
        "ms",
        floor.median / 1_000,
        "the rows by hand, same indexes",
        note=f"{len(found)} found{' and more' if found.more else ''}, p95 {ours.p95 / 1_000:,.1f}",
        detail={"ours": ours.as_json(), "by_hand": floor.as_json()},
    )
