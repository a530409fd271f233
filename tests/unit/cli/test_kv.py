"""Keys, values and vectors on the command line, as people and pipes see them."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import palimp
from palimp.cli.main import cli


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PALIMP_URL", raising=False)


def run(*words: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(cli, [*words, "--data", "m"], input=stdin, catch_exceptions=True)


def test_text_json_and_files() -> None:
    assert run("kv", "put", "alice", "theme", "dark").stdout == "theme is set\n"
    assert run("kv", "get", "alice", "theme").stdout == "dark\n"
    run("kv", "put", "alice", "limits", '{"day": 20}', "--parse")
    assert run("kv", "get", "alice", "limits").stdout == '{"day":20}\n'
    Path("photo.bin").write_bytes(b"\x00\xff\r\n")
    run("kv", "put", "alice", "photo", "--file", "photo.bin", "--ns", "files")
    run("kv", "put", "alice", "piped", "--file", "-", "--ns", "files", stdin=b"\xfe")
    # Bytes come out as they went in, with nothing added.
    assert run("kv", "get", "alice", "photo", "--ns", "files").stdout_bytes == b"\x00\xff\r\n"
    assert run("kv", "get", "alice", "piped", "--ns", "files").stdout_bytes == b"\xfe"
    assert run("kv", "list", "alice").stdout == "limits\ntheme\n"
    assert run("kv", "list", "alice", "--prefix", "t").stdout == "theme\n"
    assert run("kv", "delete", "alice", "theme").stdout == "theme is removed\n"
    assert run("kv", "delete", "alice", "theme").stdout == "there was no key theme\n"
    assert "is set until 2" in run("kv", "put", "alice", "x", "y", "--ttl", "60").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "VALUE or a --file"),
        (("x", "--file", "-"), "one of the two"),
        (("--file", "-", "--parse"), "leave one out"),
        (("{", "--parse"), "not JSON"),
    ],
)
def test_what_cannot_be_put(words: tuple[str, ...], message: str) -> None:
    done = run("kv", "put", "alice", "k", *words)
    assert isinstance(done.exception, palimp.Invalid)
    assert message in str(done.exception)
    assert not run("kv", "list", "alice").stdout


def test_vectors() -> None:
    run("vectors", "upsert", "alice", "docs", "east", "[1, 0]", "--metadata", '{"n": 1}')
    run("vectors", "upsert", "alice", "docs", "north", "[0, 1]")
    found = run("vectors", "search", "alice", "docs", "[1, 0]").stdout
    assert found == "0.0000  east\n1.0000  north\n"
    narrowed = run("vectors", "search", "alice", "docs", "[0, 1]", "--filter", '{"n": 1}').stdout
    assert narrowed == "1.0000  east\n"
    shown = run("vectors", "get", "alice", "docs", "east").stdout
    assert shown == "2 dimensions: [1.0, 0.0]\nmetadata: {'n': 1}\n"
    assert run("vectors", "info", "alice", "docs").stdout == (
        "docs: 2 vectors, 2 dimensions, cosine\n"
    )
    assert run("vectors", "info", "alice", "other").stdout == "other: 0 vectors\n"
    assert run("vectors", "delete", "alice", "docs", "east").stdout == "east is removed\n"
    assert run("vectors", "delete", "alice", "docs", "east").stdout == "there was no vector east\n"
    assert run("vectors", "list", "alice", "docs").stdout == "north\n"
    assert run("vectors", "drop", "alice", "docs").stdout == "docs is removed\n"
    assert run("vectors", "drop", "alice", "docs").stdout == "there was no docs\n"
