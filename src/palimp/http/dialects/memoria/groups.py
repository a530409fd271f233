"""Groups: memories that several users share, reached by keys that are for a group.

Its main is read by its members and changed through branches, unless its owner is alone in it.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from ....api import DeleteDatabase, Ingest, ListMemories, Memory, MemoryInput, MemoryPage, Target
from ....api.limits import PAGE_MAX
from ....decoding import from_json
from ....errors import Conflict, Error, Invalid, NotFound
from ....ids import MAIN, foreign_name, random_bytes, random_id
from ..foreign import Route
from . import credentials
from .admission import NAME, NAMESPACE
from .call import Call
from .names import check_user, is_group, stamp
from .refusals import forbidden, missing

__all__ = ["ROUTES", "Group", "check_keys_of", "check_write", "owns"]

_EVERYBODY = ""
_NAME_CHARS_MAX = 128
_MEMBERS_MAX = 1_000
_TRIES = 10
_ID_BYTES = 6
_READ_ONLY = "main is read-only in group mode; check out a branch, or name one with `branch`"
# What changes the memories of the branch it is at.
_WRITES = frozenset(
    {
        ("POST", "/v1/memories"),
        ("POST", "/v1/memories/batch"),
        ("POST", "/v1/memories/correct"),
        ("POST", "/v1/memories/purge"),
        ("PUT", "/v1/memories/{id}/correct"),
        ("DELETE", "/v1/memories/{id}"),
        ("POST", "/v1/observe"),
        ("POST", "/v1/pipeline/run"),
        ("POST", "/v1/sessions/{session_id}/summary"),
    }
)
_MERGE = ("POST", "/v1/branches/{name}/merge")
# What changes main as a whole, at once.
_WHOLE = frozenset(
    {
        ("POST", "/v1/snapshots/{name}/rollback"),
        ("POST", "/v1/governance"),
        ("POST", "/v1/consolidate"),
    }
)


class Member(msgspec.Struct, frozen=True):
    """One user of a group."""

    role: str
    joined_at: int
    active: bool = True
    removed_at: int | None = None


class Group(msgspec.Struct, frozen=True):
    """A group as it is kept."""

    id: str
    name: str
    db_name: str
    owner: str
    created_at: int
    updated_at: int
    members: dict[str, Member]
    status: str = "active"

    @property
    def present(self) -> list[str]:
        """Who is in it."""
        return [user for user, member in self.members.items() if member.active]

    @property
    def alone(self) -> bool:
        """Whether its owner is the only one."""
        return self.present == [self.owner]


class _Read(NamedTuple):
    group: Group
    version: int


def create(call: Call) -> Any:
    """Make a group, whose owner is who asks."""
    name = call.text("group_name")
    if not 1 <= len(name) <= _NAME_CHARS_MAX:
        raise Invalid(f"group_name has {len(name):,} characters; 1 to {_NAME_CHARS_MAX} fit")
    owner = check_user(call.caller.member)
    given = call.texts("members") or []
    if len(given) > _MEMBERS_MAX:
        raise Invalid(f"{len(given):,} members; up to {_MEMBERS_MAX:,} fit")
    for user in given:
        _check_registered(call, check_user(user))
    identity = f"grp_{random_bytes(_ID_BYTES).hex()}"
    seed = _seed(call)
    now = call.node.context.clock.now_ms()
    members = {owner: Member("owner", now)}
    members |= {user: Member("member", now) for user in given if user != owner}
    group = Group(
        identity,
        name,
        call.text("db_name", required=False) or f"mem_{identity}",
        owner,
        now,
        now,
        members,
    )
    if seed:
        try:
            _copy(call, identity)
        except Error:
            _delete_memories(call, identity)
            raise
    _put(call, group, 0)
    return _shown(group)


def listing(call: Call) -> Any:
    """Return the groups that who asks is in."""
    found = call.bindings.list(NAME, call.caller.member, "in_group/")
    groups = [_find(call, one.key.removeprefix("in_group/")) for one in found]
    return [
        _shown(one.group)
        for one in groups
        if one is not None and call.caller.member in one.group.present and _is_within(call, one)
    ]


def get(call: Call) -> Any:
    """Return a group to who is in it."""
    found = _read(call)
    present = call.caller.member in found.group.present and _is_within(call, found)
    if not call.master and not present:
        raise forbidden("Not a member of this group")
    return _shown(found.group)


def add(call: Call) -> Any:
    """Let a user in, or in again."""
    user = check_user(call.values["user"])
    _check_registered(call, user)

    def change(group: Group, now: int) -> Group:
        if user in group.present:
            raise Conflict(f"{user} is a member already", code="already_exists", said=True)
        if len(group.present) >= _MEMBERS_MAX:
            raise Invalid(f"the group has {_MEMBERS_MAX:,} members; no more fit")
        return _with(group, user, Member("member", now), now)

    return _shown(_change(call, change))


def remove(call: Call) -> Any:
    """Let a user reach it no more: their keys for it hold no more."""
    user = call.values["user"]

    def change(group: Group, now: int) -> Group:
        if user == group.owner:
            raise forbidden("The owner cannot be removed from the group")
        if user not in group.present:
            raise missing(f"Member not found: {user:.80}")
        known = group.members[user]
        gone = msgspec.structs.replace(known, active=False, removed_at=now)
        return _with(group, user, gone, now)

    group = _change(call, change)
    credentials.revoke_all(call, credentials.of_group(call, group.id, [user]))
    return _shown(group)


def delete(call: Call) -> Any:
    """Remove the keys for a group, its memories, and last the group: it can be repeated."""
    group = _owned(call).group
    credentials.revoke_all(call, credentials.of_group(call, group.id, list(group.members)))
    _delete_memories(call, group.id)

    def change(group: Group, now: int) -> Group:
        return msgspec.structs.replace(group, status="deleted", updated_at=now)

    _change(call, change)
    return {"group_id": group.id, "status": "deleted"}


def check_keys_of(call: Call, identity: str, user: str) -> None:
    """Return if who asks may make a key for a member of a group; else raises what is wrong."""
    found = _find(call, identity)
    if found is None:
        raise missing(f"Group not found: {identity:.80}")
    if not owns(call, identity):
        raise forbidden("Only the owner of the group makes keys for it")
    if user not in found.group.present:
        raise Invalid(f"user {user:.80} is not an active member of group {identity}")


def owns(call: Call, identity: str) -> bool:
    """Whether who asks owns a group, or holds the master key."""
    found = _find(call, identity)
    return call.master or (
        found is not None and found.group.owner == call.caller.member and _is_within(call, found)
    )


def check_write(call: Call, method: str, path: str) -> None:
    """Return if a route may be taken by a key that is for a group; `Denied` (403) if not.

    Its main is read-only, but for an owner who is alone.
    """
    identity = call.caller.group
    route = method, path
    if identity is None or (route not in _WRITES and route not in _WHOLE and route != _MERGE):
        return
    if route == _MERGE:
        raise forbidden("A merge is not for the key of a group; apply what is wanted")
    branch = call.fields.get("branch") or call.query.get("branch") or call.active
    if route in _WRITES and branch != MAIN:
        return
    found = _find(call, identity)
    if found is None or not found.group.alone:
        raise forbidden(_READ_ONLY, reason="read_only")


def _seed(call: Call) -> bool:
    """Whether the group begins with what who asks has; only they may say so."""
    seed = call.fields.get("seed")
    if seed is None:
        return False
    if not isinstance(seed, dict) or seed.get("mode", "active_only") != "active_only":
        raise Invalid('seed must be {"db_name": ..., "mode": "active_only"}')
    digest = hashlib.sha256(call.caller.member.encode("utf-8", "surrogatepass")).hexdigest()
    if call.caller.group is not None or seed.get("db_name") != f"mem_u_{digest[:16]}":
        raise forbidden("A group is seeded from your own current database only")
    return True


def _copy(call: Call, identity: str) -> None:
    """Write what holds in main of who asks to a group."""
    to = Target(NAMESPACE, foreign_name(identity))
    cursor = None
    while True:
        request = ListMemories(limit=PAGE_MAX, cursor=cursor)
        page: MemoryPage = call.do("memories.list", request, target=call.place(MAIN))
        if page.memories:
            ingest = Ingest(memories=tuple(_anew(one) for one in reversed(page.memories)))
            call.node.call("memories.ingest", to, ingest, principal=credentials.steward(call))
        cursor = page.next_cursor
        if cursor is None:
            return


def _delete_memories(call: Call, identity: str) -> None:
    target = Target(NAMESPACE, foreign_name(identity))
    steward = credentials.steward(call)
    # Nothing may have been written to it.
    with suppress(NotFound):
        call.node.call("databases.delete", target, DeleteDatabase(), principal=steward)


_COPIED = (
    "text", "type", "kind", "topic", "content", "keywords", "tags", "metadata", "source",
    "session", "agent", "speaker", "project", "environment", "importance", "confidence", "trust",
    "observed_at", "expires_at",
)  # fmt: skip


def _anew(memory: Memory) -> MemoryInput:
    given = {name: getattr(memory, name) for name in _COPIED}
    return MemoryInput(**given, dedup_key=random_id("seed"))


def _check_registered(call: Call, user: str) -> None:
    """Raise `Invalid` for a user of whom nothing is known: neither a key nor a memory."""
    if not credentials.is_known(call, user):
        raise Invalid(f"user {user:.80} is not registered")


def _read(call: Call) -> _Read:
    found = _find(call, call.values["id"])
    if found is None:
        raise missing(f"Group not found: {call.values['id']:.80}")
    return found


def _owned(call: Call) -> _Read:
    found = _read(call)
    if not owns(call, found.group.id):
        raise forbidden("Only the owner of the group may do this")
    return found


def _find(call: Call, identity: str) -> _Read | None:
    """Return a group that was not deleted."""
    kept = call.bindings.get(NAME, _EVERYBODY, f"group/{identity}") if is_group(identity) else None
    if kept is None:
        return None
    group = from_json(kept.value, Group)
    return _Read(group, kept.version) if group.status == "active" else None


def _is_within(call: Call, found: _Read) -> bool:
    """Whether the key reaches it: one that is for a group knows of no other."""
    return call.caller.group in (None, found.group.id)


def _change(call: Call, change: Any) -> Group:
    """Change a group as its owner; what others change meanwhile is read again."""
    for _ in range(_TRIES):
        found = _owned(call)
        changed: Group = change(found.group, call.node.context.clock.now_ms())
        if _put(call, changed, found.version):
            return changed
    raise Conflict("the group was changed by others meanwhile; repeat it")


def _put(call: Call, group: Group, version: int) -> bool:
    text = msgspec.json.encode(group).decode()
    done = call.bindings.put(NAME, _EVERYBODY, f"group/{group.id}", text, expect=version)
    if done is None:
        return False
    for user in group.present:
        call.bindings.put(NAME, user, f"in_group/{group.id}", "true")
    return True


def _with(group: Group, user: str, member: Member, now: int) -> Group:
    members = {**group.members, user: member}
    return msgspec.structs.replace(group, members=members, updated_at=now)


def _shown(group: Group) -> dict[str, Any]:
    return {
        "group_id": group.id,
        "group_name": group.name,
        "db_name": group.db_name,
        "owner_user_id": group.owner,
        "members": [
            {
                "user_id": user,
                "role": one.role,
                "is_active": one.active,
                "joined_at": stamp(one.joined_at),
            }
            for user, one in group.members.items()
            if one.active
        ],
        "status": group.status,
        "created_at": stamp(group.created_at),
        "updated_at": stamp(group.updated_at),
    }


_GROUP = "/v1/groups/{id}"

_TEST = "tests/dialects/memoria/test_groups.py"

ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/groups", "user", create, _TEST, 201),
    Route("GET", "/v1/groups", "user", listing, _TEST),
    Route("GET", _GROUP, "user", get, _TEST),
    Route("POST", f"{_GROUP}/members/{{user}}", "user", add, _TEST),
    Route("DELETE", f"{_GROUP}/members/{{user}}", "user", remove, _TEST),
    Route("DELETE", _GROUP, "user", delete, _TEST),
)
