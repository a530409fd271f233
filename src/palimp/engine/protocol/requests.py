"""What a protocol asks of the world, and what the world may answer.

| request | answer |
| --- | --- |
| `Get` | `Stored` or None |
| `Create` | the new version, or None where the key exists |
| `Replace` | the new version, or None where the version has moved |
| `ListKeys` | one page of keys, in byte order |
| `Delete` | nothing; deleting what is gone succeeds |
| `Join` | the bytes of one segment that holds what these hold |
| `RecordEpoch` | nothing; recorded durably on this machine before it returns |
| `Nonce`, `Now`, `Sleep` | a fresh word; milliseconds; nothing |

Any request to the store may instead be answered by one of two exceptions: `Refused` (it did not
happen and will not) or `InDoubt` (nobody knows: it may have happened, or may happen later).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeAlias, TypeVar

import msgspec

__all__ = [
    "Create",
    "Delete",
    "Get",
    "InDoubt",
    "Join",
    "ListKeys",
    "Nonce",
    "Now",
    "RecordEpoch",
    "Refused",
    "Replace",
    "Request",
    "Sleep",
    "Steps",
    "Stored",
]

T = TypeVar("T")


class InDoubt(Exception):
    """The answer was lost: the request may have happened, may happen later, or never."""


class Refused(Exception):
    """The request did not happen and will not."""


class Stored(NamedTuple):
    """The bytes of an object and the version a `Replace` of it has to name, opaque."""

    data: bytes
    version: Any


class Get(msgspec.Struct, frozen=True):
    """Read an object."""

    key: str


class Create(msgspec.Struct, frozen=True):
    """Write an object that must not exist."""

    key: str
    data: bytes


class Replace(msgspec.Struct, frozen=True):
    """Write an object whose version must still be this one."""

    key: str
    data: bytes
    version: Any


class ListKeys(msgspec.Struct, frozen=True):
    """Read a page of the keys below a prefix, those after `after`."""

    prefix: str
    after: str = ""


class Delete(msgspec.Struct, frozen=True):
    """Remove an object."""

    key: str


class Join(msgspec.Struct, frozen=True):
    """Read these segments (key and SHA-256), adjacent and in order, and make one of them."""

    parts: tuple[tuple[str, str], ...]


class RecordEpoch(msgspec.Struct, frozen=True):
    """Note beside the local file, durably, that this folder is about to own an epoch."""

    db_id: str
    branch_id: str
    epoch: int
    nonce: str


class Nonce(msgspec.Struct, frozen=True):
    """Ask for a word nobody used before."""


class Now(msgspec.Struct, frozen=True):
    """Ask for the time in milliseconds."""


class Sleep(msgspec.Struct, frozen=True):
    """Wait."""

    seconds: float


Request: TypeAlias = (
    Get | Create | Replace | ListKeys | Delete | Join | RecordEpoch | Nonce | Now | Sleep
)
Steps: TypeAlias = Generator[Request, Any, T]
