"""Organisations: the tenants of Memtrace's clients, each with a profile for its events.

What is known of one stands in two bindings of nobody's scope: the tenant itself, and where one was
given, or has to be, its Arc: a time-series database that keeps its events instead of the profile.
The second one stays when the Arc is taken away, so that events are not silently kept elsewhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec

from ..api import Target
from ..api.tenants import Tenant
from ..decoding import from_json
from ..errors import Invalid, NotFound, Unconfigured
from ..ids import NAMESPACE_CHARS_MAX, foreign_name, random_bytes
from .context import Context

__all__ = [
    "DIALECT",
    "ORG_DEFAULT",
    "PROFILE",
    "ArcRow",
    "ArcSecret",
    "VersionedArc",
    "arc_of",
    "arc_rows",
    "bindings_of",
    "change_arc",
    "check_org",
    "drop_org",
    "ensure_default",
    "find_org",
    "get_org",
    "list_orgs",
    "namespace_of",
    "new_id",
    "no_arc",
    "org_target",
    "put_arc",
    "put_org",
]

DIALECT = "memtrace"
ORG_DEFAULT = "org_default"
# In which an organisation's events are, in a namespace of its own.
PROFILE = "events"
_TITLE_DEFAULT = "Default"
_EVERYBODY = ""
_TENANT, _ARC = "tenant/", "arc/"
_ORG = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,127}\Z")
_ID_BYTES = 12
_HASH_DIGITS = 40
_PLACE_BYTES = 8
_PAGE = 1_000


class ArcSecret(msgspec.Struct, frozen=True, kw_only=True):
    """An Arc's key, sealed with a version of the key of the organisation's namespace."""

    version: int
    sealed: str


class ArcRow(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an organisation's Arc, and in which state it is.

    `needed`: there has to be one, and none was given. `draining`: events are still kept in the
    profile, and those in it are carried to the Arc. `bound`: events are kept there. `removed`: it
    was taken away. `carried` is up to which handle the profile's events were handed on, by place;
    until `late` (ms) it is looked at for those that were written to it meanwhile.
    """

    state: Literal["needed", "draining", "bound", "removed"]
    id: str = ""
    url: str = ""
    database: str = ""
    measurement: str = ""
    created_at: int = 0
    secret: ArcSecret | None = None
    carried: dict[str, int] = {}
    late: int = 0

    @property
    def place(self) -> str:
        """What tells where events are in an Arc from where others are."""
        said = "\0".join((self.url, self.database, self.measurement))
        return hashlib.blake2b(said.encode(), digest_size=_PLACE_BYTES).hexdigest()

    @property
    def given(self) -> bool:
        """Whether there is an Arc."""
        return self.state in ("draining", "bound")


class VersionedArc(NamedTuple):
    """An organisation's Arc as it was read: it is changed from this version only."""

    org: str
    row: ArcRow
    version: int


class _Noted(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a tenant."""

    created_at: int
    title: str | None = None


def check_org(org: str) -> str:
    """Return an organisation's id; raises `Invalid` for what is none."""
    if not _ORG.match(org):
        raise Invalid(
            f"organisation {org!r:.80} is not a letter and up to 127 of A-Z, a-z, 0-9, _ and -"
        )
    return org


def namespace_of(org: str) -> str:
    """Return the namespace of an organisation; no two have one. Raises `Invalid`."""
    name = foreign_name(f"mt:{check_org(org)}")
    if len(name) <= NAMESPACE_CHARS_MAX:
        return name
    return "mt-" + hashlib.blake2b(name.encode()).hexdigest()[:_HASH_DIGITS]


def org_target(org: str) -> Target:
    """Return the profile of an organisation's events; raises `Invalid` for what is no id."""
    return Target(namespace_of(org), PROFILE)


def new_id(prefix: str) -> str:
    """Return a new id: the prefix and 24 hex digits."""
    return f"{prefix}_{random_bytes(_ID_BYTES).hex()}"


def no_arc() -> Unconfigured:
    """Return the error of an organisation whose events are kept in an Arc, and that has none."""
    return Unconfigured(
        "no arc instance configured for this org",
        hint="ask an admin to run `memtrace org add-arc <org_id>`",
    )


def bindings_of(context: Context) -> Any:
    """Return where organisations are kept; raises `Unconfigured` where that is nowhere."""
    if context.bindings is None:
        raise Unconfigured(
            "tenants are kept in the catalog, and there is none here: set PALIMP_CATALOG_URL, or "
            "start the node with `palimp serve`, which has one in its folder (extra `server`)"
        )
    return context.bindings


def put_org(context: Context, org: str, title: str) -> Tenant | None:
    """Note an organisation; None where it is there already."""
    now = context.clock.now_ms()
    value = msgspec.json.encode(_Noted(created_at=now, title=title)).decode()
    if bindings_of(context).put(DIALECT, _EVERYBODY, _TENANT + check_org(org), value, 0) is None:
        return None
    return Tenant(dialect=DIALECT, name=org, created_at=now, title=title, store="profile")


def ensure_default(context: Context) -> None:
    """Have the organisation that is served where nobody was made one; nothing if it is there."""
    put_org(context, ORG_DEFAULT, _TITLE_DEFAULT)


def find_org(context: Context, org: str) -> Tenant | None:
    """Return an organisation; None where none was noted under that id."""
    found = bindings_of(context).get(DIALECT, _EVERYBODY, _TENANT + check_org(org))
    if found is None:
        return None
    noted = from_json(found.value, _Noted)
    return _tenant(org, noted, kept=arc_of(context, org) is not None)


def get_org(context: Context, org: str, todo: str = "") -> Tenant:
    """Return an organisation; raises `NotFound`, which says `todo`."""
    found = find_org(context, org)
    if found is None:
        raise NotFound(f"org '{org:.80}' not found{todo}")
    return found


def list_orgs(context: Context, cursor: str | None, limit: int) -> tuple[list[Tenant], str | None]:
    """Return one page of organisations by id, and what asks for the next."""
    bindings = bindings_of(context)
    after = "" if cursor is None else _TENANT + check_org(cursor)
    rows = bindings.list(DIALECT, _EVERYBODY, _TENANT, after, limit + 1)
    page = rows[:limit]
    last = page[-1].key.removeprefix(_TENANT) if page else ""
    kept = set()
    for one in arc_rows(context, after=cursor or ""):
        if one.org > last:
            break
        kept.add(one.org)
    found = [
        _tenant(org, from_json(row.value, _Noted), kept=org in kept)
        for row in page
        for org in (row.key.removeprefix(_TENANT),)
    ]
    return found, last if len(rows) > limit else None


def drop_org(context: Context, org: str) -> bool:
    """Note an organisation no more, nor its Arc; whether there was one."""
    bindings = bindings_of(context)
    arc = bindings.delete(DIALECT, _EVERYBODY, _ARC + check_org(org))
    noted = bindings.delete(DIALECT, _EVERYBODY, _TENANT + org)
    if arc and context.event_stores is not None:
        context.event_stores.changed()
    return bool(arc or noted)


def arc_of(context: Context, org: str) -> VersionedArc | None:
    """Return what is known of an organisation's Arc; None where there never was to be one."""
    found = bindings_of(context).get(DIALECT, _EVERYBODY, _ARC + check_org(org))
    return None if found is None else _versioned(found)


def arc_rows(context: Context, after: str = "") -> Iterator[VersionedArc]:
    """Yield what is known of every Arc, by the ids of organisations."""
    bindings = bindings_of(context)
    start = _ARC + after if after else ""
    while True:
        rows = bindings.list(DIALECT, _EVERYBODY, _ARC, start, _PAGE)
        yield from (_versioned(row) for row in rows)
        if len(rows) < _PAGE:
            return
        start = rows[-1].key


def put_arc(context: Context, org: str, row: ArcRow, expect: int) -> VersionedArc | None:
    """Keep what is known of an Arc; None, and nothing changed, where another did so before."""
    value = msgspec.json.encode(row).decode()
    version = bindings_of(context).put(DIALECT, _EVERYBODY, _ARC + check_org(org), value, expect)
    if context.event_stores is not None:
        context.event_stores.changed()
    return None if version is None else VersionedArc(org, row, version)


def change_arc(context: Context, held: VersionedArc, **changes: Any) -> VersionedArc | None:
    """Change what is known of an Arc; None where somebody else did since it was read."""
    return put_arc(context, held.org, msgspec.structs.replace(held.row, **changes), held.version)


def _tenant(org: str, noted: _Noted, *, kept: bool) -> Tenant:
    return Tenant(
        dialect=DIALECT,
        name=org,
        created_at=noted.created_at,
        title=noted.title,
        store="arc" if kept else "profile",
    )


def _versioned(found: Any) -> VersionedArc:
    row = from_json(found.value, ArcRow)
    return VersionedArc(found.key.removeprefix(_ARC), row, found.version)
