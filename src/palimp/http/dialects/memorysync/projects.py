"""The projects of a tenant: kept as bindings, by their ids; every environment has the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from ....api import ListProfiles, Options, ProfilePage, Target
from ....api.annotating import Reassign, Reassigned
from ....api.limits import PAGE_MAX
from ....api.stats import GetStats, MemoryStats
from ....api.tasks import CreateTask
from ....decoding import from_json
from ....errors import NotFound
from ....ids import random_bytes
from ..foreign import Reply, Route
from .call import Call
from .names import DIALECT, ENVIRONMENTS, PROJECT_KEY, namespace_of
from .refusals import conflict, forbidden, missing, unprocessable
from .shapes import stamp

__all__ = ["ROUTES", "check_own", "profiles"]

_NAME_CHARS_MAX = 200
_DEFAULT = "Default"
_ID_BYTES = 8
_TRIES = 20
# Of how many users the memories of projects are counted; of more it is not said.
_COUNTED_MAX = 100
# Of how many users a project is given up while its deletion is waited for.
_INLINE_MAX = 100


class _Project(msgspec.Struct, frozen=True, omit_defaults=True):
    """A project as it is kept; times in ms."""

    id: str
    name: str
    created_at: int
    updated_at: int
    is_default: bool = False
    archived_at: int | None = None


def listing(call: Call) -> Any:
    """Return the projects; a tenant that has none yet gets its default one."""
    found = _all(call)
    if not any(one.is_default for one in found):
        found.insert(0, _default(call))
    locked = call.caller.locked
    shown = [one for one in found if locked in (None, one.id)]
    counts = _counts(call, [one.id for one in shown])
    return [_shown(call, one, counts) for one in shown]


def create(call: Call) -> Any:
    """Make a project."""
    _check_unlocked(call)
    now = call.node.context.clock.now_ms()
    made = _Project(f"proj_{random_bytes(_ID_BYTES).hex()}", _name(call), now, now)
    call.bindings.put(DIALECT, call.tenant, PROJECT_KEY + made.id, _text(made), 0)
    return _shown(call, made)


def rename(call: Call) -> Any:
    """Give it another name."""
    return _shown(call, _changed(call, name=_name(call)))


def archive(call: Call) -> Any:
    """Let nothing more be written to it."""
    return _shown(call, _changed(call, archived_at=call.node.context.clock.now_ms()))


def unarchive(call: Call) -> Any:
    """Let it be written to again."""
    return _shown(call, _changed(call, archived_at=None))


def delete(call: Call) -> Any:
    """Remove it, after its memories of every user and environment were given to none.

    First nothing more is written to it. Where it was interrupted it is archived: repeat it. Of more
    than 100 users a task of the nodes does the rest, and goes on if this one ends.
    """
    found, _ = _find(call)
    if found.is_default:
        raise conflict(f"Project {found.id} is the default one, which cannot be deleted")
    _changed(call, archived_at=found.archived_at or call.node.context.clock.now_ms())
    for place, target in enumerate(_everywhere(call)):
        if place == _INLINE_MAX and call.node.context.tasks is not None:
            _hand_on(call, found.id)
            break
        _give_up(call, target, found.id)
    call.bindings.delete(DIALECT, call.tenant, PROJECT_KEY + found.id)
    return Reply(204)


def check_own(call: Call, project: str | None) -> str | None:
    """Return a project's id if the tenant has it; raises `NotFound`."""
    if project is not None and call.app.admission.project(call.tenant, project) is None:
        raise missing(f"Project not found: {project}")
    return project


def profiles(call: Call, environment: str) -> Iterator[Target]:
    """Yield where the memories of each end user of the tenant are."""
    namespace = namespace_of(call.tenant, environment)
    cursor = None
    while True:
        request = ListProfiles(limit=PAGE_MAX, cursor=cursor)
        page: ProfilePage = call.do(
            "profiles.list", request, target=Target(namespace), principal=call.steward
        )
        for one in page.profiles:
            yield Target(namespace, one.profile)
        cursor = page.next_cursor
        if cursor is None:
            return


def _everywhere(call: Call) -> Iterator[Target]:
    for environment in ENVIRONMENTS:
        yield from profiles(call, environment)


def _hand_on(call: Call, project: str) -> None:
    """Have the nodes give up a project in all profiles of a tenant; again it is the same task."""
    spaces = tuple(namespace_of(call.tenant, environment) for environment in ENVIRONMENTS)
    task = CreateTask(kind="reassign", namespaces=spaces, reassign=Reassign(project=project))
    options = Options(request_id=f"memorysync:{project}")
    call.do("tasks.create", task, target=Target(), options=options, principal=call.steward)


def _give_up(call: Call, target: Target, project: str) -> None:
    request, more = Reassign(project=project), True
    while more:
        try:
            done: Reassigned = call.do(
                "memories.reassign", request, target=target, principal=call.steward
            )
        except NotFound:
            # Its user was deleted since the listing.
            return
        more = done.more


def _all(call: Call) -> list[_Project]:
    found = []
    after = ""
    while True:
        rows = call.bindings.list(DIALECT, call.tenant, PROJECT_KEY, after, PAGE_MAX)
        found += [from_json(row.value, _Project) for row in rows]
        if len(rows) < PAGE_MAX:
            return sorted(found, key=lambda one: (one.created_at, one.id))
        after = rows[-1].key


def _default(call: Call) -> _Project:
    """Make the project that every tenant has; of two at once one, as it has but one id."""
    digest = hashlib.blake2b(call.tenant.encode(), digest_size=_ID_BYTES, person=b"default")
    now = call.node.context.clock.now_ms()
    made = _Project(f"proj_{digest.hexdigest()}", _DEFAULT, now, now, is_default=True)
    call.bindings.put(DIALECT, call.tenant, PROJECT_KEY + made.id, _text(made), 0)
    return made


def _find(call: Call) -> tuple[_Project, int]:
    """Return the project of the path and its version; raises `NotFound`."""
    identity = call.values["id"]
    if call.caller.locked not in (None, identity):
        raise forbidden("API key is locked to another project")
    key = PROJECT_KEY + identity
    row = call.bindings.get(DIALECT, call.tenant, key) if len(key) <= _NAME_CHARS_MAX else None
    if row is None:
        raise missing(f"Project not found: {identity:.80}")
    return from_json(row.value, _Project), row.version


def _changed(call: Call, **fields: Any) -> _Project:
    for _ in range(_TRIES):
        found, version = _find(call)
        now = call.node.context.clock.now_ms()
        new = msgspec.structs.replace(found, updated_at=now, **fields)
        put = call.bindings.put(DIALECT, call.tenant, PROJECT_KEY + new.id, _text(new), version)
        if put is not None:
            return new
    raise conflict(f"Project {call.values['id']} is being changed by others; repeat it")


def _shown(call: Call, one: _Project, counts: dict[str, int] | None = None) -> dict[str, Any]:
    """Return a project as it travels; `counts` are those of several, where they were asked for."""
    found = {
        "id": one.id,
        "name": one.name,
        "tenant_id": call.tenant,
        "is_default": one.is_default,
        "archived_at": None if one.archived_at is None else stamp(one.archived_at),
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.updated_at),
    }
    count = (_counts(call, [one.id]) if counts is None else counts).get(one.id)
    return found if count is None else {**found, "memory_count": count}


def _counts(call: Call, projects: list[str]) -> dict[str, int]:
    """Return how many memories hold in each project in an environment; none of too many users.

    Each user's are looked at once, for all projects. One that is not among the largest of a user is
    left out: how many it has there is not said.
    """
    counts = dict.fromkeys(projects, 0)
    one = projects[0] if len(projects) == 1 else None
    for place, target in enumerate(profiles(call, call.environment)):
        if place == _COUNTED_MAX:
            return {}
        try:
            stats: MemoryStats = call.do(
                "memories.stats", GetStats(project=one), target=target, principal=call.steward
            )
        except NotFound:
            continue
        listed = sum(group.count for group in stats.by_project.values())
        for project in list(counts):
            group = stats.by_project.get(project)
            if group is not None:
                counts[project] += group.count
            elif listed < stats.all.count:
                del counts[project]
    return counts


def _name(call: Call) -> str:
    name = call.text("name").strip()
    if not 1 <= len(name) <= _NAME_CHARS_MAX:
        raise unprocessable(
            f"name has {len(name):,} characters; 1 to {_NAME_CHARS_MAX} fit", "name"
        )
    return name


def _check_unlocked(call: Call) -> None:
    if call.caller.locked is not None:
        raise forbidden("API key is locked to one project")


def _text(one: _Project) -> str:
    return msgspec.json.encode(one).decode()


_PROJECTS = "/org/projects"
_PROJECT = f"{_PROJECTS}/{{id}}"
_TEST = "tests/dialects/memorysync/test_control.py"
_READ, _WRITE = "projects:read", "projects:write"

ROUTES: tuple[Route, ...] = (
    Route("GET", _PROJECTS, "user", listing, _TEST, needs=_READ),
    Route("POST", _PROJECTS, "user", create, _TEST, 201, needs=_WRITE),
    Route("PATCH", _PROJECT, "user", rename, _TEST, needs=_WRITE),
    Route("POST", f"{_PROJECT}/archive", "user", archive, _TEST, needs=_WRITE),
    Route("POST", f"{_PROJECT}/unarchive", "user", unarchive, _TEST, needs=_WRITE),
    Route("DELETE", _PROJECT, "user", delete, _TEST, 204, needs=_WRITE),
)
