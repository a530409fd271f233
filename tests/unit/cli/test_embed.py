"""`palimp embed`, and waiting for vectors on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import palimp
from palimp.cli.main import cli

BUNDLED = "palimp-minilm-static-256.1"


@pytest.fixture
def folder(tmp_path: Path) -> str:
    with palimp.open(tmp_path / "m", embed_provider="none") as mem:
        mem.profile("alice").ingest([{"text": f"m {n}"} for n in range(3)])
        mem.profile("bob").session("s").append("user", "hello")
    return str(tmp_path / "m")


def run(line: str, folder: str) -> tuple[str, str]:
    found = CliRunner().invoke(cli, [*line.split(), "--data", folder], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout, found.stderr


def test_status_says_what_waits(folder: str) -> None:
    out, _ = run("embed status alice", folder)
    assert f"model       {BUNDLED}" in out
    assert "pending     3 memories, 0 turns" in out


def test_every_profile_is_embedded_with_progress(folder: str) -> None:
    out, err = run("embed reembed", folder)
    assert out.splitlines() == [
        f"alice: 3 rows embedded with {BUNDLED}, 0 older vectors dropped",
        f"bob: 1 rows embedded with {BUNDLED}, 0 older vectors dropped",
    ]
    assert "default--alice: 3 embedded, 0 remain" in err
    out, _ = run("embed status bob", folder)
    assert f"current     {BUNDLED}, 256 dimensions: 0 memories, 1 turns" in out
    out, err = run("embed reembed --json", folder)
    assert [one["embedded"] for one in json.loads(out)["profiles"]] == [0, 0]
    assert err == ""


def test_a_namespace_without_profiles(folder: str) -> None:
    assert run("embed reembed --namespace nobody", folder)[0] == "no profiles\n"


def test_a_command_waits(folder: str, tmp_path: Path) -> None:
    out, _ = run("memory remember alice newest --wait --json", folder)
    assert json.loads(out)["embedded"] is True
    out, _ = run("session append alice s user hello --wait --json", folder)
    assert json.loads(out)["embedded"] is True
    lines = tmp_path / "lines"
    lines.write_text('{"text": "from a file"}\n')
    run(f"memory ingest alice {lines} --wait", folder)
    out, _ = run("embed status alice --json", folder)
    assert json.loads(out)["generations"][0]["memories"] >= 2


def test_a_command_says_why_it_could_not_wait(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALIMP_EMBED_PROVIDER", "none")
    out, _ = run("memory remember alice newest --wait", folder)
    assert "not embedded: no embedder here" in out
    out, _ = run("session append alice s user hello --wait", folder)
    assert "not embedded: no embedder here" in out
