"""Which memories hold certain metadata: a function for SQL, because metadata may be sealed.

SQLite calls it for each row that passed everything else, so that pages are full and cursors right,
whatever it says.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Mapping
from typing import Any

import apsw

from ...api.limits import (
    FILTER_METADATA_KEY_BYTES_MAX,
    FILTER_METADATA_KEYS_MAX,
    FILTER_METADATA_VALUE_BYTES_MAX,
)
from ...errors import Invalid
from ..checks import decode_json, encode_json
from ..protocols import Sealer, Undecipherable

__all__ = ["HOLDS", "check_wanted", "holding"]

# Not for statements of callers: theirs may call what SQLite knows by itself, and vectors.
HOLDS = "__palimp_holds"
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_knowing: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()


def check_wanted(wanted: Mapping[str, Any]) -> None:
    """Raise `Invalid` for a filter on metadata that cannot be."""
    if len(wanted) > FILTER_METADATA_KEYS_MAX:
        raise Invalid(
            f"metadata has {len(wanted):,} keys, at most {FILTER_METADATA_KEYS_MAX} are allowed"
        )
    for key, value in wanted.items():
        if len(key) > FILTER_METADATA_KEY_BYTES_MAX or not _KEY.fullmatch(key):
            raise Invalid(
                f"metadata cannot be filtered by {key!r:.80}; give 1 to "
                f"{FILTER_METADATA_KEY_BYTES_MAX} letters, digits and _, no digit first"
            )
        if value is not None and not isinstance(value, (str, int, float)):
            raise Invalid(
                f"metadata.{key} is a {type(value).__name__}; give a text, a number, true, false "
                "or null"
            )
        encode_json(value, f"metadata.{key}", FILTER_METADATA_VALUE_BYTES_MAX)


def holding(connection: apsw.Connection, wanted: Mapping[str, Any], sealer: Sealer) -> Any:
    """Return the first argument of `HOLDS`, which the connection then knows.

    What cannot be read holds nothing.
    """

    def holds(identity: str, stored: str | bytes) -> bool:
        try:
            found = decode_json(sealer.unseal(stored, "memories", identity, "metadata"))
        except Undecipherable:
            return False
        return all(key in found and _same(value, found[key]) for key, value in wanted.items())

    if connection not in _knowing:
        connection.create_scalar_function(HOLDS, _call, 3, flags=apsw.SQLITE_DIRECTONLY)
        _knowing.add(connection)
    return apsw.pyobject(holds)


def _call(*arguments: Any) -> bool:
    holds, identity, stored = arguments
    return bool(holds(identity, stored))


def _same(wanted: Any, found: Any) -> bool:
    """Whether two values of JSON are the same; in Python true is 1 and false is 0."""
    if isinstance(wanted, bool) or isinstance(found, bool):
        return wanted is found
    return bool(wanted == found)
