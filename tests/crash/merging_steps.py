"""What is done with a folder whose branches are merged: edits, merges, governance; and reading it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import msgspec
from erasing import T0

import palimp
from palimp.client.transports.embedded import Embedded
from palimp.clock import ManualClock
from palimp.engine import Address
from palimp.errors import Conflict
from palimp.node import Node, load_settings
from palimp.points import Point
from palimp.profile import compare
from palimp.profile.indexing import MEMORIES
from tests.property.test_merging import check

BRANCHES = ("main", "trial", "left")
MERGES = ("merge", "apply", "pick", "revert")
# In place of 20, so that some are dropped.
CHECKPOINTS_KEPT = 6
_STEP_SECONDS = 60
_LONG_AGO = "2020-01-01"
_TOPICS = ("home", "work", "food")
_NAMES = ("Bob", "Ann", "Lyon")
_RUN = re.compile(r"gov_[0-9a-z]{26}")
_RULES = ((), ("working",), ("tool_results",), ("quarantine",), ("tool_results", "quarantine"))
# Besides the index, which is checked against one made anew, and what is no content.
_NO_CONTENT = ("__palimp_engine", "__palimp_requests", "__palimp_governance")
_EDITS = {
    "remember": 5, "old": 5, "supersede": 3, "forget": 1, "delete": 1, "archive": 1, "annotate": 2,
    "checkpoint": 2,
}  # fmt: skip
_ACTS = {"merge": 4, "apply": 2, "pick": 2, "revert": 2, "govern": 6, "undo": 6}

Rows = frozenset[tuple[str, tuple[Any, ...]]]


class State(NamedTuple):
    """All rows of a branch, and what its memories say whatever else is noted of them."""

    rows: Rows
    said: frozenset[Any]


class Step(NamedTuple):
    """One call. `number` is its place in the life of the folder, which says when it is."""

    number: int
    what: str
    branch: str
    given: dict[str, Any]
    durable: bool = False
    request: str | None = None

    @property
    def is_act(self) -> bool:
        """Whether it may be killed."""
        return self.what in _ACTS

    @property
    def checkpoints(self) -> bool:
        """Whether it may make a checkpoint of what was before."""
        return self.what in (*MERGES, "govern")

    def again(self) -> Step:
        """The same merge, asked for anew."""
        given = {name: one for name, one in self.given.items() if not name.startswith("expect")}
        return self._replace(request=None, durable=False, given=given)


def same(found: State, expected: State, what: str) -> None:
    """Fail where two states differ, with the rows."""
    missing = sorted(expected.rows - found.rows, key=str)
    more = sorted(found.rows - expected.rows, key=str)
    assert found.rows == expected.rows, f"{what}: missing {missing}, not expected {more}"


def shown(answer: Any) -> Any:
    """Return an answer without what differs each time it is given."""
    fields = msgspec.to_builtins(answer)
    if not isinstance(fields, dict):
        return str(fields).partition(":")[0]
    made = {"id", "txid", "source_txid", "undone_at", "decisions"}
    fields["checkpoint"] = fields.get("checkpoint") is not None
    return {name: value for name, value in fields.items() if name not in made}


class Table:
    """A folder that is open, at a time of its own."""

    def __init__(self, folder: Path, number: int) -> None:
        given = {"data_dir": str(folder), "embed_provider": "none"}
        self._clock = ManualClock(T0 + number * _STEP_SECONDS * 1_000)
        self._node = Node(load_settings(given, {}), clock=self._clock)
        self._client = palimp.Client(Embedded(self._node))

    @classmethod
    def made(cls, folder: Path) -> dict[str, State]:
        """Make the folder to begin with; return what its branches hold."""
        table = cls(folder, -100)
        main = table.profile("main")
        for number, topic in enumerate((*_TOPICS, None, None)):
            given: dict[str, Any] = {"topic": topic} if topic else {"tags": ["t"]}
            main.remember(f"It was {topic} {number}", embedding=_vector(number), **given)
        main.remember("Met Bob", type="event", session="s", entities=["Bob"])
        # Some tables are made when they are needed; `check` looks at this one.
        main.lifecycle.delete(main.remember("Was a mistake"))
        main.checkpoint("begin")
        trial = main.fork("trial")
        trial.remember("Is elsewhere", topic="home", embedding=_vector(7))
        trial.checkpoint("begin")
        left = trial.fork("left")
        left.remember("Is on the left", embedding=_vector(8))
        left.checkpoint("begin")
        # Once each, so that children have it imported.
        main.merge("left", dry_run=True)
        main.pick("left", since="begin", until="begin", dry_run=True)
        main.revert("begin", "begin", dry_run=True)
        main.governance.run(dry_run=True)
        states = {branch: table.state(branch) for branch in BRANCHES}
        table.close()
        return states

    def close(self) -> None:
        """Ship and close."""
        self._client.close()

    def at(self, number: int) -> None:
        """Let it be the time of a step, or as late as it is."""
        ahead = T0 + number * _STEP_SECONDS * 1_000 - self._clock.now_ms()
        self._clock.advance(max(0, ahead) / 1_000)

    def profile(self, branch: str) -> palimp.Profile:
        """Return a branch of the one profile."""
        return self._client.profile("alice").branch(branch)

    # -- reading ------------------------------------------------------------------------------

    def txid(self, branch: str) -> int:
        """Return where a branch is."""
        with self._node.context.engine.use(_address(branch), create=False) as found:
            assert found is not None
            return int(found.read(lambda _: None).txid)

    def state(self, branch: str) -> State:
        """Return what a branch holds."""
        with self._node.context.engine.use(_address(branch), create=False) as found:
            assert found is not None
            return self.of(found.read(self.copied).value)

    def state_at(self, branch: str, name: str) -> State:
        """Return what a branch held at a checkpoint."""
        with self._node.context.engine.past(_address(branch), Point.checkpoint(name)) as past:
            return self.of(past.read(self.copied).value)

    def checked(self, branch: str) -> State:
        """Return what a branch holds, after a look at its index and vectors."""
        with self._node.context.engine.use(_address(branch), create=False) as found:
            assert found is not None
            copy = found.read(self.copied).value
        check(copy)
        counts = [
            copy.execute(f"SELECT count(*) FROM {one}").get
            for one in (MEMORIES.codes, MEMORIES.vectors)
        ]
        assert counts[0] == counts[1], f"{counts} codes and vectors of {branch}"
        assert copy.execute("PRAGMA integrity_check").get == "ok"
        return self.of(copy)

    @staticmethod
    def copied(connection: apsw.Connection) -> apsw.Connection:
        """Return a copy in memory, to be read at leisure."""
        copy = apsw.Connection(":memory:")
        with copy.backup("main", connection, "main") as backup:
            backup.step()
        return copy

    @staticmethod
    def of(copy: apsw.Connection) -> State:
        """Return what a copy holds."""
        tables = [
            name
            for (name,) in copy.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE '__palimp%'"
            )
            if "_fts" not in name and not name.startswith(_NO_CONTENT)
        ]
        rows = frozenset(
            (table, tuple(_anonymous(value) for value in row))
            for table in tables
            for row in copy.execute(f"SELECT * FROM {table}")
        )
        texts = dict(copy.execute("SELECT id, text FROM __palimp_memories").fetchall())
        said = ((texts[one], pair.now) for one, pair in compare.every(copy).items())
        return State(rows, frozenset(said))

    def runs(self, step: Step) -> list[str]:
        """Return the runs of governance that a step began."""
        at = T0 + step.number * _STEP_SECONDS * 1_000
        return [one.id for one in self.profile(step.branch).governance.reports() if one.at == at]

    def verify(self) -> None:
        """Nothing is wrong with the objects."""
        for profile, verification in self._client.verify():
            assert not verification.findings, f"{profile}: {verification.findings}"

    # -- doing --------------------------------------------------------------------------------

    def named(self, step: Step) -> Step:
        """Return a step with what differs in each folder: ids of runs, and how far branches are."""
        given = step.given
        if "back" in given:
            runs = self.profile(step.branch).governance.reports()
            given = {"run": runs[given["back"]].id}
        elif "expect" in given:
            given = {name: one for name, one in given.items() if name != "expect"}
            given["expect_txid"] = self.txid(step.branch)
            given["expect_source_txid"] = self.txid(given["source"])
        return step._replace(given=given)

    def undo(self, branch: str, run: str) -> Any:
        """Take back a run."""
        return self.profile(branch).governance.undo(run)

    def perform(self, step: Step) -> Any:
        """Carry out a step; of a merge that is refused, why is the answer."""
        profile, given = self.profile(step.branch), self.named(step).given
        if step.what == "undo":
            return self.undo(step.branch, given["run"])
        if step.what == "govern":
            return profile.governance.run(**given)
        if step.what == "checkpoint":
            return str(profile.checkpoint(**given))
        if step.what in ("archive", "delete"):
            return getattr(profile.lifecycle, step.what)(**given)
        how = {"durability": "durable" if step.durable else "local", "request_id": step.request}
        try:
            return getattr(profile, step.what)(**given, **how)
        except Conflict as error:
            return f"Conflict: {error}"


def _anonymous(value: Any) -> Any:
    """Return a value without the id of a run, which differs in each folder."""
    return _RUN.sub("gov", value) if isinstance(value, str) else value


def _address(branch: str) -> Address:
    return Address("default", "alice", branch)


def _vector(number: int) -> list[float]:
    return [1.0, number % 3 - 1.0, number % 5 / 5, 0.5]


# -- choosing -----------------------------------------------------------------------------------


def choose(rng: random.Random, table: Table, number: int, *, act: bool) -> Step:
    """Return a step that fits what is there."""
    weights = _ACTS if act else _EDITS
    branch = rng.choice(BRANCHES)
    for _ in range(20):
        (what,) = rng.choices([*weights], [*weights.values()])
        given = _CHOOSERS[what](rng, table, table.profile(branch), number)
        if given is not None:
            break
    else:
        what, given = "merge", {"source": _other(rng, branch), "on_conflict": "theirs"}
    durable = what in MERGES and rng.random() < 0.4
    request = f"r{number}" if what in MERGES else None
    if what == "old":
        what = "remember"
    return Step(number, what, branch, given, durable, request)


def _other(rng: random.Random, branch: str) -> str:
    return rng.choice([one for one in BRANCHES if one != branch])


def _fields(rng: random.Random, profile: Any, number: int) -> dict[str, Any]:
    """Return what is said of a new memory, besides its words."""
    given: dict[str, Any] = {"embedding": _vector(rng.randrange(15))}
    if rng.random() < 0.3:
        given["tags"] = [f"t{number % 3}"]
    if rng.random() < 0.3:
        given["entities"] = [rng.choice(_NAMES)]
    return given


def _remember(rng: random.Random, _: Table, profile: Any, number: int) -> dict[str, Any]:
    given = _fields(rng, profile, number)
    if rng.random() < 0.5:
        given["topic"] = rng.choice(_TOPICS)
    # Sometimes the same as on another branch.
    said = rng.choice((f"Learnt {number}", f"Knows {rng.randrange(4)}"))
    return {"text": said, **given}


def _old(rng: random.Random, _: Table, profile: Any, number: int) -> dict[str, Any]:
    """Something for governance."""
    given: dict[str, Any] = {"observed_at": _LONG_AGO, **_fields(rng, profile, number)}
    given |= rng.choice(
        (
            {"kind": "working"},
            {"type": "event", "kind": "tool_result"},
            {"trust": "T4", "confidence": 0.3},
        )
    )
    return {"text": f"Was {number}", **given}


def _holding(rng: random.Random, profile: Any) -> str | None:
    ids = sorted(one.id for one in profile.list())
    return rng.choice(ids) if ids else None


def _supersede(rng: random.Random, _: Table, profile: Any, number: int) -> Any:
    found = _holding(rng, profile)
    return found and {"memory": found, "text": f"Now it is {number}"}


def _gone(rng: random.Random, _: Table, profile: Any, _number: int) -> Any:
    found = _holding(rng, profile)
    return found and {"memory": found}


def _annotate(rng: random.Random, _: Table, profile: Any, number: int) -> Any:
    found = _holding(rng, profile)
    labels = {"tags": [f"a{number % 2}"], "importance": 0.5, "metadata": {"n": number}}
    name = rng.choice([*labels])
    return found and {"memory": found, name: labels[name]}


def _checkpoint(_rng: random.Random, _: Table, _profile: Any, number: int) -> Any:
    return {"name": f"p{number}"}


def _merge(rng: random.Random, _: Table, profile: Any, _number: int) -> Any:
    source = _other(rng, profile.branch_name)
    (strategy,) = rng.choices(("merge", "append", "accept"), (4, 1, 1))
    given: dict[str, Any] = {"source": source, "strategy": strategy}
    given["on_conflict"] = rng.choice(("abort", "ours", "theirs", "theirs"))
    tried = profile.merge(**given, dry_run=True)
    if rng.random() < 0.5:
        given["resolve"] = {one.id: rng.choice(("ours", "theirs")) for one in tried.conflicts}
    if rng.random() < 0.3:
        given["expect"] = True
    return given


def _apply(rng: random.Random, _: Table, profile: Any, _number: int) -> Any:
    source = _other(rng, profile.branch_name)
    found = profile.branch(source).diff(profile)
    ids = [one.id for one in (*found.added, *found.updated, *found.removed, *found.conflicts)]
    if not ids:
        return None
    some = rng.sample(ids, rng.randint(1, len(ids)))
    sides = {one.id: "theirs" for one in found.conflicts if rng.random() < 0.6}
    return {"source": source, "ids": some, "resolve": sides}


def _pick(rng: random.Random, _: Table, profile: Any, _number: int) -> Any:
    source = _other(rng, profile.branch_name)
    given: dict[str, Any] = {"source": source}
    given["on_conflict"] = rng.choice(("abort", "ours", "theirs", "theirs"))
    points = _points(profile.branch(source))
    if rng.random() < 0.4 and len(points) > 1:
        since, until = sorted(rng.sample(range(len(points)), 2))
        return {**given, "since": points[since], "until": points[until]}
    ids = sorted(one.id for one in profile.branch(source).list(include_superseded=True))
    return {**given, "ids": rng.sample(ids, min(len(ids), 3))} if ids else None


def _revert(rng: random.Random, _: Table, profile: Any, _number: int) -> Any:
    points = _points(profile)
    if len(points) < 2:
        return None
    since, until = sorted(rng.sample(range(len(points)), 2))
    how = rng.choice(("abort", "ours", "theirs", "theirs"))
    return {"since": points[since], "until": points[until], "on_conflict": how}


def _points(profile: Any) -> list[str]:
    """Return the names that stay, the oldest first."""
    named: Iterable[Any] = profile.checkpoints()
    found = [(one.txid, one.name) for one in named if not one.name.startswith("pre_")]
    return [name for _, name in sorted(found)]


def _govern(rng: random.Random, _: Table, profile: Any, _number: int) -> Any:
    given = {"steps": rng.choice(_RULES)}
    return given if profile.governance.run(**given, dry_run=True).counts else None


def _undo(_rng: random.Random, _: Table, profile: Any, _number: int) -> Any:
    reports = list(profile.governance.reports())
    times = [one.at for one in reports]
    for back, one in enumerate(reports):
        # Of a run and its repeat at the same time, either may come first.
        if one.undone_at is None and times.count(one.at) == 1:
            return {"back": back}
    return None


_CHOOSERS: dict[str, Any] = {
    "remember": _remember,
    "old": _old,
    "supersede": _supersede,
    "forget": _gone,
    "delete": _gone,
    "archive": _gone,
    "annotate": _annotate,
    "checkpoint": _checkpoint,
    "merge": _merge,
    "apply": _apply,
    "pick": _pick,
    "revert": _revert,
    "govern": _govern,
    "undo": _undo,
}
