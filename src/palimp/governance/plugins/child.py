"""One call of a plugin, in a process of its own, which `runner` starts; it imports nothing of ours.

The request comes as JSON on standard input, the answer goes as one line of JSON to what was
standard output; what the plugin prints goes to standard error. Before anything of the plugin is
loaded the process gives up what it can: limits of the kernel, where the kernel lets it its
network and its sight of other processes, and in Python sockets, programs and files. That stops
mistakes. Who wants to get around the part that is Python can.
"""

from __future__ import annotations

import binascii
import json
import os
import resource
import sys
from importlib.machinery import ModuleSpec
from types import TracebackType
from typing import Any

_PDEATHSIG, _NO_NEW_PRIVS = 1, 38
_SIGKILL = 9
_NEW_USER, _NEW_PID, _NEW_NET = 0x10000000, 0x20000000, 0x40000000
_FILES_OPEN = 32
# For saying that the memory is used up.
_SPARE_BYTES = 8 << 20
_MESSAGE_CHARS = 500
_REFUSED = (
    "socket.", "subprocess.", "os.fork", "os.system", "os.exec", "os.posix_spawn", "os.spawn",
    "os.kill", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink",
    "os.truncate", "os.chmod", "os.chown", "shutil.", "tempfile.", "signal.",
)  # fmt: skip
_LOOKS = ("open", "os.listdir", "os.scandir")


class Answer:
    """Where the answer goes, whatever the plugin does to its standard output."""

    def __init__(self) -> None:
        self.descriptor = os.dup(1)
        os.dup2(2, 1)
        self.cut_off = False

    def give(self, **fields: Any) -> None:
        """Give the answer and end, without what the plugin has registered for the end."""
        line = json.dumps({**fields, "cut_off": self.cut_off}, allow_nan=False).encode() + b"\n"
        # With the answer nobody listens any more.
        sys.stdout.flush()
        sys.stderr.flush()
        view = memoryview(line)
        while view:
            view = view[os.write(self.descriptor, view) :]
        os._exit(0)

    def failed(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """Say what the plugin raised, and where."""
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        place = ""
        while trace is not None:
            code = trace.tb_frame.f_code
            if code.co_filename.startswith("plugin/"):
                place = f" ({code.co_filename[7:]}, line {trace.tb_lineno})"
            trace = trace.tb_next
        text = f"{kind.__name__}: {error}"[:_MESSAGE_CHARS]
        self.give(failed=f"{text}{place}", memory=issubclass(kind, MemoryError))


class Files:
    """Imports the modules of a package from memory: it is written nowhere."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        """Find a module of the package."""
        stem = name.replace(".", "/")
        for file, folder in ((f"{stem}/__init__.py", True), (f"{stem}.py", False)):
            if file in self._files:
                spec = ModuleSpec(name, self, origin=f"plugin/{file}", is_package=folder)  # type: ignore[arg-type]
                spec.has_location = True
                return spec
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        """Make it as usual."""

    def exec_module(self, module: Any) -> None:
        """Run it."""
        origin = module.__spec__.origin
        code = compile(self.get_data(origin), origin, "exec")
        exec(code, module.__dict__)  # noqa: S102 - this is what a plugin is

    def get_data(self, path: str) -> bytes:
        """Return another file of the package, for `pkgutil.get_data`."""
        return self._files[path.removeprefix("plugin/")]


def main() -> None:
    """Read a request, become small, and answer."""
    request = json.loads(sys.stdin.buffer.read())
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    answer = Answer()
    sys.excepthook = answer.failed
    answer.cut_off = _cut_off()
    _limit(request["limits"])
    sys.addaudithook(_guard())
    files = {path: binascii.a2b_base64(text) for path, text in request["files"].items()}
    sys.meta_path.insert(0, Files(files))
    found: Any = __import__(request["module"], fromlist=["*"])
    for name in request["object"].split("."):
        found = getattr(found, name)
    given = found(request["input"])
    if not isinstance(given, dict):
        raise TypeError(f"the hook returned {type(given).__name__}; it has to return a dict")
    answer.give(given=given)


def _cut_off() -> bool:
    """Leave network and other processes; False where the kernel does not let us.

    Of a new space of processes the first one is a child, with which all others end.
    """
    if sys.platform != "linux":
        return False
    import ctypes

    libc = ctypes.CDLL(None)
    libc.prctl(_PDEATHSIG, _SIGKILL, 0, 0, 0)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    # As somebody new, who has no privileges; else as the administrator who this is.
    if not any(not libc.unshare(one | _NEW_PID | _NEW_NET) for one in (_NEW_USER, 0)):
        return False
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
    libc.prctl(_PDEATHSIG, _SIGKILL, 0, 0, 0)
    return True


def _limit(limits: dict[str, int]) -> None:
    memory = limits["max_memory_mb"] << 20
    seconds = limits["timeout_ms"] // 1_000 + 1
    wanted = {
        "RLIMIT_AS": (memory, memory + _SPARE_BYTES),
        "RLIMIT_CPU": (seconds, seconds + 1),
        "RLIMIT_FSIZE": (0, 0),
        "RLIMIT_NOFILE": (_FILES_OPEN, _FILES_OPEN),
        "RLIMIT_CORE": (0, 0),
        "RLIMIT_NPROC": (0, 0),
    }
    for name, both in wanted.items():
        kind = getattr(resource, name, None)
        if kind is not None:
            try:
                resource.setrlimit(kind, both)
            except (ValueError, OSError):
                # Not every system has each of them.
                sys.stderr.write(f"no {name} on this system\n")


def _guard() -> Any:
    """Return what refuses sockets, programs, and files but those of the interpreter."""
    real, fspath = os.path.realpath, os.fspath
    own = {sys.base_prefix, sys.prefix, sys.base_exec_prefix, *sys.path}
    roots = tuple(f"{real(one)}{os.sep}" for one in own if one)
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def guard(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(_REFUSED):
            raise PermissionError(f"a plugin may not do {event}")
        if event not in _LOOKS or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = real(os.fsdecode(fspath(arguments[0])))
        read = event != "open" or not (isinstance(arguments[2], int) and arguments[2] & writes)
        if not (read and f"{path}{os.sep}".startswith(roots)):
            raise PermissionError(f"a plugin has no files: {path:.200}")

    return guard


if __name__ == "__main__":
    main()
