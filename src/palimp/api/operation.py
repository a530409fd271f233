"""What a row of the table of operations says, what one is aimed at, and how it is carried out."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import msgspec

from ..decoding import from_plain
from .base import Request, Result

__all__ = [
    "DATABASE",
    "NO_OPTIONS",
    "PROFILE",
    "SCOPES",
    "Consistency",
    "Durability",
    "Operation",
    "Options",
    "Scope",
    "Target",
    "row",
]

Durability = Literal["local", "durable"]
Consistency = Literal["primary", "cached"]
Scope: TypeAlias = Literal["read", "write", "admin"]
# Each reaches what those before it reach.
SCOPES: tuple[Scope, ...] = get_args(Scope)


class Target(msgspec.Struct, frozen=True):
    """What an operation is aimed at: a namespace, one of its profiles, or (both None) the node.

    `at` is a point of the branch in wire form (`palimp.points`): what is read is what the branch
    held there. A write has none.
    """

    namespace: str | None = None
    profile: str | None = None
    branch: str = "main"
    at: str | None = None


class Options(msgspec.Struct, frozen=True):
    """How an operation is carried out, beside what is asked for.

    A repeat with the same `request_id` gets the answer of the first. When it returns, a `local`
    write survives the process and a power cut, a `durable` one the loss of the machine too. What is
    answered reflects every write that was acknowledged with a txid up to `min_txid`. A `primary`
    read reflects all that were acknowledged before it was asked for; a `cached` one is answered by
    the node that is asked, and may be some seconds old. Not said, it is what the operation says.
    """

    request_id: str | None = None
    durability: Durability | None = None
    min_txid: int | None = None
    consistency: Consistency | None = None


NO_OPTIONS = Options()


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One row: what it is called, how it travels, and what it takes and gives.

    `platform` where a token never reaches it, whatever its scope. `past` where it can be aimed at a
    point; one that also `writes` refuses by itself what would write there, and asks by itself for
    the scope that takes. `success` is the status of its answer: 204 for what removes something and
    says nothing.
    """

    name: str
    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    request: type[Request]
    result: type[Result]
    scope: Scope
    writes: bool
    idempotent: bool
    platform: bool
    past: bool
    success: int
    summary: str


PROFILE = "/v1/memory/{namespace}/{profile}"
DATABASE = "/v1/db/{db}"


def row(
    name: str,
    route: str,
    request: type[Request],
    result: type[Result],
    access: str,
    summary: str,
) -> Operation:
    """Build a row; `access` is a scope, then those of `writes idempotent platform past` that hold.

    A status of success other than 200 follows.
    """
    method, path = route.split(" ")
    scope, *flags = access.split(" ")
    statuses = [int(flag) for flag in flags if flag.isdigit()]
    return from_plain(
        {
            "name": name,
            "method": method,
            "path": path,
            "request": request,
            "result": result,
            "scope": scope,
            "writes": "writes" in flags,
            "idempotent": "idempotent" in flags or "writes" not in flags,
            "platform": "platform" in flags,
            "past": "past" in flags or "writes" not in flags,
            "success": statuses[0] if statuses else 200,
            "summary": summary,
        },
        Operation,
    )
