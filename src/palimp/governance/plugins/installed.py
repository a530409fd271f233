"""Plugins that are installed beside this package: entry points of the group `palimp.governance`.

One is named after its entry point, `governance:{name}:v{n}`, and has the version of the
distribution that brings it. Nobody signs it: whoever may install packages here may do more. It runs
in a process of its own with the largest limits a manifest could ask for.
"""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple

from .manifest import CAPABILITIES, DOMAIN, Limits
from .runner import Program

__all__ = ["GROUP", "Installed", "find_installed", "installed"]

GROUP = "palimp.governance"
_NAME = re.compile(r"[a-z0-9-]{1,128}")
_MAJOR = re.compile(r"(?:\d+!)?(\d+)")


class Installed(NamedTuple):
    """One of them."""

    plugin_key: str
    version: str
    name: str
    program: Program

    @property
    def capabilities(self) -> tuple[str, ...]:
        """It is asked whatever there is to ask."""
        return CAPABILITIES


def installed() -> list[Installed]:
    """Return those that are there, by their keys; one whose name is no name is left out."""
    found = {one.plugin_key: one for one in map(_read, entry_points(group=GROUP)) if one}
    return [found[key] for key in sorted(found)]


def find_installed(plugin_key: str, version: str) -> Installed | None:
    """Return one of them; None where there is none, or another version of it."""
    wanted = (plugin_key, version)
    return next((one for one in installed() if one[:2] == wanted), None)


def _read(entry: EntryPoint) -> Installed | None:
    version = "0" if entry.dist is None else entry.dist.version
    major = _MAJOR.match(version)
    if not _NAME.fullmatch(entry.name) or major is None or not entry.attr:
        return None
    key = f"{DOMAIN}:{entry.name}:v{major[1]}"
    program = Program(f"{key}@{version}", entry.module, entry.attr, Limits())
    return Installed(key, version, entry.name, program)
