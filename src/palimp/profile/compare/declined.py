"""What of another branch was looked at and not wanted, so that the next merge does not ask again.

It stands in the branch that was written, and goes with what the other branch says: where that
changes again, it is asked again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import apsw
import msgspec

from ...decoding import from_json
from .plan import Group, Step

__all__ = ["decline", "declined_before"]

_PREFIX = "declined/"
_DIGEST_BYTES = 12


def decline(connection: apsw.Connection, source: str, groups: Iterable[Group]) -> None:
    """Note that the version of these groups on branch `source` (its id) is not wanted here."""
    known = _known(connection, source)
    fresh = {clash.id: _digest(one.steps[clash.id]) for one in groups for clash in one.clashes}
    if fresh and known | fresh != known:
        connection.execute(
            "INSERT OR REPLACE INTO __palimp_meta VALUES (?, ?)",
            (_PREFIX + source, msgspec.json.encode(known | fresh).decode()),
        )


def declined_before(
    connection: apsw.Connection, source: str, groups: Iterable[Group]
) -> list[Group]:
    """Return those of the groups whose clashes were all declined, as they still are there."""
    known = _known(connection, source)
    return [
        one
        for one in groups
        if one.clashes
        and all(known.get(clash.id) == _digest(one.steps[clash.id]) for clash in one.clashes)
    ]


def _known(connection: apsw.Connection, source: str) -> dict[str, str]:
    found = connection.execute(
        "SELECT value FROM __palimp_meta WHERE key = ?", (_PREFIX + source,)
    ).get
    return {} if found is None else from_json(found, dict[str, str])


def _digest(step: Step) -> str:
    theirs = step.theirs
    said = None if theirs is None else theirs[1:]
    return hashlib.blake2b(msgspec.json.encode(said), digest_size=_DIGEST_BYTES).hexdigest()
