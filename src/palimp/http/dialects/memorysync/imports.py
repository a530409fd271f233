"""Memories out of files of records, in the background."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from ....errors import Unconfigured
from ..foreign import Route
from .adding import Stored, store_all
from .call import Call
from .jobs import FINISHED, Job, Outcome, Store, Work
from .refusals import missing, unprocessable
from .upload import FORM, form_of

__all__ = ["ROUTES"]

_FILE_BYTES_MAX = 1 << 30
_LIST, _LIST_MAX = 20, 100
_STATES = ("queued", "running", *FINISHED)


def create(call: Call) -> Any:
    """Take a file and begin to write its records; return the job before any is written."""
    if call.node.context.notes is None:
        raise Unconfigured("imports need a catalog, PALIMP_CATALOG_URL; this node has none")
    asker = call.caller.end_user
    call, file = form_of(call)
    if not file.size:
        raise unprocessable("the file is empty", "file")
    about = {
        "environment": call.environment,
        "end_user": call.end_user,
        "asker": asker,
        "project": call.project,
        "filename": file.name,
        "total_bytes": file.size,
        "resume": _flag(call, "resume"),
        "continue_on_error": _flag(call, "continue_on_error"),
    }
    lines = not file.name.lower().endswith(".json")
    reader = file.open()
    with ExitStack() as undo:
        undo.callback(reader.close)
        job = call.app.jobs.start(call.tenant, about, Work(reader, lines, _store_for(call)))
        # Who carries it out closes it.
        undo.pop_all()
    return job.shown()


def show(call: Call) -> Any:
    """Return how far a job is."""
    return _job(call).shown()


def list_jobs(call: Call) -> Any:
    """Return the newest jobs."""
    status = call.query.get("status")
    if status is not None and status not in _STATES:
        raise unprocessable(f"status must be one of {', '.join(_STATES)}", "status")
    limit = call.number("limit", _LIST, 1, _LIST_MAX)
    found = [one for one in call.app.jobs.all(call.tenant, call.environment) if _is_for(call, one)]
    chosen = [one for one in found if status in (None, one.status)]
    jobs = [one.shown() for one in chosen[:limit]]
    return {"jobs": jobs, "imports": jobs, "total": len(chosen)}


def cancel(call: Call) -> Any:
    """Have a job end; what it has written stays."""
    return call.app.jobs.cancel(call.tenant, _job(call)).shown()


def _job(call: Call) -> Job:
    identity = call.values["job"]
    found = call.app.jobs.find(call.tenant, call.environment, identity)
    if found is None or not _is_for(call, found):
        raise missing(f"Import not found: {identity:.100}")
    return found


def _is_for(call: Call, job: Job) -> bool:
    """Whether a job is of the end user and project that the request names, where it does.

    Who began it for somebody else may ask for it, too.
    """
    end_user = call.caller.end_user
    return end_user in (None, job.end_user, job.asker) and call.project in (None, job.project)


def _flag(call: Call, name: str) -> bool:
    found = call.text(name, required=False) or "false"
    if found.lower() not in ("true", "false"):
        raise unprocessable(f"{name} must be true or false", name)
    return found.lower() == "true"


def _store_for(call: Call) -> Store:
    """Return what writes records as `bulk-add` would, in the name of who asked for the import."""

    def store(fields: Sequence[dict[str, Any]]) -> list[Outcome]:
        return [_outcome(one) for one in store_all([call.item(one) for one in fields])]

    return store


def _outcome(stored: Stored) -> Outcome:
    already = stored.reason == "already_ingested"
    return Outcome("already_imported" if already else stored.status, stored.reason)


_TEST = "tests/dialects/memorysync/test_files.py"

ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/imports",
        "user",
        create,
        _TEST,
        202,
        raw=True,
        needs="memory:add",
        takes=FORM,
        bytes_max=_FILE_BYTES_MAX,
    ),
    Route("GET", "/imports", "user", list_jobs, _TEST, needs="memory:read"),
    Route("GET", "/imports/{job}", "user", show, _TEST, needs="memory:read"),
    Route("POST", "/imports/{job}/cancel", "user", cancel, _TEST, needs="memory:add"),
)
