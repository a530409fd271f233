"""Processes that share a folder, and whoever ends them: started here, and gone when the test is."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

WORKER = Path(__file__).parent / "worker.py"
# Of a wait that something ends; on a machine with too much to do 30 were not enough.
LIMIT_SECONDS = 60.0


class Crew:
    """Keeps so many workers at work in a place, replaces them, and ends them by their ids."""

    def __init__(self, place: Path, seed: int, size: int) -> None:
        self.place = place
        self.seed = seed
        self._rng = random.Random(seed)
        self._size = size
        self._count = 0
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._ended: set[str] = set()
        # Of those that nobody waits for: the children of forks.
        self.working: dict[str, int] = {}
        self.takeovers = 0
        self.endings: dict[str, int] = {}
        for name in ("said", "pids", "how", "errors"):
            (place / name).mkdir()

    def fill(self) -> None:
        """Start as many as are missing; some of them fork."""
        while len(self.working) < self._size:
            self._count += 1
            name = f"w{self._count}"
            forks = len(self.working) + 2 <= self._size and self._rng.random() < 0.4
            names = [name, f"{name}-child"] if forks else [name]
            command = [sys.executable, str(WORKER), str(self.place), name, str(self.seed)]
            with (self.place / "errors" / name).open("wb") as errors:
                self._started[name] = subprocess.Popen(
                    [*command, "fork"] if forks else command,
                    stdout=errors,
                    stderr=errors,
                    start_new_session=True,
                )
            # The child's id is known when it says so.
            self.working.update(dict.fromkeys(names, 0))
            self.working[name] = self._started[name].pid

    def owner(self) -> tuple[str, int]:
        """Return who owns the folder and has worked, once somebody does."""
        found: list[tuple[str, int]] = []

        def look() -> bool:
            self.check()
            self._learn()
            try:
                words = (self.place / "memory" / "lock").read_text("utf-8").split()
            except FileNotFoundError:
                return False
            pid = int(words[1]) if len(words) > 1 else -1
            found[:] = [(name, one) for name, one in self.working.items() if one == pid]
            return bool(found)

        wait(look, "nobody owns the folder")
        return found[0]

    def end(self, name: str, how: str) -> None:
        """End a process: kill, or as `worker.py` says."""
        pid = self.working.pop(name)
        self.endings[how] = self.endings.get(how, 0) + 1
        self._ended.add(name)
        if how == "kill":
            os.kill(pid, signal.SIGKILL)
        else:
            (self.place / "how" / name).write_text(how)
            os.kill(pid, signal.SIGTERM)
        if name in self._started:
            status = self._started[name].wait(LIMIT_SECONDS)
            assert status == (-signal.SIGKILL if how == "kill" else 0), (name, how, self._said())
        else:
            wait(lambda: not alive(pid), f"{name} does not end")

    def finish(self) -> None:
        """Let all end as they like, and check that nobody complained."""
        wait(self._all_known, "somebody has not begun")
        for name in sorted(self.working):
            self.end(name, "close")
        self.check()

    def check(self) -> None:
        """Nobody ended by itself, and nobody complained."""
        for name, process in self._started.items():
            if name not in self._ended and process.poll() is not None:
                raise AssertionError(f"{name} ended with {process.returncode}: {self._said()}")
        said = self._said()
        assert not said, said

    def stop(self) -> None:
        """Leave nobody behind, whatever happened."""
        for process in self._started.values():
            # Each is a group with what it forked.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(LIMIT_SECONDS)

    def stacks(self) -> str:
        """Return what every thread of every process does: why nothing goes on."""
        self._learn()
        for pid in filter(None, self.working.values()):
            if alive(pid):
                os.kill(pid, signal.SIGUSR1)
        time.sleep(0.5)
        return self._said()

    def _all_known(self) -> bool:
        self.check()
        self._learn()
        return all(self.working.values())

    def _learn(self) -> None:
        for name, pid in self.working.items():
            path = self.place / "pids" / name
            if not pid and path.exists():
                self.working[name] = int(path.read_text() or "0")

    def _said(self) -> str:
        files = sorted((self.place / "errors").iterdir())
        return "\n".join(f"{p.name}: {p.read_text()}" for p in files if p.stat().st_size)


def wait(until: Callable[[], bool], what: str, seconds: float = LIMIT_SECONDS) -> None:
    """Return when it is so; fail where it takes too long."""
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, f"after {seconds:g} s: {what}"
        time.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether a process runs: one that nobody waited for is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
