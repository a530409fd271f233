"""What is done with a folder, one call after the other, chosen by a seed."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from world import NOTHING, PROFILES, WRITES, Answer, Branch, Content, Step, World

import palimp
from palimp.api import Forget, Options, Wake
from palimp.errors import NotFound
from palimp.points import Point

# Filler after a word: nothing, part of a page, several pages.
_FILLERS = (0, 4, 60, 700)
_TOPICS = ("home", "work", "food")
_BRANCHES_MAX = 4
_BURST = 12
_WEIGHTS = {
    "remember": 8, "ingest": 3, "supersede": 4, "forget": 3, "checkpoint": 4, "drop": 1, "rewind": 4,
    "undo": 3, "fork": 3, "delete": 2, "maintain": 2, "past": 2, "sync": 1, "repeat": 2, "reopen": 2,
    "burst": 0.7,
}  # fmt: skip


class Hands:
    """A folder that is open, and what is done with it."""

    def __init__(self, folder: Path, given: dict[str, Any] | None = None) -> None:
        self._folder = folder
        self._settings = given or {}
        self.client = self._open()

    def _open(self) -> palimp.Client:
        return palimp.open(self._folder, embed_provider="none", **self._settings)

    def close(self) -> None:
        """Ship and close."""
        self.client.close()

    def profile(self, step: Step) -> palimp.Profile:
        """Return the branch a step is about."""
        return self.client.profile(step.profile).branch(step.branch)

    def perform(self, step: Step) -> Answer:
        """Carry out a step; raises what it raises."""
        method = getattr(self, f"_{step.what}")
        found = method(self.profile(step) if step.profile else None, step)
        return found if isinstance(found, Answer) else Answer()

    def txid(self, step: Step) -> int:
        """Return the txid in the local file, which is made if it is not there; 0 for no branch."""
        try:
            return int(self.client.call("wake", self.profile(step).target, Wake()).txid)
        except NotFound:
            return 0

    def _remember(self, profile: Any, step: Step) -> Answer:
        done = profile.remember(
            text(step.words[0]),
            topic=step.topic,
            durability="durable" if step.durable else "local",
            request_id=step.request,
        )
        return Answer(done.txid, repr(done))

    def _ingest(self, profile: Any, step: Step) -> Answer:
        done = profile.ingest(
            [{"type": "event", "text": text(word)} for word in step.words],
            durability="durable" if step.durable else "local",
            request_id=step.request,
        )
        return Answer(done.txid, repr(done))

    def _supersede(self, profile: Any, step: Step) -> Answer:
        done = profile.supersede(step.memory, text(step.words[0]), request_id=step.request)
        return Answer(done.txid, repr(done))

    def _forget(self, profile: Any, step: Step) -> Answer:
        # Not `profile.forget`, which does not tell the txid.
        how = Options(request_id=step.request)
        done = self.client.call("memories.forget", profile.target, Forget(id=step.memory), how)
        return Answer(done.txid, repr(done))

    def _rewind(self, profile: Any, step: Step) -> Answer:
        done = profile.rewind(Point.parse(step.point), request_id=step.request)
        return Answer(done.txid, repr(done), done.from_txid, done.to_txid)

    def _checkpoint(self, profile: Any, step: Step) -> Answer:
        profile.checkpoint(step.name)
        return Answer(next(c.txid for c in profile.checkpoints() if c.name == step.name))

    def _drop(self, profile: Any, step: Step) -> None:
        profile.drop_checkpoint(step.name)

    def _sync(self, profile: Any, step: Step) -> Answer:
        return Answer(profile.sync().value)

    def _fork(self, profile: Any, step: Step) -> Answer:
        at = Point.checkpoint(step.point) if step.point else None
        profile.fork(step.name, at=at, ttl=0.001 if step.mortal else None)
        return self.find_fork(step)

    def find_fork(self, step: Step) -> Answer:
        """Return the fork a step made, if it did."""
        for found in self.branches(step.profile):
            if found.name == step.name:
                assert found.parent == step.branch, found
                return Answer(found.parent_txid or 0)
        return NOTHING

    def _delete(self, profile: Any, step: Step) -> None:
        profile.delete_branch(step.branch)

    def _maintain(self, _profile: None, _step: Step) -> None:
        self.client.maintain()

    def _past(self, profile: Any, step: Step) -> None:
        rows(profile.at(step.point))

    def _reopen(self, _profile: None, _step: Step) -> None:
        self.client.close()
        self.client = self._open()

    def branches(self, profile: str) -> list[Any]:
        """Return the branches of a profile; none where it was never written."""
        try:
            return list(self.client.profile(profile).branches())
        except NotFound:
            return []


def settings(rng: random.Random, retention: int) -> dict[str, Any]:
    """Return settings with which everything happens often."""
    return {
        "ship_interval": 0.01,
        "hot_cap": rng.choice((1, 2, 100)),
        "hot_idle_secs": rng.choice((0.1, 60)),
        "warm_idle_secs": rng.choice((0.1, 3_600)),
        "past_cache_bytes": rng.choice((0, 1 << 30)),
        "pitr_retention_secs": retention,
        "pitr_snapshot_retention_secs": rng.choice((0, 86_400)),
    }


def text(word: str) -> str:
    """Return the text of a memory, of which only the word matters."""
    return f"{word}{' harbour' * _FILLERS[zlib.crc32(word.encode()) % len(_FILLERS)]}"


def held(reading: Any) -> dict[str, Any]:
    """Return the memories of a branch or of its past by their words."""
    found = {one.text.partition(" ")[0]: one for one in reading.list(include_superseded=True)}
    for word, one in found.items():
        assert one.text == text(word), f"memory {word} has another text"
    return found


def rows(reading: Any) -> Content:
    """Return the content of a branch or of its past."""
    return frozenset(
        (word, one.topic, one.superseded_at is None) for word, one in held(reading).items()
    )


class Chooser:
    """What to do next."""

    def __init__(self, rng: random.Random, world: World, hands: Hands, life: str) -> None:
        self._rng = rng
        self._world = world
        self._hands = hands
        self._words = (f"{life}w{number}" for number in range(1 << 20))
        self._requests = (f"{life}r{number}" for number in range(1 << 20))

    def steps(self, count: int) -> Iterator[Step]:
        """Yield steps, each chosen after the one before was done."""
        kinds, weights = list(_WEIGHTS), list(_WEIGHTS.values())
        while count:
            (kind,) = self._rng.choices(kinds, weights)
            if kind == "burst":
                yield from self._burst()
                continue
            step = self._choose(kind)
            if step is not None:
                count -= 1
                yield step

    def _burst(self) -> Iterator[Step]:
        """Yield writes of which each becomes a segment: until there are too many of them."""
        if self._world.branches:
            profile, branch = self._rng.choice(sorted(self._world.branches))
            for _ in range(_BURST):
                step = self._write(Step("remember", profile, branch), None)
                assert step is not None
                yield step._replace(durable=True)

    def _choose(self, kind: str) -> Step | None:
        if kind in ("maintain", "reopen"):
            return Step(kind)
        if kind == "repeat":
            known = self._world.answered
            return Step(kind, request=self._rng.choice(known)[0].request) if known else None
        if kind in ("remember", "ingest") and self._rng.random() < 0.3:
            profile, name = self._rng.choice(PROFILES), "main"
        elif self._world.branches:
            profile, name = self._rng.choice(sorted(self._world.branches))
        else:
            profile, name = "alice", "main"
        step = Step(kind, profile, name)
        branch = self._world.branches.get((profile, name))
        if kind in WRITES | {"undo"}:
            return self._write(step, branch)
        return None if branch is None else self._other(step, branch)

    def _write(self, step: Step, branch: Branch | None) -> Step | None:
        rng = self._rng
        step = step._replace(request=next(self._requests), durable=rng.random() < 0.2)
        if step.what == "remember":
            topic = rng.choice((None, *_TOPICS))
            return step._replace(words=(next(self._words),), topic=topic)
        if step.what == "ingest":
            return step._replace(words=tuple(next(self._words) for _ in range(rng.randint(2, 9))))
        if branch is None:
            return None
        step = step._replace(durable=False)
        if step.what == "undo":
            if branch.undo is None or not self._world.retention:
                return None
            return step._replace(what="rewind", point=str(branch.undo))
        if step.what == "rewind":
            names = sorted(branch.checkpoints)
            return step._replace(point=rng.choice(names)) if names else None
        old = sorted(row[0] for row in branch.content if row[2] or step.what == "forget")
        if not old:
            return None
        word = rng.choice(old)
        memory = held(self._hands.profile(step))[word].id
        words = (next(self._words),) if step.what == "supersede" else ()
        return step._replace(old=word, memory=memory, words=words)

    def _other(self, step: Step, branch: Branch) -> Step | None:
        rng, names = self._rng, sorted(branch.checkpoints)
        if step.what == "checkpoint":
            return step._replace(name=f"c{next(self._words)}") if branch.head else None
        if step.what == "drop":
            return step._replace(name=rng.choice(names)) if names else None
        if step.what == "past":
            return step._replace(point=rng.choice(names)) if names else None
        if step.what == "delete":
            return None if step.branch == "main" else step
        if step.what == "fork":
            if len(self._world.names(step.profile)) >= _BRANCHES_MAX:
                return None
            free = sorted(b for p, b in self._world.deleted if p == step.profile)
            name = rng.choice(free) if free and rng.random() < 0.5 else f"f{next(self._words)}"
            point = rng.choice(("", *names))
            return step._replace(name=name, point=point, mortal=rng.random() < 0.15)
        return step
