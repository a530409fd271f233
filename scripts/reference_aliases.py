"""The reference page of the names of other systems, made from their table."""

from __future__ import annotations

from palimp.node.aliases import ALIASES, DIALECTS, Alias
from palimp.node.settings import PREFIX


def page() -> str:
    """Every name of every dialect, and what it sets."""
    lines = [
        "# Names of other systems",
        "",
        "Environment variables of the systems whose dialect this one speaks are read as well. Set",
        "but empty means not set. Where such a name and ours have different values, or two such",
        "names of one setting, the start is refused and the message names both. What has the",
        "prefix of such a system and is not in its table stops nothing; `palimp serve` names it",
        "in a warning. A name without the prefix is read only where one with it is set as well.",
    ]
    for dialect, prefix in DIALECTS.items():
        lines += ["", f"## {dialect} (`{prefix}*`)", "", "| name | sets | values |"]
        lines.append("| --- | --- | --- |")
        lines += [_row(alias) for alias in ALIASES if alias.dialect == dialect]
    return "\n".join(lines)


def _row(alias: Alias) -> str:
    said = [
        f"`{theirs}` is {'the default' if ours is None else f'`{ours}`'}"
        for theirs, ours in alias.values.items()
    ]
    if alias.number:
        said.append("what is no number is the default")
    if alias.implies is not None:
        setting, value = alias.implies
        said.append(f"`{PREFIX}{setting.upper()}` is `{value}` unless it is set")
    return f"| `{alias.variable}` | `{PREFIX}{alias.setting.upper()}` | {', '.join(said)} |"
