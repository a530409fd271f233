"""`palimp memory import` as a user meets it: formats, repeats, what is broken, terminals, pipes."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..forked import CLEAN, Shell

MAIN = (sys.executable, "-W", "error", "-m", "palimp")


class Commands(Shell):
    """With a word for writing a file that is imported then."""

    def write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text, "utf-8")
        return name


@pytest.fixture
def shell(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def turn(number: str, speaker: str, text: str) -> dict[str, str]:
    return {"speaker": speaker, "dia_id": number, "text": text}


def conversation(name: str, *words: str) -> dict[str, Any]:
    turns = [turn(f"D1:{at}", "Ann", text) for at, text in enumerate(words, 1)]
    spoken = {"session_1_date_time": "1:56 pm on 8 May, 2023", "session_1": turns}
    return {"sample_id": name, "conversation": spoken, "qa": []}


MESSAGES = json.dumps(
    {
        "id": "trip",
        "messages": [
            {"role": "user", "content": "Book the night train to Malmö 🚆"},
            {"role": "assistant", "content": [{"type": "text", "text": "Booked, berth 12"}]},
        ],
    },
    ensure_ascii=False,
    indent=2,
)
GRAPH = (
    '{"type":"entity","name":"Zoë_Li","entityType":"person",'
    '"observations":["Speaks Danish","Prefers trains"]}\n'
    '{"type":"relation","from":"Zoë_Li","to":"Malmö","relationType":"lives_in"}\n'
)
LOCOMO = json.dumps([conversation("conv-1", "a kayak", "an oboe"), conversation("conv-2", "a cat")])
CASES = {
    "messages": (MESSAGES, 2, "events"),
    "locomo": (LOCOMO, 3, "events"),
    "mcp-jsonl": (GRAPH, 3, "facts"),
}


@pytest.mark.parametrize("form", CASES)
def test_a_file_twice_is_written_once(shell: Commands, form: str) -> None:
    text, count, noun = CASES[form]
    name = shell.write("file", text)
    command = ("memory", "import", "alice", name, "--format", form)
    out, err = shell.run(*command)
    assert out == f"{count} {noun} written, 0 were there already, 0 lines could not be read\n"
    assert err.startswith("txid: ")
    assert err.count("\n") == 1
    out, _ = shell.run(*command)
    assert out == f"0 {noun} written, {count} were there already, 0 lines could not be read\n"
    again = shell.json(*command)
    assert again["counts"] == {"duplicate": count}
    assert again["broken"] == []
    assert again["broken_count"] == again["without_words"] == 0
    assert len(shell.json("memory", "list", "alice")) == count


def test_what_was_imported_is_recalled(shell: Commands) -> None:
    shell.run("memory", "import", "alice", shell.write("chat.json", MESSAGES))
    shell.run("memory", "import", "alice", shell.write("m.jsonl", GRAPH), "--format", "mcp-jsonl")
    (hit,) = shell.json("memory", "recall", "alice", "night train", "-k", "1")["memories"]
    assert hit["text"] == "Book the night train to Malmö 🚆"
    assert (hit["session_id"], hit["speaker"], hit["type"]) == ("trip", "user", "event")
    facts = shell.json("memory", "list", "alice", "--kind", "entity", "--tag", "person")
    assert {fact["text"] for fact in facts} == {"Zoë_Li: Speaks Danish", "Zoë_Li: Prefers trains"}
    (fact,) = shell.json("memory", "list", "alice", "--kind", "relationship")
    assert fact["text"] == "Zoë_Li lives_in Malmö"


def test_one_conversation_of_a_locomo_file(shell: Commands) -> None:
    name = shell.write("locomo.json", LOCOMO)
    command = ("memory", "import", "alice", name, "--format", "locomo")
    shell.run(*command, "--conversation", "conv-2")
    (cat,) = shell.json("memory", "list", "alice")
    assert (cat["text"], cat["session_id"]) == ("a cat", "conv-2 session 1")
    _, err = shell.run(*command, "--conversation", "conv-9", code=1)
    assert "not_found: locomo.json has no conversation 'conv-9'; it has conv-1, conv-2" in err
    # The same turn numbers in another conversation are other turns.
    out, _ = shell.run(*command)
    assert out.startswith("2 events written, 1 were there already")
    sessions = {session["id"] for session in shell.json("session", "list", "alice")}
    assert sessions == {"conv-1 session 1", "conv-2 session 1"}
    _, err = shell.run("memory", "import", "alice", name, "--conversation", "conv-1", code=1)
    assert "invalid_request: --conversation" in err
    huge = json.dumps([conversation("c", "x" * (1 << 20) + "y", "fits")])
    huge_name = shell.write("huge.json", huge)
    out, err = shell.run("memory", "import", "bob", huge_name, "--format", "locomo", code=1)
    assert out.startswith("1 events written")
    assert err.startswith("c D1:1: text has 1,048,577 bytes")
    deep = shell.write("deep.json", "[" * 100_000)
    _, err = shell.run("memory", "import", "alice", deep, "--format", "locomo", code=1)
    assert "invalid_request: deep.json " in err
    _, err = shell.run("memory", "import", "alice", "-", "--format", "locomo", code=1, given=b"")
    assert "give its name instead of -" in err


def test_broken_lines_are_named_and_the_others_written(shell: Commands) -> None:
    huge = json.dumps({"text": "x" * (1 << 20) + "y"})
    name = shell.write("chat.jsonl", f'{{"text": "one"}}\n{huge}\n{{oops\n{{"text": "two"}}\n')
    out, err = shell.run("memory", "import", "alice", name, code=1)
    assert out == "2 events written, 0 were there already, 2 lines could not be read\n"
    lines = err.splitlines()
    assert lines[0].startswith("line 2: text has 1,048,577 bytes, at most 1,048,576")
    assert lines[1].startswith("line 3: not JSON: ")
    done = shell.json("memory", "import", "alice", name, code=1)
    assert [broken["line"] for broken in done["broken"]] == [2, 3]
    assert done["broken_count"] == 2


def test_files_that_are_none(shell: Commands) -> None:
    out, err = shell.run("memory", "import", "alice", shell.write("empty", ""))
    assert out == "0 events written, 0 were there already, 0 lines could not be read\n"
    assert err == ""
    (shell.folder / "picture").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    for form in CASES:
        _, err = shell.run("memory", "import", "alice", "picture", "--format", form, code=1)
        assert err.startswith("palimp: invalid_request: picture ")
    shell.run("memory", "import", "alice", "missing", code=2)
    shell.run("memory", "import", "alice", ".", code=2)
    _, err = shell.run("memory", "import", "alice", "empty", "--format", "mbox", code=2)
    assert "'messages', 'locomo', 'mcp-jsonl'" in err


def test_standard_input_is_a_file_too(shell: Commands) -> None:
    out, _ = shell.run("memory", "import", "alice", "-", given=MESSAGES.encode())
    assert out.startswith("2 events written")
    out, _ = shell.run(
        "memory", "import", "alice", "-", "--format", "mcp-jsonl", given=GRAPH.encode()
    )
    assert out.startswith("3 facts written")


def test_a_terminal_sees_a_bar_and_a_pipe_does_not(shell: Commands) -> None:
    lines = "".join(json.dumps({"text": f"turn {number}"}) + "\n" for number in range(1_500))
    name = shell.write("chat.jsonl", lines)
    reader, writer = pty.openpty()
    shown = b""
    started = subprocess.Popen(
        [*MAIN, "memory", "import", "alice", name, "--json"],
        cwd=shell.folder,
        env={**CLEAN, "TERM": "xterm", "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=writer,
    )
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as screen, started:
        # Linux says with an error that nobody holds the other end any more.
        with contextlib.suppress(OSError):
            while piece := screen.read(65_536):
                shown += piece
        out, _ = started.communicate()
    assert started.returncode == 0
    assert json.loads(out)["counts"] == {"created": 1_500}
    assert "1,500 events" in shown.decode()
    _, err = shell.run("memory", "import", "alice", name)
    assert "events" not in err
