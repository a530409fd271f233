"""Profiles and the node itself on the wire."""

from __future__ import annotations

from typing import Any

from .base import Request, Result
from .limits import PAGE_DEFAULT
from .operation import row

__all__ = [
    "API_VERSION",
    "ROWS",
    "GetNode",
    "ListNames",
    "ListProfiles",
    "Maintain",
    "Maintained",
    "NameEntry",
    "NamePage",
    "NodeInfo",
    "PeerInfo",
    "ProfileEntry",
    "ProfilePage",
]

# Rises with a change of the wire that older clients cannot follow.
API_VERSION = 1


class ListProfiles(Request, frozen=True, kw_only=True):
    """Read the profiles of a namespace, in a stable order."""

    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class ProfileEntry(Result, frozen=True, kw_only=True):
    """One profile of a namespace."""

    profile: str


class ProfilePage(Result, frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last."""

    profiles: tuple[ProfileEntry, ...]
    next_cursor: str | None


class ListNames(Request, frozen=True, kw_only=True):
    """Read the profiles of every namespace, in a stable order."""

    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class NameEntry(Result, frozen=True, kw_only=True):
    """One profile and the namespace it is in."""

    namespace: str
    profile: str


class NamePage(Result, frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last."""

    names: tuple[NameEntry, ...]
    next_cursor: str | None


class Maintain(Request, frozen=True, kw_only=True):
    """Run the background work that is due now, in every profile of the folder."""


class Maintained(Result, frozen=True, kw_only=True):
    """What was done.

    Profiles looked at, vectors written, expired tasks and keys removed; snapshots made of long
    histories, references and objects of history that were due, burner branches whose time was
    over; memories and objects of the audit that policies do not let stay; erasures completed;
    pairs of memories that were found to be alike or in contradiction; memories that a policy
    archived, deleted softly and purged; memories that were `cooled`, to a colder tier.
    """

    profiles: int
    embedded: int
    expired: int
    folded: int = 0
    references_dropped: int = 0
    objects_deleted: int = 0
    branches_expired: int = 0
    swept: int = 0
    audit_objects_deleted: int = 0
    erased: int = 0
    paired: int = 0
    cooled: int = 0
    archived: int = 0
    soft_deleted: int = 0
    purged: int = 0


class GetNode(Request, frozen=True, kw_only=True):
    """Read what this node is."""


class PeerInfo(Result, frozen=True, kw_only=True):
    """One node of a cluster: the URL at which the others reach it, and whether it is going."""

    node: str
    address: str
    release: str
    draining: bool = False


class NodeInfo(Result, frozen=True, kw_only=True):
    """What a node is, as far as its callers may know.

    `release` is that of the package, `api` the version of the wire. `object_store` is where the
    history is kept, `store_id` the identity of that store. `folder` is in what folder the process
    `process` keeps its local files. `settings` are those that all processes on one folder share.
    `leases` is where it is kept who may write, `peers` are the nodes that are alive, this one too.
    """

    release: str
    api: int
    node: str
    process: int
    folder: str
    object_store: str
    store_id: str
    durability: str
    settings: dict[str, Any]
    leases: str = "single"
    peers: tuple[PeerInfo, ...] = ()


ROWS = (
    row(
        "profiles.list",
        "GET /v1/memory/{namespace}",
        ListProfiles,
        ProfilePage,
        "read",
        "Read the profiles of a namespace.",
    ),
    row(
        "names.list",
        "GET /v1/memory",
        ListNames,
        NamePage,
        "read",
        "Read the namespaces and profiles of the whole store.",
    ),
    row(
        "node.info",
        "GET /v1/node",
        GetNode,
        NodeInfo,
        "read",
        "Read what this node is: its release, process, store and settings.",
    ),
    row(
        "maintain",
        "POST /v1/maintain",
        Maintain,
        Maintained,
        "admin writes idempotent",
        "Run the background work that is due: missing vectors, expired tasks and keys.",
    ),
)
