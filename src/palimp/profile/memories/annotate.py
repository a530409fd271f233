"""Changing what is said about a memory: its row, its entry where tags stand in it, an event."""

from __future__ import annotations

from typing import Any, NamedTuple

import apsw

from ...api.annotating import Annotate
from ...api.limits import ABBREVIATION_BYTES_MAX
from ...errors import Conflict, Invalid, NotFound
from ..checks import check_label, check_share, decode_json
from ..indexing import MEMORIES, add_entries, drop_vectors, remove_entries
from ..protocols import Sealer, Undecipherable
from . import events, states
from .draft import metadata_text, tags_text
from .holds import refuse_held

__all__ = ["Annotation", "annotate", "annotation"]

_COLUMNS = ("metadata", "tags", "importance", "confidence", "trust", "source")
_JSON = ("metadata", "tags")


class Annotation(NamedTuple):
    """Checked values by column, those that were given; metadata and tags as JSON, None where empty.

    `flags` is what a policy lets stand in them. `expected` are the metadata it goes by, None: any.
    """

    id: str
    values: dict[str, Any]
    flags: tuple[str, ...] = ()
    expected: dict[str, Any] | None = None


def annotation(given: Annotate, flags: tuple[str, ...] = ()) -> Annotation:
    """Check what is to be said; raises `Invalid` naming the field, or where nothing is given."""
    check_share(given.importance, "importance")
    check_share(given.confidence, "confidence")
    check_label(given.trust, "trust", ABBREVIATION_BYTES_MAX)
    check_label(given.source, "source")
    values = {name: getattr(given, name) for name in _COLUMNS if getattr(given, name) is not None}
    if not values:
        raise Invalid(f"nothing is said about {given.id!r:.80}; give {', '.join(_COLUMNS)}")
    if given.tags is not None:
        values["tags"] = tags_text(given.tags)
    if given.metadata is not None:
        values["metadata"] = metadata_text(given.metadata) if given.metadata else None
    expected = given.expect_metadata
    if expected:
        # Compared as it would be stored.
        expected = decode_json(metadata_text(expected))
    return Annotation(given.id, values, flags, expected)


def annotate(
    connection: apsw.Connection, given: Annotation, sealer: Sealer, act: states.Act
) -> bool:
    """Write what is said about a memory, with its event; False where all of it was said already.

    Raises `NotFound` for what is not there, deleted memories among it, and `Conflict` for one that
    is not active, or under legal hold: what was said about it would be gone; or whose metadata are
    not those that are expected.
    """
    row = connection.execute(
        f"""SELECT handle, state, flags, {", ".join(_COLUMNS)} FROM __palimp_memories
        WHERE id = ? AND (expires_at IS NULL OR expires_at > ?)""",
        (given.id, act.now_ms),
    ).fetchone()
    if row is None:
        raise NotFound(
            f"no memory {given.id}; it was forgotten or deleted, has expired or never existed"
        )
    handle, state, flags, *stored = row
    if state != "active":
        raise Conflict(
            f"memory {given.id} is {state} and cannot be changed; restore it first",
            id=given.id,
            state=state,
        )
    said = dict(zip(_COLUMNS, stored, strict=True))
    said["metadata"] = _opened(said["metadata"], given.id, sealer)
    if (
        given.expected is not None
        and (_value("metadata", said["metadata"]) or {}) != given.expected
    ):
        raise Conflict(
            f"the metadata of memory {given.id} are others by now; read it and say it again",
            id=given.id,
            reason="metadata",
        )
    changed = [name for name, value in given.values.items() if value != said[name]]
    if not changed:
        return False
    states.prepare(connection)
    refuse_held(connection, [handle])
    columns = {name: given.values[name] for name in changed}
    if columns.get("metadata") is not None:
        columns["metadata"] = sealer.seal(columns["metadata"], "memories", given.id, "metadata")
    if given.flags:
        columns["flags"] = _united(flags, given.flags)
    if "tags" in changed:
        # They stand in its entry, and are embedded with it.
        remove_entries(connection, MEMORIES, [handle], sealer)
    assignments = ", ".join(f"{name} = :{name}" for name in columns)
    connection.execute(
        f"UPDATE __palimp_memories SET {assignments} WHERE handle = :handle",
        {**columns, "handle": handle},
    )
    if "tags" in changed:
        add_entries(connection, MEMORIES, [handle], sealer)
        drop_vectors(connection, MEMORIES, [handle], keep_given=True)
    fields = ", ".join(changed)
    event = events.Event(handle, given.id, "annotated", act.now_ms, act.actor, reason=fields)
    events.add(connection, event)
    changes = {
        name: (_value(name, said[name]), _value(name, given.values[name])) for name in changed
    }
    events.note_changes(connection, given.id, changes, sealer)
    return True


def _value(name: str, stored: Any) -> Any:
    """Return a value as callers know it; what cannot be read is shown as nothing."""
    if name in _JSON:
        return decode_json(stored) if stored else None
    return stored


def _opened(stored: str | bytes | None, identity: str, sealer: Sealer) -> str | None:
    """Return metadata in plain; nothing where it cannot be read, so that it can be replaced."""
    if stored is None:
        return None
    try:
        return sealer.unseal(stored, "memories", identity, "metadata")
    except Undecipherable:
        return ""


def _united(stored: str | None, new: tuple[str, ...]) -> str:
    import msgspec

    known = decode_json(stored) if stored else []
    return msgspec.json.encode(list(dict.fromkeys([*known, *new]))).decode()
