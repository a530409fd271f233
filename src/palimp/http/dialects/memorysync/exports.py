"""Exports of a tenant's memories: jobs that are done at once, and files made as they are fetched.

What is kept of a job is what was asked for. No memory is written to a file here, where neither
encryption nor erasure would reach it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from ....api import ListMemories, Memory, MemoryPage
from ....api.limits import PAGE_MAX
from ....api.memories import Filters
from ....decoding import from_json, from_plain
from ....errors import NotFound
from ....ids import foreign_name, foreign_text, random_bytes
from ..foreign import Reply, Route
from .call import Call
from .names import DIALECT
from .projects import profiles
from .refusals import missing, unprocessable
from .shapes import shape, stamp

__all__ = ["ROUTES"]

_FORMATS = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}
_SCOPES = ("filtered", "all", "date_range")
_FILTERS = (
    "q", "user_id", "is_summary", "tier", "source", "time_range", "date_from", "date_to",
    "include_soft_deleted",
)  # fmt: skip
_COLUMNS = (
    "id", "user_id", "text", "tags", "source", "event_type", "importance", "tier", "is_summary",
    "project_id", "environment", "retention_status", "metadata", "created_at", "updated_at",
    "expires_at",
)  # fmt: skip
_AS_JSON = ("tags", "metadata")
# They go through memory: what is larger is fetched by user or by date.
_ROWS_MAX = 100_000
_KEY = "export/"
_ID_BYTES = 12
_HOLDS_MS = 86_400_000
_LIST, _LIST_MAX = 20, 100
_RANGE = re.compile(r"([1-9][0-9]{0,4})([hdw])\Z")
_RANGE_MS = {"h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}


class _Job(msgspec.Struct, frozen=True):
    """An export as it is kept; times in ms."""

    id: str
    environment: str
    project: str | None
    format: str
    scope: str
    filters: dict[str, Any]
    created_at: int
    rows: int
    failed: str | None = None
    retries: int = 0
    downloads: int = 0


class _Wanted(msgspec.Struct, frozen=True):
    """What is looked for."""

    filters: Filters
    user: str | None = None
    words: str | None = None
    is_summary: bool | None = None
    deleted: bool = False


def create(call: Call) -> Any:
    """Count what is asked for; it can be fetched from then on."""
    format_ = call.text("format", required=False) or "csv"
    scope = call.text("scope", required=False) or "filtered"
    for name, given, known in (("format", format_, tuple(_FORMATS)), ("scope", scope, _SCOPES)):
        if given not in known:
            raise unprocessable(f"{name} is {given!r:.40}; give {', '.join(known)}", name)
    filters = {} if scope == "all" else call.fields("filters") or {}
    unknown = sorted(set(filters) - set(_FILTERS))
    if unknown:
        raise unprocessable(f"filters has {', '.join(unknown)!r:.80}, which it cannot", "filters")
    if scope == "date_range" and not {"date_from", "date_to", "time_range"} & set(filters):
        raise unprocessable("scope date_range needs date_from, date_to or time_range", "filters")
    made = _Job(
        f"exp_{random_bytes(_ID_BYTES).hex()}",
        call.environment,
        call.project,
        format_,
        scope,
        filters,
        call.node.context.clock.now_ms(),
        0,
    )
    return _made(call, made)


def listing(call: Call) -> Any:
    """Return the newest jobs; those that are over are dropped."""
    limit = call.number("limit", _LIST, 1, _LIST_MAX)
    found = []
    after = ""
    while True:
        rows = call.bindings.list(DIALECT, call.tenant, _KEY, after, PAGE_MAX)
        for row in rows:
            job = from_json(row.value, _Job)
            if _is_over(call, job):
                call.bindings.delete(DIALECT, call.tenant, row.key)
            elif _is_for(call, job):
                found.append(job)
        if len(rows) < PAGE_MAX:
            break
        after = rows[-1].key
    found.sort(key=lambda job: (-job.created_at, job.id))
    return {"jobs": [_shown(job) for job in found[:limit]], "total": len(found)}


def get(call: Call) -> Any:
    """Return one job."""
    return _shown(_find(call))


def retry(call: Call) -> Any:
    """Do it again, under the same id."""
    job = _find(call)
    now = call.node.context.clock.now_ms()
    return _made(
        call, msgspec.structs.replace(job, created_at=now, failed=None, retries=job.retries + 1)
    )


def download_url(call: Call) -> Any:
    """Return where the file is, below where this dialect is; it asks for the key too."""
    job = _find(call)
    return {
        "download_url": _url(job),
        "expires_at": stamp(job.created_at + _HOLDS_MS),
        "file_size_bytes": None,
        "filename": _filename(job),
    }


def download(call: Call) -> Any:
    """Return the file, of what the memories are now."""
    job = _find(call)
    if job.failed is not None:
        raise missing(f"Export {job.id} failed: {job.failed}")
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, extrasaction="ignore")
    if job.format == "csv":
        writer.writeheader()
    for row in _rows(call, job, _ROWS_MAX):
        if job.format == "csv":
            coded = {name: msgspec.json.encode(row[name]).decode() for name in _AS_JSON}
            writer.writerow({**row, **coded})
        else:
            text.write(msgspec.json.encode(row).decode() + "\n")
    kept = msgspec.structs.replace(job, downloads=job.downloads + 1)
    call.keep(_KEY + job.id, kept)
    headers = {
        "content-type": _FORMATS[job.format],
        "content-disposition": f'attachment; filename="{_filename(job)}"',
    }
    return Reply(200, text.getvalue(), headers)


def _made(call: Call, job: _Job) -> dict[str, Any]:
    """Count the rows of a job and keep it."""
    count = sum(1 for _ in _rows(call, job, _ROWS_MAX + 1))
    failed = None
    if count > _ROWS_MAX:
        failed = f"more than {_ROWS_MAX:,} memories; ask for one user_id, or for fewer days, each"
    job = msgspec.structs.replace(job, rows=min(count, _ROWS_MAX), failed=failed)
    call.keep(_KEY + job.id, job)
    return {"job": _shown(job), "estimated_total": job.rows}


def _find(call: Call) -> _Job:
    identity = call.values["id"]
    found = call.kept(_KEY + identity) if len(identity) <= len("exp_") + 2 * _ID_BYTES else None
    job = None if found is None else from_plain(found, _Job)
    if job is None or _is_over(call, job) or not _is_for(call, job):
        raise missing(f"Export not found: {identity:.80}")
    return job


def _is_for(call: Call, job: _Job) -> bool:
    """Whether who asks reaches what is exported: of their environment, and of their project."""
    return job.environment == call.environment and call.project in (None, job.project)


def _is_over(call: Call, job: _Job) -> bool:
    return bool(call.node.context.clock.now_ms() >= job.created_at + _HOLDS_MS)


# -- what is exported -----------------------------------------------------------------------------


def _rows(call: Call, job: _Job, most: int) -> Iterator[dict[str, Any]]:
    """Yield up to so many memories as they travel, of one user after another."""
    wanted = _wanted(call, job)
    left = most
    for target in profiles(call, job.environment):
        user = foreign_text(target.profile or "") or target.profile or ""
        if wanted.user is not None and target.profile != foreign_name(wanted.user):
            continue
        there = call.of(user)
        for state in ("active", "archived", *(("soft_deleted",) if wanted.deleted else ())):
            for memory in _memories(call, target, wanted.filters, state):
                if not _is_wanted(memory, wanted):
                    continue
                if not left:
                    return
                left -= 1
                # In an export a user is who they are for the application.
                yield {**shape(memory, there), "user_id": user}


def _memories(call: Call, target: Any, filters: Filters, state: str) -> Iterator[Memory]:
    cursor = None
    given = msgspec.structs.asdict(filters) | {"state": state, "limit": PAGE_MAX}
    while True:
        request = ListMemories(**given, cursor=cursor)
        try:
            page: MemoryPage = call.do(
                "memories.list", request, target=target, principal=call.steward
            )
        except NotFound:
            # Their user was deleted since the listing.
            return
        yield from page.memories
        cursor = page.next_cursor
        if cursor is None:
            return


def _is_wanted(memory: Memory, wanted: _Wanted) -> bool:
    if wanted.is_summary is not None and (memory.kind == "summary") != wanted.is_summary:
        return False
    return wanted.words is None or wanted.words in memory.text.casefold()


def _wanted(call: Call, job: _Job) -> _Wanted:
    """Return the filters of a job in our words; raises 422 for what cannot be asked for."""
    given = call.item(job.filters)
    since, until = given.when("date_from"), given.when("date_to")
    span = given.text("time_range", required=False)
    if span is not None:
        found = _RANGE.match(span)
        if found is None:
            raise unprocessable(
                f"time_range is {span!r:.40}; give a number with h, d or w, as 30d", "filters"
            )
        since = job.created_at - int(found[1]) * _RANGE_MS[found[2]]
    words = given.text("q", required=False)
    summary = given.flag("is_summary") if given.body.get("is_summary") is not None else None
    filters = Filters(
        source=given.text("source", required=False) or None,
        since=since,
        until=until,
        tier=given.tier(),
        project_or_none=job.project,
        any_project=job.project is None,
    )
    return _Wanted(
        filters,
        given.text("user_id", required=False) or None,
        words.casefold() if words else None,
        summary,
        given.flag("include_soft_deleted"),
    )


# -- shapes ---------------------------------------------------------------------------------------


def _shown(job: _Job) -> dict[str, Any]:
    """Return a job as it travels."""
    failed = job.failed is not None
    return {
        "id": job.id,
        "project_id": job.project,
        "environment": job.environment,
        "format": job.format,
        "scope": job.scope,
        "filters": job.filters,
        "status": "failed" if failed else "completed",
        "error_message": job.failed,
        "retry_count": job.retries,
        "total_rows": job.rows,
        "processed_rows": job.rows,
        "progress_percentage": 100.0,
        "file_size_bytes": None,
        "sha256_hash": None,
        "download_count": job.downloads,
        "created_at": stamp(job.created_at),
        "started_at": stamp(job.created_at),
        "completed_at": stamp(job.created_at),
        "expires_at": stamp(job.created_at + _HOLDS_MS),
        "download_url": None if failed else _url(job),
    }


def _url(job: _Job) -> str:
    return f"/exports/{job.id}/download"


def _filename(job: _Job) -> str:
    return f"{job.id}.{job.format}"


_EXPORTS = "/exports"
_EXPORT = f"{_EXPORTS}/{{id}}"
_TEST = "tests/dialects/memorysync/test_control.py"
_READ = "exports:read"

ROUTES: tuple[Route, ...] = (
    Route("POST", _EXPORTS, "user", create, _TEST, needs=_READ),
    Route("GET", _EXPORTS, "user", listing, _TEST, needs=_READ),
    Route("GET", _EXPORT, "user", get, _TEST, needs=_READ),
    # It is done when it is answered: there is nothing left to cancel.
    Route("POST", f"{_EXPORT}/cancel", "user", get, _TEST, needs=_READ),
    Route("POST", f"{_EXPORT}/retry", "user", retry, _TEST, needs=_READ),
    Route("GET", f"{_EXPORT}/download-url", "user", download_url, _TEST, needs=_READ),
    Route("GET", f"{_EXPORT}/download", "user", download, _TEST, needs=_READ),
)
