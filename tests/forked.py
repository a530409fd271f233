"""Python programs and commands in processes of their own, forked from one that has the imports.

Most of what a short command takes is importing. `python` and `palimp` run as `subprocess.run` does,
each in a new process with the folder, environment and input that are given; only the modules are
there already. Not for tests of starting, importing, or the interpreter's own options.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["CLEAN", "Shell", "palimp", "python"]

ROOT = Path(__file__).resolve().parents[1]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PALIMP_")}
_MAIN = "from palimp.cli import main; main()"
_PRELOADED = "palimp.cli.main", "palimp.client.transports.folder", "palimp.operations.dispatch"
# What commands import late, all of it: which of it a command needs differs.
_ROOMS = (
    "catalog",
    "cli",
    "engine",
    "governance",
    "models",
    "node",
    "operations",
    "profile",
    "store",
)
# Of extras that may be hidden, and what else commands import late.
_PERHAPS = "sqlalchemy", "alembic.migration", "cryptography.hazmat.primitives.ciphers.aead"
_SECONDS = 120.0


class _Source:
    """The process that forks: one for each process of the tests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="palimp-forked-")
        self._runs = 0
        atexit.register(self.close)

    def run(self, asked: dict[str, Any], given: bytes) -> tuple[int, bytes, bytes]:
        with self._lock:
            self._runs += 1
            place = Path(self._folder.name) / str(self._runs)
            files = [place.with_suffix(f".{name}") for name in ("in", "out", "err")]
            files[0].write_bytes(given)
            code = self._asked({**asked, "files": [str(one) for one in files]})
            found = code, files[1].read_bytes(), files[2].read_bytes()
            for one in files:
                one.unlink()
            return found

    def _asked(self, asked: dict[str, Any]) -> int:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        guard = threading.Timer(_SECONDS, process.kill)
        guard.start()
        try:
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        finally:
            guard.cancel()
        assert line, f"{asked['arguments']} did not end within {_SECONDS:g} s"
        return int(line)

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", __file__],
                cwd=ROOT,
                # numpy's threads would be left behind by every fork.
                env={**CLEAN, "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        return self._process

    def close(self) -> None:
        process = self._process
        if process is not None:
            # Closes the pipes, by which it ends, and waits for that.
            process.communicate()
        with contextlib.suppress(OSError):
            self._folder.cleanup()


_SOURCE = _Source()


def python(
    code: str,
    folder: Path,
    *arguments: str,
    environment: Mapping[str, str] = CLEAN,
    given: str | bytes = b"",
) -> subprocess.CompletedProcess[str]:
    """Run a program, as `python -W error -c code arguments` does."""
    asked = {
        "code": code,
        "arguments": arguments,
        "folder": str(folder),
        "environment": dict(environment),
    }
    data = given.encode() if isinstance(given, str) else given
    status, out, err = _SOURCE.run(asked, data)
    return subprocess.CompletedProcess(["python", *arguments], status, out.decode(), err.decode())


def palimp(
    *arguments: str,
    folder: Path,
    environment: Mapping[str, str] = CLEAN,
    given: str | bytes = b"",
) -> subprocess.CompletedProcess[str]:
    """Run a command, as `palimp arguments` does."""
    return python(_MAIN, folder, *arguments, environment=environment, given=given)


class Shell:
    """Runs commands in a folder; memories are in ./memory."""

    def __init__(self, folder: Path, environment: Mapping[str, str] = CLEAN) -> None:
        self.folder = folder
        self.environment = dict(environment)

    def run(self, *arguments: str, code: int = 0, given: str | bytes = b"") -> tuple[str, str]:
        """Return what a command prints, on both streams; it ends with `code`."""
        done = palimp(*arguments, folder=self.folder, environment=self.environment, given=given)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout, done.stderr

    def json(self, *arguments: str, code: int = 0, given: str | bytes = b"") -> Any:
        """Return what a command prints with `--json`."""
        if "--json" not in arguments:
            arguments = (*arguments, "--json")
        return json.loads(self.run(*arguments, code=code, given=given)[0])


# -- the process that forks -----------------------------------------------------------------------


def _serve() -> None:
    import importlib
    from pkgutil import walk_packages

    sys.path.insert(0, str(ROOT))
    from tests.extras import hide

    hide()
    for name in _PRELOADED:
        importlib.import_module(name)
    rooms = (importlib.import_module(f"palimp.{room}") for room in _ROOMS)
    late = (m.name for room in rooms for m in walk_packages(room.__path__, f"{room.__name__}."))
    for name in (*_PERHAPS, *late):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    # Neither a collection nor the end of a child looks at what is here now.
    gc.freeze()
    asks, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    while line := asks.readline():
        asked = json.loads(line)
        child = os.fork()
        if not child:
            asks.close()
            answers.close()
            _be(asked)
            return
        status = os.waitpid(child, 0)[1]
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()
    asks.close()
    answers.close()


def _be(asked: dict[str, Any]) -> None:
    """Become the program that is asked for; it ends as any other does.

    Nothing was read or written yet by `sys.stdin` and the others, whose descriptors are replaced.
    """
    modes = os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT
    for number, (path, mode) in enumerate(zip(asked["files"], modes, strict=True)):
        opened = os.open(path, mode, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.argv = ["-c", *asked["arguments"]]
    sys.path[0] = ""
    exec(compile(asked["code"], "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    _serve()
