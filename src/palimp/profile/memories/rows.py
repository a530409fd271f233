"""Between a row of the memories table and the `Memory` of the wire."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apsw

from ...api import Memory
from ...sealing import PLACEHOLDER, Undecipherable
from ..checks import decode_json
from ..protocols import Sealer

__all__ = ["MEMORY_COLUMNS", "memories_by_id", "memory_fields", "memory_of", "read_memories"]

_COLUMNS = (
    "handle id type text content created_at kind topic keywords tags metadata source session agent "
    "speaker project environment importance confidence trust observed_at activated_at "
    "superseded_at expires_at state memory_tier access_count last_accessed_at derived_from "
    "source_span flags"
).split()
MEMORY_COLUMNS = (
    ", ".join(f"m.{name}" for name in _COLUMNS)
    + ", (SELECT s.id FROM __palimp_memories s WHERE s.handle = m.superseded_by) AS superseded_by"
)
_NAMES = (*_COLUMNS, "superseded_by")
_SEALED = ("text", "keywords", "content", "metadata")
_JSON_TUPLES = ("tags", "derived_from", "source_span", "flags")


def memory_fields(row: Sequence[Any], sealer: Sealer) -> dict[str, Any]:
    """Return the fields of `Memory` from a row of `MEMORY_COLUMNS`; nulls are left out.

    Of a row that cannot be read all is there but what was sealed.
    """
    fields = {name: value for name, value in zip(_NAMES, row, strict=True) if value is not None}
    try:
        _unseal(fields, sealer)
    except Undecipherable:
        for name in _SEALED:
            fields.pop(name, None)
        fields |= {
            "text": PLACEHOLDER,
            "content": {"text": PLACEHOLDER},
            "decryption_failed": True,
        }
    for name in _JSON_TUPLES:
        if name in fields:
            fields[name] = tuple(decode_json(fields[name]))
    return fields


def _unseal(fields: dict[str, Any], sealer: Sealer) -> None:
    identity = fields["id"]
    for name in _SEALED:
        if name in fields:
            fields[name] = sealer.unseal(fields[name], "memories", identity, name)
    if "content" in fields:
        fields["content"] = decode_json(fields["content"])
    else:
        fields["content"] = {"text": fields["text"]}
    if "metadata" in fields:
        fields["metadata"] = decode_json(fields["metadata"])


def memory_of(row: Sequence[Any], sealer: Sealer) -> Memory:
    """Return the memory of a row of `MEMORY_COLUMNS`."""
    return Memory(**memory_fields(row, sealer))


def read_memories(
    connection: apsw.Connection, handles: Iterable[int], sealer: Sealer
) -> dict[int, dict[str, Any]]:
    """Return the fields of the memories with these handles, by handle; missing ones are missing."""
    wanted = list(handles)
    if not wanted:
        return {}
    marks = ", ".join("?" * len(wanted))
    rows = connection.execute(
        f"SELECT {MEMORY_COLUMNS} FROM __palimp_memories m WHERE m.handle IN ({marks})", wanted
    )
    return {int(row[0]): memory_fields(row, sealer) for row in rows}


def memories_by_id(
    connection: apsw.Connection, ids: Iterable[str], sealer: Sealer
) -> dict[str, Memory]:
    """Return the memories with these ids, whether they hold or not; missing ones are missing."""
    statement = f"SELECT {MEMORY_COLUMNS} FROM __palimp_memories m WHERE m.id = ?"
    rows = (connection.execute(statement, (identity,)).fetchone() for identity in ids)
    found = (memory_of(row, sealer) for row in rows if row is not None)
    return {one.id: one for one in found}
