"""Changes of a user's files: shown before they are made, and made whole or not at all."""

from __future__ import annotations

import difflib
import stat
from pathlib import Path
from typing import Any, NamedTuple

from ...disk import replace_file
from ...errors import Conflict, Invalid, Unavailable

__all__ = ["Change", "read", "write"]

_MODE_PRIVATE = 0o600
_MODE_SHARED = 0o644


class Change(NamedTuple):
    """What a file is and what it is to be; None: no file. `private`: nobody else may read it."""

    path: Path
    before: str | None
    after: str | None
    private: bool = False

    @property
    def action(self) -> str:
        """What is to be done: keep, create, change or delete."""
        if self.before == self.after:
            return "keep"
        if self.before is None:
            return "create"
        return "delete" if self.after is None else "change"

    def diff(self) -> str:
        """Return the lines that change, and none around them: they may hold others' credentials.

        A line that only gets or loses the comma at its end is one of those around.
        """
        if self.action == "keep":
            return ""
        lines = [
            f"--- {self.path if self.before is not None else '(none)'}",
            f"+++ {self.path if self.after is not None else '(none)'}",
        ]
        old, new = ((text or "").splitlines() for text in (self.before, self.after))
        bare = [[line.rstrip(",") for line in text] for text in (old, new)]
        for what, begin, end, at, to in difflib.SequenceMatcher(
            None, bare[0], bare[1]
        ).get_opcodes():
            if what != "equal":
                lines.append(f"@@ line {at + 1} @@")
                lines += [f"-{line}" for line in old[begin:end]]
                lines += [f"+{line}" for line in new[at:to]]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"path": str(self.path), "action": self.action, "diff": self.diff()}


def read(path: Path) -> str | None:
    """Return the text of a file with its line ends as they are; None where there is none."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise Invalid(f"{path} is not UTF-8 text; it was left as it is") from error
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"{path} cannot be read: {error}") from error


def write(change: Change) -> None:
    """Make a change, whole or not at all; mode and links of a file that is there stay.

    Raises `Conflict` where the file is not what it was when the change was worked out.
    """
    if change.action == "keep":
        return
    if read(change.path) != change.before:
        raise Conflict(f"{change.path} was changed in the meantime; run the command again")
    try:
        # A link stays a link: what it leads to is replaced.
        path = change.path.resolve()
        if change.after is None:
            path.unlink()
            return
        if change.before is None:
            mode = _MODE_PRIVATE if change.private else _MODE_SHARED
            path.parent.mkdir(parents=True, exist_ok=True)
        else:
            mode = stat.S_IMODE(path.stat().st_mode)
        replace_file(path, change.after.encode("utf-8"))
        path.chmod(mode)
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"{change.path} cannot be written: {error}") from error
