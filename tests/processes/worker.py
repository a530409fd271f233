"""A process of the shared folder: writes, tells what was acknowledged, checks what it reads.

python worker.py PLACE NAME SEED [fork]

PLACE/memory is the folder, PLACE/said/NAME gets a line for each acknowledgement, after it came.
With `fork` a child goes on with the client beside its parent, as NAME-child. SIGTERM lets a process
end as `PLACE/how/NAME` says: close, leave (without a close), or exit (`os._exit`); else it closes.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import palimp
from palimp.errors import Unavailable

PROFILES = ("alice", "bob", "carol")
SESSION = "shared"
# How many of what others wrote are looked for in one check.
_SAMPLE = 3
_PAUSE_SECONDS = 0.01


class Heard:
    """What all processes said so far was acknowledged."""

    def __init__(self, said: Path) -> None:
        self._said = said
        self._read: dict[str, int] = {}
        self.lines: list[dict[str, Any]] = []
        self.heads = dict.fromkeys(PROFILES, 0)

    def listen(self) -> list[dict[str, Any]]:
        """Return the lines that are new."""
        fresh = []
        for path in self._said.iterdir():
            with path.open("rb") as file:
                file.seek(self._read.get(path.name, 0))
                data = file.read()
            data = data[: data.rfind(b"\n") + 1]
            self._read[path.name] = self._read.get(path.name, 0) + len(data)
            fresh += [json.loads(line) for line in data.splitlines()]
        for line in fresh:
            self.heads[line["profile"]] = max(self.heads[line["profile"]], line["txid"])
        self.lines += fresh
        return fresh


class Worker:
    """Works with a client until it is told to stop."""

    def __init__(self, place: Path, name: str, seed: str, client: palimp.Client) -> None:
        self._client = client
        self._name = name
        self._rng = random.Random(seed)
        self._heard = Heard(place / "said")
        self._heads = dict.fromkeys(PROFILES, 0)
        self._number = 0
        self._stopped = False
        self._file = os.open(
            place / "said" / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        )
        (place / "pids" / name).write_text(str(os.getpid()))
        signal.signal(signal.SIGTERM, self._stop)

    def work(self) -> None:
        """Write and read until told to stop."""
        while not self._stopped:
            if self._rng.random() < 0.6:
                self._write()
            else:
                self._check()
            time.sleep(_PAUSE_SECONDS * self._rng.random())

    def _stop(self, *_: Any) -> None:
        self._stopped = True

    def _write(self) -> None:
        self._number += 1
        name = self._rng.choice(PROFILES)
        text = f"{self._name} {self._number}"
        request = f"{self._name}-{self._number}"
        profile = self._client.profile(name)
        if self._rng.random() < 0.5:
            done = repeated(lambda: profile.remember(text, request_id=request))
            line = {"kind": "memory", "id": done.id}
        else:
            session = profile.session(SESSION)
            done = repeated(lambda: session.append("user", text, request_id=request))
            line = {"kind": "turn", "seq": done.seq}
        assert done.txid > self._heads[name], f"{text}: {done.txid} after {self._heads[name]}"
        self._heads[name] = done.txid
        line |= {"profile": name, "text": text, "txid": done.txid}
        data = (json.dumps(line) + "\n").encode()
        assert os.write(self._file, data) == len(data)

    def _check(self) -> None:
        """What was acknowledged before this read began is read."""
        fresh = self._heard.listen()
        heads = dict(self._heard.heads)
        old = self._heard.lines
        chosen = self._rng.sample(fresh, min(_SAMPLE, len(fresh)))
        chosen += self._rng.sample(old, min(1, len(old)))
        for line in chosen:
            profile = self._client.profile(line["profile"])
            if line["kind"] == "memory":
                memory = repeated(lambda p=profile, i=line["id"]: p.get(i))
                assert memory.text == line["text"], (line, memory)
            else:
                session, seq = profile.session(SESSION), line["seq"]
                turns = repeated(lambda s=session, n=seq: s.window(1, before=n + 1))
                assert [turn.content for turn in turns] == [line["text"]], (line, turns)
                assert turns.txid >= heads[line["profile"]], (turns.txid, heads)


def repeated(call: Any) -> Any:
    """Call, again as long as an owner does not answer; any other error ends the process."""
    while True:
        try:
            return call()
        except Unavailable as error:
            if error.details.get("reason") != "silent" and error.code != "overloaded":
                raise


def main() -> None:
    """Open the folder, fork if told to, and work."""
    place, name, seed = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    client = repeated(lambda: palimp.open(place / "memory", embed_provider="none"))
    if sys.argv[4:] == ["fork"]:
        # Both have used it, and go on using it.
        repeated(lambda: client.profile("alice").recall("anything"))
        if os.fork() == 0:
            name += "-child"
    Worker(place, name, f"{seed}/{name}", client).work()
    how = place / "how" / name
    ending = how.read_text() if how.exists() else "close"
    if ending == "close":
        client.close()
    elif ending == "exit":
        os._exit(0)


if __name__ == "__main__":
    main()
