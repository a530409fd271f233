"""The Promela models of the branch protocol hold, and each mutation of them is noticed (quick bounds).

`make model` checks the larger bounds; docs/internals/model.md explains both.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import check  # tests/model/check.py

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def _spin() -> None:
    """Have spin and gcc: CI must, a user's machine need not."""
    lacking = check.missing()
    if not lacking:
        return
    if os.environ.get("CI") != "true":
        pytest.skip(lacking)
    if os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "-q"], check=False)
        subprocess.run(["apt-get", "install", "-y", "-q", "spin", "gcc"], check=False)
    assert not check.missing(), lacking


@pytest.mark.timeout(900)  # thirty searches, each compiled: a minute on an idle machine
@pytest.mark.usefixtures("_spin")
def test_the_models_hold_and_every_mutation_is_noticed() -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "check.py"), "--quick"],
        check=False,
        text=True,
        capture_output=True,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("_spin")
@pytest.mark.parametrize(
    ("run", "verdict"),
    [
        (
            check.Run("a mutation that is none", "name.pml", ("NOTHING",), check.FOUND),
            "NOT NOTICED",
        ),
        (check.Run("a broken model", "name.pml", ("CONFLICT_ALTHOUGH_IT_LIVES",)), "BROKEN"),
        (check.MUTATIONS[-1]._replace(breaks=check.FOUND), "noticed"),
    ],
    ids=lambda value: value.name if isinstance(value, check.Run) else "",
)
def test_a_surprise_is_one(run: check.Run, verdict: str) -> None:
    result = check.check(run)
    assert not result.ok
    assert result.verdict.startswith(verdict)


@pytest.mark.usefixtures("_spin")
@pytest.mark.parametrize("limit", [("MEMORY_MB", 130), ("DEPTH_MAX", 20)], ids=["memory", "depth"])
def test_a_search_cut_short_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, limit: tuple[str, int]
) -> None:
    monkeypatch.setattr(check, *limit)
    result = check.check(check.Run("own", "own.pml", ("WRITES=2",)))
    assert not result.ok
    assert "cut short" in result.verdict


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "apt-get install spin gcc" in check.missing()


@pytest.mark.parametrize("model", sorted({run.model for run in check.runs(quick=False)}))
def test_every_switch_of_a_model_is_tried(model: str) -> None:
    """A mutation nobody runs proves nothing, and one that exists no longer would be run in vain."""
    bounds = {"NODES", "WRITES", "TAKES", "FLY", "OBJECTS", "ACTS", "CHILD_ACTS"}
    switches = {
        word
        for line in (HERE / model).read_text().splitlines()
        if line.startswith(("#if", "#elif"))
        for word in line.replace("(", " ").replace(")", " ").split()
        if word.isupper()
    }
    tried = {
        define.split("=")[0]
        for run in check.runs(quick=False)
        if run.model == model
        for define in run.defines
    }
    assert switches - bounds == tried - bounds
