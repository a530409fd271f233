"""The wheel, by itself: everything the demo needs is in it, and nothing needs a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WHEEL_MEGABYTES_MAX = 10


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    code = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_model_conversation_and_licences(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "palimp/models/data/vectors.npy",
        "palimp/models/data/PROVENANCE.md",
        "palimp/cli/conversation.jsonl",
        "palimp/py.typed",
    ):
        assert wanted in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests", "bench"))]
    assert wheel.stat().st_size < WHEEL_MEGABYTES_MAX * 1_000_000


def test_the_installed_wheel_runs_the_demo_without_a_network(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PALIMP_")}
    environment = {**clean, "PYTHONPATH": str(installed), "TMPDIR": str(tmp_path)}
    where = subprocess.run(
        [sys.executable, "-c", "import palimp; print(palimp.__file__)"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert where.stdout.startswith(str(installed))
    done = subprocess.run(
        [*_without_network(), sys.executable, "-m", "palimp", "demo"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "78 events written" in done.stdout
    assert "lending me his hydrophone" in done.stdout


def _without_network() -> list[str]:
    """Return the words that run a command in a namespace without any network, where that works."""
    if shutil.which("unshare"):
        for words in (["unshare", "-n"], ["unshare", "-rn"]):
            if subprocess.run([*words, "true"], capture_output=True).returncode == 0:
                return words
    if os.environ.get("CI"):
        pytest.fail("CI must be able to take the network away with unshare")
    pytest.skip("unshare cannot take the network away here")
