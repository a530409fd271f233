"""Policies and the audit on the command line, and their how-to pages run as they are written."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from ..forked import Shell, python

ROOT = Path(__file__).resolve().parents[2]
ON = '{"audit": {"enabled": true}, "memory": {"event_max_age_secs": 3600}}'


class Commands(Shell):
    """Some of which print JSON unasked."""

    def json(self, *arguments: str, **how: Any) -> Any:
        return json.loads(self.run(*arguments, **how)[0])


@pytest.fixture
def shell(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def test_a_policy_from_stdin_and_from_a_file(shell: Commands) -> None:
    assert shell.json("policy", "set", "acme", given=ON) == json.loads(ON)
    assert shell.json("policy", "get", "acme") == json.loads(ON)
    (shell.folder / "strict.json").write_text('{"memory": {"event_max_age_secs": 60}}')
    done = shell.json(
        "policy", "set", "acme", "--profile", "alice", "--file", "strict.json", "--json"
    )
    assert done["override"] == {"memory": {"event_max_age_secs": 60}}
    assert done["effective"]["audit"] == {"enabled": True}
    # The namespace may be an option too, as everywhere.
    assert shell.json("policy", "get", "--namespace", "acme") == json.loads(ON)
    out, _ = shell.run("policy", "clear", "acme", "--profile", "alice")
    assert out == "profile alice of acme has no policy of its own\n"
    out, _ = shell.run("policy", "clear", "acme")
    assert out == "namespace acme has no policy of its own\n"
    _, err = shell.run("policy", "get", "acme", code=1)
    assert err.startswith("palimp: not_found: namespace 'acme' has no policy")


def test_a_wrong_policy_is_one_line(shell: Commands) -> None:
    _, err = shell.run("policy", "set", "acme", given='{"memory": {"ttl": 1}}', code=1)
    assert "unknown field 'ttl' in memory" in err
    _, err = shell.run("policy", "set", "acme", given="nonsense", code=1)
    assert "not JSON" in err
    shell.run("policy", "set", "acme", given=ON)
    looser = '{"memory": {"event_max_age_secs": 7200}}'
    _, err = shell.run("policy", "set", "acme", "--profile", "alice", given=looser, code=1)
    assert err.startswith("palimp: conflict: ")
    assert "memory.event_max_age_secs 7,200 (it is 3,600 there)" in err


def test_the_audit_is_exported_and_checked(shell: Commands) -> None:
    shell.run("policy", "set", "acme", given=ON)
    shell.run("memory", "remember", "alice", "one", "--namespace", "acme")
    shell.run("memory", "forget", "alice", "mem_none", "--namespace", "acme")
    lines = shell.run("audit", "export", "acme")[0].splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["action"] for event in events] == [
        "policy.update", "memory.ingest", "memory.forget",
    ]  # fmt: skip
    assert len({event["node"] for event in events}) == 1
    out, _ = shell.run("audit", "export", "acme", "--from", "7d", "--action", "memory.ingest")
    assert json.loads(out)["profile"] == "alice"
    assert shell.run("audit", "export", "acme", "--from", "2020-01-01", "--to", "1h")[0] == ""
    assert shell.run("audit", "export", "acme", "--outcome", "denied")[0] == ""
    _, err = shell.run("audit", "export", "acme", "--from", "yesterday", code=1)
    assert "such as 7d" in err
    out, _ = shell.run("audit", "verify", "acme")
    assert out.startswith("sound: 3 events in 3 objects")
    assert shell.json("audit", "verify", "acme", "--json")["broken"] is None


def test_a_change_is_named_with_exit_code_1(shell: Commands) -> None:
    shell.run("policy", "set", "acme", given=ON)
    for text in ("one", "two"):
        shell.run("memory", "remember", "alice", text, "--namespace", "acme")
    objects = sorted((shell.folder / "memory/objects/v1/audit/acme").rglob("*.jsonl"))
    assert len(objects) == 3
    objects[1].write_text(objects[1].read_text().replace("alice", "carol"))
    out, _ = shell.run("audit", "verify", "acme", code=1)
    assert out.startswith("BROKEN: ")
    assert f"{objects[2].name}, line 1" in out
    assert "line 3 does not follow the one before, which was altered" in out
    found = shell.json("audit", "verify", "acme", "--json", code=1)
    assert found["broken"]["key"].endswith(objects[2].name)
    # It goes on recording all the same.
    shell.run("memory", "remember", "alice", "three", "--namespace", "acme")
    assert len(shell.run("audit", "export", "acme")[0].splitlines()) == 4


PAGES = ("govern-what-is-kept", "audit")


@pytest.mark.parametrize("name", PAGES)
def test_the_pages_run_as_they_are_written(name: str, shell: Commands) -> None:
    text = (ROOT / "docs" / "how-to" / f"{name}.md").read_text("utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    done = python(code, shell.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    commands = "\n".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL)).splitlines()
    assert commands
    for line in filter(None, commands):
        words = shlex.split(line)
        assert words[0] == "palimp"
        shell.run(*words[1:])
