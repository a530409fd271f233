"""The three ways a segment is refused.

`damaged`: it was a segment once, and is none any more (`Internal`: report it, use another copy).
`unreadable`: it is something else (`Invalid`). `misplaced`: it is sound, but does not belong here
(`Invalid`). A call that no input can excuse, for instance a page after `close`, is an assertion.
"""

from __future__ import annotations

from typing import Any

from ..errors import Internal, Invalid

__all__ = ["Txids", "damaged", "misplaced", "span", "unreadable"]

# First and last txid of a segment.
Txids = tuple[int, int]


def span(txids: Txids) -> str:
    """Return a txid range as people read it: `5`, or `5 to 9`."""
    first, last = txids
    return f"{first}" if first == last else f"{first} to {last}"


def damaged(
    what: str,
    *,
    offset: int,
    txids: Txids | None = None,
    expected: object = None,
    found: object = None,
) -> Internal:
    """Return the error of a damaged segment, with everything a report needs in its details.

    `offset` is where in the file it shows, which need not be where it was damaged.
    """
    name = f"segment of txid {span(txids)}" if txids else "segment"
    differs = (
        f": expected {_shown(expected)}, found {_shown(found)}" if expected is not None else ""
    )
    return Internal(
        f"the {name} is damaged at byte {offset}: {what}{differs}; use another copy of it",
        what=what,
        offset=offset,
        min_txid=txids[0] if txids else None,
        max_txid=txids[1] if txids else None,
        expected=expected,
        found=found,
    )


def unreadable(what: str, **details: Any) -> Invalid:
    """Return the error of bytes that are no segment, or one of another version."""
    return Invalid(what, what=what, **details)


def misplaced(what: str, *, txids: Txids, expected: object, found: object) -> Invalid:
    """Return the error of a sound segment that does not continue what is there."""
    return Invalid(
        f"the segment of txid {span(txids)} does not fit: {what}: "
        f"expected {_shown(expected)}, found {_shown(found)}",
        what=what,
        min_txid=txids[0],
        max_txid=txids[1],
        expected=expected,
        found=found,
    )


def _shown(value: object) -> str:
    """Return a number as it is best recognised: checksums in hex, all else as it is."""
    if isinstance(value, int) and value >> 63 == 1:
        return f"{value:016x}"
    return value.hex() if isinstance(value, bytes) else str(value)
