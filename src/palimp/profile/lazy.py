"""Tables that the first write makes.

No flag remembers that a table was made: a rewind can bring back the time before it. So a statement
is tried first, and costs nothing where its table is there.
"""

from __future__ import annotations

import apsw

__all__ = ["has_table"]


def has_table(connection: apsw.Connection, name: str) -> bool:
    """Whether a table exists: where a statement on it failed, and was not to blame for another."""
    found = connection.execute(
        "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", (name,)
    ).get
    return found is not None
