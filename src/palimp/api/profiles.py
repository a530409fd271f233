"""Profiles and the node itself on the wire."""

from __future__ import annotations

from .base import Request, Result
from .limits import PAGE_DEFAULT

__all__ = ["ListProfiles", "Maintain", "Maintained", "ProfileEntry", "ProfilePage"]


class ListProfiles(Request, frozen=True, kw_only=True):
    """Read the profiles of a namespace, by name."""

    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class ProfileEntry(Result, frozen=True, kw_only=True):
    """One profile of a namespace."""

    profile: str


class ProfilePage(Result, frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last."""

    profiles: tuple[ProfileEntry, ...]
    next_cursor: str | None


class Maintain(Request, frozen=True, kw_only=True):
    """Run the background work that is due now, in every profile of the folder."""


class Maintained(Result, frozen=True, kw_only=True):
    """What was done: profiles looked at, vectors written, expired tasks removed."""

    profiles: int
    embedded: int
    expired: int
