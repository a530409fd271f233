"""`palimp demo`: the main job, with the very commands a reader can repeat."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from ..errors import Error, Internal
from .main import cli

_PROFILE = "mara"
# Acknowledged, then killed without a chance to close anything.
_KILLED = """import os, signal, palimp
written = palimp.open().profile("mara").remember("The ferry leaves at 6:40", topic="ferry")
print("acknowledged:", written.status, "txid", written.txid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)"""
_QUESTION = "who is lending Mara a hydrophone until June?"


@click.command("demo")
def command() -> None:
    """Show the main job: ingest a conversation, recall, supersede, history, forget.

    Works in a new temporary folder, which is kept so that the printed commands can be repeated.
    """
    folder = Path(tempfile.mkdtemp(prefix="palimp-demo-")) / "memory"
    conversation = _conversation()
    os.environ["PALIMP_DATA_DIR"] = str(folder)
    on_node = os.environ.pop("PALIMP_URL", None)
    click.echo("Every command below can be repeated as it stands, after:")
    _show(f"export PALIMP_DATA_DIR={shlex.quote(str(folder))}")
    if on_node is not None:
        _show("unset PALIMP_URL")
    if shutil.which("palimp") is None:
        _show(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"')

    _say("1. A conversation of eight dates between Mara and her assistant becomes events.")
    _run("memory", "import", _PROFILE, str(conversation))

    _say("2. Recall finds the turn that answers, and says which signal was worth what.")
    _run("memory", "recall", _PROFILE, _QUESTION, "-k", "2", "--explain")

    _say("3. Neighbours count: the second hit names no route, what was said before it does.")
    _run(
        "memory", "recall", _PROFILE, "which route through São Miguel did she choose?", "-k", "2",
        "--window", "1",
    )  # fmt: skip

    _say("4. Facts have a topic. A newer fact supersedes the older one, in the same transaction.")
    _run("memory", "remember", _PROFILE, "Mara prefers aisle seats", "--topic", "user.seat")
    _run(
        "memory", "remember", _PROFILE, "Mara prefers window seats now that her knee has healed",
        "--topic", "user.seat",
    )  # fmt: skip
    _run("memory", "recall", _PROFILE, "which seat to book?", "-k", "1", "--type", "fact")

    _say("   The old one is hidden from recall, not lost:")
    _run("memory", "history", _PROFILE, "--topic", "user.seat")

    _say("5. Hits as text for a prompt: quoted data with dates, within a token budget.")
    _run(
        "memory", "recall", _PROFILE, "what is Mara allergic to?", "-k", "3", "--context",
        "--max-tokens", "150",
    )  # fmt: skip

    _say("6. Forget one: row, index entry and vectors are gone from the file at once.")
    found = _json("memory", "recall", _PROFILE, "lost the field camera on the ferry", "-k", "1")
    identity = found["memories"][0]["id"]
    _run("memory", "forget", _PROFILE, identity)
    _run("memory", "get", _PROFILE, identity)
    _history()
    click.echo("\nThe same from Python:")
    click.echo("  import palimp")
    click.echo(f"  with palimp.open({str(folder)!r}) as mem:")
    click.echo(f"      mem.profile({_PROFILE!r}).recall({_QUESTION!r})")
    click.echo(f"\nRemove the demo's folder with: rm -r {shlex.quote(str(folder.parent))}")


def _history() -> None:
    """Show what the history is for: a crash, a mistake, an attempt."""
    _say("7. Pull the plug: a process writes, is told so, and is killed at once. Nothing is lost.")
    _show(f"python -c {shlex.quote(_KILLED)}")
    done = subprocess.run(  # noqa: S603 - this interpreter, and the text above
        [sys.executable, "-c", _KILLED], capture_output=True, text=True, check=False
    )
    click.echo(done.stdout.strip())
    click.echo(f"(killed by signal {-done.returncode})")
    _run("memory", "recall", _PROFILE, "when does the ferry leave?", "-k", "1")

    _say("8. Poison: a run that goes wrong. Name the state before it, and return to it.")
    _run("branch", "checkpoint", _PROFILE, "before-run")
    _run(
        "memory", "remember", _PROFILE, "Mara is allergic to nothing at all", "--topic",
        "user.allergy",
    )  # fmt: skip
    _run("memory", "recall", _PROFILE, "what is Mara allergic to?", "-k", "1")
    _run("branch", "rewind", _PROFILE, "before-run")
    _run("memory", "recall", _PROFILE, "what is Mara allergic to?", "-k", "1")
    _say("   A rewind is a commit of its own: what was wrong can still be looked at.")
    _run("branch", "points", _PROFILE, "--limit", "3")

    _say("9. Fork: try something on a branch of its own, without a copy; main stays as it is.")
    _run("branch", "fork", _PROFILE, "trial", "--ttl", "3600")
    _run("memory", "remember", f"{_PROFILE}@trial", "Mara moves to Lisbon", "--topic", "user.home")
    _run("memory", "recall", f"{_PROFILE}@trial", "where does she move?", "-k", "1")
    _run("memory", "list", _PROFILE, "--topic", "user.home")
    _run("branch", "list", _PROFILE)
    _run("verify", _PROFILE)


def _conversation() -> Path:
    """Return the sample conversation: beside this module in a wheel, in examples/ of a checkout."""
    beside = Path(__file__).with_name("conversation.jsonl")
    checkout = Path(__file__).resolve().parents[3] / "examples" / "conversation.jsonl"
    for path in (beside, checkout):
        if path.exists():
            return path
    raise Internal(f"the sample conversation is missing; it should be at {beside}")


def _say(text: str) -> None:
    click.echo()
    click.echo(click.style(text, bold=True))


def _show(line: str) -> None:
    click.echo(click.style(f"$ {line}", fg="cyan"))


def _run(*arguments: str) -> None:
    _show("palimp " + " ".join(shlex.quote(part) for part in arguments))
    try:
        cli.main(list(arguments), prog_name="palimp", standalone_mode=False)
    except Error as error:
        click.echo(f"palimp: {error.code}: {error}")


def _json(*arguments: str) -> Any:
    from click.testing import CliRunner

    result = CliRunner().invoke(cli, [*arguments, "--json"], catch_exceptions=False)
    return json.loads(result.stdout)
