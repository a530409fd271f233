"""`palimp serve` and `palimp gateway` as processes of a test, which are gone when it is."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from crew import alive, wait

import palimp

PALIMP = (sys.executable, "-P", "-c", "from palimp.cli.main import main; main()")
SECONDS = 60.0


class Command:
    """A command that serves until it is told to stop; what it says is in `log`."""

    def __init__(self, log: Path, *words: str, **settings: Any) -> None:
        self._log = log
        own = {f"PALIMP_{name.upper()}": str(value) for name, value in settings.items()}
        inherited = {n: v for n, v in os.environ.items() if not n.startswith("PALIMP_")}
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [*PALIMP, *words],
                env={**inherited, "PALIMP_EMBED_PROVIDER": "none", **own},
                stdout=out,
                stderr=out,
            )

    @property
    def log(self) -> str:
        """What it has said so far, and its workers with it."""
        return self._log.read_text("utf-8")

    def url(self, said: str) -> str:
        """Wait until it says that it serves, as `said`, and return where."""
        wait(lambda: self._said(said) is not None or not self.running, "it does not serve", SECONDS)
        found = self._said(said)
        assert found is not None, self.log
        return found

    @property
    def running(self) -> bool:
        """Whether it runs still."""
        return self.process.poll() is None

    def stop(self) -> int:
        """Tell it to stop; return its status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)

    def kill(self) -> None:
        """End it where it stands."""
        self.process.kill()
        self.process.wait(SECONDS)

    def _said(self, said: str) -> str | None:
        found = re.search(rf"{said} (http://[^\s,]+)", self.log)
        return found[1] if found else None


class Workers(Command):
    """`palimp serve --workers` on a folder."""

    def __init__(self, folder: Path, count: int, *words: str, **settings: Any) -> None:
        self.folder = folder
        log = folder.parent / f"log-{len(list(folder.parent.glob('log-*')))}"
        command = ["serve", "--workers", str(count), "--port", "0", "--data", str(folder)]
        super().__init__(log, *command, *words, **{"lease_ttl": 2, **settings})
        self.count = count

    @property
    def place(self) -> str:
        """The URL of its gateway, once it serves."""
        wait(
            lambda: bool(re.search(r"serving (http://[^\s]+) by", self.log)) or not self.running,
            "it does not serve",
            SECONDS,
        )
        found = re.search(r"serving (http://[^\s]+) by", self.log)
        assert found is not None, self.log
        return found[1]

    def pid(self, index: int) -> int:
        """Return the process of a worker."""
        lock = self.folder / "workers" / str(index) / "lock"
        words = lock.read_text("utf-8").split() if lock.exists() else []
        # 0 while it begins: no process has that number.
        return int(words[1]) if len(words) > 1 else 0

    def pids(self) -> list[int]:
        """Return the processes of all workers."""
        return [self.pid(i) for i in range(self.count)]


def gone(pids: list[int]) -> None:
    """Wait until none of the processes runs."""
    wait(
        lambda: not any(alive(pid) for pid in pids if pid), "a worker outlives its parent", SECONDS
    )


class Writers:
    """Threads that append turns, each with a request id, until they are told to stop."""

    def __init__(self, place: str, profiles: int, threads: int) -> None:
        self.place = place
        self.profiles = profiles
        # What was acknowledged: profile, text, level.
        self.done: list[tuple[str, str, str]] = []
        self.errors: list[palimp.Error] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(threads)
        ]
        for one in self._threads:
            one.start()

    def finish(self) -> None:
        """Stop, and wait until every call was answered."""
        self._stop.set()
        for one in self._threads:
            one.join(SECONDS)
            assert not one.is_alive()

    def _run(self, thread: int) -> None:
        with palimp.connect(self.place, timeout=40.0) as client:
            count = 0
            while not self._stop.is_set():
                count += 1
                profile = f"p{(thread * 7 + count) % self.profiles}"
                level = "durable" if count % 2 else "local"
                text = f"turn {thread}-{count}"
                try:
                    self._append(client, profile, text, level)
                except palimp.Unavailable as error:
                    self.errors.append(error)
                else:
                    self.done.append((profile, text, level))

    def _append(self, client: palimp.Client, profile: str, text: str, level: Any) -> None:
        session = client.profile(profile).session("s")
        request = f"r-{text.replace(' ', '-')}"
        for left in (2, 1, 0):
            try:
                session.append("user", text, durability=level, request_id=request)
                return
            except palimp.Unavailable:
                # The same id as long as it takes: that is what it is for.
                if not left:
                    raise


def turns(client: palimp.Client, profile: str, branch: str | None = None) -> list[str]:
    """Return the texts of all turns."""
    place = client.profile(profile)
    place = place if branch is None else place.branch(branch)
    found: list[str] = []
    before = None
    while True:
        page = list(place.session("s").window(100, before=before))
        found = [str(turn.content) for turn in page] + found
        if len(page) < 100:
            return found
        before = page[0].seq
