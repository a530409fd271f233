"""The group of all commands; each command's module is imported when the command is used."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import click

from ..errors import Error
from ..version import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["COMMANDS", "COMPLETE_VARIABLE", "PROGRAM", "cli", "main"]

# Command -> module (and name in it, if not `command`) and what it is for. A command outside this
# table does not exist.
COMMANDS: dict[str, tuple[str, str]] = {
    "ask": ("ask", "Answer a question from the memories."),
    "audit": ("audit", "Read and check who did what."),
    "branch": ("branch", "Checkpoint, rewind, fork and list branches."),
    "catalog": ("catalog", "Make the operator's indexes again."),
    "completions": ("completions", "Print the completion script of a shell."),
    "db": ("control:db", "Make, list and delete databases."),
    "debug": ("debug", "Show what the engine keeps."),
    "demo": ("demo", "Show the main job on a sample conversation."),
    "docs": ("docs", "Write and find documents."),
    "lifecycle": ("lifecycle", "Archive, delete in two steps, restore, hold."),
    "erasure": ("erasure", "Erase from all of history, with a receipt."),
    "embed": ("embed", "See and renew the vectors that memories are found by."),
    "eval": ("evaluate", "Measure recall on public data."),
    "export": ("exchange:export", "Write a profile as one plain SQLite file."),
    "extract": ("extract", "Find memories in turns of a conversation."),
    "fleet": ("fleet", "Do the same to many profiles."),
    "gateway": ("gateway", "Pass requests on to the nodes of a cluster."),
    "governance": ("governance", "Have rules look through memories, and take it back."),
    "import": ("exchange:import_", "Fill a new profile from an exported file."),
    "init": ("init", "Say what is reachable and configured, and what to do next."),
    "key": ("key", "Make keys for clients of other systems."),
    "keygen": ("control:keygen", "Print a new key: for tokens, or to encrypt."),
    "keys": ("keys", "See, renew and retire encryption keys."),
    "kv": ("kv", "Keep small state by key."),
    "lineage": ("extract:lineage", "Forget what was derived from something."),
    "ltx": ("ltx", "Check, show and restore segment files."),
    "maintain": ("maintain", "Run the background work that is due now."),
    "mcp": ("mcp", "Serve memory tools to an agent (MCP)."),
    "memory": ("memory", "Write, recall, supersede, forget memories."),
    "memtrace": ("memtrace", "Serve Memtrace's clients, by its own command line."),
    "namespace": ("control:namespace", "List and delete namespaces."),
    "org": ("org", "Make tenants for clients of other systems."),
    "policy": ("policy", "Say what may be kept, and for how long."),
    "proposals": ("extract:proposals", "See, accept and dismiss what was proposed."),
    "restore": ("restore", "Build the local files from an object store."),
    "review": ("extract:review", "See, merge and drop what was extracted for review."),
    "serve": ("serve", "Serve a folder over HTTP."),
    "session": ("session", "Append to, read, search and sum up sessions."),
    "setup": ("setup", "Make an agent tool use the memories over MCP."),
    "sql": ("sql", "Run SQL on tables of your own."),
    "subject": ("subject", "Write out everything that is held of somebody."),
    "timeline": ("timeline", "Show what agents did, in the order of time."),
    "token": ("control:token", "Mint tokens for callers of a node."),
    "vectors": ("vectors", "Write and search collections of vectors."),
    "verify": ("verify", "Check every object of the history."),
}

PROGRAM = "palimp"
# What the completion scripts set; it begins with `_`, so it is no setting.
COMPLETE_VARIABLE = "_PALIMP_COMPLETE"


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

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=COMMANDS[name][1])
            for name in sorted(COMMANDS)
            if name.startswith(incomplete)
        ]
        # Past the group's own answer, which imports every command for its help.
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in sorted(COMMANDS)])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="palimp")
def cli() -> None:
    """Palimpsest: memory for agents, in a folder on this machine or on a node.

    \b
    Try it:
      palimp demo
      palimp memory remember alice "Prefers aisle seats" --topic user.seat
      palimp memory recall alice "which seat does she like?"

    Commands on memories take --data FOLDER (default: PALIMP_DATA_DIR, else ./memory), or --url and
    --token for a node (default: PALIMP_URL and PALIMP_TOKEN), and --json.
    """


def main() -> None:
    """Run a command; an error of ours is one line on stderr and exit code 1, never a traceback."""
    try:
        # The same name however it was started, `python -m palimp` too.
        cli(prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE)
    except Error as error:
        from .hints import hint

        click.echo(f"palimp: {error.code}: {error}", err=True)
        next_step = hint(error)
        if next_step is not None:
            click.echo(f"  hint: {next_step}", err=True)
        sys.exit(1)
