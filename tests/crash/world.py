"""What was acknowledged, and what a folder has to hold because of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

# A word stands for a memory: the word, its topic, whether it still holds.
Row = tuple[str, str | None, bool]
Content = frozenset[Row]

# What is answered once for a request id.
WRITES = {"remember", "ingest", "supersede", "forget", "rewind"}
PROFILES = ("alice", "bob", "carol")
_KEPT_ANSWERS = 12


class Step(NamedTuple):
    """One call. `memory` is the id and `old` the word of what it is about."""

    what: str
    profile: str = ""
    branch: str = "main"
    words: tuple[str, ...] = ()
    topic: str | None = None
    memory: str = ""
    old: str = ""
    point: str = ""
    name: str = ""
    mortal: bool = False
    durable: bool = False
    request: str | None = None


class Answer(NamedTuple):
    """What came back: the txid it stands for, and how it reads (None: not known)."""

    txid: int = 0
    shown: str | None = None
    # Of a rewind: the txids before it and returned to.
    before: int = 0
    to: int = 0


# A fork that had not happened when the process died, and never will.
NOTHING = Answer(-1)


@dataclass
class Branch:
    """One branch: its content at every txid that was acknowledged, and what is promised of it."""

    states: dict[int, Content]
    head: int
    # Up to here an answer said that the store has it.
    durable: int
    mortal: bool = False
    checkpoints: dict[str, int] = field(default_factory=dict)
    undo: int | None = None

    @property
    def content(self) -> Content:
        """What it holds."""
        return self.states[self.head]

    def after(self, step: Step) -> Content:
        """Return what it holds once a write is done."""
        rows = self.content
        if step.what == "rewind":
            point = step.point
            return self.states[int(point) if point.isdigit() else self.checkpoints[point]]
        if step.what == "forget":
            return frozenset(row for row in rows if row[0] != step.old)
        topic = step.topic
        if step.what == "supersede":
            topic = next(row[1] for row in rows if row[0] == step.old)
        displaced = {
            row for row in rows if row[2] and (row[0] == step.old or (topic and row[1] == topic))
        }
        fresh = {(word, topic, True) for word in step.words}
        return rows - displaced | {(word, its, False) for word, its, _ in displaced} | fresh

    def commit(self, txid: int, content: Content) -> None:
        """Note an acknowledged txid."""
        assert txid > self.head, f"txid {txid} was handed out after {self.head}"
        self.states[txid] = content
        self.head = txid


class World:
    """All branches, the step that was begun and not acknowledged, and answers to ask for again."""

    def __init__(self, retention: int = 0) -> None:
        # Seconds for which every boundary stays; 0: a rewind may not be undone for long.
        self.retention = retention
        self.branches: dict[tuple[str, str], Branch] = {}
        self.deleted: set[tuple[str, str]] = set()
        self.pending: Step | None = None
        self.answered: list[tuple[Step, Answer]] = []
        # What this life wrote: a clean close ships it, and not what an earlier life left.
        self.owned: set[tuple[str, str]] = set()

    def branch(self, step: Step) -> Branch:
        """Return the branch of a step; an empty one where it is not written yet."""
        found = self.branches.get((step.profile, step.branch))
        return found or Branch({0: frozenset()}, 0, 0)

    def names(self, profile: str) -> set[str]:
        """Return the branches of a profile."""
        return {branch for name, branch in self.branches if name == profile}

    def begin_life(self) -> None:
        """Note that another process has the folder from here on."""
        self.owned = set()

    def begin(self, step: Step) -> None:
        """Note that a step may have happened from here on."""
        assert self.pending in (None, step)
        self.pending = step

    def done(self, step: Step, answer: Answer) -> None:
        """Note what was acknowledged."""
        self.pending = None
        if step.what in WRITES:
            self._written(step, answer)
        elif step.what == "fork":
            self._forked(step, answer)
        elif step.what == "delete":
            self._remove((step.profile, step.branch))
        elif step.what in ("checkpoint", "sync"):
            branch = self.branch(step)
            assert answer.txid == branch.head, f"{step}: {answer}, acknowledged is {branch.head}"
            branch.durable = branch.head
            if step.what == "checkpoint":
                branch.checkpoints[step.name] = answer.txid
        elif step.what == "drop":
            del self.branch(step).checkpoints[step.name]
        elif step.what == "maintain":
            self._maintained()
        elif step.what == "reopen":
            for key in self.owned & self.branches.keys():
                self.branches[key].durable = self.branches[key].head
            self.owned = set()

    def _written(self, step: Step, answer: Answer) -> None:
        branch = self.branch(step)
        self.branches[step.profile, step.branch] = branch
        self.owned.add((step.profile, step.branch))
        content, head = branch.after(step), branch.head
        branch.commit(answer.txid, content)
        if step.what == "rewind":
            assert answer.before == head, f"{step}: {answer}, acknowledged was {head}"
            branch.undo = answer.before
        if step.durable or step.what == "rewind":
            branch.durable = answer.txid
        self.answered = [*self.answered[1 - _KEPT_ANSWERS :], (step, answer)]

    def _forked(self, step: Step, answer: Answer) -> None:
        self.deleted.discard((step.profile, step.name))
        if answer == NOTHING:
            # Its name stays taken for a minute.
            return
        parent = self.branch(step)
        at = parent.checkpoints[step.point] if step.point else parent.head
        assert answer.txid == at, f"{step}: {answer}, and {at} was meant"
        if not step.point:
            parent.durable = parent.head
        states = {txid: content for txid, content in parent.states.items() if txid <= at}
        self.branches[step.profile, step.name] = Branch(states, at, at, mortal=step.mortal)

    def _maintained(self) -> None:
        for key, branch in list(self.branches.items()):
            # What was not named may be gone.
            branch.undo = None
            if branch.mortal:
                self._remove(key)

    def _remove(self, key: tuple[str, str]) -> None:
        del self.branches[key]
        self.deleted.add(key)
        # Another branch may get the name.
        self.answered = [one for one in self.answered if one[0][1:3] != key]
