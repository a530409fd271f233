"""`palimp timeline`, `palimp memory event` and `palimp session context`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from palimp.cli.main import cli
from palimp.errors import Invalid


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(tmp_path / "memory")


def run(data: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--data", data], catch_exceptions=False)


def append(data: str, text: str, *options: str) -> None:
    done = run(data, "memory", "event", "team", "builder", text, *options)
    assert done.stdout == "created\n"
    assert done.stderr.startswith("txid: ")


def test_events_one_a_line_in_the_order_of_time(data: str) -> None:
    append(data, "first\nof two", "--event", "tool_call", "--tag", "t", "--metadata", '{"n": 1}')
    append(data, "second", "--kind", "decision", "--event", "decision", "--session", "s")
    shown = run(data, "timeline", "team", "--since", "1h").stdout.splitlines()
    at = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.fullmatch(rf"{at}  builder  episodic/tool_call  first of two", shown[0])
    assert re.fullmatch(rf"{at}  builder  decision  second", shown[1])
    assert len(shown) == 2
    newest = run(data, "timeline", "team", "--limit", "1")
    assert newest.stdout.splitlines() == shown[1:]
    assert "there are more than 1" in newest.stderr
    assert run(data, "timeline", "team", "--order", "desc").stdout.splitlines() == shown[::-1]
    for option, value in [
        ("--tag", "t"), ("--kind", "episodic"), ("--event", "tool_call"), ("--contains", "of t"),
    ]:  # fmt: skip
        assert run(data, "timeline", "team", option, value).stdout.splitlines() == shown[:1]
    assert run(data, "timeline", "team", "--agent", "nobody").stdout == ""
    page = json.loads(run(data, "timeline", "team", "--json").stdout)
    assert [one["text"] for one in page["events"]] == ["first\nof two", "second"]
    assert page["events"][0]["metadata"] == {"n": 1}


def test_a_session_as_text(data: str) -> None:
    append(data, "went on", "--session", "s")
    shown = run(data, "session", "context", "team", "s").stdout
    assert shown.startswith("## Session Context (s)\n\n### Recent Actions (1)\n- [")
    assert run(data, "session", "context", "team", "s", "--max-tokens", "1").stdout == (
        "## Session Context (s)\n\n"
    )
    assert "went on" not in run(data, "session", "context", "team", "s", "--kind", "x").stdout


def test_counting(data: str) -> None:
    append(data, "one", "--event", "error")
    shown = run(data, "timeline", "team", "--count", "--agent", "builder").stdout
    assert shown == "1 events, 1 in 24 hours, 1 errors\n  episodic: 1\n"
    with pytest.raises(Invalid, match="--count goes with --agent alone, not with since"):
        run(data, "timeline", "team", "--count", "--since", "1h")


def test_a_duplicate_is_said(data: str) -> None:
    options = ("--dedup-key", "k", "--dedup-window", "3600")
    append(data, "one", *options)
    done = run(data, "memory", "event", "team", "builder", "two", *options)
    assert done.stdout == "duplicate\n"


@pytest.mark.parametrize("since", ["9000h", "yesterday", "0d"])
def test_a_wrong_time_is_refused(data: str, since: str) -> None:
    with pytest.raises(Invalid, match=f"since is .*{since}"):
        run(data, "timeline", "team", "--since", since)
