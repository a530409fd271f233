"""A profile against a plain dict: whatever is written, in whatever order, both say the same.

After every step the indexes equal what they would be if they were made of the rows from nothing.
"""

import dataclasses
import itertools
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import hypothesis.strategies as st
import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import palimp
from palimp.client.transports.embedded import Embedded
from palimp.clock import ManualClock
from palimp.engine import Address
from palimp.node import Node, load_settings
from palimp.profile import PlainSealer
from palimp.profile.indexing import (
    CORPORA,
    GIVEN_MODEL,
    MEMORIES,
    Corpus,
    embedding_text,
    neighbours,
    piece,
)

DAY = 86_400
SEALER = PlainSealer()
# Few of everything, so that steps meet: the same words again, the same topic, ties in time.
TOPICS = st.sampled_from(["home", "home", "seat", None])
SESSIONS = st.sampled_from([None, "s1", "s2"])
TEXTS = st.sampled_from(["Lives in Rome", "Oslo it is", "the harbour", "Lives in Bern", "yes"])
EMBEDDINGS = st.sampled_from([None, None, [1.0, 0.5], [0.5, 1.0, 0.25]])


@st.composite
def items(draw: st.DrawFn) -> dict[str, Any]:
    type_ = draw(st.sampled_from(["fact", "fact", "fact", "instruction", "event", "event", "task"]))
    item: dict[str, Any] = {"type": type_, "text": draw(TEXTS)}
    given = {"session": draw(SESSIONS), "embedding": draw(EMBEDDINGS)}
    if type_ in ("fact", "instruction"):
        given["topic"] = draw(TOPICS)
    else:
        given["dedup_key"] = draw(st.sampled_from([None, "1", "2"]))
        given["observed_at"] = draw(st.sampled_from([None, 1, 2, 3]))
        given["speaker"] = draw(st.sampled_from([None, "Bo"]))
    if type_ == "task":
        given["ttl"] = draw(st.sampled_from([None, 1, DAY * 7]))
    return item | {name: value for name, value in given.items() if value is not None}


class HashEmbedder:
    """A vector of its own for every text, so that one made of other words can be told."""

    name, dimensions, local, egress = "hash", 8, True, "none"

    def embed(self, texts: Sequence[str], **_: object) -> Any:
        seeds = [np.random.default_rng(zlib.crc32(text.encode())) for text in texts]
        rows = [seed.standard_normal(self.dimensions) for seed in seeds]
        unit = [row / np.linalg.norm(row) for row in rows]
        return np.array(unit, np.float32).reshape(len(texts), self.dimensions)

    def of(self, name: str) -> None:
        return None


@dataclasses.dataclass
class Row:
    """What the model knows of a memory."""

    id: str
    type: str
    topic: str | None
    session: str | None
    expires_at: int | None
    superseded: bool = False
    by: str | None = None


class Model:
    """The rules of writing, said in the plainest way; `rows` is in the order of writing."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.numbers: dict[str, int] = {}
        self.turns: dict[str, list[tuple[int, str]]] = {}
        self.listed: set[str] = set()

    def visible(self, now: int) -> list[Row]:
        return [r for r in self.rows.values() if r.expires_at is None or r.expires_at > now]

    def active(self, now: int) -> list[Row]:
        return [row for row in self.visible(now) if not row.superseded]

    def write(self, id_: str, item: dict[str, Any], now: int) -> tuple[str, tuple[str, ...]]:
        known = self.rows.get(id_)
        if known in self.active(now):
            return "duplicate", ()
        type_, topic, session = item["type"], item.get("topic"), item.get("session")
        old = [
            row
            for row in self.active(now)
            if topic is not None and (row.type, row.topic) == (type_, topic)
        ]
        for row in old:
            row.superseded, row.by = True, id_
        end = now + 1_000 * item.get("ttl", DAY) if type_ == "task" else None
        if session is not None:
            self.listed.add(session)
        if known is None:
            self.rows[id_] = Row(id_, type_, topic, session, end)
        else:
            known.superseded, known.by, known.expires_at = False, None, end
        return ("created" if known is None else "revived"), tuple(row.id for row in old)

    def remove(self, id_: str) -> None:
        gone = self.rows.pop(id_)
        for row in self.rows.values():
            if row.by == id_:
                row.by = gone.by


# The indexes, against what the rows say


def assert_same_index(connection: apsw.Connection, corpus: Corpus) -> None:
    """The FTS table has the same words at the same places, and the same sizes, as one made anew."""
    sql = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (corpus.fts,)).get
    connection.execute(sql.replace(corpus.fts, "temp.rebuilt", 1))
    try:
        handles = [handle for (handle,) in connection.execute(f"SELECT handle FROM {corpus.rows}")]
        for handle in handles:
            connection.execute(
                "INSERT INTO rebuilt (rowid, text, keywords, label, before, after) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (
                    handle,
                    *piece(
                        connection, corpus, handle, SEALER, neighbours(connection, corpus, handle)
                    ),
                ),
            )
        assert instances(connection, "main", corpus.fts) == instances(connection, "temp", "rebuilt")
        sizes = "SELECT id, sz FROM {}_docsize ORDER BY id"
        assert (
            connection.execute(sizes.format(f"main.{corpus.fts}")).fetchall()
            == connection.execute(sizes.format("temp.rebuilt")).fetchall()
        )
    finally:
        connection.execute("DROP TABLE temp.rebuilt")


def instances(connection: apsw.Connection, schema: str, table: str) -> list[Any]:
    connection.execute(
        f"CREATE VIRTUAL TABLE temp.words USING fts5vocab('{schema}', '{table}', 'instance')"
    )
    try:
        found = connection.execute("SELECT term, doc, col, offset FROM temp.words").fetchall()
        return sorted(found, key=repr)
    finally:
        connection.execute("DROP TABLE temp.words")


def assert_vectors_fit(connection: apsw.Connection, corpus: Corpus, embedder: HashEmbedder) -> None:
    """Vectors and codes match one to one, belong to rows that exist, and are of their words now."""
    models = dict(connection.execute("SELECT model, name FROM __palimp_models").fetchall())
    rows = {handle for (handle,) in connection.execute(f"SELECT handle FROM {corpus.rows}")}
    vectors = connection.execute(f"SELECT slot, code, vector FROM {corpus.vectors}").fetchall()
    codes = connection.execute(f"SELECT code, model, handle FROM {corpus.codes}").fetchall()
    assert sorted(codes) == sorted((code, slot & 255, slot >> 8) for slot, code, _ in vectors)
    assert {slot >> 8 for slot, _, _ in vectors} <= rows
    for slot, _, vector in vectors:
        if models[slot & 255] != GIVEN_MODEL:
            text, _ = embedding_text(connection, corpus, slot >> 8, SEALER)
            assert vector == embedder.embed([text])[0].tobytes(), f"not of {text!r}"


def without_vector(connection: apsw.Connection, corpus: Corpus) -> list[int]:
    tasks = "WHERE type != 'task'" if corpus is MEMORIES else ""
    return connection.execute(
        f"""SELECT handle FROM {corpus.rows} {tasks} EXCEPT SELECT slot >> 8 FROM {corpus.vectors}
        WHERE slot & 255 = (SELECT model FROM __palimp_models WHERE name = 'hash')"""
    ).fetchall()


class Machine(RuleBasedStateMachine):
    """Random steps on a real folder and on the model."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.clock = ManualClock()
        self.model = Model()
        self.embedder = HashEmbedder()
        self.client: palimp.Client | None = None

    @initialize()
    def open(self) -> None:
        node = Node(
            load_settings({"data_dir": self.folder}), clock=self.clock, embedder=self.embedder
        )
        # Without the background every step does what it says and nothing else.
        node.context = msgspec.structs.replace(node.context, wake=lambda name: None)
        self.engine = node.context.engine
        self.client = palimp.Client(Embedded(node))
        self.profile = self.client.profile("alice")

    def teardown(self) -> None:
        if self.client is not None:
            self.client.close()

    @property
    def now(self) -> int:
        return self.clock.now_ms()

    def pick(self, data: st.DataObject, rows: list[Row]) -> Row:
        return rows[data.draw(st.integers(0, len(rows) - 1), label="which")]

    # Steps

    @rule(batch=st.lists(items(), min_size=1, max_size=4))
    def ingest(self, batch: list[dict[str, Any]]) -> None:
        done = self.profile.ingest(batch)
        for item, result in zip(batch, done, strict=True):
            expected = self.model.write(result.id, item, self.now)
            assert (result.status, result.superseded) == expected

    @rule(item=items())
    def remember(self, item: dict[str, Any]) -> None:
        result = self.profile.remember(**item)
        expected = self.model.write(result.id, item, self.now)
        assert (result.status, result.superseded) == expected

    @precondition(lambda self: any(row.superseded for row in self.model.visible(self.now)))
    @rule(data=st.data())
    def revive(self, data: st.DataObject) -> None:
        row = self.pick(data, [row for row in self.model.visible(self.now) if row.superseded])
        memory = self.profile.get(row.id)
        item: dict[str, Any] = {"type": row.type, "text": memory.text}
        if row.topic is not None:
            item["topic"] = row.topic
        result = self.profile.remember(**item)
        # A dedup_key is not read back: without it the same words are another memory.
        expected = self.model.write(result.id, item, self.now)
        assert (result.status, result.superseded) == expected

    @precondition(lambda self: self.model.visible(self.now))
    @rule(data=st.data(), text=TEXTS)
    def supersede(self, data: st.DataObject, text: str) -> None:
        old = self.pick(data, self.model.visible(self.now))
        try:
            result = self.profile.supersede(old.id, text)
        except palimp.Conflict as error:
            conflict = error
        else:
            conflict = None
        if conflict is not None:
            assert old.superseded
            assert conflict.details["superseded_by"] == old.by
            return
        if old.superseded:
            assert (result.status, result.id, result.superseded) == ("duplicate", old.by, ())
            return
        item = {"type": old.type, "topic": old.topic, "session": old.session}
        status, superseded = self.model.write(result.id, item, self.now)
        if result.id != old.id:
            old.superseded, old.by = True, result.id
            superseded = (old.id, *(id_ for id_ in superseded if id_ != old.id))
        assert (result.status, result.superseded) == (status, superseded)

    @precondition(lambda self: self.model.visible(self.now))
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        row = self.pick(data, self.model.visible(self.now))
        assert self.profile.forget(row.id) is True
        assert self.profile.forget(row.id) is False
        self.model.remove(row.id)

    @rule(seconds=st.sampled_from([0.001, 1, DAY]))
    def expire(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def maintain(self) -> None:
        gone = self.model.rows.keys() - {row.id for row in self.model.visible(self.now)}
        assert self.client.maintain().expired == len(gone)
        for id_ in gone:
            self.model.remove(id_)
        with self.engine.use(Address("default", "alice"), create=False) as database:
            for corpus in CORPORA if database is not None else ():
                assert database.read(lambda c, corpus=corpus: without_vector(c, corpus))[0] == []

    @rule(session=st.sampled_from(["s1", "s2"]), contents=st.lists(TEXTS, min_size=1, max_size=3))
    def append(self, session: str, contents: list[str]) -> None:
        last = self.model.numbers.get(session, 0)
        turns = [{"role": "user", "content": content} for content in contents]
        seqs = self.profile.session(session).extend(turns).seqs
        assert seqs == tuple(range(last + 1, last + 1 + len(contents)))
        self.model.numbers[session] = seqs[-1]
        self.model.turns.setdefault(session, []).extend(zip(seqs, contents, strict=True))
        self.model.listed.add(session)

    @rule(session=st.sampled_from(["s1", "s2"]), turns=st.booleans())
    def end(self, session: str, turns: bool) -> None:
        if session not in self.model.listed:
            with pytest.raises(palimp.NotFound):
                self.profile.session(session).end(turns=turns)
            return
        ended = self.profile.session(session).end(turns=turns)
        of_it = [row for row in self.model.rows.values() if row.session == session]
        for row in of_it:
            if row.type == "task":
                self.model.remove(row.id)
        dropped = self.model.turns.pop(session, []) if turns else []
        assert ended.turns == len(dropped)
        if turns:
            self.model.listed.discard(session)

    @rule(query=TEXTS, session=SESSIONS)
    def recall(self, query: str, session: str | None) -> None:
        found = self.profile.recall(query, k=1_000, include_turns=True)
        active = {row.id for row in self.model.active(self.now)}
        assert {hit.id for hit in found} <= active
        said = {row.id for row in self.model.active(self.now) if self.text(row) == query}
        assert said <= {hit.id for hit in found}
        contents = [content for turns in self.model.turns.values() for _, content in turns]
        assert contents.count(query) == [turn.content for turn in found.turns].count(query)

    @rule()
    def reopen(self) -> None:
        self.client.close()
        self.open()

    def text(self, row: Row) -> str:
        return self.profile.get(row.id).text

    # What holds after every step

    @invariant()
    def the_same_memories(self) -> None:
        if self.client is None:
            return
        everything = list(self.profile.list(include_superseded=True))
        newest_first = self.model.visible(self.now)[::-1]
        assert [memory.id for memory in everything] == [row.id for row in newest_first]
        for memory, row in zip(everything, newest_first, strict=True):
            assert (memory.type, memory.topic, memory.session) == (row.type, row.topic, row.session)
            # What superseded it may have expired; nobody is told of that one any more.
            assert memory.superseded_by == row.by
            assert (memory.superseded_at is not None) == row.superseded
            assert memory.expires_at == row.expires_at
        assert [memory.id for memory in self.profile.list()] == [
            row.id for row in newest_first if not row.superseded
        ]

    @invariant()
    def at_most_one_active_on_a_topic(self) -> None:
        if self.client is None:
            return
        active = [(m.type, m.topic) for m in self.profile.list() if m.topic is not None]
        assert len(active) == len(set(active))

    @invariant()
    def the_history_of_a_topic(self) -> None:
        for topic in ("home", "seat"):
            rows = {row.id: row for row in self.model.rows.values() if row.topic == topic}
            if not rows:
                continue
            place = {m.id: n for n, m in enumerate(self.profile.history(topic=topic))}
            assert place.keys() == rows.keys()
            for id_, row in rows.items():
                if row.by in rows:
                    assert place[id_] < place[row.by], "stands after what superseded it"
                held = [o.id for o in rows.values() if o.superseded and o.type == row.type]
                if not row.superseded:
                    assert all(place[id_] > place[other] for other in held)

    @invariant()
    def the_same_turns(self) -> None:
        if self.client is None:
            return
        for session in ("s1", "s2"):
            turns = self.profile.session(session).window(1_000)
            expected = self.model.turns.get(session, [])
            assert [(turn.seq, turn.content) for turn in turns] == expected
        assert {info.id for info in self.profile.sessions()} == self.model.listed

    @invariant()
    def the_indexes_are_those_of_the_rows(self) -> None:
        if self.client is None:
            return
        with self.engine.use(Address("default", "alice"), create=False) as database:
            for corpus in CORPORA if database is not None else ():
                database.read(lambda c, corpus=corpus: assert_same_index(c, corpus))
                database.read(lambda c, corpus=corpus: assert_vectors_fit(c, corpus, self.embedder))


def test_a_profile_and_its_model_agree(tmp_path: Path) -> None:
    number = itertools.count()
    run_state_machine_as_test(
        lambda: Machine(tmp_path / str(next(number))),
        settings=settings(
            max_examples=36,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
