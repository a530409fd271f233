"""One run of governance on a branch: steps one after another, each page in its own transaction.

What fails is a warning, and the others go on. Before the first change comes a checkpoint, and with
every change what the row was before, so that `governance.undo` takes back exactly this run.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Self, TypeVar

import apsw
import msgspec

from ..api.governance import GovernanceDecision, GovernanceReport, GovernanceStep
from ..engine import Branch
from ..errors import Error, Kept
from ..governance.rules import (
    BATCHES,
    POLLUTED_ABOVE,
    RULES,
    Decision,
    Look,
    carry_out,
    pollution,
)
from ..governance.windows import Windows
from ..ids import ulid
from ..observe import logger
from ..profile import governed
from ..profile.governed import Deed
from ..profile.memories.states import Act
from . import safety
from .auditing.actions import GOVERNED
from .context import Context

__all__ = ["Run", "Running", "run_of", "told"]

T = TypeVar("T")

_LOG = logger("governance")
_REPORTED = 1_000
_ID_BYTES = 13
_WARNINGS_MAX = 100
_BATCH = 500
_HINTS = {
    "archive": "memories.restore",
    "quarantine": "memories.restore",
    "delete": "memories.restore",
    "reflect": "memories.delete",
}


class Running:
    """The runs under way on a branch of this process; lives and dies with its content."""

    def __init__(self) -> None:
        self.runs: set[str] = set()


def run_of(context: Context) -> str | None:
    """Return the id of the run of a request with an id: a repeat has the same; None without."""
    request_id = context.options.request_id
    if request_id is None:
        return None
    seed = request_id.encode() + b"\0" + context.digest
    return f"gov_{hashlib.blake2b(seed, digest_size=_ID_BYTES).hexdigest()}"


class Run:
    """Asks rules and does what they decide. For one thread, and once, within `with`.

    `name` is the task it is kept as. With `dry_run` it only asks. `asked` is whether somebody did:
    what a node does by itself is nobody's doing.
    """

    def __init__(
        self, context: Context, branch: Branch, name: str, *, dry_run: bool, asked: bool = True
    ) -> None:
        self.context = context
        self.branch = branch
        self.name = name
        self.dry_run = dry_run
        self._actor = context.principal.actor if asked else None
        self.at = context.clock.now_ms()
        self.id = run_of(context) or f"gov_{ulid(self.at).lower()}"
        address = branch.address
        self.look = Look(self.at, context.sealer_of(address), context.id_key_of(address))
        self.counts: Counter[str] = Counter()
        self.metrics: dict[str, float] = {}
        self.warnings: list[str] = []
        self.decisions: list[Decision] = []
        self.tried = self.failures = 0
        self.checkpoint: str | None = None
        self.txid = 0
        self._actions: Counter[str] = Counter()
        policy = context.policies.lenient(address.namespace, address.profile)
        self._grace_ms = Windows.of(policy).grace_ms
        self._running = branch.attachment(Running, Running)

    def __enter__(self) -> Self:
        self._running.runs.add(self.id)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.runs.discard(self.id)

    def ask(self, query: Callable[[apsw.Connection], T]) -> T:
        """Read the branch."""
        found = self.branch.read(query)
        self.txid = max(self.txid, found.txid)
        return found.value

    def write(self, change: Callable[[apsw.Connection], T]) -> T:
        """Change the branch, after a checkpoint before the first time."""
        if self.checkpoint is None:
            name = safety.before(self.context, self.branch.address, "governance")
            begun = msgspec.json.encode(self.report("running", checkpoint=name)).decode()
            self.branch.write(partial(_begin, run=self.id, at=self.at, name=name, report=begun))
            self.checkpoint = name
        done = self.branch.write(change)
        self.txid = max(self.txid, done.txid)
        return done.value

    def steps(self, names: Iterable[GovernanceStep]) -> None:
        """Do steps in this order."""
        for name in names:
            self.tried += 1
            kept = Kept()
            with kept:
                if name == "pollution":
                    self._measure()
                else:
                    self._step(name)
            if kept.error is not None:
                self.failures += 1
                self.warn(f"step {name} failed: {_said(kept.error)}")

    def impact(self, names: Iterable[GovernanceStep]) -> dict[str, int]:
        """Return how many decisions each step would make."""
        return {
            name: sum(len(page) for page in RULES[name].find(self.ask, self.look))
            for name in names
            if name in RULES
        }

    def warn(self, said: str) -> None:
        """Add a warning to the report."""
        _LOG.warning("governance %s of %s: %s", self.name, self.branch.address, said)
        if len(self.warnings) < _WARNINGS_MAX:
            self.warnings.append(said)

    def note(self, step: str, decisions: Sequence[Decision]) -> None:
        """Count what was decided, and done unless it is a dry run."""
        self.counts[step] += len(decisions)
        self._actions.update(one.action for one in decisions)
        self.decisions += decisions[: _REPORTED - len(self.decisions)]

    @property
    def status(self) -> Any:
        """How it went so far."""
        if self.failures:
            return "failed" if self.failures == self.tried else "degraded"
        return "success"

    def report(self, status: Any = None, **more: Any) -> GovernanceReport:
        """Return what is to be said of it, without its decisions."""
        fields: dict[str, Any] = {
            "id": self.id,
            "task": self.name,
            "status": status or self.status,
            "at": self.at,
            "counts": dict(self.counts),
            "metrics": self.metrics,
            "warnings": tuple(self.warnings),
            "checkpoint": self.checkpoint,
            "dry_run": self.dry_run,
        }
        return GovernanceReport(**{**fields, **more})

    def told(self) -> tuple[GovernanceDecision, ...]:
        """Return its first 1,000 decisions as they are shown."""
        handles = [one.other for one in self.decisions if one.other is not None]
        ids = self.ask(lambda c: governed.ids(c, handles)) if handles else {}
        return tuple(
            _told(
                self.id, one.action, one.id, one.rationale, one.confidence, ids.get(one.other or 0)
            )
            for one in self.decisions
        )

    def finish(self, report: GovernanceReport) -> None:
        """Keep the report of a run that changed something, count and record what it did."""
        context, address = self.context, self.branch.address
        context.metrics.add("governance_runs", task=self.name, status=report.status)
        if self.checkpoint is None:
            return
        # What it decided stands beside what it did, where each row goes by its number.
        bare = msgspec.structs.replace(report, decisions=(), candidates=())
        text = msgspec.json.encode(bare).decode()
        durability = context.options.durability
        durable = context.durable if durability is None else durability == "durable"
        done = self.branch.write(lambda c: governed.end(c, self.id, text), durable=durable)
        self.txid = max(self.txid, done.txid)
        context.wake(address)
        for action, count in self._actions.items():
            context.metrics.add("governance_decisions", count, action=action)
            if context.audit is not None:
                about = {"branch": address.branch}
                context.audit.record(
                    address.namespace,
                    GOVERNED + action,
                    address.profile,
                    principal=context.principal,
                    about=about,
                    items=count,
                )

    def act(self, step: str) -> Act:
        """Return who moves memories, and why."""
        return Act(
            self.at,
            self._actor,
            "retention_policy",
            f"governance {step}",
            self._grace_ms,
        )

    def _step(self, name: GovernanceStep) -> None:
        """Do what one rule decides, page by page."""
        rule = RULES[name]
        for page in rule.find(self.ask, self.look):
            if self.dry_run:
                self.note(name, page)
                continue
            size = min((BATCHES.get(one.action, _BATCH) for one in page), default=_BATCH)
            for start in range(0, len(page), size):
                some = page[start : start + size]
                do = partial(
                    carry_out,
                    run=self.id,
                    rule=rule,
                    decisions=some,
                    look=self.look,
                    act=self.act(name),
                )
                self.note(name, self.write(do))

    def _measure(self) -> None:
        share = self.ask(lambda c: pollution(c, self.at))
        self.metrics["pollution"] = round(share, 4)
        if share > POLLUTED_ABOVE:
            self.warn(
                f"{share:.0%} of the memories that changed within a day were superseded in it, "
                f"more than {POLLUTED_ABOVE:.0%}: something writes the same again and again"
            )


def told(run: str, rows: Iterable[tuple[Deed, str | None, str | None]]) -> Any:
    """Return what was done as it is shown."""
    return tuple(
        _told(run, one.action, identity, one.rationale or "", one.confidence, other)
        for one, identity, other in rows
    )


def _told(
    run: str,
    action: str,
    identity: str | None,
    rationale: str,
    confidence: float | None,
    other: str | None,
) -> GovernanceDecision:
    alone = _HINTS.get(action)
    hint = f"governance.undo {run}" if alone is None else f"{alone} {identity}"
    return GovernanceDecision(
        action=action,
        memory=identity,
        rationale=rationale,
        confidence=confidence,
        other=other,
        rollback_hint=hint,
    )


def _begin(connection: apsw.Connection, *, run: str, at: int, name: str, report: str) -> None:
    governed.begin(connection, run, at, name, report)


def _said(error: Exception) -> str:
    if isinstance(error, Error):
        return str(error)
    _LOG.error("a step of governance failed", exc_info=error)
    # What an exception says may quote a memory, and this is kept.
    return f"a defect of the node ({type(error).__name__}), whose log says more"
