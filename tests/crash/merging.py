"""Kills merges and governance at any call that changes a file, and looks at what each leaves.

python tests/crash/merging.py --kills 300 --seed 1
python tests/crash/merging.py --seed 1 --sequence 3 --replay '[...]'      as a failure prints it

A sequence is the life of one folder with three branches, from kill to kill. Before each life a copy
of the folder is looked at and finished, and the steps that are to come are carried out in it: what
they make of every branch, what they answer, and where they change files. Then the folder itself does
the same, and dies at one of those places. `merging_steps.py` says what the steps are.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

from children import Child, Message, Note
from killer import Killer, Place, die
from merging_mutants import MUTANTS
from merging_steps import (
    BRANCHES,
    CHECKPOINTS_KEPT,
    MERGES,
    State,
    Step,
    Table,
    choose,
    same,
    shown,
)

from palimp.engine import Branch
from palimp.operations import safety

LIFE_SECONDS = 60.0
LIVES = 6
_SETTLING = -1
_ACTS = (2, 4)
_EDITS_MAX = 3
_SOMETIMES = 0.3
_REPEATED = 2


class Aim(NamedTuple):
    """The moment to die: within a step, the count-th time something happens at a place."""

    step: int
    place: Place
    count: int
    phase: str


class Aimed(Killer):
    """Notes where a step changes files, and dies at one of these places."""

    def __init__(self, aim: Aim | None, rng: random.Random, note: Note) -> None:
        super().__init__(None, rng, set(), lambda message: message[0] == "hit" and note(message))
        self._at = aim
        self._step: int | None = None
        self._seen: Counter[Place] = Counter()

    def arm(self, step: int | None) -> Counter[Place]:
        """Look out in this step from here on; return what was seen in the one before."""
        with self._lock:
            seen, self._seen, self._step = self._seen, Counter(), step
        return seen

    def _phase(self, place: Place, _count: int) -> str | None:
        if self._step is None:
            return None
        self._seen[place] += 1
        aim = self._at
        if aim is None or (self._step, place, self._seen[place]) != aim[:3]:
            return None
        return aim.phase


class Planned(NamedTuple):
    """A step that is to come: what it answers, and what its branch holds before and then.

    `states` are those that are whole: after each of its transactions.
    """

    step: Step
    answer: Any
    before: State
    states: tuple[State, ...]

    @property
    def after(self) -> State:
        """What it leaves."""
        return self.states[-1]

    @property
    def changes(self) -> bool:
        """Whether it writes anything."""
        return self.before != self.after

    def whole(self) -> tuple[State, ...]:
        """What may be found after a kill: all or nothing; of a run of governance, whole pages."""
        if self.step.what == "govern":
            return (self.before, *self.states)
        return (self.before, self.after)


class World:
    """What a folder has to hold, as far as somebody was told; known to the parent only."""

    def __init__(self, states: dict[str, State]) -> None:
        self.history = {branch: [state] for branch, state in states.items()}
        self.durable = dict.fromkeys(states, 0)
        self.answered: list[tuple[Planned, Any]] = []
        # How many checkpoints may have been made on a branch when each was answered, and by now.
        self.attempts: Counter[str] = Counter()
        self.attempts_then: list[int] = []
        self.pending: Planned | None = None
        self.settling = False
        self.steps = 0

    def now(self, branch: str) -> State:
        """What a branch holds."""
        return self.history[branch][-1]

    @property
    def time(self) -> int:
        """The number of the step whose time it is."""
        return self.steps if self.pending is None else self.pending.step.number

    def begin(self, planned: Planned) -> None:
        """Somebody asked for a step."""
        self.pending, self.settling = planned, False
        self.attempts[planned.step.branch] += planned.step.checkpoints
        self.steps = max(self.steps, planned.step.number + 1)

    def settle(self) -> None:
        """What nobody heard the end of is asked for again."""
        assert self.pending is not None
        self.attempts[self.pending.step.branch] += self.pending.step.checkpoints
        self.settling = True

    def done(self, answer: Any) -> None:
        """Somebody was answered."""
        planned, self.pending = self.pending, None
        again, self.settling = self.settling, False
        assert planned is not None
        branch = planned.step.branch
        self.history[branch] += planned.states
        # Where nothing was to be done, nothing is waited for.
        if planned.step.durable and planned.changes:
            self.durable[branch] = len(self.history[branch]) - 1
        # A run that goes on with what another one began names what that one left.
        if planned.step.checkpoints and not (again and planned.step.what == "govern"):
            self.answered.append((planned, answer))
            self.attempts_then.append(self.attempts[branch])

    def kept(self) -> list[tuple[Planned, Any]]:
        """Those whose checkpoints cannot have been dropped for newer ones."""
        return [
            one
            for one, then in zip(self.answered, self.attempts_then, strict=True)
            if self.attempts[one[0].step.branch] - then + 1 < CHECKPOINTS_KEPT
        ]


def settle(table: Table, pending: Planned) -> Any:
    """Find what became of a step that nobody heard the end of, do it once more, return its answer."""
    step = pending.step
    found = table.state(step.branch)
    table.at(step.number)
    if step.what not in MERGES:
        answer = table.perform(step)
    else:
        txid = table.txid(step.branch)
        answer = table.perform(step)
        said = f"{step} {'was done' if found == pending.after else 'was not done'}"
        assert shown(answer) == shown(pending.answer), f"{said}: its repeat answers {answer}"
        if pending.before != found:
            assert answer.txid == txid, f"{said} with txid {txid}: its repeat answers {answer}"
        assert not pending.changes or table.perform(step) == answer, f"{step} has two answers"
    same(table.state(step.branch), pending.after, f"{step} repeated")
    return answer


class Life:
    """Opens the folder, finishes what an earlier life left, and goes on until it is killed."""

    def __init__(self, folder: Path, world: World, plan: list[Planned], note: Note) -> None:
        self._folder = folder
        self._world = world
        self._plan = plan
        self._note = note

    def live(self, killer: Aimed) -> None:
        """Never returns."""
        world = self._world
        table = Table(self._folder, world.time)
        if world.pending is not None:
            self._note(("settling",))
            killer.arm(_SETTLING)
            answer = settle(table, world.pending)
            killer.arm(None)
            self._note(("done", answer))
        for number, planned in enumerate(self._plan):
            step = table.named(planned.step)
            self._note(("begin", planned._replace(step=step)))
            table.at(step.number)
            killer.arm(number if step.is_act else None)
            answer = table.perform(step)
            killer.arm(None)
            self._note(("done", answer))
            assert shown(answer) == shown(planned.answer), f"{step}: {answer}, {planned.answer}"
            same(table.state(step.branch), planned.after, f"{step}")
        self._note(("end",))
        die()


class Look:
    """Looks at copies of a folder after a kill, and finds out what is to come next."""

    def __init__(self, folder: Path, world: World, scratch: Path, name: str) -> None:
        self._folder = folder
        self._world = world
        self._scratch = scratch
        self._rng = random.Random(name)

    def run(self, killer: Aimed, note: Note) -> None:
        """Raise where a promise is not kept; note the plan of the next life."""
        world, pending = self._world, self._world.pending
        if self._rng.random() < _SOMETIMES:
            self._objects_alone()
        if pending is not None and pending.step.what == "govern":
            self._taken_back(pending)
        table = Table(self._copy("whole"), world.time)
        self._whole(table)
        if pending is not None:
            killer.arm(_SETTLING)
            world.settle()
            answer = settle(table, pending)
            note(("places", _SETTLING, pending.step.what, killer.arm(None)))
            world.done(answer)
        self._answered(table)
        if pending is not None and pending.step.what in MERGES:
            txid = table.txid(pending.step.branch)
            table.perform(pending.step.again())
            again = table.txid(pending.step.branch)
            assert again == txid, f"{pending.step} done again: txid {again} after {txid}"
        table.close()
        # Recovered once more.
        table = Table(self._scratch / "whole", world.steps)
        self._whole(table)
        if self._rng.random() < _SOMETIMES:
            table.verify()
        self._plan(table, killer, note)
        table.close()

    def _copy(self, name: str) -> Path:
        return Path(
            shutil.copytree(
                self._folder, self._scratch / name, ignore=shutil.ignore_patterns("socket")
            )
        )

    def _whole(self, table: Table) -> None:
        """Every branch holds what it has to hold, with an index and vectors that fit."""
        for branch in BRANCHES:
            found = table.checked(branch)
            pending = self._world.pending
            if pending is None or branch != pending.step.branch:
                same(found, self._world.now(branch), f"branch {branch}")
            elif found not in pending.whole():
                same(
                    found, pending.before, f"{pending.step} is half done: against the state before"
                )

    def _answered(self, table: Table) -> None:
        """What was answered is answered again, and its checkpoint holds what was before."""
        world = self._world
        # That nothing was to be done is not kept.
        known = [one for one in world.answered if one[0].step.what in MERGES and one[0].changes]
        for planned, answer in self._rng.sample(known, min(_REPEATED, len(known))):
            again = table.perform(planned.step)
            assert again == answer, f"{planned.step}: {answer}, repeated {again}"
        for planned, answer in world.kept():
            name = getattr(answer, "checkpoint", None)
            if name is not None:
                found = table.state_at(planned.step.branch, name)
                same(found, planned.before, f"checkpoint {name} of {planned.step}")
        for branch in BRANCHES:
            same(table.state(branch), world.now(branch), f"branch {branch} after repeats")

    def _objects_alone(self) -> None:
        """What was answered as durable survives the loss of everything but the objects."""
        alone = self._scratch / "alone"
        alone.mkdir()
        shutil.copy2(self._folder / "palimp.json", alone)
        shutil.copytree(self._folder / "objects", alone / "objects")
        world, pending = self._world, self._world.pending
        table = Table(alone, world.time)
        for branch in BRANCHES:
            found = table.checked(branch)
            known = world.history[branch]
            if pending is not None and branch == pending.step.branch:
                known = [*known, *pending.whole()[1:]]
            latest = max((n for n, state in enumerate(known) if state == found), default=None)
            assert latest is not None, f"objects alone: branch {branch} never was like this"
            durable = world.durable[branch]
            assert latest >= durable, f"objects alone: {branch} is at {latest} of {durable}"
        table.close()

    def _taken_back(self, pending: Planned) -> None:
        """A run that was interrupted can be taken back as far as it came."""
        table = Table(self._copy("back"), self._world.time)
        table.at(pending.step.number + 1)
        # More than one where it was interrupted, and its repeat too.
        for run in table.runs(pending.step):
            table.undo(pending.step.branch, run)
            assert table.undo(pending.step.branch, run).already
        found = table.state(pending.step.branch)
        assert found.said == pending.before.said, f"{pending.step} was not taken back"
        table.close()

    def _plan(self, table: Table, killer: Aimed, note: Note) -> None:
        """Carry out what the next life will do, and tell where it changes files."""
        number, trail = -1, _trail()
        acts = self._rng.randint(*_ACTS)
        edits = self._rng.randint(0, _EDITS_MAX)
        while acts:
            number += 1
            act = edits == 0
            at = self._world.steps + number
            step = choose(self._rng, table, at, act=act)
            table.at(at)
            before = table.state(step.branch)
            trail.clear()
            killer.arm(number)
            answer = table.perform(step)
            note(("places", number, step.what, killer.arm(None) if act else Counter()))
            states = [table.of(one) for one in trail] or [before]
            trail.clear()
            same(table.checked(step.branch), states[-1], f"{step} in the end")
            note(("planned", Planned(step, answer, before, tuple(states))))
            acts -= act
            edits = self._rng.randint(0, _EDITS_MAX) if act else edits - 1


def _trail() -> list[Any]:
    """Return a list that gets what a branch holds after each transaction from here on."""
    real, found = Branch.write, []

    def write(branch: Any, *given: Any, **more: Any) -> Any:
        done = real(branch, *given, **more)
        found.append(branch.read(Table.copied).value)
        return done

    Branch.write = write  # type: ignore[method-assign]
    return found


# -- a run --------------------------------------------------------------------------------------


class Sequences:
    """All folders of one run, one after the other."""

    def __init__(self, place: Path, options: argparse.Namespace) -> None:
        self._place = place
        self._seed: int = options.seed
        self._near: str = options.near
        self._of: str = options.of
        self._mutant: Callable[[], None] | None = MUTANTS.get(options.mutant or "")
        self.hit: Counter[Any] = Counter()
        self.seen: set[Any] = set()
        self.during: Counter[str] = Counter()
        self.kills = self.at_the_end = 0
        self.aims: list[Aim | None] = []

    def prepare(self) -> None:
        """Make the folder that all begin with, and warm up what children would import."""
        messages = self._child(lambda _, note: note(("states", Table.made(self._place / "base"))))
        ((_, self._states),) = messages

    def live(self, sequence: int, kills: int, aims: list[Aim | None] | None = None) -> str:
        """Carry out a sequence of up to so many kills; return what is wrong, if anything."""
        place = Path(tempfile.mkdtemp(dir=self._place))
        folder = Path(shutil.copytree(self._place / "base", place / "memory"))
        world, self.aims = World(self._states), []
        try:
            for life in range(kills if aims is None else len(aims)):
                name = f"{self._seed}/{sequence}/{life}"
                plan, places = self._look(folder, world, name)
                aim = self._aim(places, random.Random(name)) if aims is None else aims[life]
                self.aims.append(aim)
                self._live(folder, world, plan, aim)
            self._look(folder, world, f"{self._seed}/{sequence}/last")
        except (AssertionError, TimeoutError) as error:
            return str(error)
        finally:
            shutil.rmtree(place)
        return ""

    def _look(self, folder: Path, world: World, name: str) -> tuple[list[Planned], list[Any]]:
        """Look at a folder; return what its next life does, and where it may die."""
        scratch = Path(tempfile.mkdtemp(dir=folder.parent))
        # The check tells its own copy of the world what it found.
        messages = self._child(
            lambda killer, note: Look(folder, world, scratch, name).run(killer, note)
        )
        shutil.rmtree(scratch)
        plan = [rest[0] for kind, *rest in messages if kind == "planned"]
        places = [
            (what, count == counts, Aim(step, place, count, phase))
            for kind, *rest in messages
            if kind == "places"
            for step, what, seen in (rest,)
            for place, counts in seen.items()
            for count in range(1, counts + 1)
            for phase in place.phases
            if self._near in place.site and self._of in ("", what)
        ]
        return plan, places

    def _aim(self, places: list[Any], rng: random.Random) -> Aim | None:
        """Choose where to die: where the fewest did, of these steps at these lines and times."""
        marks = {index: _mark(*one) for index, one in enumerate(places)}
        self.seen.update(marks.values())
        if not marks:
            return None
        fewest = min(self.hit[mark] for mark in marks.values())
        chosen = rng.choice([index for index, mark in marks.items() if self.hit[mark] == fewest])
        what, _, aim = places[chosen]
        self.hit[marks[chosen]] += 1
        self.during[what if aim.step != _SETTLING else f"settling {what}"] += 1
        return aim

    def _live(self, folder: Path, world: World, plan: list[Planned], aim: Aim | None) -> None:
        def live(killer: Aimed, note: Note) -> None:
            if self._mutant is not None:
                self._mutant()
            Life(folder, world, plan, note).live(killer)

        for kind, *rest in self._child(live, aim, killed=True):
            if kind == "begin":
                world.begin(rest[0])
            elif kind == "settling":
                world.settle()
            elif kind == "done":
                world.done(rest[0])
            elif kind == "end":
                self.at_the_end += 1
        self.kills += 1

    def _child(
        self, work: Callable[[Aimed, Note], None], aim: Aim | None = None, *, killed: bool = False
    ) -> list[Message]:
        def life(note: Note) -> None:
            faulthandler.enable()
            safety._KEPT = CHECKPOINTS_KEPT  # type: ignore[misc]
            killer = Aimed(aim, random.Random(0), note)
            killer.install()
            work(killer, note)

        does = "lives" if killed else "looks"
        messages, status = Child(life).finish(LIFE_SECONDS)
        wrong = "\n".join(message[1] for message in messages if message[0] == "failed")
        assert not wrong, wrong
        assert status == (-9 if killed else 0), f"a child that {does} ended with {status}"
        return [one for one in messages if one[0] not in ("log", "hit")]


def _mark(what: str, last: bool, aim: Aim) -> Any:
    return (what, aim.step == _SETTLING, aim.place.plain, aim.phase, last)


def _packed(aim: Aim | None) -> Any:
    return None if aim is None else [aim.step, list(aim.place), aim.count, aim.phase]


def _unpacked(aim: Any) -> Aim | None:
    return None if aim is None else Aim(aim[0], Place(*aim[1]), *aim[2:])


def main() -> int:
    """Run, report, and return how the process ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mutant", choices=sorted(MUTANTS))
    parser.add_argument("--near", default="", help="die only at lines that have this in their name")
    parser.add_argument("--of", default="", help="die only in steps of this kind")
    parser.add_argument("--sequence", type=int, default=0)
    parser.add_argument("--replay", type=json.loads)
    options = parser.parse_args()
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    begun = time.monotonic()
    try:
        run = Sequences(place, options)
        run.prepare()
        sequence, wrong = options.sequence, ""
        if options.replay:
            wrong = run.live(sequence, 0, [_unpacked(one) for one in options.replay])
        while not options.replay and not wrong and run.kills < options.kills:
            wrong = run.live(sequence, min(LIVES, options.kills - run.kills))
            sequence += not wrong
        if wrong:
            aims = json.dumps([_packed(one) for one in run.aims])
            mutant = f" --mutant '{options.mutant}'" if options.mutant else ""
            print(f"after kill {run.kills}, in sequence {sequence}:\n{wrong}")
            print(f"replay: {__file__} --seed {options.seed} --sequence {sequence}", end="")
            print(f"{mutant} --replay '{aims}'")
            return 1
        print(f"{run.kills} kills in {time.monotonic() - begun:.0f} s, {run.at_the_end} at the end")
        print(f"of what, where and when: {len(run.seen & run.hit.keys())} of {len(run.seen)} hit")
        print(f"killed in: {dict(run.during.most_common())}")
        return 0
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    sys.exit(main())
