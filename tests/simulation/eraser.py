"""What an erasure does with the protocol, step by step; any of them may be begun again."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from nodes import DB, History, Node, freed, piece_of
from world import Erasure, Violation, World

from palimp.engine import protocol
from palimp.engine.protocol import Fenced, Lane, kept_points, list_branches, take_ownership
from palimp.engine.protocol import unmarked as unmarked_branches
from palimp.engine.protocol.heads import FORMING_MS_MAX
from palimp.engine.protocol.requests import Now, Sleep
from palimp.engine.protocol.timeline import own_timeline
from palimp.errors import Conflict, NotFound

NODE = "e"
_ERASURES_MAX = 3


class Eraser:
    """Begins erasures of words that were written, kills them, and goes on with them."""

    # In this order; each is noted when it is completed.
    steps: tuple[str, ...] = ("marked", "removed", "rewritten", "collected")

    def __init__(self, world: World, history: History, seed: int) -> None:
        self._world = world
        self._history = history
        self._random = random.Random(f"erasing {seed}")
        # Its own: what it does to the rest of a schedule is no surprise to it.
        self._frequency = self._random.choice((0.005, 0.02))

    def __call__(self) -> None:
        """Perhaps begin an erasure, perhaps kill what is under way."""
        world, chance = self._world, self._random.random()
        if chance < 0.003:
            world.crash(NODE)
        elif chance < 0.003 + self._frequency:
            words = sorted(self._written())
            if words and len(world.erasures) < _ERASURES_MAX:
                some = self._random.sample(words, min(len(words), self._random.randint(1, 3)))
                world.erasures[f"e{len(world.erasures)}"] = Erasure(frozenset(some))
        elif chance > 0.99 and world.erasures:
            # Who worked on main begins again: what was not shipped yet is looked at anew.
            name = self._random.choice("abc")
            if any(task.node == name for task in world.tasks):
                world.crash(name)
                world.spawn(name, Node(world, self._history, name, "main").live())
        if all(task.node != NODE for task in world.tasks):
            for name, erasure in world.erasures.items():
                if len(erasure.steps) < len(self.steps):
                    world.spawn(NODE, self._erase(name))

    def finish(self) -> None:
        """Complete what was begun, undisturbed; afterwards no object holds what was erased."""
        world = self._world
        # Whoever was about to fork has ended, and what is forming names what it was to be made of.
        world.now += FORMING_MS_MAX + 1
        for name in world.erasures:
            world.run_alone(self._erase(name))
            world.run_alone(self._collected(name))
        words = world.erased_words()
        for key, (data, _) in world.objects.items():
            if key.endswith(".ltx") and any(f'"{word}"'.encode() in data for word in words):
                raise Violation(f"{key} holds what was erased")

    def _written(self) -> set[str]:
        logs = [*self._history.local.values(), *self._history.durable.values()]
        words = {word for log in logs for _, word in log if word.startswith("w")}
        return words - self._world.erased_words()

    def _erase(self, name: str) -> Any:
        erasure = self._world.erasures[name]
        for step in self.steps:
            if step not in erasure.steps:
                yield from getattr(self, f"_{step}")(name)
                erasure.steps.add(step)
                self._world._count(step)
                for key, manifest in self._world.manifests.items():
                    if manifest.state == "live":
                        self._world.check_erased(key)

    def _marked(self, name: str) -> Any:
        marked: set[str] = set()
        while found := (yield from unmarked_branches(DB, marked)):
            for _, branch, manifest in found:
                if name not in manifest.erasing:
                    yield from self._owning(branch, lambda lane: protocol.mark_erasing(lane, name))
                marked.add(branch)

    def _removed(self, name: str) -> Any:
        for _, branch, manifest in (yield from list_branches(DB)):
            if manifest is not None:
                yield from self._owning(branch, lambda lane, b=branch: self._remove(lane, b, name))

    def _remove(self, lane: Lane, branch: str, name: str) -> Any:
        """Commit it also where nothing is removed: what lies unshipped elsewhere is behind then."""
        left = freed(self._world.log_of(lane.manifest), self._world.erasures[name].words)
        txid = max(lane.floor, lane.manifest.txid) + 1
        at = max((yield Now()), *(ref.at for ref in lane.manifest.chain()), 0)
        piece = piece_of([*left, (txid, f"{name} removed from {branch}")], txid, at)
        yield from protocol.rebase(lane, piece)

    def _rewritten(self, name: str) -> Any:
        for _, branch, manifest in (yield from list_branches(DB)):
            if manifest is not None and name in manifest.erasing:
                yield from self._owning(branch, lambda lane: self._coarsen(lane, name))

    def _coarsen(self, lane: Lane, name: str) -> Any:
        world, manifest = self._world, lane.manifest
        if not manifest.txid:
            return
        head = piece_of(world.log_of(manifest), manifest.txid, manifest.chain()[-1].at)
        yield from protocol.rebase(lane, head)
        timeline = yield from own_timeline(lane)
        points = []
        for txid in kept_points(timeline):
            log = world.log_along(timeline.path(txid))
            piece = piece_of(freed(log, world.erasures[name].words), txid, timeline.at(txid))
            points.append((yield from protocol.store_point(lane, piece)))
        yield from protocol.coarsen(lane, [name], points)
        world._count("points cleansed", len(points))

    def _collected(self, name: str) -> Any:
        del name
        yield from protocol.expire(DB, (yield Now()))
        for _, branch, _ in (yield from list_branches(DB)):
            yield from self._owning(branch, protocol.collect)
        dead = [
            key.split("/")[-2] for key, m in self._world.manifests.items() if m.state == "deleted"
        ]
        for branch in dead:
            yield from protocol.collect_deleted(DB, branch)

    def _owning(self, branch: str, make: Callable[[Lane], Any]) -> Any:
        """Change a branch as its owner, as often as it takes; nothing where it was deleted."""
        while True:
            try:
                taken = yield from take_ownership(DB, branch, NODE)
                return (yield from make(taken.lane))
            except (Fenced, Conflict):
                yield Sleep(0.2)
            except NotFound:
                return None
