"""A process with a folder open that does what it is told, one piece of Python after the other."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

SECONDS = 60.0
# Reads a piece, runs it with `mem` and `palimp` at hand, and says what `result` is.
_PROGRAM = """
import json, os, sys, threading, time, traceback
import palimp
settings = json.loads(sys.argv[1])
names = {"palimp": palimp, "os": os, "sys": sys, "time": time, "threading": threading}
names["settings"] = settings
exec(json.loads(sys.argv[2]), names)
def say(said):
    os.write(1, (json.dumps(said) + "\\n").encode())
def carry_out(code):
    names.pop("result", None)
    try:
        exec(code, names)
    except palimp.Error as error:
        details = {k: v for k, v in error.details.items() if isinstance(v, (str, int, bool))}
        say({"error": type(error).__name__, "message": str(error), "details": details})
    except SystemExit:
        raise
    except BaseException:
        say({"error": "defect", "message": traceback.format_exc(), "details": {}})
    else:
        say({"result": names.get("result")})
def open_folder():
    names["mem"] = palimp.open(**settings)
    names["p"] = names["mem"].profile("alice")
names["open_folder"] = open_folder
for line in sys.stdin:
    carry_out(json.loads(line))
"""


class Refused(Exception):
    """An actor met an error of ours."""

    def __init__(self, kind: str, message: str, details: dict[str, Any]) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind, self.message, self.details = kind, message, details


class Actor:
    """Opens a folder, unless told not to; `before` is run before that."""

    def __init__(
        self, folder: Path, *, opened: bool = True, before: str = "", **settings: Any
    ) -> None:
        settings = {"data_dir": str(folder), "embed_provider": "none", **settings}
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", _PROGRAM, json.dumps(settings), json.dumps(before)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._said: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        if opened:
            self.run("open_folder()")

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    @property
    def owns(self) -> bool:
        """Whether it is the owner."""
        return bool(self.run("result = mem._transport.node is not None"))

    def start(self, code: str) -> None:
        """Let it begin."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()

    def answer(self, seconds: float = SECONDS) -> Any:
        """Return what came of it; `Refused` where that is an error."""
        said = json.loads(self._said.get(timeout=seconds))
        if "error" in said:
            raise Refused(said["error"], said["message"], said["details"])
        return said["result"]

    def run(self, code: str, seconds: float = SECONDS) -> Any:
        """Let it do something, and return what `result` is then."""
        self.start(code)
        return self.answer(seconds)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a crash would; what it forked goes on."""
        self.signal(signal.SIGKILL)
        self.process.wait(SECONDS)

    def finish(self) -> None:
        """Let it come to the end of its program, and check that it gets there."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(SECONDS) == 0

    def end(self) -> None:
        """Leave nothing of it, whatever happened."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(SECONDS)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        try:
            for line in self.process.stdout:
                self._said.put(line)
        except ValueError:
            # Closed at the end of the test.
            pass
