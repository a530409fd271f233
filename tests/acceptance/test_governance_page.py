"""The page about governance prints what it says, and its table is the one of the rules."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from palimp.governance.rules import TASKS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "govern-memories.md"


def test_the_page_prints_what_it_says(tmp_path: Path) -> None:
    page = PAGE.read_text("utf-8")
    blocks, printed = (
        re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("python", "text")
    )
    assert len(blocks) == len(printed) == 2
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(blocks)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("".join(printed), "")


def test_its_table_says_what_each_task_asks() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    said = {step: set(tasks.split(", ")) for step, tasks in rows}
    known = {
        step: {task for task, steps in TASKS.items() if step in steps and task != "all"}
        for step in TASKS["all"]
    }
    assert said == known
