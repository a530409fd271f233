"""History: checkpoints, points, rewind, branches; and what moves or checks a whole profile."""

from __future__ import annotations

from itertools import islice

import apsw
import msgspec

from ..api import (
    Boundary,
    Branches,
    BranchInfo,
    CheckpointDropped,
    CheckpointInfo,
    Checkpoints,
    CreateCheckpoint,
    DeleteBranch,
    DeletedBranch,
    DropCheckpoint,
    Export,
    Exported,
    Finding,
    Fork,
    Forked,
    GetManifest,
    GotManifest,
    Import,
    Imported,
    ListBranches,
    ListCheckpoints,
    ListNames,
    ListPoints,
    NameEntry,
    NamePage,
    PointPage,
    Rewind,
    Rewound,
    Sync,
    Target,
    Verification,
    Verify,
    Wake,
    Woken,
)
from ..api.limits import IMPORT_BYTES_MAX, PAGE_MAX, TTL_SECONDS_MAX
from ..engine import Address
from ..errors import Invalid
from ..ids import MAIN, DatabaseName, check_name, parse_database_name
from ..points import Point, check_checkpoint_name
from ..profile.checks import check_integer
from . import safety
from .context import Context
from .holding import refuse_held_branch

__all__ = [
    "checkpoint",
    "checkpoints",
    "delete",
    "drop_checkpoint",
    "export",
    "fork",
    "import_",
    "list_branches",
    "manifest",
    "names",
    "points",
    "rewind",
    "sync",
    "verify",
    "wake",
]


def checkpoint(context: Context, target: Target, request: CreateCheckpoint) -> CheckpointInfo:
    """Name what the branch holds now."""
    if (request.name is None) == (request.before is None):
        raise Invalid("a checkpoint has a `name`, or is named for what it is made `before`")
    address = _present(context, target)
    if request.before is not None:
        name, made = safety.checkpoint(context, address, request.before)
    else:
        name = check_checkpoint_name(request.name)
        made = context.engine.checkpoint(address, name)
    return CheckpointInfo(name=name, txid=made.txid, at=made.at)


def checkpoints(context: Context, target: Target, _request: ListCheckpoints) -> Checkpoints:
    """Read the names of a branch."""
    found = context.engine.checkpoints(_present(context, target))
    return Checkpoints(
        checkpoints=tuple(CheckpointInfo(name=c.name, txid=c.txid, at=c.at) for c in found)
    )


def drop_checkpoint(context: Context, target: Target, request: DropCheckpoint) -> CheckpointDropped:
    """Remove a name."""
    name = check_checkpoint_name(request.name)
    context.engine.drop_checkpoint(_present(context, target), name)
    return CheckpointDropped(name=name)


def points(context: Context, target: Target, request: ListPoints) -> PointPage:
    """Read one page of the boundaries, newest first; the cursor is the last txid of a page."""
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    before = _cursor(request.cursor)
    found = reversed(context.engine.boundaries(_present(context, target)))
    older = (one for one in found if before is None or one.txid < before)
    page = [Boundary(txid=one.txid, at=one.at) for one in islice(older, request.limit)]
    more = next(older, None) is not None
    return PointPage(points=tuple(page), next_cursor=str(page[-1].txid) if more else None)


def rewind(context: Context, target: Target, request: Rewind) -> Rewound:
    """Write the pages of an earlier point in a new commit."""
    address = _present(context, target)
    repeat = context.repeat(tuple[int, int, int])
    done = context.engine.rewind(address, Point.parse(request.to), repeat)
    context.wake(address)
    return Rewound(from_txid=done.before, to_txid=done.to, txid=done.txid)


def list_branches(context: Context, target: Target, _request: ListBranches) -> Branches:
    """Read the branches of a profile."""
    found = context.engine.branches(_present(context, target))
    names = BranchInfo.__struct_fields__
    return Branches(
        branches=tuple(BranchInfo(**{n: getattr(one, n) for n in names}) for one in found)
    )


def fork(context: Context, target: Target, request: Fork) -> Forked:
    """Make a branch."""
    name = check_name(request.name, "branch")
    if request.from_ is not None:
        if target.branch not in (MAIN, request.from_):
            raise Invalid(
                f"the fork is asked from branch {target.branch!r} and from {request.from_!r:.80}; "
                "name one"
            )
        target = msgspec.structs.replace(target, branch=request.from_)
    point = None if request.at is None else Point.parse(request.at)
    if request.checkpoint is not None:
        if point is not None:
            raise Invalid("a fork takes `at` or `checkpoint`, not both")
        point = Point.checkpoint(request.checkpoint)
    address = _present(context, target)
    repeat = context.repeat(None)
    made = context.engine.fork(address, name, point, _ttl_ms(request.ttl), repeat)
    return Forked(name=name, branch_id=made.branch_id, txid=made.txid, ttl_at=made.ttl_at)


def delete(context: Context, target: Target, _request: DeleteBranch) -> DeletedBranch:
    """Remove a branch."""
    address = _present(context, target)
    refuse_held_branch(context, address)
    context.engine.delete_branch(address)
    return DeletedBranch(name=address.branch)


def sync(context: Context, target: Target, _request: Sync) -> Boundary:
    """Ship what is local."""
    reached = context.engine.sync(_present(context, target))
    return Boundary(txid=reached.txid, at=reached.at)


def export(context: Context, target: Target, _request: Export) -> Exported:
    """Read a branch as a file; `target.at` says as of when."""
    point = None if target.at is None else Point.parse(target.at)
    file = context.engine.export(context.address(target), point)
    return Exported(data=file.data, txid=file.txid)


def import_(context: Context, target: Target, request: Import) -> Imported:
    """Fill a new profile from a file."""
    size = len(request.data)
    if size > IMPORT_BYTES_MAX:
        raise Invalid(
            f"the file has {size:,} bytes, at most {IMPORT_BYTES_MAX:,} can be imported",
            code="payload_too_large",
        )
    address = _present(context, target)
    from ..profile.resealing import refuse_sealed

    screen, note = context.screen(address), None
    if screen is None:
        txid = context.engine.import_(address, request.data, refuse_sealed)
    else:
        from .redacting_files import FileLook

        look = FileLook(screen)

        def read(connection: apsw.Connection) -> None:
            refuse_sealed(connection)
            look.read(connection)

        txid = context.engine.import_(address, request.data, read)
        screen.record()
        note = look.note
    context.wake(address)
    return Imported(txid=txid, note=note)


def verify(context: Context, target: Target, _request: Verify) -> Verification:
    """Check every object of a profile."""
    found = context.engine.verify(_present(context, target))
    names = Finding.__struct_fields__
    return Verification(
        branches=found.branches,
        objects=found.objects,
        bytes=found.bytes,
        findings=tuple(Finding(**{n: getattr(one, n) for n in names}) for one in found.findings),
    )


def manifest(context: Context, target: Target, _request: GetManifest) -> GotManifest:
    """Read the manifest as it is."""
    return GotManifest(manifest=context.engine.manifest(_present(context, target)))


def wake(context: Context, target: Target, _request: Wake) -> Woken:
    """Build the local file."""
    return Woken(txid=context.engine.wake(_present(context, target)))


def names(context: Context, _target: Target, request: ListNames) -> NamePage:
    """Read one page of the names of the whole store, in the order of their keys."""
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    after = None if request.cursor is None else parse_database_name(request.cursor)
    page, more = context.engine.names(None, after, request.limit)
    return NamePage(
        names=tuple(NameEntry(namespace=one, profile=name) for one, name in page),
        next_cursor=str(DatabaseName(*page[-1])) if more and page else None,
    )


def _present(context: Context, target: Target) -> Address:
    """Return the address of what has no past: a branch's list of points is the same at each."""
    if target.at is not None:
        raise Invalid(
            f"this operation is about a branch as a whole, not about its past at {target.at!r:.80};"
            " leave `at` out"
        )
    return context.address(target)


def _cursor(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit()):
        raise Invalid(f"cursor {cursor!r:.40} did not come from an earlier page")
    return int(cursor[:20])


def _ttl_ms(ttl: float | None) -> int | None:
    if ttl is None:
        return None
    if not 0 < ttl <= TTL_SECONDS_MAX:
        raise Invalid(f"ttl is {ttl:g} s; give more than 0 and at most {TTL_SECONDS_MAX:,}")
    return max(1, round(ttl * 1000))
