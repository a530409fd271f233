"""Kills the worker that deletes, after each of its steps and in the middle of them.

python deleting.py FOLDER PROFILE DUE_MS KILLS      (one folder, of which each life has a copy)

A life is killed by SIGKILL at one of the calls that change a file, counted from the start of its
pass; the first lives right after the request and after each stage. Then a process looks a millisecond too early, another
one goes on, and one more starts for nothing. Prints what was seen as JSON, a line for each life.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "crash"))

from children import Child, Message
from erasing import At
from killer import die

import palimp
from palimp.client.transports.embedded import Embedded
from palimp.clock import ManualClock
from palimp.node import Node, load_settings
from palimp.operations import lifecycle

REQUEST = "request"
STAGES = ("expire", "purge")
_LIFE_SECONDS = 30.0
_GRACE_MS = 7 * 86_400_000


def opened(folder: Path, now_ms: int) -> palimp.Client:
    given = {"data_dir": str(folder), "embed_provider": "none"}
    return palimp.Client(Embedded(Node(load_settings(given, {}), clock=ManualClock(now_ms))))


def die_after(stage: str) -> None:
    """Die when a stage has moved something, before anything else is done."""
    run = lifecycle._run_stage

    def running(context: Any, branch: Any, windows: Any, name: str, most: int) -> int:
        done = run(context, branch, windows, name, most)
        if name == stage and done:
            die()
        return done

    lifecycle._run_stage = running


class Lives:
    """All lives of one folder."""

    def __init__(self, base: Path, profile: str, due_ms: int) -> None:
        self._base, self._due = base, due_ms
        self._namespace, self._profile = profile.split("/", 1)
        self._ids = json.loads((base.parent / "ids.json").read_text("utf-8"))
        self._place = Path(tempfile.mkdtemp(dir=base.parent))

    def events(self) -> int:
        """Return at how many calls a pass can be killed."""
        folder = self._copy("counted")

        def life(note: Any) -> None:
            killer = At(None, random.Random(0), note)
            killer.install()
            mem = opened(folder, self._due)
            killer.armed = True
            mem.maintain()
            mem.close()
            note(("events", killer.events))

        messages, status = Child(life).finish(_LIFE_SECONDS)
        assert status == 0, messages
        (found,) = (rest[0] for kind, *rest in messages if kind == "events")
        return int(found)

    def live(self, name: str, number: int | None) -> dict[str, Any]:
        """Kill, and say what there was then, too early, afterwards, and once more."""
        folder = self._copy(name)

        def worker(note: Any) -> None:
            if name == REQUEST:
                mem = opened(folder, self._due - _GRACE_MS)
                alice = mem.profile(self._profile, namespace=self._namespace)
                alice.lifecycle.delete(self._ids["kept"])
                die()
            if number is None:
                die_after(name)
                opened(folder, self._due).maintain()
                return
            killer = At(number, random.Random(number), note)
            killer.install()
            mem = opened(folder, self._due)
            killer.armed = True
            mem.maintain()
            mem.close()

        _, status = Child(worker).finish(_LIFE_SECONDS)
        found: dict[str, Any] = {"killed": name, "status": status}
        for when, now_ms in (("early", self._due - 1), ("after", self._due), ("again", self._due)):
            found[when] = self._pass(folder, now_ms)
        shutil.rmtree(folder)
        return found

    def _pass(self, folder: Path, now_ms: int) -> dict[str, Any]:
        """Let a process make one pass at a time, and tell what it sees then."""

        def life(note: Any) -> None:
            mem = opened(folder, now_ms)
            done = mem.maintain()
            alice = mem.profile(self._profile, namespace=self._namespace)
            deleted = list(alice.list(state="soft_deleted"))
            note(("seen", done.purged, len(deleted), len(list(alice.list()))))
            for one in (*self._ids["gone"], self._ids["kept"]):
                status = alice.lifecycle.status(one)
                names = [event.event for event in alice.lifecycle.events(one)]
                note(("memory", one, status.state, names))
            if now_ms == self._due:
                for _, verification in mem.verify():
                    assert not verification.findings, verification.findings
            mem.close()

        messages, status = Child(life).finish(_LIFE_SECONDS)
        assert status == 0, messages
        return _told(messages)

    def _copy(self, name: str) -> Path:
        folder = self._place / f"life {name}"
        shutil.copytree(self._base, folder)
        return folder


def _told(messages: list[Message]) -> dict[str, Any]:
    (seen,) = (rest for kind, *rest in messages if kind == "seen")
    return {
        "purged": seen[0],
        "deleted": seen[1],
        "active": seen[2],
        "memories": {rest[0]: rest[1:] for kind, *rest in messages if kind == "memory"},
    }


def main() -> None:
    base, profile, due_ms, kills = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
    lives = Lives(base, profile, due_ms)
    for stage in (REQUEST, *STAGES):
        print(json.dumps(lives.live(stage, None)), flush=True)
    events = lives.events()
    for part in range(kills):
        number = 1 + events * (2 * part + 1) // (2 * kills)
        print(json.dumps(lives.live(f"event {number} of {events}", number)), flush=True)


if __name__ == "__main__":
    main()
