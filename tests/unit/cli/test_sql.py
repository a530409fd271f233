"""SQL on the command line: scripts are split as SQLite splits them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from palimp.cli.main import cli
from palimp.cli.sql import split_statements


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PALIMP_URL", raising=False)


def run(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(cli, ["sql", "alice", *words, "--data", "m"], input=stdin)


SCRIPT = """
-- Trips; and where they went to.
CREATE TABLE trips (id INTEGER PRIMARY KEY, place);
/* a trigger; has semicolons */
CREATE TRIGGER log AFTER INSERT ON trips BEGIN SELECT 1; SELECT ';'; END;
INSERT INTO trips (place) VALUES ('Oslo; Norway'), (x'00ff'), (NULL); ;
SELECT * FROM trips -- the end
"""


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (SCRIPT, 4),
        ("", 0),
        (" ;; \n", 0),
        ("-- a;", 0),
        ("/* a; */ ;", 0),
        ("/* open", 0),
        ("SELECT 1", 1),
        ("SELECT 1; -- b", 1),
        ("SELECT ';'; SELECT \";\"", 2),
    ],
)
def test_a_script_is_split_where_sqlite_says(text: str, count: int) -> None:
    assert len(list(split_statements(text))) == count


def test_a_script_is_one_transaction_and_shows_its_rows() -> None:
    found = run(stdin=SCRIPT)
    assert found.stderr == "txid: 1\n"
    assert found.stdout.splitlines() == [
        "3 rows changed",
        "id  place",
        "--  ------------",
        "1   Oslo; Norway",
        "2   x'00ff'",
        "3   NULL",
    ]
    broken = run("DELETE FROM trips; SELECT * FROM nowhere")
    assert broken.exit_code == 1
    assert "no such table: nowhere" in str(broken.exception)
    assert run("SELECT count(*) AS n FROM trips").stdout == "n\n-\n3\n"
    assert run("DELETE FROM trips WHERE id = 1").stdout == "1 row changed\n"


def test_json_is_the_answer_of_the_wire() -> None:
    found = run("SELECT x'00ff' AS b, 9e999; SELECT 1", "--json")
    assert json.loads(found.stdout) == {
        "results": [
            {
                "columns": ["b", "9e999"],
                "rows": [[{"$base64": "AP8="}, {"$real": "inf"}]],
                "changes": None,
            },
            {"columns": ["1"], "rows": [[1]], "changes": None},
        ],
        "txid": 0,
    }


def test_what_a_terminal_would_obey_is_shown() -> None:
    shown = run("SELECT 'a' || char(27) || '[2J' || char(10) || 'b'").stdout
    assert shown.splitlines()[2] == r"a\x1b[2J\nb"


def test_the_past_is_read_and_not_written() -> None:
    run("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
    CliRunner().invoke(cli, ["branch", "checkpoint", "alice", "then", "--data", "m"])
    run("DELETE FROM t")
    assert run("SELECT a FROM t", "--at", "then").stdout == "a\n-\n1\n"
    assert "would write to the past" in str(run("DELETE FROM t", "--at", "then").exception)


def test_nothing_to_run_is_said() -> None:
    assert "there is no statement" in str(run(stdin="-- nothing").exception)
