"""Points: what in a branch's history is meant. A checkpoint's name, a txid, or a time.

On the wire and in the CLI a point is one word: digits are a txid, RFC 3339 a time, anything else a
checkpoint, whose name begins with a letter so that the three cannot be confused.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal

import msgspec

from .clock import format_ms, parse_ms
from .errors import Invalid
from .ids import check_name

__all__ = ["TXID_MAX", "Point", "check_checkpoint_name"]

# Integers up to here are exact in JSON's usual reading.
TXID_MAX = (1 << 53) - 1
_TIME = re.compile(r"\d{4}-\d\d-\d\d")


class Point(msgspec.Struct, frozen=True):
    """A place in a branch's history; made by `checkpoint`, `txid`, `time` or `parse`.

    `value` is a name, a txid, or milliseconds since 1970 UTC. A time means the last boundary at or
    before it.
    """

    kind: Literal["checkpoint", "txid", "time"]
    value: str | int

    def __str__(self) -> str:
        if self.kind == "time":
            assert isinstance(self.value, int)
            return format_ms(self.value, pattern="%Y-%m-%dT%H:%M:%S.%fZ")
        return str(self.value)

    @classmethod
    def checkpoint(cls, name: str) -> Point:
        """Return the point a checkpoint names; `Invalid` for what cannot be such a name."""
        return cls("checkpoint", check_checkpoint_name(name))

    @classmethod
    def txid(cls, number: int) -> Point:
        """Return the point of a txid; `Invalid` for what is none."""
        if isinstance(number, bool) or not isinstance(number, int):
            raise Invalid(f"a txid is a number, not {type(number).__name__}")
        if not 1 <= number <= TXID_MAX:
            raise Invalid(f"txid {number} is outside 1 to {TXID_MAX}")
        return cls("txid", number)

    @classmethod
    def time(cls, moment: datetime | int | str) -> Point:
        """Return the last boundary at or before a time: a datetime, milliseconds, or RFC 3339."""
        return cls("time", parse_ms(moment, "time"))

    @classmethod
    def parse(cls, text: str) -> Point:
        """Return the point a word of the wire or the CLI means; `Invalid` where it means none."""
        if not isinstance(text, str) or not text:
            raise Invalid("a point is a checkpoint's name, a txid, or an RFC 3339 time")
        if text.isascii() and text.isdigit():
            return cls.txid(int(text[:20]))
        if _TIME.match(text):
            return cls.time(text)
        return cls.checkpoint(text)


def check_checkpoint_name(value: object) -> str:
    """Return `value` if it may name a checkpoint: a name that begins with a letter."""
    name = check_name(value, "checkpoint")
    if not name[0].isalpha():
        raise Invalid(
            f"checkpoint {name!r} does not begin with a letter: digits mean a txid or a time; "
            "in Python, Point.txid(...) and Point.time(...) say which"
        )
    return name
