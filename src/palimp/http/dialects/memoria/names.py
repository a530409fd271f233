"""Names of that system and ours that stand for them: branches, snapshots, times in its forms."""

from __future__ import annotations

import re

from ....clock import format_ms
from ....errors import Invalid
from ....ids import MAIN, foreign_name, foreign_text

__all__ = [
    "branch_title",
    "check_branch",
    "check_user",
    "clean_snapshot",
    "is_automatic",
    "is_group",
    "short",
    "snapshot_title",
    "stamp",
]

_BRANCH = re.compile(r"[A-Za-z0-9_-]{1,100}\Z")
_NOT_CLEAN = re.compile(r"[^A-Za-z0-9_]")
_TITLE_CHARS = 40
# What the node names by itself before something destructive, and after a run of governance.
_AUTOMATIC = re.compile(r"(?:pre|post)_[a-z][a-z_]*_[0-9a-f]{8}\Z")
_SHORT_CHARS = 8
_GROUP = re.compile(r"grp_[0-9a-f]{12}\Z")
_USER_CHARS_MAX = 64


def check_branch(text: str) -> str:
    """Return our name of a branch; raises `Invalid` for what its pattern does not let pass."""
    if not _BRANCH.match(text):
        raise Invalid(f"branch name {text!r:.120} is not 1 to 100 of A-Z, a-z, 0-9, _ and -")
    return MAIN if text == MAIN else foreign_name(text)


def check_user(text: str) -> str:
    """Return the id of a user; raises `Invalid` for what is none, or what only a group has."""
    if not 1 <= len(text) <= _USER_CHARS_MAX:
        raise Invalid(f"a user id has 1 to {_USER_CHARS_MAX} characters, not {len(text):,}")
    if is_group(text):
        raise Invalid(f"user id {text} has the form of a group's id; take another one")
    return text


def is_group(text: str) -> bool:
    """Whether this has the form of a group's id."""
    return _GROUP.match(text) is not None


def branch_title(name: str) -> str:
    """Return what a branch of ours is called there; a hash stays where nothing else is known."""
    return foreign_text(name) or name


def clean_snapshot(text: str) -> str:
    """Return the name that a snapshot gets: all but letters, digits and `_` becomes `_`."""
    clean = _NOT_CLEAN.sub("_", text)[:_TITLE_CHARS]
    return clean if clean[:1].isalpha() else f"s_{clean}"


def snapshot_title(checkpoint: str) -> str:
    """Return what a checkpoint of ours is called there."""
    return foreign_text(checkpoint) or checkpoint


def is_automatic(title: str) -> bool:
    """Whether the node made this snapshot by itself: it counts to no limit."""
    return _AUTOMATIC.match(title) is not None


def stamp(ms: int) -> str:
    """Return a time as that system writes it: RFC 3339 with six digits."""
    return format_ms(ms, pattern="%Y-%m-%dT%H:%M:%S.%fZ")


def short(identity: str) -> str:
    """Return the first digits of a memory's id, for a line that a person reads."""
    return identity.removeprefix("mem_")[:_SHORT_CHARS]
