"""`palimp docs` as people see it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from palimp.cli.main import cli
from palimp.errors import Error


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def run(*words: str, given: str | None = None) -> Any:
        found = CliRunner().invoke(cli, ["docs", *words], input=given)
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        return found

    return run


def test_documents_go_in_and_come_out_as_lines(run: Any) -> None:
    found = run("insert", "alice", "trips", '{"_id": "a", "to": "Zürich", "n": 2}')
    assert (found.stdout, found.stderr) == ("a\n", "txid: 1\n")
    lines = "".join(json.dumps({"_id": f"{n:04}", "n": n % 3}) + "\n" for n in range(1_500))
    found = run("insert", "alice", "trips", "--file", "-", given=lines)
    assert found.stdout.split() == [f"{n:04}" for n in range(1_500)]
    # Two batches, the last of which is named.
    assert found.stderr == "txid: 3\n"
    assert run("count", "alice", "trips").stdout == "1501\n"
    assert run("count", "alice", "trips", '{"n": 0}').stdout == "500\n"
    found = run(
        "find", "alice", "trips", '{"n": 2}', "--sort", "to", "--limit", "1", "--skip", "500"
    )
    assert found.stdout == '{"_id": "a", "to": "Zürich", "n": 2}\n'
    found = run("find", "alice", "trips", "--sort", "-n", "--sort", "_id", "--limit", "2")
    assert [json.loads(line)["_id"] for line in found.stdout.splitlines()] == ["0002", "0005"]


def test_what_was_done_is_said(run: Any) -> None:
    run("insert", "alice", "trips", '{"_id": "a", "to": "Oslo"}')
    found = run("update", "alice", "trips", "{}", '{"$set": {"to": "Rome"}}')
    assert found.stdout == "1 matched, 1 changed\n"
    assert run("index", "alice", "trips", "to").stdout == "to is indexed\n"
    assert run("index", "alice", "trips", "to").stdout == "to was indexed already\n"
    assert run("indexes", "alice", "trips").stdout == "to\n"
    assert run("list", "alice").stdout == "trips  1 documents\n"
    assert run("delete", "alice", "trips", "{}", "--multi").stdout == "1 removed\n"
    assert run("drop", "alice", "trips").stdout == "trips is removed\n"
    assert run("drop", "alice", "trips").stdout == "there was no trips\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["insert", "alice", "trips"], "one of the two"),
        (["insert", "alice", "trips", "{"], "not JSON"),
        (["insert", "alice", "trips", "[1]"], "docs"),
        (["find", "alice", "trips", "{"], "not JSON"),
        (["find", "alice", "trips", "[]", "--limit", "0"], "limit|filter"),
        (["update", "alice", "trips", "{}", "7"], "update"),
        (["delete", "alice", "trips", "7"], "filter"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_what_is_wrong_is_said(run: Any, words: list[str], message: str) -> None:
    with pytest.raises(Error, match=message):
        run(*words)


def test_a_line_that_is_not_json_is_named(run: Any) -> None:
    with pytest.raises(Error, match="line 2"):
        run("insert", "alice", "trips", "--file", "-", given='{"a": 1}\n{"a"\n')
