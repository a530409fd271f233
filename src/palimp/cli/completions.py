"""`palimp completions`: the shell knows the commands."""

from __future__ import annotations

import click


@click.command("completions")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that makes a SHELL complete commands and options.

    \b
    eval "$(palimp completions bash)"                              in ~/.bashrc
    eval "$(palimp completions zsh)"                               in ~/.zshrc
    palimp completions fish > ~/.config/fish/completions/palimp.fish
    """
    from click.shell_completion import get_completion_class

    from .main import COMPLETE_VARIABLE, PROGRAM, cli

    kind = get_completion_class(shell)
    assert kind is not None, shell
    click.echo(kind(cli, {}, PROGRAM, COMPLETE_VARIABLE).source())
