"""What a lease store is told of a node and of a claim, as JSON with a `format`."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from ..decoding import from_json
from .placement import Peer

__all__ = ["FORMAT", "NodeRecord", "OwnerRecord", "read", "replaces", "unknown_peer"]

FORMAT = 1


class NodeRecord(msgspec.Struct, frozen=True):
    """A node that is alive, since when (ms); fields of newer releases are passed over."""

    format: int
    since: int
    peer: Peer


class OwnerRecord(msgspec.Struct, frozen=True):
    """Which node has a database."""

    format: int
    node: str


_Record = TypeVar("_Record", NodeRecord, OwnerRecord)


def read(data: bytes | str, kind: type[_Record]) -> _Record | None:
    """Return what was written; None where it is not ours, or of a format we do not know."""
    try:
        found = from_json(data, kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return found if found.format == FORMAT else None


def unknown_peer(node: str) -> Peer:
    """Return a node of which nothing but its id is known."""
    return Peer(node=node, address="", release="", api=0, process="", home="")


def replaces(record: NodeRecord, other: NodeRecord, *, first: bool) -> bool:
    """Whether a node may take the place of another record of its id.

    What the same process left it may, and at its `first` time what its folder did: the lock of the
    folder says that the process that ran there is dead.
    """
    mine, theirs = record.peer, other.peer
    return mine.process == theirs.process or (first and mine.home == theirs.home)
