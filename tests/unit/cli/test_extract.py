"""What people see of extraction, proposals, reviews and lineage."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import palimp
from palimp.cli.main import cli

TALK = (
    {"role": "user", "speaker": "Melanie", "content": "I prefer window seats."},
    {"role": "user", "speaker": "Melanie", "content": "hello"},
)


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("talk.jsonl").write_text("\n".join(map(json.dumps, TALK)))
    return "talk.jsonl"


def run(line: str) -> str:
    found = CliRunner().invoke(cli, [*line.split(), "--data", "m"], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout


def test_a_file_is_extracted_and_what_was_decided_is_shown(talk: str) -> None:
    said = run(f"extract alice {talk} --method rules --source talk --wait")
    first, reason, second, *_ = said.splitlines()
    assert re.fullmatch(r"prop_\w{32}  memory  created  Melanie prefers window seats", first)
    assert reason.startswith("  ")
    assert "discarded_low_signal  hello" in second
    listed = run("proposals list alice --decision created")
    assert listed.startswith(first)
    identity = second.split()[0]
    assert identity in run(f"proposals show alice {identity}")
    assert run(f"proposals dismiss alice {identity}") == f"dismissed {identity}\n"
    assert run(f"proposals dismiss alice {identity}") == f"dismissed {identity} before\n"
    assert len(run("lineage forget alice --source talk --dry-run").splitlines()) == 1
    assert re.fullmatch(r"mem_\w{32}\n", run("lineage forget alice --source talk"))
    assert run("memory list alice") == ""


def test_a_review_is_shown_merged_and_dropped(talk: str) -> None:
    run("memory remember alice x --topic person:melanie/prefers_seat")
    said = run(f"extract alice {talk} --method rules --review")
    name = re.search(r"palimp review show alice (review-\w+)", said)
    assert name is not None
    shown = run(f"review show alice {name[1]}")
    assert re.search(r"\+ mem_\w+  Melanie prefers window seats\n- mem_\w+  x\n", shown)
    assert "removed by itself at" in shown
    assert run(f"review merge alice {name[1]}") == "1 memories added, 1 superseded\n"
    assert run(f"review merge alice {name[1]}") == (
        f"{name[1]} was merged before; nothing was changed\n"
    )
    again = run(f"extract alice {talk} --method rules --review --json")
    name = json.loads(again)["review"]["review"]
    assert run(f"review drop alice {name}") == f"dropped {name}\n"


def test_a_line_that_is_no_turn_is_named(talk: str) -> None:
    Path(talk).write_text('{"role": "user", "content": "x"}\n{"rolle": "user"}\n')
    with pytest.raises(palimp.Invalid, match=r"turns\[1\].*rolle"):
        run(f"extract alice {talk} --method rules")
    Path(talk).write_text("nonsense\n")
    with pytest.raises(palimp.Invalid, match="line 1"):
        run(f"extract alice {talk} --method rules")
