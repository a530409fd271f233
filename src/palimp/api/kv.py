"""Keys and values on the wire. A value travels as the body itself, of whatever type it is."""

from __future__ import annotations

from .base import Request, Result, Sequenced
from .limits import PAGE_DEFAULT
from .operation import DATABASE, Consistency, row

__all__ = [
    "OCTETS",
    "ROWS",
    "SPACE_DEFAULT",
    "Consistency",
    "DeleteKey",
    "DeletedKey",
    "GetValue",
    "GotValue",
    "KeyPage",
    "KeyValue",
    "ListKeys",
    "PutValue",
    "ValuePut",
]

# What a value is where nobody says.
OCTETS = "application/octet-stream"
# The space of keys of whoever names none; the wire names one always.
SPACE_DEFAULT = "default"


class ListKeys(Request, frozen=True, kw_only=True):
    """Read the keys of a space that begin with `prefix`, in the order of their UTF-8 bytes.

    With `values` also what they hold; large values make a page shorter.
    """

    ns: str
    prefix: str = ""
    limit: int = PAGE_DEFAULT
    cursor: str | None = None
    values: bool = False


class KeyValue(Result, frozen=True, kw_only=True):
    """A key and what it holds; where `decryption_failed` nothing that could be read."""

    key: str
    data: bytes
    content_type: str = OCTETS
    decryption_failed: bool = False


class KeyPage(Result, Sequenced[str], frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last. `entries` where values were asked for."""

    keys: tuple[str, ...]
    next_cursor: str | None
    txid: int
    entries: tuple[KeyValue, ...] | None = None

    def _items(self) -> tuple[str, ...]:
        return self.keys


class GetValue(Request, frozen=True, kw_only=True):
    """Read the value of a key.

    A `primary` answer holds every write that was acknowledged before it was asked for; a `cached`
    one may be up to 30 s older. Either names the txid it is from.
    """

    ns: str
    key: str
    consistency: Consistency = "cached"


class GotValue(Result, frozen=True, kw_only=True):
    """The bytes that were put, and the content type they were put with."""

    data: bytes
    content_type: str = OCTETS
    txid: int


class PutValue(Request, frozen=True, kw_only=True):
    """Set a key, to be read for `ttl` seconds or, without it, until it is deleted."""

    ns: str
    key: str
    data: bytes
    content_type: str = OCTETS
    ttl: float | None = None


class ValuePut(Result, frozen=True, kw_only=True):
    """Until when (UTC milliseconds) the value can be read, and the txid that holds it.

    `note` says what was flagged or redacted.
    """

    ns: str
    key: str
    expires_at: int | None
    txid: int
    note: str | None = None


class DeleteKey(Request, frozen=True, kw_only=True):
    """Remove a key and its value."""

    ns: str
    key: str


class DeletedKey(Result, frozen=True, kw_only=True):
    """`deleted` is False where there was no such key, or its time was over."""

    ns: str
    key: str
    deleted: bool
    txid: int

    def missing(self) -> str | None:
        """Return what was not there."""
        return None if self.deleted else f"no key {self.key!r:.80} in {self.ns!r:.80}"


_SPACE = DATABASE + "/kv/{ns}"
_KEY = _SPACE + "/{key}"

ROWS = (
    row(
        "kv.list",
        f"GET {_SPACE}",
        ListKeys,
        KeyPage,
        "read",
        "Read the keys of a space, page by page.",
    ),
    row(
        "kv.get",
        f"GET {_KEY}",
        GetValue,
        GotValue,
        "read",
        "Read the value of a key.",
    ),
    row(
        "kv.put",
        f"PUT {_KEY}",
        PutValue,
        ValuePut,
        "write writes idempotent",
        "Set a key to a value.",
    ),
    row(
        "kv.delete",
        f"DELETE {_KEY}",
        DeleteKey,
        DeletedKey,
        "write writes idempotent 204",
        "Remove a key and its value.",
    ),
)
