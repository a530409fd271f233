"""Pages run as they are written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from .gate import House

PAGES = Path(__file__).resolve().parents[3] / "docs" / "how-to"
PAGE = PAGES / "use-a-node-from-python.md"


def test_the_page_prints_what_it_says(house: House, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 3
    url = f"http://127.0.0.1:{house.port}"
    code = "\n".join(blocks).replace("http://127.0.0.1:8080", url)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == (
        "Prefers aisle seats\n3 memories\nit did not happen\n",
        "",
    )


def test_the_page_about_what_is_said_of_memories_prints_what_it_says(tmp_path: Path) -> None:
    page = (PAGES / "describe-and-count-memories.md").read_text("utf-8")
    blocks, printed = (
        re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("python", "text")
    )
    assert len(blocks) == len(printed) == 4
    code = "\n".join(blocks)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("".join(printed), "")
