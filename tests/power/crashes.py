"""Crashes a workload: records it, cuts the power at seeded points, checks what is left."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from disk_model import LOST, MOODS, Disk, Event, Image, Mood, Noted, Synced, write_image
from recorder import NOT_OURS, Recorder
from workloads import Workload

LIVES = 2
CRASHES = 6
NOTED_AFTER = 2
REDUNDANT_SEEDS = 5
MESSAGE_CHARS = 3_000


@dataclass
class Recording:
    """One life of a folder: what was in it at first, what happened, what was noted before."""

    base: list[Event]
    log: list[Event]
    noted: list[Any] = field(default_factory=list)

    def sites(self) -> set[str]:
        """Return the lines of our code that synced something."""
        return {event.site for event in self.log if isinstance(event, Synced)} - {NOT_OURS}


@dataclass(frozen=True)
class Crash:
    """The power goes after so many events."""

    point: int
    mood: Mood
    seed: int


def record(workload: Workload, folder: Path, rng: random.Random, noted: list[Any]) -> Recording:
    """Run a workload and return what it did, compared with what can be seen of it."""
    recorder = Recorder(folder)
    with recorder:
        workload.run(folder, rng, recorder.note)
    recorder.check()
    return Recording(recorder.base, recorder.log, noted)


def choose_crashes(
    log: list[Event], rng: random.Random, count: int, without: str | None = None
) -> list[Crash]:
    """Return moments to crash at, in order: any, or right after something was answered.

    Where the syncs of a line do not happen, it shows soonest in what was answered next.
    """
    answered, wanted = [], len(log) if without is None else 0
    for number, event in enumerate(log, 1):
        if isinstance(event, Noted) and wanted:
            answered.append(number)
            wanted -= 1
        elif isinstance(event, Synced) and event.site == without:
            wanted = NOTED_AFTER
    points = [
        rng.choice(answered) if answered and rng.random() < 0.5 else rng.randint(0, len(log))
        for _ in range(count)
    ]
    moods = MOODS if without is None else (*MOODS, LOST, LOST)
    return [Crash(point, rng.choice(moods), rng.randrange(2**32)) for point in sorted(points)]


def crash(
    recording: Recording, crashes: list[Crash], without: str | None = None
) -> Iterator[tuple[Crash, Image, list[Any]]]:
    """Yield, for each crash, a folder as it may be found and what was noted up to then.

    `without` is a line of code whose syncs did not happen.
    """
    disk, noted, at = Disk(recording.base), list(recording.noted), 0
    for one in crashes:
        for event in recording.log[at : one.point]:
            if isinstance(event, Noted):
                noted.append(event.what)
            elif not (isinstance(event, Synced) and event.site == without):
                disk.apply(event)
        at = one.point
        yield one, disk.image(one.mood, random.Random(one.seed)), list(noted)


def failure(workload: Workload, image: Image, noted: list[Any], folder: Path) -> str | None:
    """Return what is wrong with a folder after a crash; None where all promises are kept."""
    write_image(image, folder)
    try:
        workload.check(folder, noted)
    except Exception as error:  # whatever is made of a torn file is wrong
        return f"{type(error).__name__}: {error}"[:MESSAGE_CHARS]
    finally:
        shutil.rmtree(folder)
    return None


def run_seed(workload: Workload, seed: int, folder: Path) -> int:
    """Crash a workload of this seed, and what comes after it again; return how often."""
    rng = random.Random(seed)
    image: Image = {}
    noted: list[Any] = []
    count = 0
    for life in range(LIVES):
        start = folder / f"life-{life}"
        write_image(image, start)
        recording = record(workload, start, rng, noted)
        crashes = choose_crashes(recording.log, rng, CRASHES)
        survivor = rng.choice(crashes)
        for one, left, noted_then in crash(recording, crashes):
            count += 1
            wrong = failure(workload, left, noted_then, folder / "image")
            assert wrong is None, describe(seed, life, one, recording, wrong)
            if one is survivor:
                # Nobody has looked at it: the next life finds it as the crash left it.
                image, noted = left, noted_then
    return count


def describe(seed: int, life: int, one: Crash, recording: Recording, wrong: str) -> str:
    """Return everything one needs to look into a failure."""
    last = "\n  ".join(
        f"{event!r:.200}" for event in recording.log[max(0, one.point - 12) : one.point]
    )
    return (
        f"{wrong}\nseed {seed}, life {life}, power lost after event {one.point} of "
        f"{len(recording.log)}, what was not synced: {one.mood.name}; the last events:\n  {last}\n"
        f"replay: POWER_FIRST_SEED={seed} POWER_SEEDS=1 python -m pytest tests/power"
    )


def undetected(
    make: Callable[[], Workload], seeds: range, folder: Path, redundant: Collection[str]
) -> tuple[set[str], set[str]]:
    """Return all lines that sync, and those without which no seed failed.

    Those said to be redundant are tried with fewer seeds.
    """
    seen: set[str] = set()
    left: set[str] = set()
    for seed in seeds:
        rng = random.Random(seed)
        start = folder / str(seed)
        start.mkdir()
        recording = record(make(), start, rng, [])
        left |= recording.sites() - seen
        seen |= recording.sites()
        tried = left if seed < seeds.start + REDUNDANT_SEEDS else left - set(redundant)
        for site in sorted(tried & recording.sites()):
            crashes = choose_crashes(recording.log, rng, CRASHES, without=site)
            for _, image, noted in crash(recording, crashes, without=site):
                if failure(make(), image, noted, folder / "image") is not None:
                    left.discard(site)
                    break
        shutil.rmtree(start)
    return seen, left
