"""What the engine says of branches, checkpoints and copies of a database."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..ids import MAIN
from .protocol import Manifest
from .strays import RECOVERED

__all__ = ["BranchInfo", "Checkpoint", "Exported", "Forked", "described"]


class Checkpoint(NamedTuple):
    """A named boundary, and when it was (ms)."""

    name: str
    txid: int
    at: int


class Forked(NamedTuple):
    """A branch that was made: its id, the txid it begins from, and when it ends (ms)."""

    branch_id: str
    txid: int
    ttl_at: int | None


class BranchInfo(NamedTuple):
    """One branch of a profile as its manifest says."""

    name: str
    branch_id: str
    parent: str | None
    parent_txid: int | None
    txid: int
    at: int
    checkpoints: int
    ttl_at: int | None
    recovered: bool


class Exported(NamedTuple):
    """A plain SQLite file and the txid it was made at."""

    data: bytes
    txid: int


def described(found: Iterable[tuple[str, str, Manifest | None]]) -> list[BranchInfo]:
    """Return what manifests say of the branches of a profile: main first, then by name."""
    listed = list(found)
    names = {branch_id: name for name, branch_id, _ in listed}
    infos = []
    for name, branch_id, manifest in listed:
        parent = manifest.parent if manifest else None
        chain = manifest.chain() if manifest else ()
        infos.append(
            BranchInfo(
                name=name,
                branch_id=branch_id,
                parent=names.get(parent.branch_id, parent.branch_id) if parent else None,
                parent_txid=parent.txid if parent else None,
                txid=manifest.txid if manifest else 0,
                at=chain[-1].at if chain else 0,
                checkpoints=len(manifest.checkpoints) if manifest else 0,
                ttl_at=manifest.ttl_at if manifest else None,
                recovered=name.startswith(RECOVERED),
            )
        )
    return sorted(infos, key=lambda one: (one.name != MAIN, one.name))
