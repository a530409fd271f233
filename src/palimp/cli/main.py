"""The group of all commands; each command's module is imported when the command is used."""

from __future__ import annotations

import importlib
import sys

import click

from .. import __version__
from ..errors import Error

__all__ = ["COMMANDS", "cli", "main"]

# Command -> module (and name in it, if not `command`) and what it is for. A command outside this
# table does not exist.
COMMANDS: dict[str, tuple[str, str]] = {
    "branch": ("branch", "Checkpoint, rewind, fork and list branches."),
    "debug": ("debug", "Show what the engine keeps."),
    "demo": ("demo", "Show the main job on a sample conversation."),
    "eval": ("evaluate", "Measure recall on public data."),
    "export": ("exchange:export", "Write a profile as one plain SQLite file."),
    "import": ("exchange:import_", "Fill a new profile from an exported file."),
    "ltx": ("ltx", "Check, show and restore segment files."),
    "maintain": ("maintain", "Run the background work that is due now."),
    "memory": ("memory", "Write, recall, supersede, forget memories."),
    "restore": ("restore", "Build the local files from an object store."),
    "session": ("session", "Append to, read and search transcripts."),
    "verify": ("verify", "Check every object of the history."),
}

# What to do next, by the error's code: the message says what happened, this says where to look.
_HINTS = {
    "invalid_request": "see the command's --help for what it takes",
    "payload_too_large": "send it in smaller pieces",
    "not_found": "`palimp memory list PROFILE` or `branch points PROFILE` shows what there is",
    "branch_not_found": "`palimp branch list PROFILE` shows what there is",
    "already_exists": "choose another name, or remove what has it",
    "conflict": "`palimp memory history PROFILE ID` shows what holds now",
    "unavailable": "nothing was changed by this command; repeat it when the cause is gone",
    "internal": "this should not happen; please report it with the output of PALIMP_DEBUG=1",
}
_IN_DOUBT = "it may have been done all the same: look before you repeat it"


class _Lazy(click.Group):
    """Knows its commands by name and imports only the one that is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name, _, attribute = COMMANDS[cmd_name][0].partition(":")
        module = importlib.import_module(f".{name}", __package__)
        command: click.Command = getattr(module, attribute or "command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in sorted(COMMANDS)])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="palimp")
def cli() -> None:
    """Palimpsest: memory for agents, in a folder on this machine.

    \b
    Try it:
      palimp demo
      palimp memory remember alice "Prefers aisle seats" --topic user.seat
      palimp memory recall alice "which seat does she like?"

    Commands on memories take --data FOLDER (default: PALIMP_DATA_DIR, else ./memory) and --json.
    """


def main() -> None:
    """Run a command; an error of ours is one line on stderr and exit code 1, never a traceback."""
    try:
        cli()
    except Error as error:
        click.echo(f"palimp: {error.code}: {error}", err=True)
        hint = _IN_DOUBT if error.details.get("in_doubt") else _HINTS.get(error.code)
        if hint:
            click.echo(f"  hint: {hint}", err=True)
        sys.exit(1)
