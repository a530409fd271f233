"""`palimp setup` on the files of agent tools, and what it refuses to touch."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PALIMP_")}
MAIN = (sys.executable, "-W", "error", "-m", "palimp")
CLAUDE = """{
  "mcpServers": {
    "github": {"command": "gh-mcp", "env": {"TOKEN": "s3cr\\u0065t"}}
  },
  "other":   [1,2,   3]
}"""
RULES = "# House rules\n\n- Be brief."


class Desk:
    """A project folder and a home, and everything in them."""

    def __init__(self, folder: Path) -> None:
        self.project, self.home = folder / "project", folder / "home"
        self.project.mkdir()
        self.home.mkdir()
        self.folder = folder

    def run(
        self,
        *arguments: str,
        code: int = 0,
        given: str = "",
        program: tuple[str, ...] = MAIN,
        **environment: str,
    ) -> tuple[str, str]:
        done = subprocess.run(
            [*program, "setup", *arguments],
            cwd=self.project,
            env={**CLEAN, "HOME": str(self.home), **environment},
            input=given,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout, done.stderr

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }

    def server(self, path: str) -> Any:
        return json.loads((self.folder / path).read_text())["mcpServers"]["palimp"]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


CASES = {
    "claude-code": (("claude-code",), "project/.mcp.json", "project/CLAUDE.md"),
    "claude-code --user": (
        ("claude-code", "--user"),
        "home/.claude.json",
        "home/.claude/CLAUDE.md",
    ),
    "cursor": (("cursor",), "project/.cursor/mcp.json", "project/.cursor/rules/palimp.mdc"),
    "cursor --user": (("cursor", "--user"), "home/.cursor/mcp.json", None),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_from_nothing_to_nothing(desk: Desk, case: tuple[tuple[str, ...], str, str | None]) -> None:
    arguments, config, rule = case
    desk.run(*arguments, "--profile", "alice", "--yes")
    assert set(desk.files()) == {config, *([rule] if rule else [])}
    server = desk.server(config)
    assert Path(server["command"]).is_absolute()
    memory = desk.home / ".palimp" / "memory" if "--user" in arguments else desk.project / "memory"
    assert server["args"][-5:] == ["mcp", "--data", str(memory), "--profile", "alice"]
    if rule is not None:
        assert "memory_recall" in (desk.folder / rule).read_text()
    before = desk.files()
    out, _ = desk.run(*arguments, "--profile", "alice", "--yes")
    assert out.startswith("nothing to do")
    assert desk.files() == before
    desk.run(*arguments, "--remove", "--yes")
    assert desk.files() == {}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_was_there_stays_and_comes_back_byte_for_byte(
    desk: Desk, case: tuple[tuple[str, ...], str, str | None]
) -> None:
    arguments, config, rule = case
    for name, text in ((config, CLAUDE), (rule, RULES)):
        if name is not None:
            (desk.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (desk.folder / name).write_text(text)
            (desk.folder / name).chmod(0o640)
    before = desk.files()
    out, err = desk.run(*arguments, "--data", "../memory", "--yes")
    assert "s3cr" not in out + err
    after = desk.files()
    assert json.loads(after[config])["mcpServers"]["github"]["env"] == {"TOKEN": "s3cret"}
    assert b'"env": {"TOKEN": "s3cr\\u0065t"}}' in after[config]
    assert b'"other":   [1,2,   3]' in after[config]
    assert (desk.folder / config).stat().st_mode & 0o777 == 0o640
    if rule is not None:
        assert after[rule].startswith(RULES.encode())
    desk.run(*arguments, "--remove", "--yes")
    assert desk.files() == before


def test_it_shows_a_diff_and_asks_before_it_writes(desk: Desk) -> None:
    out, err = desk.run("claude-code", given="n\n", code=1)
    assert '+    "palimp": {' in out
    assert "Aborted" in err
    assert desk.files() == {}
    # Nobody there to ask: nothing is written.
    desk.run("claude-code", code=1)
    assert desk.files() == {}
    out, _ = desk.run("claude-code", given="y\n")
    assert f"{desk.project / '.mcp.json'}: made" in out
    assert set(desk.files()) == {"project/.mcp.json", "project/CLAUDE.md"}


def test_json_tells_what_would_be_and_what_was_done(desk: Desk) -> None:
    plan = json.loads(desk.run("cursor", "--json")[0])
    assert not plan["written"]
    assert [file["action"] for file in plan["files"]] == ["create", "create"]
    assert desk.files() == {}
    done = json.loads(desk.run("cursor", "--json", "--yes")[0])
    assert done["written"]
    assert done["files"] == plan["files"]
    again = json.loads(desk.run("cursor", "--json", "--yes")[0])
    assert not again["written"]
    assert {file["action"] for file in again["files"]} == {"keep"}
    gone = json.loads(desk.run("cursor", "--json", "--yes", "--remove")[0])
    assert [file["action"] for file in gone["files"]] == ["delete", "delete"]


@pytest.mark.parametrize("broken", ['{"a": 1,}', '{\n  // my servers\n  "mcpServers": {}\n}', "x"])
def test_a_file_that_is_not_plain_json_is_named_and_untouched(desk: Desk, broken: str) -> None:
    (desk.project / ".mcp.json").write_text(broken)
    before = desk.files()
    _, err = desk.run("claude-code", "--yes", code=1)
    assert f"invalid_request: {desk.project / '.mcp.json'} was left as it is" in err
    assert "not plain JSON" in err
    # What to paste by hand is there, and is what would have been written.
    begin = err.index("{\n")
    pasted, _ = json.JSONDecoder().raw_decode(err[begin:])
    assert "mcp" in pasted["mcpServers"]["palimp"]["args"]
    assert desk.files() == before


def test_files_that_cannot_be_changed_with_care_are_refused(desk: Desk) -> None:
    (desk.project / ".mcp.json").write_text('{"mcpServers": {"palimp": {"command": "mine"}}}')
    for more in ((), ("--remove",)):
        _, err = desk.run("claude-code", "--yes", *more, code=1)
        assert "conflict: " in err
        assert "did not write" in err
    (desk.project / ".mcp.json").unlink()
    (desk.project / "CLAUDE.md").write_bytes(b"\xff\xfe")
    _, err = desk.run("claude-code", "--yes", code=1)
    assert "CLAUDE.md is not UTF-8 text" in err
    (desk.project / "CLAUDE.md").unlink()
    (desk.project / "CLAUDE.md").mkdir()
    _, err = desk.run("claude-code", "--yes", code=1)
    assert "unavailable: " in err
    # The rule could not be, so the configuration was not written either.
    assert desk.files() == {}


def test_a_linked_configuration_is_written_through(desk: Desk) -> None:
    (desk.home / "dotfiles").mkdir()
    (desk.home / "dotfiles" / "claude.json").write_text(CLAUDE)
    (desk.home / ".claude.json").symlink_to("dotfiles/claude.json")
    desk.run("claude-code", "--user", "--yes")
    assert (desk.home / ".claude.json").is_symlink()
    assert desk.server("home/dotfiles/claude.json")["args"]
    desk.run("claude-code", "--user", "--remove", "--yes")
    assert (desk.home / "dotfiles" / "claude.json").read_text() == CLAUDE
    (desk.home / ".claude.json").unlink()
    (desk.home / ".claude.json").symlink_to(".claude.json")
    _, err = desk.run("claude-code", "--user", "--yes", code=1)
    assert "unavailable: " in err


def test_other_arguments_change_the_entry_and_keep_what_the_user_added(desk: Desk) -> None:
    desk.run("claude-code", "--yes")
    path = desk.project / ".mcp.json"
    config = json.loads(path.read_text())
    config["mcpServers"]["palimp"]["env"] = {"PALIMP_SOURCE": "claude"}
    path.write_text(json.dumps(config))
    desk.run("claude-code", "--profile", "bob", "--namespace", "acme", "--yes")
    server = desk.server("project/.mcp.json")
    assert server["env"] == {"PALIMP_SOURCE": "claude"}
    assert server["args"][-4:] == ["--namespace", "acme", "--profile", "bob"]
    _, err = desk.run("claude-code", "--profile", "Not A Name", code=1)
    assert "invalid_request" in err


def test_other_tools_get_the_json_and_a_note(desk: Desk) -> None:
    out, err = desk.run("generic", "--profile", "zoe")
    assert json.loads(out)["mcpServers"]["palimp"]["args"][-1] == "zoe"
    assert "memory_recall" in err
    out, err = desk.run("windsurf")
    assert json.loads(out)["mcpServers"]["palimp"]
    assert "windsurf is not one of claude-code, cursor: nothing was written" in err
    config = json.loads(desk.run("generic", "--json")[0])["config"]
    assert config == json.loads(desk.run("generic")[0])["mcpServers"]["palimp"]
    _, err = desk.run("windsurf", "--remove", code=1)
    assert "nothing is written for 'windsurf'" in err
    assert desk.files() == {}


def test_the_folder_is_the_one_the_commands_here_work_on(desk: Desk) -> None:
    (desk.folder / "palimp.toml").write_text('data_dir = "/from/toml"')

    def folder(*arguments: str, **environment: str) -> str:
        out, _ = desk.run("generic", *arguments, **environment)
        arguments = tuple(json.loads(out)["mcpServers"]["palimp"]["args"])
        return str(arguments[arguments.index("--data") + 1])

    toml = str(desk.folder / "palimp.toml")
    assert folder() == str(desk.project / "memory")
    assert folder("--user") == str(desk.home / ".palimp" / "memory")
    assert folder("--user", "--data", "./memory") == str(desk.project / "memory")
    assert folder("--user", PALIMP_CONFIG=toml) == "/from/toml"
    assert folder(PALIMP_CONFIG=toml, PALIMP_DATA_DIR="~/env") == str(desk.home / "env")
    assert folder("--data", "given", PALIMP_DATA_DIR="~/env") == str(desk.project / "given")


def test_the_configured_command_is_the_one_that_runs(desk: Desk) -> None:
    script = Path(sys.executable).with_name("palimp")
    programs = [MAIN, *([(str(script),)] if script.exists() else [])]
    for program in programs:
        server = json.loads(desk.run("generic", program=program)[0])["mcpServers"]["palimp"]
        started = [server["command"], *server["args"], "--help"]
        # From anywhere, and without the environment of this shell.
        done = subprocess.run(started, cwd="/", env={}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "Usage: palimp mcp" in done.stdout


def test_the_rule_names_tools_that_the_configured_server_has(desk: Desk) -> None:
    pytest.importorskip("mcp", reason="palimp mcp needs the extra mcp")
    out, rule = desk.run("generic")
    server = json.loads(out)["mcpServers"]["palimp"]
    started = [server["command"], *server["args"], "--list-tools"]
    done = subprocess.run(started, cwd="/", env={}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    named = set(re.findall(r"`(memory_\w+)`", rule))
    assert len(named) >= 4
    assert named <= set(re.findall(r'"name": ?"(\w+)"', done.stdout))
