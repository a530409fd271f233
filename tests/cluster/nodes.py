"""Nodes as processes, each behind links of its own, and what can be done to them."""

from __future__ import annotations

import contextlib
import http.client
import mmap
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from .child import OFFSETS
from .history import Disturbance, Recorder, now
from .links import Door

CHILD = Path(__file__).with_name("child.py")
START_SECONDS = 60.0


class Node:
    """`palimp serve` with a folder of its own, or a gateway; ended by its id, and started again.

    It listens `at` an address, which only these tests know, to look at it past its links. Links:
    `clients` and `peers` lead to it, `store`, `etcd0` and `catalog` away from it. Every fault is
    noted in the recorder, from when it begins to when it is over.
    """

    def __init__(
        self,
        name: str,
        place: Path,
        at: tuple[str, int],
        recorder: Recorder,
        environment: dict[str, str],
        links: dict[str, Door],
        within: tuple[str, ...] = (),
        command: str = "serve",
    ) -> None:
        self.name = name
        self.place = place / name
        self.place.mkdir()
        self.at = at
        self.links = links
        self._command = (*within, sys.executable, str(CHILD), command)
        self._recorder = recorder
        self._process: subprocess.Popen[bytes] | None = None
        self._current: dict[str, Disturbance] = {}
        self.starts = 0
        clocks = self.place / "clocks"
        clocks.write_bytes(OFFSETS.pack(0.0, 0.0))
        with clocks.open("r+b") as stream:
            self._clocks = mmap.mmap(stream.fileno(), OFFSETS.size)
        self.environment = {
            **{n: v for n, v in os.environ.items() if not n.startswith(("PALIMP_", "AWS_"))},
            **environment,
            "PALIMP_NODE_ID": name,
            "PALIMP_DATA_DIR": str(self.place / "memory"),
            "PALIMP_LISTEN": f"{at[0]}:{at[1]}",
            "CLUSTER_CLOCK": str(clocks),
        }

    # -- what it is ---------------------------------------------------------------------------

    @property
    def log(self) -> Path:
        """Where its processes write, one after the other."""
        return self.place / "log"

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def ready(self) -> bool:
        """Whether it answers, and says that it is ready."""
        connection = http.client.HTTPConnection(*self.at, timeout=2)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    # -- its life -----------------------------------------------------------------------------

    def start(self, *, wait: bool = True) -> None:
        assert not self.runs, f"{self.name} runs"
        self._begin_process()
        if wait:
            self.wait_ready()
        self._over("kill", "term", "disk")

    def _begin_process(self) -> None:
        self.starts += 1
        with self.log.open("ab") as log:
            log.write(f"--- start {self.starts} at {now():.3f}\n".encode())
            self._process = subprocess.Popen(
                self._command,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until it answers; a start that failed is repeated, as a supervisor does."""
        end = time.monotonic() + seconds
        while not self.ready():
            if not self.runs:
                assert self._process is not None
                assert self._process.returncode == 1, f"{self.name} ended:\n{self.tail()}"
                self._begin_process()
            assert time.monotonic() < end, f"{self.name} is not ready:\n{self.tail()}"
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a power cut of its machine would, but for what it had written."""
        self._begin("kill")
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(30)

    def lose_disk(self) -> None:
        """End it for good: what was only on its disk is gone."""
        self._begin("disk")
        self.kill()
        shutil.rmtree(self.place / "memory")

    def term(self, seconds: float = 60.0) -> int:
        """Let it hand over and end; return its status."""
        self._begin("term")
        self._signal(signal.SIGTERM)
        assert self._process is not None
        return self._process.wait(seconds)

    def stop(self) -> None:
        """Stop the process where it stands, as a long pause does."""
        self._begin("stop")
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)
        self._over("stop")

    def suspend(self) -> None:
        """As `stop`; when it is woken, the clock of durations has stood still."""
        self._begin("suspend")
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        current = self._current.get("suspend")
        assert current is not None, f"{self.name} is awake"
        wall, durations = self._offsets()
        self._move(wall, durations - (now() - current.begin))
        self._signal(signal.SIGCONT)
        self._over("suspend")

    def jump(self, seconds: float) -> None:
        """Set its wall clock by so much."""
        wall, durations = self._offsets()
        self._move(wall + seconds, durations)

    def cut(self, kind: str, way: str = "both") -> None:
        """Cut one of its links: `clients`, `peers`, `store`, `etcd`."""
        self._begin(f"cut {kind} {way}")
        self.links[kind].cut(way)

    def heal(self, kind: str, *, reset: bool = False) -> None:
        self.links[kind].heal(reset=reset)
        self._over(*[what for what in self._current if what.startswith(f"cut {kind} ")])

    def restore(self) -> None:
        """Undo whatever was done to it."""
        for kind in self.links:
            self.heal(kind)
        if "suspend" in self._current:
            self.wake()
        if self.runs:
            self.go_on()
        else:
            self.start()

    def close(self) -> None:
        """End it without a word."""
        if self.runs:
            self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(30)
        self._clocks.close()

    def tail(self, lines: int = 40) -> str:
        """Return the end of its log."""
        text = self.log.read_text("utf-8", "replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def _begin(self, what: str) -> None:
        if what not in self._current:
            self._current[what] = self._recorder.disturb(what, self.name)

    def _over(self, *kinds: str) -> None:
        for what in kinds:
            current = self._current.pop(what, None)
            if current is not None:
                current.end = now()

    def _offsets(self) -> tuple[float, float]:
        wall, durations = OFFSETS.unpack(self._clocks[:])
        return wall, durations

    def _move(self, wall: float, durations: float) -> None:
        self._clocks[:] = OFFSETS.pack(wall, durations)
