"""What every release wrote, this one opens, verifies, writes to, forks and rewinds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import palimp

HERE = Path(__file__).parent
RELEASES = sorted(path.name for path in HERE.iterdir() if (path / "memory").is_dir())
KEPT = {"Prefers window seats", *(f"durable {n}" for n in range(70))}


def facts(profile: palimp.Profile | palimp.PastProfile) -> set[str]:
    return {memory.text for memory in profile.list(type="fact")}


@pytest.fixture(params=RELEASES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    shutil.copytree(HERE / request.param / "memory", tmp_path / "memory")
    return tmp_path / "memory"


def test_there_is_a_fixture_of_this_release() -> None:
    assert palimp.__version__ in RELEASES, "run tests/formats/make.py"


def test_a_folder_that_was_killed_goes_on(folder: Path) -> None:
    with palimp.open(folder, embed_provider="none") as mem:
        alice = mem.profile("alice")
        assert facts(alice) == {*KEPT, "was never shipped"}
        assert facts(alice.at("before-run")) == {"Prefers aisle seats"}
        assert facts(alice.branch("trial")) == {"Prefers window seats", "Moves to Lisbon"}
        assert [one.text for one in alice.history(topic="user.seat")][-1] == "Prefers window seats"
        assert [turn.content for turn in alice.session("s1").window()] == ["hello"]
        assert alice.recall(embedding=[0.0, 1.0], k=1)[0].text == "Flight 0 to Lisbon"
        # The answer to a request of then: nothing is written twice.
        assert (
            alice.remember("Prefers aisle seats", topic="user.seat", request_id="first").status
            == "created"
        )
        assert not alice.verify().findings
    with palimp.open(folder, embed_provider="none") as mem:
        alice = mem.profile("alice")
        alice.remember("written now")
        alice.rewind("before-run")
        assert facts(alice) == {"Prefers aisle seats"}
        assert facts(alice.fork("now")) == {"Prefers aisle seats"}
        mem.maintain()
        assert not alice.verify().findings


def test_the_store_alone_is_enough(folder: Path) -> None:
    shutil.rmtree(folder / "hot")
    with palimp.open(folder, embed_provider="none") as mem:
        assert facts(mem.profile("alice")) == KEPT
        assert not mem.profile("alice").verify().findings
