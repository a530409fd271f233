"""What runs in a process of its own: what it gives, what it may not, and that it is gone."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from palimp.clock import Clock
from palimp.errors import Error, Invalid, Unavailable
from palimp.governance.plugins import runner
from palimp.governance.plugins.installed import installed
from palimp.governance.plugins.manifest import Limits
from palimp.governance.plugins.runner import Program, Said, run

# Enough for an interpreter to start on a busy machine.
LONG, SHORT = 1_500, 300


def program(
    source: str, *, ms: int = LONG, mb: int = 64, output: int = 20_000, **more: Any
) -> Program:
    return Program(
        "governance:x:v1@1.0.0",
        "x",
        "hook",
        Limits(ms, mb, output),
        {"x.py": source.encode()},
        **more,
    )


def call(source: str, given: Any = None, **limits: Any) -> Said:
    return run(program(source, **limits), given or {})


def refused(kind: type[Error], source: str, **limits: Any) -> str:
    with pytest.raises(kind) as raised:
        call(source, **limits)
    assert raised.value.details["reason"] == "plugin"
    assert str(raised.value).startswith("plugin governance:x:v1@1.0.0 ")
    return str(raised.value)


def test_a_hook_is_given_an_object_and_gives_one() -> None:
    said = call("def hook(given): return {'was': given, 'ü': 'ä'}", {"n": [1, None, 1.5, "ß"]})
    assert said.given == {"was": {"n": [1, None, 1.5, "ß"]}, "ü": "ä"}
    assert said.printed == ""


def test_what_it_prints_is_no_answer() -> None:
    said = call(
        "import sys\nprint('one')\ndef hook(given):\n print('two', file=sys.stderr)\n return {}"
    )
    assert sorted(said.printed.split()) == ["one", "two"]
    assert said.given == {}


def test_a_package_of_several_modules_and_files() -> None:
    many = Program(
        "k",
        "top.inner",
        "Hooks.ask",
        Limits(),
        {
            "top/__init__.py": b"BASE = 2",
            "top/inner.py": b"from . import BASE\nfrom .data import load\n"
            b"class Hooks:\n @staticmethod\n def ask(given): return {'n': BASE + load()}",
            "top/data.py": b"import pkgutil\n"
            b"def load(): return len(pkgutil.get_data('top', 'words.txt'))",
            "top/words.txt": b"seven77",
        },
    )
    assert run(many, {}).given == {"n": 9}


def test_it_has_nothing_of_ours() -> None:
    os.environ["PLUGIN_TEST_SECRET"] = "s"
    descriptor = os.open("/", os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    try:
        found = call(
            "import os, sys\n"
            "def hook(given):\n"
            " held = []\n"
            " for number in range(256):\n"
            "  try: os.fstat(number); held.append(number)\n"
            "  except OSError: pass\n"
            " return {'env': dict(os.environ), 'held': held, 'path': sys.path, 'cwd': os.getcwd(),\n"
            "         'ours': [one for one in sys.modules if one.startswith('palimp')],\n"
            "         'read': sys.stdin.read()}"
        ).given
    finally:
        os.close(descriptor)
        del os.environ["PLUGIN_TEST_SECRET"]
    # What an interpreter sets for itself.
    assert set(found["env"]) <= {"LC_CTYPE"}
    assert found["held"] == [0, 1, 2, 3]
    assert found["ours"] == []
    assert found["read"] == ""
    assert not [one for one in found["path"] if "site-packages" in one]
    assert not Path(found["cwd"]).exists()


def test_it_reads_the_level_of_its_log_where_it_may() -> None:
    source = "import os\ndef hook(given): return {'v': os.environ.get('PALIMP_PLUGIN_LOG_LEVEL')}"
    told = program(source, environment={"PALIMP_PLUGIN_LOG_LEVEL": "debug"})
    assert run(told, {}).given == {"v": "debug"}
    assert call(source).given == {"v": None}


def test_a_loop_without_end_is_killed() -> None:
    begun = Clock().monotonic()
    said = refused(Unavailable, "def hook(given):\n while True: pass", ms=SHORT)
    assert "it took more than its 300 ms" in said
    assert Clock().monotonic() - begun < 30, "killed, not waited for"


def test_one_that_sleeps_while_it_is_imported_is_killed() -> None:
    assert "300 ms" in refused(Unavailable, "import time\ntime.sleep(60)", ms=SHORT)


def test_one_that_takes_too_much_memory_is_stopped() -> None:
    for each in ("bytearray(1 << 20)", "str(len(held)) * 100"):
        said = refused(Unavailable, f"def hook(given):\n held = []\n while 1: held.append({each})")
        assert "64 MiB of memory" in said


def test_one_that_says_too_much_is_stopped() -> None:
    for source in (
        "while True: print('x' * 1000)",
        "def hook(given): return {'x': 'x' * 30000}",
        "import os\nwhile True: os.write(3, b'x' * 1000)",
    ):
        assert "20,000 bytes of output" in refused(Unavailable, source)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def hook(given): return 1 / 0", "failed: ZeroDivisionError: division by zero (x.py, line 1)"),
        ("def hook(given) return", "failed: SyntaxError"),
        ("import nothing_like_it", "failed: ModuleNotFoundError"),
        ("other = 1", "failed: AttributeError"),
        ("hook = 1", "failed: TypeError: 'int' object is not callable"),
        ("def hook(given): return [1]", "the hook returned list; it has to return a dict"),
        ("def hook(given): return {'x': {1}}", "failed: TypeError: Object of type set"),
        ("def hook(given): return {'x': float('nan')}", "failed: ValueError"),
        ("def hook(given): return hook(given)", "failed: RecursionError"),
        ("import os\ndef hook(given): os._exit(3)", "ended with exit code 3 and without an answer"),
        ("def hook(given): raise SystemExit(4)", "ended with exit code 4"),
        ("import ctypes\ndef hook(given): ctypes.string_at(0)", "ended by SIGSEGV"),
        ("import os\ndef hook(given):\n os.write(3, b'{no json}\\n')\n return {}", "gave no JSON"),
        ("import os\ndef hook(given):\n os.write(3, b'[' * 9999 + b'\\n')", "gave no JSON"),
        ("import os\ndef hook(given):\n os.write(3, b'{}\\n')", "gave no JSON"),
        ("import os\ndef hook(given):\n os.closerange(1, 99)\n return {}", "ended with exit code"),
    ],
)  # fmt: skip
def test_one_that_fails_is_named_with_the_reason(source: str, says: str) -> None:
    assert says in refused(Invalid, source)


def test_one_that_closes_its_output_and_goes_on_is_killed() -> None:
    source = "import os, time\ndef hook(given):\n os.closerange(1, 99)\n time.sleep(60)"
    assert "300 ms" in refused(Unavailable, source, ms=SHORT)


def test_a_failure_shows_the_last_that_was_printed() -> None:
    said = refused(Invalid, "print('x' * 5000)\nprint('at the end')\n1 / 0")
    assert said.endswith("at the end'")
    assert len(said) < 800


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("import socket; socket.socket()", "a plugin may not do socket.__new__"),
        ("import socket; socket.getaddrinfo('localhost', 80)", "a plugin may not do socket"),
        ("import subprocess; subprocess.run(['true'])", "a plugin may not do subprocess.Popen"),
        ("import os; os.fork()", "a plugin may not do os.fork"),
        ("import os; os.system('true')", "a plugin may not do os.system"),
        ("open('/etc/passwd')", "a plugin has no files: /etc/passwd"),
        ("import os; os.open('/etc/passwd', os.O_RDONLY)", "a plugin has no files"),
        ("import pathlib; pathlib.Path('x').write_text('x')", "a plugin has no files"),
        ("import os; os.listdir('/')", "a plugin has no files: /"),
        ("import os; os.mkdir('x')", "a plugin may not do os.mkdir"),
        ("import os; open(os.__file__, 'a')", "a plugin has no files"),
    ],
)
def test_what_needs_more_than_it_has_is_refused_by_name(line: str, says: str) -> None:
    assert f"failed: PermissionError: {says}" in refused(Invalid, line)


def test_the_kernel_holds_it_too_where_it_can() -> None:
    # What Python refuses can be gone round in Python; this is what is left then.
    said = call(
        "import ctypes, resource\n"
        "def hook(given):\n"
        " libc = ctypes.CDLL(None, use_errno=True)\n"
        " libc.open.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_int]\n"
        " wall = libc.socket(2, 1, 0)\n"
        " class Address(ctypes.Structure): _fields_ = [('b', ctypes.c_ubyte * 16)]\n"
        " to = Address((2, 0, 0, 9, 127, 0, 0, 1))\n"
        " libc.connect(wall, ctypes.byref(to), 16)\n"
        " kinds = ('RLIMIT_FSIZE', 'RLIMIT_CORE', 'RLIMIT_NPROC')\n"
        " return {'errno': ctypes.get_errno(),\n"
        "         'limits': [resource.getrlimit(getattr(resource, one)) for one in kinds]}"
    )
    assert said.given["limits"] == [[0, 0]] * 3
    if not said.cut_off:
        pytest.skip("this kernel gives nobody a network of their own")
    # ENETUNREACH: not even its own machine is there (ECONNREFUSED, else).
    assert said.given["errno"] == 101


def test_what_it_began_ends_with_it() -> None:
    # Not by os.fork, which is refused: by the C library, and out of its group.
    mark = f"fork{os.getpid()}"
    source = (
        "import ctypes, time\n"
        "def hook(given):\n"
        " libc = ctypes.CDLL(None)\n"
        " for _ in range(3):\n"
        "  if not libc.fork():\n"
        f"   libc.setsid()\n   libc.prctl(15, b'{mark}', 0, 0, 0)\n   time.sleep(60)\n"
        " if given.get('wait'): time.sleep(60)\n"
        " time.sleep(0.05)\n"
        " return {'done': True}"
    )
    said = call(source)
    assert said.given == {"done": True}
    assert not said.cut_off or are_gone(mark)
    with pytest.raises(Unavailable, match="300 ms"):
        run(program(source, ms=SHORT), {"wait": True})
    assert not said.cut_off or are_gone(mark)


def test_its_group_ends_with_it() -> None:
    mark = f"grp{os.getpid()}"
    refused(
        Unavailable,
        "import ctypes, time\n"
        "def hook(given):\n"
        " libc = ctypes.CDLL(None)\n"
        " for _ in range(4):\n"
        "  libc.fork()\n"
        f" libc.prctl(15, b'{mark}', 0, 0, 0)\n"
        " time.sleep(60)",
        ms=SHORT,
    )
    assert are_gone(mark)


def are_gone(name: str) -> bool:
    """Whether processes of a name end long before they would by themselves."""
    clock = Clock()
    ends = clock.monotonic() + 20
    while living(name) and clock.monotonic() < ends:
        clock.sleep(0.005)
    return living(name) == 0


def living(name: str) -> int:
    """Return how many processes of a name there are, those that only wait to be counted aside."""
    if sys.platform != "linux":
        pytest.skip("processes are looked at in /proc")
    found = 0
    for one in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = one.read_text()
        except OSError:
            continue
        found += f"({name})" in text and text.rpartition(")")[2].split()[0] != "Z"
    return found


@pytest.fixture
def without_namespaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child whose wish for namespaces the kernel refuses."""
    text = runner._CHILD.read_text("utf-8")
    wish = "_NEW_USER, _NEW_PID, _NEW_NET = 0x10000000, 0x20000000, 0x40000000"
    assert wish in text
    (tmp_path / "child.py").write_text(text.replace(wish, "_NEW_USER = _NEW_PID = _NEW_NET = 1"))
    monkeypatch.setattr(runner, "_CHILD", tmp_path / "child.py")


@pytest.mark.usefixtures("without_namespaces")
def test_without_namespaces_the_rest_holds() -> None:
    said = call("def hook(given): return {'a': 1}")
    assert (said.given, said.cut_off) == ({"a": 1}, False)
    assert "ended with exit code 3" in refused(Invalid, "import os\nos._exit(3)")
    assert "ended by SIGSEGV" in refused(Invalid, "import ctypes\nctypes.string_at(0)")
    assert "may not do socket" in refused(Invalid, "import socket\nsocket.socket()")
    assert "MiB of memory" in refused(Unavailable, "a = bytearray(1 << 30)")
    mark = f"grp{os.getpid()}b"
    refused(
        Unavailable,
        "import ctypes, time\nlibc = ctypes.CDLL(None)\nlibc.fork()\n"
        f"libc.prctl(15, b'{mark}', 0, 0, 0)\ntime.sleep(60)",
        ms=SHORT,
    )
    assert are_gone(mark)


def test_calls_at_once_do_not_disturb_each_other() -> None:
    found: list[dict[str, Any]] = []

    def ask(number: int) -> None:
        found.append(call("def hook(given): return given", {"n": number}).given)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one["n"] for one in found) == list(range(6))


def test_a_large_request_comes_whole() -> None:
    rows = [{"memory": f"mem_{number}", "confidence": 0.5} for number in range(20_000)]
    assert call("def hook(given): return {'n': len(given['rows'])}", {"rows": rows}).given == {
        "n": 20_000
    }


def test_a_request_that_nobody_reads_keeps_nobody() -> None:
    # It ends before it has read all of it: its limits are no numbers.
    broken = Program("k", "x", "hook", Limits(), {"x.py": b"1/0"})
    with pytest.raises(Invalid, match="ZeroDivisionError"):
        run(broken, {"rows": ["x" * 1_000] * 2_000})


def test_installed_plugins_are_found_by_their_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, version, points in (
        ("steady", "2.1", "steady = steady_rules:ask\nBAD NAME = x:y\nmodule = steady_rules"),
        ("odd", "none", "odd = x:y"),
    ):
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[palimp.governance]\n{points}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = installed()
    assert [(one.plugin_key, one.version) for one in found] == [("governance:steady:v2", "2.1")]
    assert found[0].program.module == "steady_rules"
    assert found[0].program.key == "governance:steady:v2@2.1"


def test_installed_plugins_run_with_what_is_installed() -> None:
    # A function that every installation has: it gives back a copy of what it is given.
    there = Program("governance:copy:v1@1", "msgspec", "to_builtins", Limits())
    assert run(there, {"a": [1]}).given == {"a": [1]}
