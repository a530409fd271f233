"""The MCP server as an agent tool starts it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

__all__ = ["SERVER", "is_ours", "server_entry"]

# What the server is called in a tool's configuration.
SERVER = "palimp"


def server_entry(folder: Path, namespace: str, profile: str) -> dict[str, Any]:
    """Return command and arguments, absolute: a tool starts it from wherever it likes."""
    arguments = ["mcp", "--data", str(folder.absolute())]
    if namespace != "default":
        arguments += ["--namespace", namespace]
    command = _command()
    return {"command": command[0], "args": [*command[1:], *arguments, "--profile", profile]}


def is_ours(entry: Any) -> bool:
    """Return whether a configured server is one that `palimp setup` wrote, with any arguments."""
    arguments = entry.get("args") if isinstance(entry, dict) else None
    return isinstance(arguments, list) and {"mcp", "--data", "--profile"}.issubset(
        argument for argument in arguments if isinstance(argument, str)
    )


def _command() -> list[str]:
    # Not resolved: in an environment of its own the interpreter is a link to one that is not.
    running = Path(sys.argv[0])
    if running.name == SERVER:
        found = shutil.which(sys.argv[0])
        if found is not None:
            return [os.path.abspath(found)]  # noqa: PTH100 - Path.absolute keeps `..`
    return [sys.executable, "-m", "palimp"]
