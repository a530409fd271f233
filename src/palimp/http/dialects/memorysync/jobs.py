"""Imports in the background: what of a file was written so far, until it is done or cancelled.

A job is a binding of its tenant, written every few seconds, and the file, which has no name and is
gone with the process. So one that a process left behind is `interrupted`: who sends the file again
with `resume` goes on where it ended, as each record says by its `client_ref` which one it is.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import islice
from typing import Any, Literal, NamedTuple

import msgspec

from ....decoding import from_json
from ....errors import Error, Kept, Unavailable
from ....ids import random_id
from ....node import Node
from ....observe import logger
from .names import DIALECT
from .records import Broken, Record, records
from .shapes import stamp

__all__ = ["FINISHED", "Job", "Jobs", "Outcome", "Store", "Work"]

_LOG = logger("memorysync")
_KEY = "import/"
_THREADS, _WAITING_MAX = 2, 10
_BATCH = 200
_ERRORS_MAX = 20
_KEPT_MAX = 100
_SAVE_SECONDS = 2.0
# As long as a job of another node was not heard of, where the node may be gone.
_LOST_MS = 60_000
_TRIES, _WAIT_SECONDS = 30, 1.0
_MS = 1_000

FINISHED = ("completed", "failed", "cancelled", "interrupted")
Status = Literal["queued", "running", "completed", "failed", "cancelled", "interrupted"]


class Outcome(NamedTuple):
    """What became of a record: `created`, `skipped`, `already_imported` or `rejected`, and why."""

    status: str
    reason: str | None = None


# Writes some records.
Store = Callable[[Sequence[dict[str, Any]]], list[Outcome]]


class Job(msgspec.Struct, kw_only=True):
    """A job as it is kept."""

    id: str
    environment: str
    end_user: str
    project: str | None
    filename: str
    total_bytes: int
    resume: bool
    continue_on_error: bool
    created_at: int
    runner: str
    seen_at: int
    status: Status = "queued"
    processed_bytes: int = 0
    processed: int = 0
    created: int = 0
    skipped: int = 0
    already_imported: int = 0
    rejected: int = 0
    errors: list[dict[str, Any]] = []
    error: str | None = None
    cancel_requested: bool = False
    # Whose client began it, where that is another one.
    asker: str | None = None
    started_at: int | None = None
    finished_at: int | None = None

    def shown(self) -> dict[str, Any]:
        """Return it as it travels; its progress is below 100 until it is completed."""
        share = self.processed_bytes * 100 // self.total_bytes if self.total_bytes else 0
        done = self.status == "completed"
        times = ("created_at", "started_at", "finished_at")
        found = msgspec.to_builtins(self)
        for name in ("runner", "seen_at", "environment", "end_user", "project", "asker"):
            del found[name]
        return {
            **found,
            **{name: None if found[name] is None else stamp(found[name]) for name in times},
            "job_id": self.id,
            "end_user_id": self.end_user,
            "project_id": self.project,
            "progress_percentage": 100 if done else min(99, share),
            "imported": self.created,
            "failed": self.rejected,
        }


class Work(NamedTuple):
    """What a job is to do: read the records and hand them to `store`."""

    reader: io.BufferedReader
    lines: bool
    store: Store


class _Run:
    """A job of this process: what is kept of it is written from here alone."""

    def __init__(self, tenant: str, job: Job, work: Work) -> None:
        self.tenant, self.job, self.work = tenant, job, work
        self.cancelled = threading.Event()
        self.saved_at = 0.0


class Jobs:
    """The imports of this process, and what is known of those of others. Thread-safe."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._clock = node.context.clock
        self._token = random_id("runner")
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="palimp-import")
        self._lock = threading.Lock()
        self._runs: dict[str, _Run] = {}

    def start(self, tenant: str, about: dict[str, Any], work: Work) -> Job:
        """Begin a job and return it; raises `Unavailable` (429) where too many are under way."""
        now = self._clock.now_ms()
        job = Job(id=random_id("imp"), created_at=now, runner=self._token, seen_at=now, **about)
        run = _Run(tenant, job, work)
        with self._lock:
            if len(self._runs) >= _WAITING_MAX:
                raise Unavailable(
                    f"{len(self._runs)} imports are under way here already; repeat it when one "
                    "of them is done",
                    code="overloaded",
                    reason="rate",
                    retry_after=_WAIT_SECONDS,
                )
            self._runs[job.id] = run
        with ExitStack() as undo:
            undo.callback(self._runs.pop, job.id, None)
            self._save(run)
            self._trim(tenant, job.environment)
            self._pool.submit(self._carry_out, run)
            undo.pop_all()
        return job

    def find(self, tenant: str, environment: str, identity: str) -> Job | None:
        """Return a job; None where there is none."""
        run = self._runs.get(identity)
        if run is not None and (run.tenant, run.job.environment) == (tenant, environment):
            return run.job
        found = self._notes.get(DIALECT, tenant, _key(environment, identity))
        return None if found is None else self._read(found.value)

    def all(self, tenant: str, environment: str) -> list[Job]:
        """Return the jobs that are known, the newest first."""
        found = [self._read(one.value) for one in self._rows(tenant, environment)]
        live = [run.job if (run := self._runs.get(one.id)) else one for one in found]
        return sorted(live, key=lambda one: (one.created_at, one.id), reverse=True)

    def cancel(self, tenant: str, job: Job) -> Job:
        """Have a job end behind the records that are being written; nothing where it has ended."""
        if job.status in FINISHED:
            return job
        run = self._runs.get(job.id)
        if run is not None:
            run.job.cancel_requested = True
            run.cancelled.set()
            return run.job
        # Of another node: it looks when it writes what it has done.
        self._notes.put(DIALECT, tenant, f"{_key(job.environment, job.id)}/cancel", "true")
        job.cancel_requested = True
        return job

    def later(self, work: Callable[[], None]) -> None:
        """Do something in the background that nobody asks about; what fails is logged."""

        def carried_out() -> None:
            kept = Kept()
            with kept:
                work()
            if kept.error is not None:
                _LOG.warning("not done in the background: %s", kept.error)

        self._pool.submit(carried_out)

    # -- carrying out ----------------------------------------------------------------------------

    def _carry_out(self, run: _Run) -> None:
        job, kept = run.job, Kept()
        status: Status = "failed"
        with kept, run.work.reader:
            job.status, job.started_at = "running", self._clock.now_ms()
            self._save(run)
            status = self._through(run)
        if kept.error is not None:
            status = self._failed(job, kept.error)
        # Last, because whoever looks meanwhile takes it for all there is to be said.
        job.finished_at = self._clock.now_ms()
        job.status = status
        # A node that is closing has no catalog any more: its jobs are found interrupted.
        with suppress(Error):
            self._save(run)
            self._notes.delete(DIALECT, run.tenant, f"{_key(job.environment, job.id)}/cancel")
        self._runs.pop(job.id, None)

    def _through(self, run: _Run) -> Status:
        """Write record after record; return as what the job ended."""
        job = run.job
        found = records(run.work.reader, lines=run.work.lines)
        while some := list(islice(found, _BATCH)):
            if self._is_cancelled(run):
                return "cancelled"
            if not self._write(run, some):
                return "failed"
            job.processed_bytes = some[-1].offset
        job.processed_bytes = job.total_bytes
        return "completed"

    def _write(self, run: _Run, some: Sequence[Record]) -> bool:
        """Write some records together; False where one was rejected and none may be."""
        job = run.job
        reasons = [one.reason or _missing(job, one) for one in some]
        if not job.continue_on_error and any(reasons):
            # What comes before it is written still.
            first = next(at for at, reason in enumerate(reasons) if reason)
            some, reasons = some[: first + 1], reasons[: first + 1]
        good = [one.fields or {} for one, reason in zip(some, reasons, strict=True) if not reason]
        outcomes = iter(self._patiently(run, good) if good else ())
        counted = [
            self._count(job, Outcome("rejected", reason) if reason else next(outcomes))
            for reason in reasons
        ]
        return all(counted)

    def _patiently(self, run: _Run, fields: Sequence[dict[str, Any]]) -> list[Outcome]:
        """Write, again where a node has too much to do just now: nobody waits for this."""
        for _ in range(_TRIES):
            try:
                return run.work.store(fields)
            except Unavailable as error:
                if error.retry_after is None or self._node.closed:
                    raise
                run.cancelled.wait(max(error.retry_after, _WAIT_SECONDS))
        return run.work.store(fields)

    def _count(self, job: Job, outcome: Outcome) -> bool:
        """Count what became of a record; False where the job ends by it."""
        job.processed += 1
        setattr(job, outcome.status, getattr(job, outcome.status) + 1)
        if outcome.status != "rejected":
            return True
        if len(job.errors) < _ERRORS_MAX:
            job.errors = [*job.errors, {"index": job.processed - 1, "reason": outcome.reason}]
        if not job.continue_on_error:
            job.error = job.error or f"record {job.processed - 1}: {outcome.reason}"
        return job.continue_on_error

    def _is_cancelled(self, run: _Run) -> bool:
        now = self._clock.monotonic()
        if now - run.saved_at >= _SAVE_SECONDS:
            run.saved_at = now
            run.job.seen_at = self._clock.now_ms()
            self._save(run)
            name = f"{_key(run.job.environment, run.job.id)}/cancel"
            if self._notes.get(DIALECT, run.tenant, name) is not None:
                run.job.cancel_requested = True
                run.cancelled.set()
        return run.cancelled.is_set()

    def _failed(self, job: Job, error: Exception) -> Status:
        """Note why a job ended, and return how."""
        if self._node.closed:
            job.error = "the node stopped; send the file again"
            return "interrupted"
        if isinstance(error, Error | Broken):
            job.error = str(error)
            return "failed"
        job.error = "a defect of this node, whose log has the details"
        _LOG.error("import %s failed", job.id, exc_info=error)
        return "failed"

    # -- what is kept ----------------------------------------------------------------------------

    @property
    def _notes(self) -> Any:
        return self._node.context.notes

    def _rows(self, tenant: str, environment: str) -> list[Any]:
        rows = self._notes.list(DIALECT, tenant, _key(environment, ""))
        return [one for one in rows if not one.key.endswith("/cancel")]

    def _save(self, run: _Run) -> None:
        text = msgspec.json.encode(run.job).decode()
        key = _key(run.job.environment, run.job.id)
        self._notes.put(DIALECT, run.tenant, key, text)

    def _read(self, text: str) -> Job:
        job = from_json(text, Job)
        if job.status in FINISHED:
            return job
        lost = job.seen_at + _LOST_MS < self._clock.now_ms()
        if lost or self._node.cluster is None:
            job.status = "interrupted"
            job.error = "the node stopped; send the file again with resume"
        return job

    def _trim(self, tenant: str, environment: str) -> None:
        """Forget the oldest jobs that have ended, of too many."""
        ended = [one for one in self.all(tenant, environment) if one.status in FINISHED]
        for one in ended[_KEPT_MAX:]:
            self._notes.delete(DIALECT, tenant, _key(environment, one.id))


def _missing(job: Job, record: Record) -> str | None:
    """Return why a record cannot be told from those written before, where that is asked."""
    named = record.fields is not None and record.fields.get("client_ref")
    return "client_ref_missing" if job.resume and not named else None


def _key(environment: str, identity: str) -> str:
    return f"{_KEY}{environment}/{identity}"
