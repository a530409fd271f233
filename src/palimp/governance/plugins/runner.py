"""Runs a call of a plugin in a process of its own, which is gone, with all it began, afterwards.

The process gets nothing of ours: no environment, no open files, an empty folder. It is killed with
its group when its time is over, or it says too much; what else it may take it limits by itself
before it loads anything of the plugin, see `child`. These are limits for mistakes, not a prison.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ...clock import Clock
from ...decoding import from_json
from ...errors import Error, Invalid, Unavailable, Unconfigured
from .manifest import Limits
from .package import encode_files

__all__ = ["Program", "Said", "run"]

_CHILD = Path(__file__).with_name("child.py")
_PIECE_BYTES = 65_536
_SHOWN_CHARS = 500
# What `child` adds to the number of a signal.
_BY_SIGNAL = 128


class Program(msgspec.Struct, frozen=True):
    """What is called: an object of a module of `files`, else of what is installed."""

    key: str
    module: str
    object: str
    limits: Limits
    files: Mapping[str, bytes] | None = None
    environment: Mapping[str, str] = {}


class Said(NamedTuple):
    """What a call has given, what it printed, and whether it had no network."""

    given: dict[str, Any]
    printed: str
    cut_off: bool


class _Answer(msgspec.Struct):
    cut_off: bool
    given: dict[str, Any] | None = None
    failed: str | None = None
    memory: bool = False


def run(program: Program, given: Mapping[str, Any]) -> Said:
    """Call a plugin with one JSON object.

    Raises `Unavailable` naming the limit where it met one, and `Invalid` where it fails or gives
    something else than a JSON object.
    """
    if not sys.executable:
        raise Unconfigured("plugins need an interpreter to run in, and this program names none")
    request = msgspec.json.encode(
        {
            "files": encode_files(program.files or {}),
            "module": program.module,
            "object": program.object,
            "limits": program.limits,
            "input": given,
        }
    )
    with tempfile.TemporaryDirectory(prefix="palimp-plugin-") as empty:
        child = _start(program, empty)
        try:
            line, printed, limit = _exchange(child, request, program.limits)
        finally:
            _end(child)
    said = printed.decode("utf-8", "replace").strip()
    if limit is not None:
        raise _limited(program, limit, said)
    if not line.endswith(b"\n"):
        raise _failed(program, f"ended {_how(child.returncode)} and without an answer", said)
    try:
        answer = from_json(line, _Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _failed(program, f"gave no JSON: {error}", said) from error
    if answer.memory:
        raise _limited(program, f"{program.limits.max_memory_mb} MiB of memory", said)
    if answer.given is None:
        raise _failed(program, f"failed: {answer.failed}", said)
    return Said(answer.given, said, answer.cut_off)


def _start(program: Program, folder: str) -> subprocess.Popen[bytes]:
    # Of a package nothing is needed but the interpreter's own modules.
    alone = ["-S"] if program.files is not None else []
    try:
        return subprocess.Popen(  # noqa: S603 - what runs is our interpreter and our file
            [sys.executable, "-I", "-B", "-X", "utf8", *alone, str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=dict(program.environment),
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(
            f"plugin {program.key} could not be started: {error}", reason="plugin"
        ) from error


def _exchange(
    child: subprocess.Popen[bytes], request: bytes, limits: Limits
) -> tuple[bytes, bytes, str | None]:
    """Hand over the request and return the answer, what was printed, and a limit that was met."""
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    clock = Clock()
    ends = clock.monotonic() + limits.timeout_ms / 1_000
    line, printed, left = bytearray(), bytearray(), memoryview(request)
    with selectors.DefaultSelector() as pipes:
        for pipe in (child.stdin, child.stdout, child.stderr):
            os.set_blocking(pipe.fileno(), False)
        pipes.register(child.stdin, selectors.EVENT_WRITE)
        pipes.register(child.stdout, selectors.EVENT_READ)
        pipes.register(child.stderr, selectors.EVENT_READ)
        while child.stdout in {key.fileobj for key in pipes.get_map().values()}:
            wait = ends - clock.monotonic()
            ready = pipes.select(wait) if wait > 0 else []
            if not ready:
                return bytes(line), bytes(printed), f"{limits.timeout_ms:,} ms"
            for key, _ in ready:
                if key.fileobj is child.stdin:
                    left = _written(child.stdin.fileno(), left)
                    if not left:
                        pipes.unregister(child.stdin)
                        child.stdin.close()
                    continue
                piece = os.read(key.fd, _PIECE_BYTES)
                if not piece:
                    pipes.unregister(key.fileobj)
                (line if key.fileobj is child.stdout else printed).extend(piece)
            if len(line) + len(printed) > limits.max_output_bytes:
                return b"", bytes(printed), f"{limits.max_output_bytes:,} bytes of output"
            if line.endswith(b"\n"):
                # Printed before the answer was given, and perhaps not read yet.
                with suppress(BlockingIOError):
                    printed += os.read(child.stderr.fileno(), limits.max_output_bytes)
                break
    return bytes(line), bytes(printed), None


def _written(descriptor: int, left: memoryview) -> memoryview:
    try:
        return left[os.write(descriptor, left[:_PIECE_BYTES]) :]
    except BlockingIOError:
        return left
    except BrokenPipeError:
        # It ended early; why says its exit code.
        return left[len(left) :]


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of it, before its number can be another's."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
    child.wait()


def _how(code: int) -> str:
    """Return how a process ended; of one in namespaces a shell's number says by which signal."""
    number = -code if code < 0 else code - _BY_SIGNAL
    known = {one.value: one.name for one in signal.Signals}
    return f"by {known[number]}" if number in known else f"with exit code {code}"


def _limited(program: Program, limit: str, printed: str) -> Error:
    return Unavailable(
        f"plugin {program.key} was stopped: it took more than its {limit}{_shown(printed)}; have "
        "it take less, or raise limits in its manifest",
        reason="plugin",
    )


def _failed(program: Program, what: str, printed: str) -> Error:
    return Invalid(f"plugin {program.key} {what}{_shown(printed)}", reason="plugin")


def _shown(printed: str) -> str:
    return f"; it printed {printed[-_SHOWN_CHARS:]!r}" if printed else ""
