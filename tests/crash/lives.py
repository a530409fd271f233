"""A life of a folder: what a child does until it is killed; and the check of what it leaves."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import apsw
from children import Note
from killer import Killer, die
from steps import Chooser, Hands, rows, settings
from world import WRITES, Answer, Branch, Content, Step, World

from palimp.engine import branch as branch_module
from palimp.engine import upkeep
from palimp.errors import NotFound
from palimp.points import Point

STEPS_MAX = 40
_REPEATED = 3
_POINTS = 2
_SEGMENTS_MAX = 10


class Life:
    """Opens the folder, finishes what an earlier life left, and goes on; ends killed."""

    def __init__(self, folder: Path, world: World, name: str, note: Note, killer: Killer) -> None:
        self.world = world
        self._folder = folder
        self._killer = killer
        self._rng = random.Random(name)
        self._name = name.rpartition("/")[2]
        self._note = note
        self.step: Step | None = None

    def live(self) -> None:
        """Never returns."""
        world, rng = self.world, self._rng
        # Long is what it has so many segments; else no life would be long enough.
        assert upkeep.SEGMENTS_MAX > _SEGMENTS_MAX
        upkeep.SEGMENTS_MAX = branch_module.SEGMENTS_MAX = _SEGMENTS_MAX
        hands = Hands(self._folder, settings(rng, world.retention))
        if world.pending is not None:
            step = world.pending
            self.acknowledge(step, settle(hands, world, step))
        chooser = Chooser(rng, world, hands, self._name)
        for step in chooser.steps(rng.randint(STEPS_MAX // 4, STEPS_MAX)):
            if step.what == "repeat":
                repeat(hands, world, step.request)
                continue
            self.begin(step)
            answer = hands.perform(step)
            if self.step is not None:
                self.acknowledge(step, answer)
            look(hands, world, step)
        self._note(("end",))
        die()

    def begin(self, step: Step) -> None:
        """Say what is about to be done."""
        self.step = step
        self._killer.steps += 1
        self.world.begin(step)
        self._note(("begin", step))

    def acknowledge(self, step: Step, answer: Answer) -> None:
        """Say what was answered, before anything else is done."""
        self._note(("done", step, answer))
        self.world.done(step, answer)
        self.step = None


def settle(hands: Hands, world: World, step: Step) -> Answer:
    """Find what became of a step that nobody heard the end of; do it if it was not done."""
    if step.what in ("maintain", "reopen"):
        return hands.perform(step)
    if step.what == "fork":
        return hands.find_fork(step)
    if step.what == "delete":
        try:
            return hands.perform(step)
        except NotFound:
            return Answer()
    branch = world.branch(step)
    profile = hands.profile(step)
    if step.what == "drop":
        if step.name in {one.name for one in profile.checkpoints()}:
            hands.perform(step)
        return Answer()
    if step.what not in WRITES:
        return hands.perform(step)
    txid = hands.txid(step)
    happened = txid > branch.head
    before = rows(profile)
    expected = branch.after(step) if happened else branch.content
    _same(before, expected, f"{step} {'happened' if happened else 'did not happen'}")
    answer = hands.perform(step)
    if happened:
        assert answer.txid == txid, f"{step} was txid {txid}, its repeat answers {answer}"
    assert hands.perform(step) == answer, f"{step} has two answers"
    _same(rows(profile), branch.after(step), f"{step} repeated")
    return answer


def repeat(hands: Hands, world: World, request: str | None) -> None:
    """Ask once more for what was answered; it is answered the same, and not done again."""
    step, answer = next(one for one in world.answered if one[0].request == request)
    again = hands.perform(step)
    assert again.txid == answer.txid, f"{step}: {answer}, repeated {again}"
    assert answer.shown in (None, again.shown), f"{step}: {answer}, repeated {again}"
    look(hands, world, step)


def look(hands: Hands, world: World, step: Step) -> None:
    """Compare the branch of a step with what it has to hold."""
    key = (step.profile, step.branch)
    if key not in world.branches:
        return
    branch = world.branches[key]
    _same(rows(hands.profile(step)), branch.content, f"{key} after {step.what}")
    if step.what == "past":
        point = branch.checkpoints[step.point]
        _same(rows(hands.profile(step).at(step.point)), branch.states[point], f"{step}")


class Check:
    """Looks at copies of a folder after a kill: at all of it, and at its objects alone."""

    def __init__(self, world: World, image: Path, scratch: Path, name: str) -> None:
        self._world = world
        self._image = image
        self._scratch = scratch
        self._rng = random.Random(f"{name}/check")

    def run(self) -> None:
        """Raise where a promise is not kept."""
        if not (self._image / "palimp.json").exists():
            assert not self._world.branches, "the folder has lost its mark"
            return
        self._dangling()
        alone = self._scratch / "alone"
        alone.mkdir()
        shutil.copy2(self._image / "palimp.json", alone)
        if (self._image / "objects").exists():
            shutil.copytree(self._image / "objects", alone / "objects")
        whole = self._scratch / "whole"
        shutil.copytree(self._image, whole, ignore=shutil.ignore_patterns("socket"))
        shipped = self._objects_alone(alone)
        self._world.begin_life()
        self._whole(whole, shipped)

    def _dangling(self) -> None:
        """The file that counts is there, unless it is on its way into a recovered branch."""
        for current in (self._image / "hot").glob("*/*/current"):
            counts = current.parent / current.read_text("utf-8") / "main.db"
            assert counts.exists() or list(current.parent.glob("stray-*")), f"no {counts}"

    def _objects_alone(self, folder: Path) -> dict[tuple[str, str], int]:
        """Check what survives the loss of hot/ and cache/; return up to which txid there is."""
        world = self._world
        hands = Hands(folder)
        shipped: dict[tuple[str, str], int] = {}
        for (profile, name), branch in world.branches.items():
            step = Step("look", profile, name)
            listed = name in {one.name for one in hands.branches(profile)}
            if not listed:
                lost = branch.durable and not self._may_be_gone(step)
                assert not lost, f"{step}: durable up to {branch.durable}, and not there"
                continue
            txid = hands.txid(step)
            shipped[profile, name] = txid
            assert txid >= branch.durable, f"{step}: objects alone end at {txid}, not {branch}"
            content = rows(hands.profile(step)) if txid else frozenset()
            if txid in branch.states:
                _same(content, branch.states[txid], f"{step} of objects alone at {txid}")
            else:
                pending = self._pending(step)
                assert pending is not None, f"{step}: txid {txid} was never handed out"
                assert txid > branch.head, f"{step}: txid {txid} was never acknowledged"
                _same(content, branch.after(pending), f"{step} of objects alone at {txid}")
            if txid:
                self._checkpoints(hands, step)
        for step, answer in self._some_answered():
            if answer.txid <= shipped.get(step[1:3], 0):
                assert hands.perform(step).txid == answer.txid, f"{step} done twice"
        self._nothing_else(hands)
        self._verify(hands)
        hands.close()
        return shipped

    def _whole(self, folder: Path, shipped: dict[tuple[str, str], int]) -> None:
        """Check the folder as a next process finds it, and go on working in it."""
        world = self._world
        hands = Hands(folder)
        self._nothing_else(hands)
        for (profile, name), branch in world.branches.items():
            step = Step("look", profile, name)
            pending = self._pending(step)
            if self._may_be_gone(step) and name not in {b.name for b in hands.branches(profile)}:
                continue
            txid = hands.txid(step)
            if pending is None:
                assert txid == branch.head, f"{step}: the file is at {txid}, not {branch.head}"
                _same(rows(hands.profile(step)), branch.content, str(step))
            elif pending.what == "rewind":
                # A crash before the manifest's change: no rewind happened.
                stored = shipped.get((profile, name), 0) > branch.head
                assert stored == (txid > branch.head), f"{pending}: stored {stored}, at {txid}"
            self._checkpoints(hands, step)
        if world.pending is not None:
            world.done(world.pending, settle(hands, world, world.pending))
        for step, _ in self._some_answered():
            repeat(hands, world, step.request)
        self._verify(hands)
        for step in (Step("maintain"), Step("reopen")):
            world.done(step, hands.perform(step))
        self._verify(hands)
        self._nothing_else(hands)
        for (profile, name), branch in world.branches.items():
            step = Step("remember", profile, name, words=("last",))
            self._checkpoints(hands, step)
            _same(rows(hands.profile(step)), branch.content, f"{step} after maintain")
            world.done(step, hands.perform(step))
            look(hands, world, step)
        hands.close()
        _sound(folder)

    def _some_answered(self) -> list[tuple[Step, Answer]]:
        known = self._world.answered
        return self._rng.sample(known, min(_REPEATED, len(known)))

    def _pending(self, step: Step) -> Step | None:
        """Return the write of this branch that may have happened."""
        pending = self._world.pending
        if pending is None or pending.what not in WRITES or pending[1:3] != step[1:3]:
            return None
        return pending

    def _may_be_gone(self, step: Step) -> bool:
        pending = self._world.pending
        if pending is None:
            return False
        if pending.what == "maintain":
            return self._world.branch(step).mortal
        return pending.what == "delete" and pending[1:3] == step[1:3]

    def _nothing_else(self, hands: Hands) -> None:
        """No branch is there that nobody made."""
        world, pending = self._world, self._world.pending
        for profile in {profile for profile, _ in world.branches}:
            listed = hands.branches(profile)
            assert not [one for one in listed if one.recovered], listed
            extra = {one.name for one in listed} - world.names(profile) - {"main"}
            if pending is not None and pending.what == "fork" and pending.profile == profile:
                if pending.name in extra:
                    point = world.branch(pending).checkpoints.get(pending.point)
                    at = world.branch(pending).head if point is None else point
                    fork = hands.client.profile(profile).branch(pending.name)
                    _same(rows(fork), world.branch(pending).states[at], f"{pending}")
                extra -= {pending.name}
            assert not extra, f"nobody made branches {extra} of {profile}"

    def _checkpoints(self, hands: Hands, step: Step) -> None:
        """All names are there, and read what they read when they were given."""
        branch, pending = self._world.branch(step), self._world.pending
        if not branch.head:
            return
        profile = hands.profile(step)
        expected = dict(branch.checkpoints)
        found = {one.name: one.txid for one in profile.checkpoints()}
        if pending is not None and pending[1:3] == step[1:3]:
            if pending.what == "checkpoint" and pending.name in found:
                expected[pending.name] = branch.head
            if pending.what == "drop" and pending.name not in found:
                del expected[pending.name]
        assert found == expected, f"{step}: checkpoints {found}, not {expected}"
        for name, txid in expected.items():
            _same(rows(profile.at(name)), branch.states[txid], f"{step} at {name}")
        if branch.durable:
            self._points(profile, branch, step)

    def _points(self, profile: Any, branch: Branch, step: Step) -> None:
        """Any boundary reads what was there."""
        txids = [one.txid for one in profile.points()]
        for txid in self._rng.sample(txids, min(_POINTS, len(txids))):
            content = branch.states.get(txid)
            if content is None:
                pending = self._pending(step)
                assert pending is not None, f"{step}: nobody made boundary {txid}"
                assert txid > branch.head, f"{step}: nobody made boundary {txid}"
                content = branch.after(pending)
            _same(rows(profile.at(Point.txid(txid))), content, f"{step} at {txid}")

    def _verify(self, hands: Hands) -> None:
        for profile, verification in hands.client.verify():
            assert not verification.findings, f"{profile}: {verification.findings}"


def _same(found: Content, expected: Content, what: str) -> None:
    assert found == expected, (
        f"{what}: missing {sorted(expected - found, key=str)}, "
        f"not expected {sorted(found - expected, key=str)}"
    )


def _sound(folder: Path) -> None:
    """SQLite finds nothing wrong with the files that count."""
    for current in (folder / "hot").glob("*/*/current"):
        path = current.parent / current.read_text("utf-8") / "main.db"
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        assert connection.execute("PRAGMA integrity_check").get == "ok", path
        connection.close()
