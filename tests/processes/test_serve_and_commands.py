"""`palimp serve`, commands and programs on one folder at the same time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from actors import Actor
from crew import wait

pytest.importorskip("uvicorn")

Act = Callable[..., Actor]

PALIMP = (sys.executable, "-c", "from palimp.cli.main import main; main()")


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PALIMP_DATA_DIR": str(folder), "PALIMP_EMBED_PROVIDER": "none"}


@pytest.fixture
def serve(environment: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*PALIMP, "serve", "--port", "0"], env=environment, stderr=log)
    yield process
    if process.poll() is None:
        process.kill()
    process.wait(30)


def url(log: Path) -> str:
    wait(lambda: "serving http" in log.read_text(), "it does not serve")
    return next(word for word in log.read_text().split() if word.startswith("http")).rstrip(",")


def texts(place: str) -> list[str]:
    with urllib.request.urlopen(f"{place}/v1/memory/default/alice/memories", timeout=30) as answer:
        return sorted(one["text"] for one in json.load(answer)["memories"])


def test_commands_and_programs_visit_a_folder_that_is_served(
    serve: subprocess.Popen[bytes], environment: dict[str, str], act: Act, tmp_path: Path
) -> None:
    place = url(tmp_path / "log")
    remember = [*PALIMP, "memory", "remember", "alice", "by a command"]
    subprocess.run(remember, env=environment, check=True, capture_output=True, timeout=60)
    program = act()
    program.run("p.remember('by a program')")
    assert not program.owns
    assert texts(place) == ["by a command", "by a program"]
    serve.send_signal(signal.SIGTERM)
    program.run("p.remember('while it stops')")
    assert serve.wait(60) == 0
    assert program.run("result = len(list(p.list()))") == 3
    assert program.owns


def test_a_folder_that_a_program_has_is_not_served(act: Act, environment: dict[str, str]) -> None:
    program = act()
    program.run("p.remember('by a program')")
    done = subprocess.run(
        [*PALIMP, "serve", "--port", "0"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert f"is open in process {program.pid} already" in done.stderr
    recall = [*PALIMP, "memory", "recall", "alice", "program", "--json"]
    found = subprocess.run(recall, env=environment, check=True, capture_output=True, timeout=60)
    assert b"by a program" in found.stdout
    assert program.owns
