"""Profiles and the node itself on the wire."""

from __future__ import annotations

from .base import Request, Result
from .limits import PAGE_DEFAULT

__all__ = [
    "ListNames",
    "ListProfiles",
    "Maintain",
    "Maintained",
    "NameEntry",
    "NamePage",
    "ProfileEntry",
    "ProfilePage",
]


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

    Profiles looked at, vectors written, expired tasks removed; snapshots made of long histories,
    references and objects of history that were due, burner branches whose time was over.
    """

    profiles: int
    embedded: int
    expired: int
    folded: int = 0
    references_dropped: int = 0
    objects_deleted: int = 0
    branches_expired: int = 0
