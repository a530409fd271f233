"""Write .env.example from the settings and the names of other systems.

python scripts/env_example.py            write it
python scripts/env_example.py --check    say whether it is up to date, exit 1 if not
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import msgspec

from palimp.node.aliases import ALIASES, DIALECTS, Alias
from palimp.node.settings import CLIENT_ONLY, ENVIRONMENT_ONLY, PREFIX, SETTINGS, Settings

EXAMPLE = Path(__file__).resolve().parent.parent / ".env.example"
COLUMNS = 100
HEAD = (
    "Made by scripts/env_example.py. Every setting with its default, where it has one: take the # "
    "away from what is to be otherwise. Set but empty means not set. docs/reference/settings.md "
    "says the same."
)


def main() -> int:
    """Write or check the file."""
    wanted = "\n".join(lines()) + "\n"
    if EXAMPLE.exists() and EXAMPLE.read_text("utf-8") == wanted:
        return 0
    if "--check" in sys.argv[1:]:
        print(f"not up to date: {EXAMPLE.name}; run make docs")
        return 1
    EXAMPLE.write_text(wanted, "utf-8")
    return 0


def lines() -> Iterator[str]:
    """Yield the lines of the file."""
    yield from comment(HEAD)
    for field in msgspec.structs.fields(Settings):
        yield from entry(
            f"{PREFIX}{field.name.upper()}={shown(field.default)}", SETTINGS[field.name]
        )
    for name, meaning in (ENVIRONMENT_ONLY | CLIENT_ONLY).items():
        yield from entry(f"{PREFIX}{name.upper()}=", meaning)
    for dialect in DIALECTS:
        yield ""
        yield from comment(
            f"-- {dialect}: these names are read too. One of them and ours with different values "
            "refuse the start."
        )
        for alias in ALIASES:
            if alias.dialect == dialect:
                meaning = f"{PREFIX}{alias.setting.upper()}{otherwise(alias)}"
                yield from entry(f"{alias.variable}=", meaning)


def entry(assignment: str, meaning: str) -> Iterator[str]:
    """Yield one setting below what it means."""
    yield ""
    yield from comment(meaning.replace("`", ""))
    yield f"# {assignment}"


def shown(default: object) -> str:
    """Return a default as an environment has it."""
    if default is None:
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)


def otherwise(alias: Alias) -> str:
    """Return what its values mean where they mean something else."""
    return "".join(
        f"; {theirs} means {'not set' if ours is None else ours}"
        for theirs, ours in alias.values.items()
    )


def comment(text: str) -> Iterator[str]:
    """Yield a text as lines of a comment."""
    for line in textwrap.wrap(text, COLUMNS - 2, break_long_words=False, break_on_hyphens=False):
        yield f"# {line}"


if __name__ == "__main__":
    sys.exit(main())
