"""What differs between branches, in that system's shapes and as text for people."""

from __future__ import annotations

from typing import Any

from ....api import Memory
from ....api.compare import Change, Diff, MemoryConflict
from .names import short
from .shapes import type_of

__all__ = ["diff_items", "diff_text"]

Fields = dict[str, Any]

_LINE_CHARS = 80


def diff_items(found: Diff, branch: str) -> Fields:
    """Return the lists of `diff-items`."""
    return {
        "branch": branch,
        "against": "main",
        "added": [_item(one.new) for one in found.added if one.new is not None],
        "updated": [_pair(one) for one in found.updated],
        "removed": [_item(one.old) for one in found.removed if one.old is not None],
        "conflicts": [
            {
                "memory_id": one.id,
                "branch": _side(one, one.theirs),
                "main": _side(one, one.ours),
            }
            for one in found.conflicts
        ],
        "behind_main": [
            _item(one.new)
            for one in found.behind
            if one.change != "removed" and one.new is not None
        ],
    }


def diff_text(found: Diff, branch: str) -> str:
    """Return the lines of `diff`, one for each change."""
    lines = [f"[new] {_line(one.new)}" for one in found.added]
    for one in found.updated:
        old = short(one.old.id) if one.old is not None else short(one.id)
        lines.append(f"[modified] {old} → {_line(one.new)}")
    lines += [f"[removed] {_line(one.old)}" for one in found.removed]
    lines += [_conflict_line(one) for one in found.conflicts]
    lines += [f"[behind] {_line(one.new)}" for one in found.behind if one.change != "removed"]
    if not lines:
        return f"No changes in branch '{branch}' vs main."
    return "\n".join((f"Diff '{branch}' vs main:", *lines))


def _item(memory: Memory) -> Fields:
    return {
        "memory_id": memory.id,
        "content": memory.text,
        "memory_type": type_of(memory),
        "author_id": memory.source,
    }


def _pair(change: Change) -> Fields:
    new = change.new or change.old
    assert new is not None
    old = change.old or new
    return {**_item(new), "old_memory_id": old.id, "old_content": old.text}


def _side(conflict: MemoryConflict, held: Memory | None) -> Fields:
    """Return what became of a memory on one side; `held` is what holds in its place there."""
    was = conflict.base or held
    there = held is not None and held.id == conflict.id
    shown = held if there else was
    later = None if held is None or there else held
    return {
        "content": None if shown is None else shown.text,
        "is_active": int(there),
        "superseded_by": None if later is None else later.id,
        "superseded_by_content": None if later is None else later.text,
        "author_id": None if shown is None else shown.source,
    }


def _line(memory: Memory | None) -> str:
    assert memory is not None
    return f"{short(memory.id)}: {_words(memory)}"


def _words(memory: Memory) -> str:
    return " ".join(memory.text.split())[:_LINE_CHARS]


def _conflict_line(conflict: MemoryConflict) -> str:
    theirs, ours = (
        "removed" if held is None else _words(held) for held in (conflict.theirs, conflict.ours)
    )
    return f"[CONFLICT] {short(conflict.id)}: branch({theirs}), main({ours})"
