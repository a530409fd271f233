"""Kills an erasure at any call that changes a file, lets another process go on, and looks at it all.

python tests/crash/erasing.py --kills 120 --seed 1
python tests/crash/erasing.py --seed 1 --replay later/417      as a failure prints it

Each life begins with a copy of one folder. It is killed at one of its events, counted from where the
erasure begins (of the directory store's too: every request of it is a few); half of them are killed
again while the next process goes on. The last one completes the erasure and is looked at.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from children import Child, Message, Note
from killer import Killer, Place

import palimp
from palimp import ltx
from palimp.client.transports.embedded import Embedded
from palimp.clock import ManualClock
from palimp.node import Node, load_settings
from palimp.operations import erasing
from palimp.security.receipts import encode_receipt, verify_receipt

SECRET = "xylophone"
STEPS = ("marked", "counted", "removed", "given_up", "rewritten", "collected", "signed")
GRACE_SECONDS = 3_600
LIFE_SECONDS = 60.0
T0 = 1_767_225_600_000
LATER = T0 + GRACE_SECONDS * 1_000
# What each life does, and when.
CASES = ("now", "later", "begun", "profile")
# Where both were named, and where the branch begins.
POINTS = 2
_EVENTS_AT_LEAST = 100
# Texts of main, of the checkpoint and of the branch, once it is erased.
_LEFT = (["Likes coffee", "Likes tea"], ["Likes tea"], ["Likes milk", "Likes tea"])


class At(Killer):
    """Dies at the event of a number, counted from when it is armed."""

    def __init__(self, number: int | None, rng: random.Random, note: Note) -> None:
        super().__init__(None, rng, set(), lambda message: message[0] == "hit" and note(message))
        self.armed = False
        self.events = 0
        self._number = number
        self._choose = rng

    def _phase(self, place: Place, _count: int) -> str | None:
        self.events += self.armed
        if not self.armed or self.events != self._number:
            return None
        return self._choose.choice(place.phases)


def opened(folder: Path, now_ms: int) -> tuple[Node, palimp.Client]:
    """Open a folder at a time."""
    given = {"data_dir": str(folder), "embed_provider": "none"}
    node = Node(load_settings(given, {}), clock=ManualClock(now_ms))
    return node, palimp.Client(Embedded(node))


def prepare(folder: Path) -> None:
    """Make the folder all lives begin with."""
    _, mem = opened(folder, T0 - 60_000)
    alice = mem.profile("alice")
    alice.remember(f"The {SECRET} code is 4711", topic="code")
    alice.remember("Likes tea")
    alice.checkpoint("before")
    alice.fork("trial").remember("Likes milk")
    gone = alice.fork("gone")
    gone.remember(f"Has a {SECRET}")
    alice.delete_branch("gone")
    alice.remember(f"Sold the {SECRET}", topic="code")
    alice.remember("Likes coffee")
    mem.close()


def work(case: str, folder: Path, killer: At | None) -> None:
    """Do what is killed."""
    _, mem = opened(folder, LATER if case == "later" else T0)
    if killer is not None:
        killer.armed = True
    if case == "later":
        mem.maintain()
    elif case == "profile":
        mem.profile("alice").erase(profile=True)
    else:
        mem.profile("alice").erase(topic="code", grace=0 if case == "now" else GRACE_SECONDS)
    mem.close()


def bytes_of(folder: Path) -> bytes:
    """Return every byte of every file, those of segments unpacked too."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            found.append(data)
            if path.suffix == ".ltx":
                whole = data[data.index(b"LTX1") :]
                header = ltx.Header.decode(whole)
                found += [page for _, page in ltx.trusted_pages(whole, header)]
    return b"\n".join(found)


class Check:
    """Goes on with what a killed process left."""

    def __init__(self, case: str, folder: Path, killer: At | None) -> None:
        self._case = case
        self._folder = folder
        self._killer = killer

    def run(self) -> None:
        """Before its time nothing is given up; then it is completed, once, and nothing is left."""
        due = LATER if self._case in ("later", "begun") else T0
        node, mem = opened(self._folder, due - 1 if due == LATER else due)
        (record,) = self._records(node) or (None,)
        if record is None:
            # It died before it was asked for.
            assert self._case != "later"
            assert SECRET.encode() in bytes_of(self._folder)
            mem.close()
            return
        before = record.steps
        assert list(before) == list(self._steps())[: len(before)], before
        if due == LATER and "given_up" not in before:
            mem.maintain()
            (record,) = self._records(node)
            assert list(record.steps) == list(STEPS[:3]), record.steps
            self._shows_nothing(mem, _LEFT)
            mem.close()
            node, mem = opened(self._folder, due)
        if self._killer is not None:
            self._killer.armed = True
        self._complete(node, mem, before)

    def _complete(self, node: Node, mem: palimp.Client, before: dict[str, int]) -> None:
        for _ in range(3):
            mem.maintain()
        (record,) = self._records(node)
        assert record.state == "done", (record.steps, record.blocked_by)
        assert before.items() <= record.steps.items(), "a step was done again"
        fields = verify_receipt(encode_receipt(record.receipt))
        assert fields["objects_removed"], "nothing was removed"
        if self._case == "profile":
            assert list(mem.profiles()) == []
        else:
            # Of both on main, of the first on the branch.
            assert (fields["rows"], record.found) == (3, {"main": 2, "trial": 1})
            assert fields["points_rewritten"] == POINTS
            self._shows_nothing(mem, _LEFT)
            for _, verification in mem.verify():
                assert not verification.findings, verification.findings
        assert SECRET.encode() not in bytes_of(self._folder)
        mem.maintain()
        assert self._records(node) == [record]
        mem.close()
        assert SECRET.encode() not in bytes_of(self._folder)

    def _steps(self) -> tuple[str, ...]:
        return STEPS[3:] if self._case == "profile" else STEPS

    def _records(self, node: Node) -> list[erasing.Record]:
        return list(erasing.records(node.context.engine.store))

    def _shows_nothing(self, mem: palimp.Client, left: tuple[list[str], ...]) -> None:
        alice = mem.profile("alice")
        readings = (alice, alice.at("before"), alice.branch("trial"))
        for reading, expected in zip(readings, left, strict=True):
            found = sorted(one.text for one in reading.list(include_superseded=True))
            assert found == expected, (found, expected)


def child(make: Callable[[At], None], number: int | None, seed: str) -> tuple[list[Message], str]:
    """Run something in a child that is killed at an event; return what it said, and what is wrong."""

    def life(note: Note) -> None:
        killer = At(number, random.Random(seed), note)
        killer.install()
        make(killer)
        note(("events", killer.events))

    try:
        messages, status = Child(life).finish(LIFE_SECONDS)
    except TimeoutError as error:
        return [], str(error)
    wrong = "\n".join(message[1] for message in messages if message[0] == "failed")
    if wrong:
        logged = {message[1]: None for message in messages if message[0] == "log"}
        wrong = "\n".join((*logged, wrong))
    killed = any(message[0] == "hit" for message in messages)
    if not wrong and status != (-9 if killed else 0):
        wrong = f"a child ended with {status}"
    return messages, wrong


class Lives:
    """All lives of one run."""

    def __init__(self, place: Path, seed: int) -> None:
        self._place = place
        self._seed = seed
        self.endings: Counter[str] = Counter()
        self.kills = 0

    def prepare(self) -> dict[str, int]:
        """Make the folders to begin with; return how many events there are in each case."""
        self._alone(lambda _: prepare(self._base("now")))
        shutil.copytree(self._base("now"), self._base("later"))
        self._alone(lambda _: work("begun", self._base("later"), None))
        events = {}
        for case in CASES:
            scratch = self._copy(case)

            def counted(killer: At, case: str = case, scratch: Path = scratch) -> None:
                work(case, scratch, killer)

            messages = self._alone(counted)
            (events[case],) = (rest[0] for kind, *rest in messages if kind == "events")
            assert events[case] >= _EVENTS_AT_LEAST, (events, messages)
            shutil.rmtree(scratch.parent)
        return events

    def live(self, case: str, number: int) -> str:
        """Kill at an event, perhaps again on the way on, and look; what is wrong, if anything."""
        folder, seed = self._copy(case), f"{self._seed}/{case}/{number}"
        rng = random.Random(seed)
        try:
            messages, wrong = child(lambda killer: work(case, folder, killer), number, seed)
            self._count(messages)
            if not wrong and rng.random() < 0.5:
                again = rng.randint(1, number + 20)
                messages, wrong = child(
                    lambda killer: Check(case, folder, killer).run(), again, f"{seed}/again"
                )
                self._count(messages)
            if not wrong:
                _, wrong = child(lambda _: Check(case, folder, None).run(), None, f"{seed}/last")
            return wrong
        finally:
            shutil.rmtree(folder.parent)

    def _count(self, messages: list[Message]) -> None:
        for kind, *rest in messages:
            if kind == "hit":
                self.kills += 1
                self.endings[rest[0].place.site.partition(" ")[2]] += 1

    def _base(self, case: str) -> Path:
        return self._place / ("later" if case == "later" else "base")

    def _copy(self, case: str) -> Path:
        folder = Path(tempfile.mkdtemp(dir=self._place)) / "memory"
        shutil.copytree(self._base(case), folder)
        return folder

    def _alone(self, make: Callable[[At], None]) -> list[Message]:
        messages, wrong = child(make, None, "alone")
        assert not wrong, wrong
        return messages


def _noted_first(monkeypatched: Any = erasing) -> None:
    """A step is noted before it is done."""

    def do(context: Any, record: Any, steps: Any) -> Any:
        for name, step in steps:
            if name == "given_up" and context.clock.now_ms() < record.not_before:
                break
            if name not in record.steps:
                noted = {**record.steps, name: context.clock.now_ms()}
                if name != "signed":
                    record = erasing._save(context.engine.store, record, steps=noted)
                changed = step(context, record)
                record = erasing._save(context.engine.store, record, steps=noted, **changed)
        return record

    monkeypatched._do = do


MUTANTS: dict[str, Callable[[], None]] = {"noted first": _noted_first}


def main() -> int:
    """Run, report, and return how the process ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mutant", choices=sorted(MUTANTS))
    parser.add_argument("--replay")
    options = parser.parse_args()
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    if options.mutant:
        MUTANTS[options.mutant]()
    try:
        lives = Lives(place, options.seed)
        events = lives.prepare()
        rng = random.Random(options.seed)
        each = max(1, options.kills // len(CASES))
        # Spread over all of it, somewhere in each part.
        plan = [
            (case, rng.randint(part * count // each + 1, max(1, (part + 1) * count // each)))
            for case, count in events.items()
            for part in range(each)
        ]
        rng.shuffle(plan)
        if options.replay:
            case, _, number = options.replay.partition("/")
            plan = [(case, int(number))]
        for case, number in plan:
            wrong = lives.live(case, number)
            if wrong:
                print(f"killed at event {number} of {case}:\n{wrong}")
                print(f"replay: {__file__} --seed {options.seed} --replay {case}/{number}")
                return 1
        print(f"{lives.kills} kills; events in each case: {events}")
        print(f"killed in: {dict(lives.endings.most_common(40))}")
        return 0
    except AssertionError:
        traceback.print_exc()
        return 1
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    sys.exit(main())
