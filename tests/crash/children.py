"""Forked children that tell their parent, over a pipe, what they did before they were killed."""

from __future__ import annotations

import ctypes
import logging
import os
import pickle
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

Message = tuple[Any, ...]
Note = Callable[[Message], None]

_PR_SET_PDEATHSIG = 1
_LENGTH = 4
# Before anything is replaced: telling is no event.
_write, _close = os.write, os.close


class Child:
    """A process that carries out `work`; what it notes can be read until it is gone."""

    def __init__(self, work: Callable[[Note], None]) -> None:
        self._reading, writing = os.pipe()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._reading)
            _be_child(work, writing, parent)
        os.close(writing)

    def finish(self, seconds: float, kill_after: float | None = None) -> tuple[list[Message], int]:
        """Return all it noted, and how it ended (a signal: negative); SIGKILL after `kill_after`.

        `TimeoutError` where it has not ended after so many seconds; it is gone then, too.
        """
        data = bytearray()
        begun = time.monotonic()
        try:
            while True:
                passed = time.monotonic() - begun
                if kill_after is not None and passed >= kill_after:
                    os.kill(self.pid, signal.SIGKILL)
                    kill_after = None
                if passed >= seconds:
                    raise TimeoutError(f"a child has not ended after {seconds:g} s")
                until = seconds if kill_after is None else min(seconds, kill_after)
                if select.select([self._reading], [], [], until - passed)[0]:
                    more = os.read(self._reading, 1 << 16)
                    if not more:
                        break
                    data += more
        except BaseException:
            os.kill(self.pid, signal.SIGKILL)
            raise
        finally:
            os.close(self._reading)
            status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return _messages(data), status


def _messages(data: bytearray) -> list[Message]:
    found, at = [], 0
    while at < len(data):
        end = at + _LENGTH + int.from_bytes(data[at : at + _LENGTH], "big")
        assert end <= len(data), "a message is written whole, or not at all"
        found.append(pickle.loads(data[at + _LENGTH : end]))
        at = end
    return found


def _be_child(work: Callable[[Note], None], writing: int, parent: int) -> None:
    code = 1
    lock = threading.Lock()

    def note(message: Message) -> None:
        data = pickle.dumps(message)
        data = len(data).to_bytes(_LENGTH, "big") + data
        with lock:
            # One write: the parent has all of it, or nothing.
            assert _write(writing, data) == len(data)

    def failed(text: str) -> None:
        note(("failed", text))

    try:
        _die_with(parent)
        _listen(note, failed)
        work(note)
        code = 0
    except BaseException:
        failed(traceback.format_exc())
    finally:
        os._exit(code)


def _die_with(parent: int) -> None:
    """Leave nobody behind when the parent is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _listen(note: Note, failed: Callable[[str], None]) -> None:
    """Let warnings be heard, and let defects in other threads be failures."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = self.format(record)
            if record.levelno >= logging.ERROR:
                failed(text)
            else:
                note(("log", text))

    logger = logging.getLogger("palimp")
    # In place of the parent's.
    logger.handlers = [Handler(logging.WARNING)]
    logger.propagate = False
    threading.excepthook = lambda args: failed(
        "".join(traceback.format_exception(args.exc_type, args.exc_value, args.exc_traceback))
    )
