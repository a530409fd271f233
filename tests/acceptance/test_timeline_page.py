"""docs/how-to/follow-what-agents-did.md prints what it says."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "follow-what-agents-did.md"
EXAMPLE = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)


def test_the_page_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = EXAMPLE.findall(PAGE.read_text("utf-8"))
    assert len(found) == 1
    for code, wanted in found:
        exec(compile(code, str(PAGE), "exec"), {})
        assert capsys.readouterr().out == wanted
