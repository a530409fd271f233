"""The documentation against the code: what exists is described, what is described exists."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import msgspec
import pytest

import palimp
from palimp.api import OPERATIONS, limits
from palimp.cli.main import COMMANDS, cli
from palimp.errors import CODES
from palimp.node.settings import SETTINGS, Settings

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def page(name: str) -> str:
    return (REFERENCE / name).read_text("utf-8")


def test_every_public_name_is_in_the_reference() -> None:
    text = page("python.md")
    for name in palimp.__all__:
        if not name.startswith("__"):
            assert f"## palimp.{name}\n" in text, name


def test_every_operation_with_its_route_is_in_the_reference() -> None:
    text = page("operations.md")
    for row in OPERATIONS.values():
        assert f"| `{row.name}` | `{row.method} {row.path}` |" in text


def test_every_setting_is_described_and_in_the_reference() -> None:
    names = [field.name for field in msgspec.structs.fields(Settings)]
    assert names == list(SETTINGS)
    for name in names:
        assert f"`PALIMP_{name.upper()}`" in page("settings.md")


def test_every_error_code_and_limit_is_in_the_reference() -> None:
    assert len(CODES) == 14
    for code in CODES:
        assert f"`{code}`" in page("errors.md")
    for name in limits.__all__:
        assert f"`{name}`" in page("limits.md")


def commands(command: click.Command, path: str) -> list[tuple[str, click.Command]]:
    found = [(path, command)]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            found += commands(inner, f"{path} {name}")
    return found


ALL_COMMANDS = commands(cli, "palimp")


@pytest.mark.parametrize("path", [path for path, _ in ALL_COMMANDS])
def test_every_command_is_in_the_reference_and_has_help(path: str) -> None:
    command = dict(ALL_COMMANDS)[path]
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
    if path != "palimp":
        assert f"## {path}\n" in page("commands.md")


def test_the_help_lists_every_command() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from palimp.cli import main; main()", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("path", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_commands_in_the_pages_exist(path: Path) -> None:
    known = {name for name, _ in ALL_COMMANDS}
    for line in re.findall(r"^\$? ?(palimp [a-z].*)$", path.read_text("utf-8"), re.MULTILINE):
        words = shlex.split(line, comments=True)
        named = words[:2] if " ".join(words[:3]) not in known else words[:3]
        assert " ".join(named) in known, line


def test_no_page_names_a_place_that_does_not_exist() -> None:
    for path in PAGES:
        if "decisions" in path.parts or path.name == "CHANGELOG.md":
            continue
        for name in re.findall(
            r"`((?:src|docs|bench|scripts|tests|examples)/[\w./-]+)`", path.read_text()
        ):
            assert (ROOT / name).exists(), f"{path.name} names {name}"
