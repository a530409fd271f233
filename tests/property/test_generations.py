"""Whatever happens to a profile, under whichever models: embedded anew, each row has one vector.

Writes, forgets, turns, changes of the model, rewinds, forks, embedding in pieces: in any order.
"""

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
from palimp.engine import Address
from palimp.node import Node, load_settings
from palimp.operations import vectors as vectors_module
from palimp.operations.vectors import fill
from palimp.profile import PlainSealer
from palimp.profile.generations import count_missing
from palimp.profile.indexing import CORPORA, GIVEN_MODEL, MEMORIES, Corpus, embedding_text

SEALER = PlainSealer()
MODELS = {"m4": 4, "m8": 8, "m3": 3}


class Hashed:
    """A vector of its own for every text and model."""

    local, egress = True, "none"

    def __init__(self, name: str) -> None:
        self.name, self.dimensions = name, MODELS[name]

    def embed(self, texts: Sequence[str], **_: object) -> Any:
        seeds = [np.random.default_rng(zlib.crc32((self.name + t).encode())) for t in texts]
        rows = [seed.standard_normal(self.dimensions) for seed in seeds]
        unit = [row / np.linalg.norm(row) for row in rows]
        return np.array(unit, np.float32).reshape(len(texts), self.dimensions)

    def of(self, name: str) -> Any:
        return Hashed(name) if name in MODELS else None


def held(connection: apsw.Connection, corpus: Corpus) -> dict[int, dict[str, bytes]]:
    """Return of each row its vectors by model, and check them against codes, rows and texts."""
    models = dict(connection.execute("SELECT model, name FROM __palimp_models").fetchall())
    tasks = "WHERE type != 'task'" if corpus is MEMORIES else ""
    found: dict[int, dict[str, bytes]] = {
        handle: {} for (handle,) in connection.execute(f"SELECT handle FROM {corpus.rows} {tasks}")
    }
    vectors = connection.execute(f"SELECT slot, code, vector FROM {corpus.vectors}").fetchall()
    codes = connection.execute(f"SELECT code, model, handle FROM {corpus.codes}").fetchall()
    assert sorted(codes) == sorted((code, slot & 255, slot >> 8) for slot, code, _ in vectors)
    for slot, _, vector in vectors:
        name = models[slot & 255]
        if name != GIVEN_MODEL:
            text, _ = embedding_text(connection, corpus, slot >> 8, SEALER)
            assert vector == Hashed(name).embed([text])[0].tobytes(), f"{name}: not of {text!r}"
            found[slot >> 8][name] = vector
    return found


def check_marks(connection: apsw.Connection, corpus: Corpus) -> None:
    """No row up to a mark misses what the mark says it has."""
    models = dict(connection.execute("SELECT model, name FROM __palimp_models").fetchall())
    rows = held(connection, corpus)
    marks = connection.execute(
        "SELECT model, upto FROM __palimp_embedded WHERE corpus = ?", (corpus.name,)
    ).fetchall()
    for number, upto in marks:
        for handle, of_row in rows.items():
            if handle <= upto:
                assert models[number] in of_row if number else of_row, (number, upto, handle)


class Machine(RuleBasedStateMachine):
    """Random steps on a real folder; the background is off, so that each does what it says."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.client: Any = None
        self.numbers = itertools.count()

    @initialize()
    def begin(self) -> None:
        self.branches = ["main"]
        self.branch = "main"
        self.points: list[str] = []
        self.open("m4")

    def open(self, model: str) -> None:
        if self.client is not None:
            self.client.close()
        self.model = model
        node = Node(load_settings({"data_dir": self.folder}, {}), embedder=Hashed(model))
        node.context = msgspec.structs.replace(node.context, wake=lambda address: None)
        self.node = node
        self.client = palimp.Client(Embedded(node))

    def teardown(self) -> None:
        if self.client is not None:
            self.client.close()

    @property
    def profile(self) -> palimp.Profile:
        return self.client.profile("alice").branch(self.branch)

    def read(self, query: Any) -> Any:
        with self.node.context.engine.use(
            Address("default", "alice", self.branch), create=False
        ) as b:
            return (
                None
                if b is None
                else [b.read(lambda c, o=one: query(c, o)).value for one in CORPORA]
            )

    @rule(count=st.integers(1, 4), given=st.booleans(), task=st.booleans())
    def facts(self, count: int, given: bool, task: bool) -> None:
        items: list[dict[str, Any]] = [{"text": f"fact {next(self.numbers)}"} for _ in range(count)]
        if given:
            items[0]["embedding"] = [1.0, 0.5]
        if task:
            items[-1]["type"] = "task"
        self.profile.ingest(items)

    @rule(at=st.integers(1, 20), wait=st.sampled_from([None, "embedded"]))
    def event(self, at: int, wait: Any) -> None:
        # Between others of its session: the row after it loses its vector.
        number = next(self.numbers)
        done = self.profile.remember(
            f"event {number}", type="event", session="s", observed_at=at, wait=wait
        )
        assert done.embedded in (None, True)

    @rule(turns=st.integers(1, 3))
    def say(self, turns: int) -> None:
        self.profile.session("s").extend([{"role": "user", "content": "hi"}] * turns)

    @rule(which=st.integers(0, 50))
    def forget(self, which: int) -> None:
        there = list(self.profile.list())
        if there:
            self.profile.forget(there[which % len(there)])

    @rule(model=st.sampled_from(sorted(MODELS)))
    def change_model(self, model: str) -> None:
        self.open(model)

    @rule(limit=st.sampled_from([1, 2, None]))
    def fill(self, limit: int | None) -> None:
        address = Address("default", "alice", self.branch)
        with self.node.context.engine.use(address, create=False) as branch:
            if branch is not None:
                fill(self.node.context, branch, limit)
                if limit is None:
                    assert all(
                        branch.read(lambda c, one=one: count_missing(c, one)).value == 0
                        for one in CORPORA
                    )

    @rule(limit=st.sampled_from([1, 3]))
    def reembed_some(self, limit: int) -> None:
        self.profile.reembed(limit=limit)

    @rule()
    def reembed_all(self) -> None:
        while True:
            done = self.profile.reembed()
            if not done.embedded and not done.dropped:
                break
        assert done.remaining == 0
        for rows in self.read(held) or ():
            assert all(set(of_row) == {self.model} for of_row in rows.values())
        status = self.profile.embed_status()
        assert {one.model for one in status.generations} <= {self.model}

    @rule()
    def recall(self) -> None:
        there = {memory.id for memory in self.profile.list()}
        assert {hit.id for hit in self.profile.recall("fact event", k=1_000)} <= there

    @precondition(lambda self: self.branch == "main" and len(self.points) < 4)
    @rule()
    def checkpoint(self) -> None:
        if list(self.profile.list()):
            name = f"p{len(self.points)}"
            self.profile.checkpoint(name)
            self.points.append(name)

    @precondition(lambda self: self.points and self.branch == "main")
    @rule(data=st.data())
    def rewind(self, data: st.DataObject) -> None:
        self.profile.rewind(data.draw(st.sampled_from(self.points)))

    @precondition(lambda self: self.points and len(self.branches) < 3)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        name = f"b{len(self.branches)}"
        point = data.draw(st.sampled_from([*self.points, None]))
        self.client.profile("alice").fork(name, at=point)
        self.branches.append(name)

    @rule(which=st.integers(0, 2))
    def go(self, which: int) -> None:
        self.branch = self.branches[which % len(self.branches)]

    @invariant()
    def marks_say_what_is(self) -> None:
        if self.client is not None:
            self.read(check_marks)


def test_each_row_has_one_vector_of_the_model_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that marks are raised in profiles this small.
    monkeypatch.setattr(vectors_module, "_SCANNED_MAX", 0)
    number = itertools.count()
    run_state_machine_as_test(
        lambda: Machine(tmp_path / str(next(number))),
        settings=settings(
            max_examples=24,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
