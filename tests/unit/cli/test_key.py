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


def test_a_key_of_a_tenant() -> None:
    made = json.loads(run("key --dialect memorysync create --tenant acme --json"))
    assert made["key"] == made["secret"]
    assert made["key"].startswith("ms_live_")
    assert made["detail"] == {"project": None, "environment": "production", "scopes": ["*"]}
    words = "--environment staging --project proj_0 --scopes memory:read,memory:add --name ci"
    secret = run(f"key --dialect memorysync create --tenant acme {words}").strip()
    assert secret.startswith("ms_test_")
    first, _ = json.loads(run("key --dialect memorysync list --tenant acme --json"))["credentials"]
    assert (first["name"], first["detail"]["scopes"]) == ("ci", ["memory:read", "memory:add"])
    assert run("key --dialect memorysync list --tenant other") == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--dialect memorysync create --user bob", "Missing option '--tenant'"),
        ("--dialect memorysync create --tenant a --user b", "--user is not for keys of memorysync"),
        ("--dialect memoria create --name n", "Missing option '--user'"),
        ("--dialect memoria create --user u", "Missing option '--name'"),
        ("--dialect memoria create --user u --name n --tenant t", "--tenant is not for keys of"),
        ("--dialect memoria create --user u --name n --scopes s", "--scopes is not for keys of"),
    ],
)
def test_an_option_of_another_dialect_is_refused(words: str, said: str) -> None:
    found = CliRunner().invoke(cli, ["key", *words.split(), "--data", "m"])
    assert found.exit_code == 2
    assert said in found.output


def test_tenants_are_made_listed_and_deleted() -> None:
    assert run("org --dialect memorysync create acme") == "made acme\n"
    run("key --dialect memorysync create --tenant acme")
    assert run("org --dialect memorysync list").startswith("acme  made ")
    assert json.loads(run("org --dialect memorysync list --json"))["tenants"][0]["name"] == "acme"
    deleted = run("org --dialect memorysync delete acme --yes")
    assert deleted == "deleted acme: 1 keys, 0 databases\n"
    assert run("org --dialect memorysync list") == ""
    with pytest.raises(Invalid, match="no tenants of dialect 'memoria' here; give --dialect"):
        run("org --dialect memoria list")


def test_a_dialect_without_keys_is_refused_by_name() -> None:
    with pytest.raises(Invalid, match="no keys of dialect 'memoturn' here; give --dialect memoria"):
        run("key --dialect memoturn list")
