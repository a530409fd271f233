"""Kills a process that works in a folder, again and again, and checks what it leaves each time.

python tests/crash/main.py --kills 300 --seed 1
python tests/crash/main.py --seed 1 --sequence 17 --replay '[...]'     as a failure prints it

With `--keep FOLDER` the folders of failures are kept in there.

A sequence is a folder and what befalls it: lives, each ended by a kill. After each kill copies of
the folder are checked; the next life begins with the folder itself, unrecovered, so that recoveries
are killed too. Most lives look for a moment at which none died so far; some are killed at a moment
that is known, and some by their parent, at any time.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from children import Child, Message, Note
from killer import Hunt, Killer, Place, Target
from lives import Check, Life
from mutants import MUTANTS
from steps import Hands
from world import Step, World

LIVES = 5
RUNNERS = 2
LIFE_SECONDS = 60.0
_RANDOM_KILLS = 0.15
_REPEATED_KILLS = 0.15
_RANDOM_SECONDS_MAX = 0.25
_COUNT_MAX = 3
_START_MAX = 20
_STORY_LINES = 12
_ENDINGS_MAX = 500
_RETENTIONS = (0, 0, 3_600)
_REPLAYS = 20

# A moment, or to be found one; a number of seconds; None: at the end.
Kill = Target | Hunt | float | None


@dataclass
class Coverage:
    """Which places were seen, and which moments at them hit."""

    seen: set[Place] = field(default_factory=set)
    hit: Counter[Any] = field(default_factory=Counter)
    at_random: int = 0
    at_the_end: int = 0

    def choose(self, rng: random.Random, number: int) -> Kill:
        """Return how the next life is to end; the first of all is for looking."""
        if not self.seen:
            return None
        chance = rng.random()
        if chance < _RANDOM_KILLS:
            return rng.uniform(0, _RANDOM_SECONDS_MAX)
        if chance < _RANDOM_KILLS + _REPEATED_KILLS:
            place = rng.choice(sorted(self.seen))
            return Target(place, rng.choice(place.phases), rng.randint(1, _COUNT_MAX))
        # From the start in every other life: making and opening a folder are killed, too.
        start = 0 if rng.random() < 0.5 else rng.randint(1, _START_MAX)
        return Hunt(start, frozenset(self.hit), number, RUNNERS)

    def add(self, messages: list[Message]) -> Target | None:
        """Note what a life came by, and return the moment at which it ended."""
        for kind, *rest in messages:
            if kind == "place":
                self.seen.add(rest[0])
            elif kind == "hit":
                place, phase, _ = target = rest[0]
                self.hit.update((place.plain, (place.plain, phase), (place, phase)))
                return target
        if ("end",) in messages:
            self.at_the_end += 1
        else:
            self.at_random += 1
        return None


@dataclass
class Failure:
    """What went wrong, and how to see it again."""

    seed: int
    sequence: int
    life: int
    kills: list[Kill]
    what: str
    story: list[str]
    mutant: str | None

    def __str__(self) -> str:
        plan = json.dumps([_packed(kill) for kill in self.kills])
        last = self.kills[-1]
        event = f"after {last:.3f} s" if isinstance(last, float) else "at the end of its work"
        event = str(last) if isinstance(last, Target) else event
        mutant = f" --mutant '{self.mutant}'" if self.mutant else ""
        story = "".join(f"\n  {line}" for line in self.story)
        return (
            f"seed {self.seed}, sequence {self.sequence}, life {self.life}, killed {event}{story}\n"
            f"{self.what}\nreplay: python tests/crash/main.py --seed {self.seed} "
            f"--sequence {self.sequence} --replay '{plan}'{mutant}"
        )


class Runner:
    """Carries out sequences, one after the other."""

    def __init__(self, options: argparse.Namespace, number: int, folder: Path) -> None:
        self._seed: int = options.seed
        self._mutant_name: str | None = options.mutant
        self._keep: Path | None = options.keep
        self._number = number
        self._folder = folder
        self.coverage = Coverage()
        self.failures: list[Failure] = []
        self.kills = 0

    def sequence(self, number: int, replay: list[Kill] | None = None) -> None:
        """Carry out the lives of one folder; a failure ends it."""
        place = self._folder / str(number)
        place.mkdir(parents=True)
        rng = random.Random(f"{self._seed}/{number}")
        world = World(rng.choice(_RETENTIONS))
        kills: list[Kill] = []
        for life in range(len(replay) if replay else LIVES):
            name = f"{self._seed}/{number}/{life}"
            if replay:
                kills.append(replay[life])
            else:
                kills.append(self.coverage.choose(rng, self._number))
            world.begin_life()
            messages, wrong = self._live(place / "memory", world, name, kills[-1])
            kills[-1] = self.coverage.add(messages) or kills[-1]
            self.kills += 1
            if not wrong:
                try:
                    _replayed(world, messages)
                except AssertionError:
                    wrong = traceback.format_exc()
            if not wrong:
                more, wrong = self._check(place, world, name)
                messages += more
            if wrong:
                story = _story(messages)
                if self._keep is not None:
                    kept = self._keep / f"{number}"
                    # A socket is no file.
                    left_out = shutil.ignore_patterns("socket")
                    shutil.copytree(place, kept, dirs_exist_ok=True, ignore=left_out)
                    story.append(f"the folder as it was found is {kept}")
                self.failures.append(
                    Failure(self._seed, number, life, kills, wrong, story, self._mutant_name)
                )
                break
        shutil.rmtree(place)

    def _live(self, folder: Path, world: World, name: str, kill: Kill) -> tuple[list[Message], str]:
        seconds = kill if isinstance(kill, float) else None

        def work(note: Note) -> None:
            aim = None if isinstance(kill, float) else kill
            killer = Killer(aim, random.Random(f"{name}/killer"), set(self.coverage.seen), note)
            life = Life(folder, world, name, note, killer)
            killer.install()
            if self._mutant_name is not None:
                MUTANTS[self._mutant_name](life)
            life.live()

        return _finish(work, seconds)

    def _check(self, place: Path, world: World, name: str) -> tuple[list[Message], str]:
        scratch = place / "scratch"
        scratch.mkdir()

        def work(note: Note) -> None:
            Check(world, place / "memory", scratch, name).run()
            note(("checked",))

        messages, wrong = _finish(work, None, killed=False)
        if not wrong and ("checked",) not in messages:
            wrong = "the check has not ended"
        shutil.rmtree(scratch)
        return messages, wrong


def _finish(
    work: Any, kill_after: float | None, *, killed: bool = True
) -> tuple[list[Message], str]:
    try:
        messages, status = Child(work).finish(LIFE_SECONDS, kill_after)
    except TimeoutError as error:
        return [], str(error)
    wrong = "\n".join(message[1] for message in messages if message[0] == "failed")
    if not wrong and status != (-9 if killed else 0):
        wrong = f"a child ended with {status}"
    return messages, wrong


def _replayed(world: World, messages: list[Message]) -> None:
    """Let the world be what was said before the kill."""
    for kind, *rest in messages:
        if kind == "begin":
            world.begin(rest[0])
        elif kind == "done":
            world.done(*rest)


def _story(messages: list[Message]) -> list[str]:
    """Return the last of what a life did, in words."""
    lines = []
    for kind, *rest in messages:
        if kind in ("begin", "done"):
            given = {name: value for name, value in rest[0]._asdict().items() if value}
            lines.append(f"{kind}: {given}" if kind == "begin" else f"{kind}: {rest[1]}")
        elif kind in ("log", "hit"):
            lines.append(f"{kind}: {rest[0]}")
    return lines[-_STORY_LINES:]


def _packed(kill: Kill) -> Any:
    if isinstance(kill, Target):
        return [*kill.place, kill.phase, kill.count]
    # A hunt that found nothing ended where the work did.
    return kill if isinstance(kill, float) else None


def _unpacked(kill: Any) -> Kill:
    if isinstance(kill, list):
        *place, phase, count = kill
        return Target(Place(*place), phase, count)
    return None if kill is None else float(kill)


def _warm_up(folder: Path) -> None:
    """Import what a life needs, and be alone: a child has only the thread that forked it."""
    hands = Hands(folder / "warm")
    for step in (
        Step("remember", "alice", words=("a",)),
        Step("checkpoint", "alice", name="c"),
        Step("remember", "alice", words=("b",)),
        Step("rewind", "alice", point="c", request="r"),
        Step("fork", "alice", name="f"),
        Step("maintain"),
    ):
        hands.perform(step)
    hands.close()
    assert threading.active_count() == 1, threading.enumerate()
    tasks = Path("/proc/self/task")
    for _ in range(_ENDINGS_MAX):
        # A thread that was joined takes a moment to be gone.
        if not tasks.exists() or len(list(tasks.iterdir())) == 1:
            return
        time.sleep(0.01)
    raise AssertionError("there are threads that Python does not know")


def _run(options: argparse.Namespace, folder: Path) -> list[Runner]:
    """Run all sequences in a few processes; return what each found."""
    sequences = -(-options.kills // LIVES)
    # A mutant is found once.
    found = folder / "found"

    def work(number: int, note: Note) -> None:
        runner = Runner(options, number, folder)
        for sequence in range(number, sequences, RUNNERS):
            if options.mutant and found.exists():
                break
            runner.sequence(sequence)
            if runner.failures:
                found.touch()
        note(("runner", runner.coverage, runner.failures, runner.kills))

    children = [Child(lambda note, n=n: work(n, note)) for n in range(RUNNERS)]
    runners = []
    for number, child in enumerate(children):
        messages, _ = child.finish(options.seconds)
        runner = Runner(options, number, folder)
        for kind, *rest in messages:
            assert kind == "runner", rest[0]
            runner.coverage, runner.failures, runner.kills = rest
        runners.append(runner)
    return runners


def _report(runners: list[Runner], seconds: float) -> None:
    seen: set[Place] = set()
    hit: Counter[Any] = Counter()
    for runner in runners:
        seen |= runner.coverage.seen
        hit += runner.coverage.hit
    plain = {place.plain for place in seen}
    phases = {(place.plain, phase) for place in seen for phase in place.phases}
    moments = {(place, phase) for place in seen for phase in place.phases}
    print(
        f"{sum(runner.kills for runner in runners)} kills in {seconds:.0f} s: "
        f"{sum(runner.coverage.at_random for runner in runners)} at random, "
        f"{sum(runner.coverage.at_the_end for runner in runners)} at the end of the work, else at "
        f"chosen events.\nEvents of a kind at a line: {len(plain & hit.keys())} of {len(plain)} "
        f"hit; before, in and after them: {len(phases & hit.keys())} of {len(phases)}; told apart "
        f"by whom the store worked for: {len(moments & hit.keys())} of {len(moments)}."
    )
    for what, site in sorted(plain):
        if not hit[what, site]:
            print(f"never hit: {what} at {site}")


def main() -> int:
    """Run, report, and return how the process ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3_600)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--mutant", choices=sorted(MUTANTS))
    parser.add_argument("--sequence", type=int, default=0)
    parser.add_argument("--replay", type=json.loads)
    options = parser.parse_args()
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=options.folder or (memory if memory.is_dir() else None)))
    begun = time.monotonic()
    try:
        _warm_up(folder)
        if options.replay:
            runner = Runner(options, 0, folder)
            for _ in range(_REPLAYS):
                # Threads meet differently each time.
                runner.sequence(options.sequence, [_unpacked(one) for one in options.replay])
                if runner.failures:
                    break
            runners = [runner]
        else:
            runners = _run(options, folder)
        _report(runners, time.monotonic() - begun)
    finally:
        shutil.rmtree(folder)
    failures = [failure for runner in runners for failure in runner.failures]
    for failure in failures:
        print(f"\n{failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
