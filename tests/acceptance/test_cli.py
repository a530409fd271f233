"""The command line as a user meets it: output, JSON, exit codes, errors on one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..forked import Shell

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_remember_recall_supersede_history_forget(shell: Shell) -> None:
    first = shell.json("memory", "remember", "alice", "Prefers aisle seats", "--topic", "user.seat")
    assert first["status"] == "created"
    second = shell.json("memory", "supersede", "alice", first["id"], "Prefers window seats")
    assert second["superseded"] == [first["id"]]
    found = shell.json("memory", "recall", "alice", "which seat?", "--explain")
    assert [hit["text"] for hit in found["memories"]] == ["Prefers window seats"]
    shares = [feature["share"] for feature in found["memories"][0]["explain"]["features"]]
    assert sum(shares) == pytest.approx(found["memories"][0]["score"])
    versions = shell.json("memory", "history", "alice", "--topic", "user.seat")
    assert [m["text"] for m in versions["memories"]] == [
        "Prefers aisle seats",
        "Prefers window seats",
    ]
    out, _ = shell.run("memory", "forget", "alice", second["id"])
    assert out == f"forgotten {second['id']}\n"
    out, _ = shell.run("memory", "forget", "alice", second["id"])
    assert out.startswith("there was no memory")
    _, err = shell.run("memory", "get", "alice", second["id"], code=1)
    assert err.startswith("palimp: not_found: ")
    assert "hint: " in err


def test_human_output_shows_score_channels_and_txid(shell: Shell) -> None:
    out, err = shell.run("memory", "remember", "alice", "Café in Graça ☕", "--tag", "food")
    assert out.startswith("created mem_")
    assert err == "txid: 1\n"
    out, _ = shell.run("memory", "recall", "alice", "café", "--explain")
    assert "Café in Graça ☕" in out
    assert "found by keyword + vector" in out
    assert "  vector     weight 1.19, value " in out
    out, _ = shell.run("memory", "list", "alice")
    assert "Café in Graça ☕" in out
    out, _ = shell.run("memory", "profiles")
    assert out == "alice\n"
    out, _ = shell.run("maintain")
    assert out.startswith("1 profiles: ")


def test_ingest_reads_json_lines_and_names_the_bad_one(shell: Shell) -> None:
    lines = '{"text": "one"}\n\n{"text": "two", "type": "event"}\n'
    out, _ = shell.run("memory", "ingest", "alice", "-", given=lines)
    assert out == "2 created\n"
    out, _ = shell.run("memory", "ingest", "alice", "-", given=lines)
    assert out == "2 duplicate\n"
    _, err = shell.run(
        "memory", "ingest", "alice", "-", given='{"text": "three"}\n{"tex": 1}\n', code=1
    )
    assert "line 2" in err
    assert "unknown field 'tex'" in err
    assert [m["text"] for m in shell.json("memory", "list", "alice")] == ["two", "one"]
    _, err = shell.run("memory", "ingest", "alice", "-", given='{"text": "four"}\n{oops\n', code=1)
    assert "line 2 is not JSON" in err


def test_import_takes_the_good_lines_names_the_broken_and_is_idempotent(shell: Shell) -> None:
    transcript = shell.folder / "talk.jsonl"
    lines = [
        '{"session": "s", "speaker": "Ann", "text": "yes", "at": "2026-01-01T10:00:00Z"}',
        '{"session": "s", "speaker": "Ann", "text": "yes", "at": "2026-01-01T10:00:00Z"}',
        '{"session": "s", "speaker": "Bob", "text": "brok',
        '{"session": "s", "speaker": "Bob", "text": ""}',
        '{"session": "s", "speaker": "Bob", "txt": "hm"}',
        '["not", "a turn"]',
        '{"session": "s", "role": "user", "content": "sail", "at": "never"}',
        '{"session": "s", "role": "user", "content": "we sail at dawn", "at": 1767261600000}',
    ]
    transcript.write_bytes("\n".join(lines).encode() + b'\n{"text": "\xff\xfe"}\n')
    out, err = shell.run("memory", "import", "alice", str(transcript), code=1)
    assert out == "3 events written, 0 were there already, 7 lines could not be read\n"
    for number in (3, 4, 5, 6, 7, 9):
        assert f"line {number}: " in err
    out, _ = shell.run("memory", "import", "alice", str(transcript), code=1)
    assert out.startswith("0 events written, 3 were there already")
    # A mended line is written, and nothing else twice.
    lines[2] = '{"session": "s", "speaker": "Bob", "text": "mended"}'
    transcript.write_text("\n".join(lines))
    out, _ = shell.run("memory", "import", "alice", str(transcript), code=1)
    assert out.startswith("1 events written, 3 were there already")


def test_sessions(shell: Shell) -> None:
    shell.run("session", "append", "alice", "s1", "user", "where do whales sleep?")
    shell.run("session", "append", "alice", "s1", "assistant", "Upright, near the surface.")
    out, _ = shell.run("session", "window", "alice", "s1", "--last", "1")
    assert out == "2. assistant: Upright, near the surface.\n"
    out, _ = shell.run("session", "search", "alice", "s1", "whales", "-k", "1")
    assert "where do whales sleep?" in out
    assert shell.json("session", "list", "alice")[0]["turns"] == 2
    out, _ = shell.run("session", "end", "alice", "s1", "--turns")
    assert out == "removed 0 tasks and 2 turns\n"


def test_errors_are_one_line_with_a_hint(shell: Shell) -> None:
    (shell.folder / "other").mkdir()
    (shell.folder / "other" / "file").write_text("x")
    _, err = shell.run("memory", "list", "alice", "--data", "other", code=1)
    assert err.splitlines()[0].startswith(
        f"palimp: invalid_request: {shell.folder}/other is not empty"
    )
    _, err = shell.run("memory", "list", "Alice", code=1)
    assert "'Alice' is not a valid name" in err
    _, err = shell.run("memory", "recall", "alice", code=1)
    assert "recall needs a query, an embedding or a topic" in err
    _, err = shell.run("memory", "remember", "alice", "x", "--typ", "fact", code=2)
    assert "--type" in err
    shell.environment["PALIMP_DATADIR"] = "x"
    _, err = shell.run("memory", "list", "alice", code=1)
    assert "did you mean 'PALIMP_DATA_DIR'" in err


def test_the_demo_shows_the_main_job(shell: Shell) -> None:
    out, _ = shell.run("demo")
    commands = [line for line in out.splitlines() if line.startswith("$ ")]
    assert len(commands) >= 9
    assert "78 events written" in out
    assert "1. 0." in out
    assert "before: Iris: Through Ponta Delgada" in out
    assert "lending me his hydrophone" in out
    assert "supersedes mem_" in out
    assert "holds now" in out
    assert "palimp: not_found" in out
    # The printed commands can be repeated: the folder is still there.
    shell.environment["PALIMP_DATA_DIR"] = commands[0].partition("PALIMP_DATA_DIR=")[2]
    again, _ = shell.run("memory", "history", "mara", "--topic", "user.seat")
    assert "window seats" in again


def test_eval_locomo_on_a_small_file_of_our_own(shell: Shell) -> None:
    def turn(number: int, speaker: str, text: str) -> dict[str, str]:
        return {"speaker": speaker, "dia_id": f"D1:{number}", "text": text}

    sample = {
        "sample_id": "own-1",
        "conversation": {
            "speaker_a": "Ann",
            "speaker_b": "Bob",
            "session_1_date_time": "1:56 pm on 8 May, 2023",
            "session_1": [
                turn(1, "Ann", "I bought a red kayak yesterday"),
                turn(2, "Bob", "My sister plays the oboe in Porto"),
                turn(3, "Ann", "The weather was dreadful"),
            ],
        },
        "qa": [
            {
                "question": "What did Ann buy?",
                "answer": "kayak",
                "evidence": ["D1:1"],
                "category": 4,
            },
            {
                "question": "Who plays the oboe?",
                "answer": "x",
                "evidence": ["D1:02; D9:9"],
                "category": 1,
            },
            {"question": "Nothing?", "answer": "x", "evidence": ["D"], "category": 2},
            {"question": "Does Ann play the oboe?", "evidence": ["D1:2"], "category": 5},
        ],
    }
    (shell.folder / "own.json").write_text(json.dumps([sample]))
    out, _ = shell.run("eval", "locomo", "own.json", "--json", "out.json")
    assert "overall 1-4" in out
    report = json.loads((shell.folder / "out.json").read_text())
    assert report["overall"]["questions"] == 2
    assert report["overall"]["recall@1"] == 100.0
    assert set(report["categories"]) == {"1", "4", "5"}
    assert report["counts"]["questions_without_evidence"] == 1
    assert report["questions"][0]["ranking"][0] == "D1:1"
    (shell.folder / "bad.json").write_text('[{"sample_id": "x"}]')
    _, err = shell.run("eval", "locomo", "bad.json", code=1)
    assert "is not a LoCoMo file: sample 0" in err
