"""Completion scripts, and what they ask the command for while somebody types."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from palimp.cli.main import COMMANDS

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PALIMP_")}
MAIN = (sys.executable, "-W", "error", "-m", "palimp")


def run(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [*MAIN, *arguments],
        env={**CLEAN, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def completed(line: str) -> list[str]:
    """Ask as the bash script does: the last word of the line is being typed."""
    words = line.split(" ")
    answer = run(_PALIMP_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    return [entry.partition(",")[2] for entry in answer.splitlines()]


def test_commands_subcommands_and_options_are_completed() -> None:
    assert completed("palimp ") == sorted(COMMANDS)
    assert completed("palimp mem") == ["memory", "memtrace"]
    assert {"recall", "remember", "import"} <= set(completed("palimp memory "))
    assert completed("palimp memory rec") == ["recall"]
    assert {"--url", "--token", "--topic"} <= set(completed("palimp memory remember alice x --"))
    assert completed("palimp memory import alice f --format m") == ["messages", "mcp-jsonl"]


def test_completing_a_command_imports_none() -> None:
    code = (
        "import sys\n"
        "from palimp.cli.main import cli\n"
        "import click\n"
        "found = cli.shell_complete(click.Context(cli), '')\n"
        "assert len(found) > 10, found\n"
        "print(*(name for name in sys.modules if name.startswith('palimp.cli.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["palimp.cli.main"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_asks_the_command_and_the_shell_takes_it(shell: str) -> None:
    script = run("completions", shell)
    assert f"_PALIMP_COMPLETE={shell}_complete" in script
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_another_shell_is_refused() -> None:
    done = subprocess.run([*MAIN, "completions", "tcsh"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "'bash', 'zsh', 'fish'" in done.stderr
