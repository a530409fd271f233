"""The README and the quickstart run as they are written and print what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PALIMP_")}


def run(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env=CLEAN,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_prints_what_it_says(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    output = re.search(r"```text\n(.*?)```", text, re.DOTALL)
    assert code is not None
    assert output is not None
    assert run(code[1], tmp_path) == output[1]


def test_the_quickstart_runs_from_top_to_bottom(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "start" / "quickstart.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 6
    printed = run("\n".join(blocks), tmp_path)
    # The history shows the superseded seat, the recall finds the camera, the async part its memory.
    assert "Prefers aisle seats" in printed
    assert "camera" in printed
    assert "['Likes tea']" in printed
