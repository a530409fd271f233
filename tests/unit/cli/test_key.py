"""`palimp key`: what people see of keys of other systems' clients."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from palimp.cli.main import cli
from palimp.errors import Invalid, NotFound

pytest.importorskip("alembic", reason="alembic is not installed (pip install 'palimp[server]')")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PALIMP_CATALOG_URL", f"sqlite:///{tmp_path}/catalog.db")
    monkeypatch.setenv("PALIMP_EMBED_PROVIDER", "none")


def run(line: str) -> str:
    found = CliRunner().invoke(cli, [*line.split(), "--data", "m"], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout


def test_a_key_is_printed_once_and_listed_without_it() -> None:
    secret = run("key --dialect memoria create --user alice --name laptop").strip()
    assert secret.startswith("sk-")
    run("key --dialect memoria create --user bob --name phone --expires 2126-01-31")
    lines = run("key --dialect memoria list").splitlines()
    assert len(lines) == 2
    assert "phone" in lines[0]
    assert "until 2126-01-31" in lines[0]
    [line] = run("key --dialect memoria list --user alice").splitlines()
    assert f"{secret[:12]}...  alice  laptop: made " in line
    assert line.endswith(", never used")
    assert secret not in line
    identity = line.split()[0]
    assert run(f"key --dialect memoria show {identity}").strip() == line
    renewed = run(f"key --dialect memoria rotate {identity}").strip()
    assert renewed.startswith("sk-")
    assert renewed != secret
    listed = json.loads(run("key --dialect memoria list --user alice --json"))["credentials"]
    assert [one["prefix"] for one in listed] == [renewed[:12]]
    assert run(f"key --dialect memoria revoke {listed[0]['id']}") == f"revoked {listed[0]['id']}\n"
    assert run("key --dialect memoria list --user alice") == ""
    with pytest.raises(NotFound, match="or it was revoked"):
        run(f"key --dialect memoria revoke {listed[0]['id']}")


@pytest.mark.parametrize("words", ["", "--dialect memtrace", "--dialect memoturn"])
def test_a_dialect_without_keys_is_refused_by_name(words: str) -> None:
    named = words.removeprefix("--dialect ") or "memtrace"
    with pytest.raises(Invalid, match=f"no keys of dialect '{named}' here; give --dialect memoria"):
        run(f"key {words} list")
