"""`palimp setup`: an agent tool uses the memories over MCP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import Error, Invalid
from ..ids import NAMESPACE_CHARS_MAX, check_name, parse_profile_spec
from .agents import RULE, TOOLS, Change, Scope, changes, server_entry, write
from .agents.tools import snippet
from .common import echo_json, given


@click.command("setup")
@click.argument("tool")
@click.option("--user", is_flag=True, help="For all projects of this user. [default: this folder]")
@click.option(
    "--data",
    metavar="FOLDER",
    help="Folder with the memories. [default: PALIMP_DATA_DIR, else ./memory, with --user "
    "~/.palimp/memory]",
)
@click.option("--namespace", default="default", show_default=True, help="Namespace.")
@click.option("--profile", default="default", show_default=True, help="Profile the tool works on.")
@click.option("--yes", is_flag=True, help="Write without asking.")
@click.option("--remove", is_flag=True, help="Take out what an earlier run put in.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; ask nothing, write with --yes.")
@click.pass_context
def command(
    context: click.Context,
    tool: str,
    user: bool,
    data: str | None,
    namespace: str,
    profile: str,
    yes: bool,
    remove: bool,
    as_json: bool,
) -> None:
    """Write the MCP configuration of TOOL (claude-code, cursor) and a rule when to use it.

    Shows what it would write and asks first. Everything else in the files stays as it is, byte for
    byte; doing it again changes nothing. For any other TOOL, or `generic`, it prints the JSON that
    most tools take and writes nothing.

    \b
    palimp setup claude-code --data ./memory --profile alice
    palimp setup cursor --user --yes
    palimp setup claude-code --remove
    """
    check_name(namespace, "namespace", chars_max=NAMESPACE_CHARS_MAX)
    parse_profile_spec(profile)
    scope: Scope = "user" if user else "project"
    base = Path.home() if user else Path.cwd()
    entry = server_entry(_folder(data, user=user), namespace, profile)
    if tool not in TOOLS:
        if remove:
            raise Invalid(f"nothing is written for {tool!r}; known are {', '.join(TOOLS)}")
        _print_snippet(tool, entry, as_json=as_json)
        return
    planned = _planned(tool, scope, base, entry, remove=remove)
    busy = [change for change in planned if change.action != "keep"]
    if not as_json:
        _show(tool, busy)
        if busy and not yes:
            click.confirm("Write this?", abort=True)
    wrote = bool(busy) and (yes or not as_json)
    if wrote:
        for change in busy:
            write(change)
    if as_json:
        files = [change.to_dict() for change in planned]
        echo_json({"tool": tool, "scope": scope, "written": wrote, "files": files})
        return
    for change in busy:
        click.echo(f"{change.path}: {_DONE[change.action]}")
    if not remove and TOOLS[tool].rule[scope] is None:
        click.echo(f"{TOOLS[tool].rule_note}\n\n{RULE}", err=True)


_DONE = {"create": "made", "change": "changed", "delete": "removed"}


def _folder(data: str | None, *, user: bool) -> Path:
    from ..node.settings import Settings, load_settings

    found = load_settings(given({"data_dir": data})).data_dir
    if user and data is None and found == Settings().data_dir:
        # Whatever folder the command happens to run in is no place for all projects' memories.
        return Path.home() / ".palimp" / "memory"
    return Path(found).expanduser()


def _planned(
    tool: str, scope: Scope, base: Path, entry: dict[str, Any], *, remove: bool
) -> list[Change]:
    try:
        return changes(TOOLS[tool], scope, base, None if remove else entry)
    except Error as error:
        if "config" in error.details and not remove:
            click.echo(f"To do it by hand, put this into it:\n{snippet(entry)}", err=True)
        raise


def _show(tool: str, busy: list[Change]) -> None:
    if not busy:
        click.echo(f"nothing to do: the files of {tool} are as they should be")
    for change in busy:
        click.echo(change.diff())


def _print_snippet(tool: str, entry: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        echo_json({"tool": tool, "written": False, "config": entry, "rule": RULE})
        return
    click.echo(snippet(entry))
    if tool != "generic":
        click.echo(f"{tool} is not one of {', '.join(TOOLS)}: nothing was written.", err=True)
    click.echo("This is how most tools take an MCP server; put it where yours reads it,", err=True)
    click.echo(f"and this where it reads its rules:\n\n{RULE}", err=True)
