"""The rules of the house that a linter does not know."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import palimp
from palimp.api import OPERATIONS
from palimp.api.base import Request, Result
from palimp.operations import HANDLERS

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "palimp"
MODULES = sorted(path for path in SOURCE.rglob("*.py") if "_sync" not in path.parts)
IDS = [str(path.relative_to(SOURCE)) for path in MODULES]

# Time, sleep and randomness come from clock.py and ids.py, so that tests can hold them still.
BANNED_CALLS = {
    "time.time", "time.time_ns", "time.sleep", "time.monotonic", "time.perf_counter",
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
    "random.random", "random.choice", "random.randint", "os.urandom", "uuid.uuid4",
}  # fmt: skip
MAY_CALL = {"clock.py", "ids.py"}


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_no_module_is_long_and_no_function_is(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= 600
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 70, f"{node.name} is too long"


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_clock_and_randomness_are_handed_in(path: Path) -> None:
    if path.name in MAY_CALL:
        return
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in BANNED_CALLS, f"line {node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_nothing_catches_everything(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            # Rolling back and raising again is the one place where all exceptions are alike.
            again = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in node.body)
            assert again or caught not in ("Exception", "BaseException", "everything")


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_types_are_decoded_in_one_place(path: Path) -> None:
    """Elsewhere two threads that are the first to decode a struct end the process."""
    if path.name == "decoding.py":
        return
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        typed = isinstance(node, ast.Call) and any(one.arg == "type" for one in node.keywords)
        assert not (typed and called.startswith("msgspec.")), f"line {node.lineno}"
        assert not called.startswith("msgspec.convert"), f"line {node.lineno}"
        assert not re.match(r"msgspec\..*Decoder", called), f"line {node.lineno}"


def test_tests_are_not_long_either() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        assert path.read_text("utf-8").count("\n") <= 800, path


def test_public_names_are_sorted_and_exist() -> None:
    assert palimp.__all__ == sorted(palimp.__all__)
    for name in palimp.__all__:
        assert getattr(palimp, name) is not None


def test_every_operation_has_one_function_and_every_function_an_operation() -> None:
    assert set(HANDLERS) == set(OPERATIONS)


def test_operations_are_told_apart_by_method_and_path() -> None:
    routes = [(row.method, re.sub(r"\{\w+\}", "{}", row.path)) for row in OPERATIONS.values()]
    assert len(set(routes)) == len(routes)


def test_reads_are_idempotent_and_need_no_write_scope() -> None:
    for row in OPERATIONS.values():
        assert issubclass(row.request, Request)
        assert issubclass(row.result, Result)
        # What is governed is read by who governs.
        governs = row.name.startswith(("audit.", "subject.", "usage."))
        assert row.writes or row.idempotent, row.name
        assert row.writes or governs or row.scope == "read", row.name
        assert row.method != "GET" or not row.writes, row.name


def test_importing_palimp_stays_light() -> None:
    code = "import sys, palimp; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "numpy",
        "httpx",
        "starlette",
        "sqlalchemy",
        "cryptography",
        "click",
        "rich",
        "asyncio",
    }
    assert heavy.isdisjoint(done.stdout.split())


def test_a_first_write_needs_no_numpy(tmp_path: Path) -> None:
    code = (
        "import sys, palimp\n"
        "mem = palimp.open(sys.argv[1], embed_provider='none')\n"
        "mem.profile('a').remember('b', topic='c')\n"
        "print(' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "numpy" not in done.stdout.split()


def test_generated_files_are_up_to_date() -> None:
    for script in ("unasync.py", "reference.py"):
        done = subprocess.run(
            [sys.executable, str(ROOT / "scripts" / script), "--check"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_no_host_and_no_path_of_a_machine_is_in_the_repository() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    hosts = re.compile(r"pypi\.(org|python)|pythonhosted|registry\.npmjs|deb\.debian|crates\.io")
    paths = re.compile(r"(?<![\w.])/(work|farm|root)/")
    for name in listed.stdout.split("\n"):
        path = ROOT / name
        if (
            not name
            or not path.is_file()
            or path.suffix in (".npy", ".png")
            or path == Path(__file__)
        ):
            continue
        text = path.read_text("utf-8", errors="replace")
        assert not hosts.search(text), name
        assert not paths.search(text), name
