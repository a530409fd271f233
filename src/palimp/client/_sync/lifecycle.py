# Made from client/_async by scripts/unasync.py; change it there.
"""The states of a profile's memories: archived, deleted in two steps, restored, under hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Unpack

from ...api import (
    ArchiveMemory,
    DeleteMemory,
    Durability,
    EventPage,
    GetEvents,
    GetLineage,
    HoldMemory,
    Lineage,
    ListEvents,
    MemoryEvent,
    MemoryEvents,
    MovedMemories,
    MovedMemory,
    ProfileEvent,
    ReleaseMemory,
    RestoreMemory,
    to_request,
)
from ...api.annotating import Annotated, Reassign, Reassigned, SetTier
from ...api.base import Request
from ...api.lifecycle import AskedMethod, MemoryMove
from ...api.limits import PAGE_MAX
from ...api.memories import Tier
from ...api.tasks import LifecycleRun, RunLifecycle
from ..fields import IdLike, ListFields
from ..inputs import move_request, options, text_id

if TYPE_CHECKING:
    from .profile import Profile

__all__ = ["Lifecycle"]


class Lifecycle:
    """The states of the memories of one profile: a value that holds nothing open.

    Writes take `durability=` and `request_id=` as those of the profile do. Each says in `before`
    and `state` what it did, and raises `Conflict` naming both states where it leads nowhere.
    """

    __slots__ = ("profile",)

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.profile!r}>"

    def archive(
        self,
        memory: IdLike,
        *,
        reason: str | None = None,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> MovedMemory:
        """Archive an active memory: `get` still reads it, recall and changes do not reach it."""
        request = to_request(ArchiveMemory, {"id": text_id(memory), "reason": reason}, "archive")
        return self._move("memories.archive", request, durability, request_id)

    def restore(
        self,
        memory: IdLike,
        *,
        reason: str | None = None,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> MovedMemory:
        """Make an archived, quarantined or softly deleted memory active; its entries come back.

        Raises `Conflict` once its grace has ended, where it was written again, or where a newer
        memory holds its topic.
        """
        request = to_request(RestoreMemory, {"id": text_id(memory), "reason": reason}, "restore")
        return self._move("memories.restore", request, durability, request_id)

    def delete(
        self,
        memory: IdLike,
        *,
        method: AskedMethod = "user_request",
        reason: str | None = None,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> MovedMemory:
        """Hide a memory at once and purge it when its grace has ended (`hard_delete_at`)."""
        fields = {"id": text_id(memory), "method": method, "reason": reason}
        request = to_request(DeleteMemory, fields, "delete")
        return self._move("memories.delete", request, durability, request_id)

    def hold(
        self,
        memory: IdLike,
        *,
        reason: str | None = None,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> MovedMemory:
        """Put a memory under legal hold: no deletion, policy or erasure removes it."""
        request = to_request(HoldMemory, {"id": text_id(memory), "reason": reason}, "hold")
        return self._move("memories.hold", request, durability, request_id)

    def release(
        self,
        memory: IdLike,
        *,
        reason: str | None = None,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> MovedMemory:
        """End a legal hold; a deletion that waited goes on, never before its grace has ended."""
        request = to_request(ReleaseMemory, {"id": text_id(memory), "reason": reason}, "release")
        return self._move("memories.release", request, durability, request_id)

    def move(
        self,
        move: MemoryMove,
        *,
        method: AskedMethod = "admin_action",
        reason: str | None = None,
        limit: int = PAGE_MAX,
        cursor: str | None = None,
        dry_run: bool = False,
        request_id: str | None = None,
        **filters: Unpack[ListFields],
    ) -> MovedMemories:
        """Do the same with what a filter matches, up to `limit` memories, oldest first.

        The answer's `next_cursor` is for the next call; None where all was looked at. With
        `dry_run` nothing changes. Raises `Invalid` without a filter.
        """
        fields = {
            "move": move,
            "method": method,
            "reason": reason,
            "limit": limit,
            "cursor": cursor,
            "dry_run": dry_run,
        }
        request = move_request(fields, filters)
        found: MovedMemories = self._call("memories.move", request, None, request_id)
        return found

    def history(self) -> Iterator[ProfileEvent]:
        """Iterate over what happened to all memories of the profile, newest first."""
        cursor = None
        while True:
            page: EventPage = self._call(
                "events.list", ListEvents(limit=PAGE_MAX, cursor=cursor)
            )
            for event in page.events:
                yield event
            cursor = page.next_cursor
            if cursor is None:
                return

    def events(self, memory: IdLike) -> Iterator[MemoryEvent]:
        """Iterate over what happened to a memory, oldest first."""
        identity, cursor = text_id(memory), None
        while True:
            page: MemoryEvents = self._call(
                "memories.events", GetEvents(id=identity, limit=PAGE_MAX, cursor=cursor)
            )
            for event in page.events:
                yield event
            cursor = page.next_cursor
            if cursor is None:
                return

    def status(self, memory: IdLike) -> MemoryEvents:
        """Return a memory's state, whether it is held, and the first of its events."""
        found: MemoryEvents = self._call("memories.events", GetEvents(id=text_id(memory)))
        return found

    def lineage(self, memory: IdLike) -> Lineage:
        """Return what a memory was derived from, and what was derived from it."""
        found: Lineage = self._call("memories.lineage", GetLineage(id=text_id(memory)))
        return found

    def run(self) -> LifecycleRun:
        """Do what is due of states and expiry, as the profile's policy says; a node does it too.

        No call moves more than 5,000 memories of a branch: where anything was, repeat it.
        """
        done: LifecycleRun = self._call("lifecycle.run", RunLifecycle())
        return done

    def tier(
        self,
        memory: IdLike,
        tier: Tier,
        *,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> Annotated:
        """Put an active memory in a tier by hand, until it is used or is found used too little."""
        request = to_request(SetTier, {"id": text_id(memory), "tier": tier}, "tier")
        done: Annotated = self._call("memories.tier", request, durability, request_id)
        return done

    def reassign(
        self,
        project: str,
        *,
        to: str | None = None,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> Reassigned:
        """Give up to 1,000 memories of a project to another one, or to none, whatever their state.

        Repeat it while the answer says that there are `more`.
        """
        request = to_request(Reassign, {"project": project, "to": to}, "reassign")
        done: Reassigned = self._call("memories.reassign", request, durability, request_id)
        return done

    def _move(
        self,
        operation: str,
        request: Request,
        durability: Durability | None,
        request_id: str | None,
    ) -> MovedMemory:
        done: MovedMemory = self._call(operation, request, durability, request_id)
        return done

    def _call(
        self,
        operation: str,
        request: Request,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> Any:
        how = options(durability, request_id)
        return self.profile.client.call(operation, self.profile.target, request, how)
