"""From an operation that is done to a line in the store, by one thread beside the operations.

Whoever carries out an operation only puts an event into a bounded queue. What does not fit is
counted, and the count recorded. Until an object is stored its events stay here: a store that is
away delays them, a process that is killed loses what is younger than the last object.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any

from ...api import Operation, Options, Target
from ...clock import Clock
from ...engine import check_request_id
from ...errors import Denied, Error, Internal, Invalid, Kept, Unavailable
from ...governance import Policies
from ...ids import check_name, parse_database_name
from ...observe import Metrics, logger
from ...store import AlreadyThere, ObjectStore
from ..access import Principal
from .actions import ACTIONS, DROPPED, counts
from .chain import (
    BATCH_MAX,
    DAY_MS,
    Link,
    Prepared,
    advanced,
    change_head,
    prepare,
    resume,
)

__all__ = ["QUEUE_MAX", "Audit"]

_LOG = logger("audit")
QUEUE_MAX = 16_384
_BACKOFF_SECONDS_MAX = 30.0
_CLOSING_PAUSE_SECONDS = 0.1
# Of what is done by the node itself.
_NODE = Principal("owner", actor="node")
_NOTHING_MORE: Mapping[str, Any] = MappingProxyType({})


class _Chain:
    """What a namespace has that is not stored, and where its chain ends."""

    def __init__(self) -> None:
        self.waiting: deque[dict[str, Any]] = deque()
        self.dropped = 0
        self.link: Link | None = None
        self.prepared: Prepared | None = None
        # Of the last object that is stored.
        self.key = ""


class Audit:
    """Records what was done, denied and failed, where the policy says so. Thread-safe."""

    def __init__(
        self,
        store: ObjectStore,
        clock: Clock,
        policies: Policies,
        metrics: Metrics,
        node: str,
        *,
        flush_seconds: float = 2.0,
    ) -> None:
        self._store = store
        self._clock = clock
        self._policies = policies
        self._metrics = metrics
        self._node = node
        self._flush_seconds = flush_seconds
        self._changed = threading.Condition()
        self._queue: deque[tuple[str, dict[str, Any]]] = deque()
        self._lost: dict[str, int] = {}
        # Queued or waiting in a chain.
        self._count = 0
        self._hurry = self._closed = self._abandoned = False
        self._thread: threading.Thread | None = None
        # Of the thread alone.
        self._chains: dict[str, _Chain] = {}

    def note(
        self,
        operation: Operation,
        target: Target,
        request: Any,
        options: Options,
        principal: Principal,
        outcome: Any,
    ) -> None:
        """Record an operation and what came of it, a result or an `Error`; never raises one."""
        action = ACTIONS.get(operation.name)
        if action is None:
            return
        namespace, made = target.namespace, None
        if operation.name == "databases.create":
            namespace, made = _named(request)
        if namespace is None:
            return
        if isinstance(outcome, Unavailable) and not self._policies.knows(namespace):
            # Nothing was carried out, and to ask may take as long once more.
            return
        profile = target.profile or made
        try:
            # Asked first: of most operations this is all that is done.
            if not self._policies.audits(namespace) and not action.always:
                return
            policy = self._policies.effective(namespace, _name(profile))
        except Error as error:
            # No such name, or a store that is away.
            _LOG.debug("not recorded: %s", error.code)
            return
        if not policy.audit_enabled and (isinstance(outcome, Error) or not action.always):
            return
        if action.read and not policy.audit_include_reads and not isinstance(outcome, Denied):
            return
        fields = _came_to(request, outcome)
        fields.update(
            ts=self._clock.now_ms(),
            action=action.name,
            actor=principal.actor,
            kind=principal.kind,
            scope=principal.scope,
            profile=_name(profile),
            branch=None if profile is None else _name(target.branch),
            request_id=_request_id(options),
        )
        self._put(namespace, fields)

    def record(
        self,
        namespace: str,
        action: str,
        profile: str | None = None,
        *,
        principal: Principal = _NODE,
        about: Mapping[str, Any] = _NOTHING_MORE,
        **counted: int,
    ) -> None:
        """Record what the node did by itself, or beside an operation of `principal`.

        `about` holds further fields of an `AuditEvent`.
        """
        if self._policies.lenient(namespace, profile).audit_enabled:
            self._put(namespace, {**self._own(action, profile, counted, principal), **about})

    def flush(self, seconds: float) -> bool:
        """Store what was recorded until now; False where that did not succeed in time."""
        with self._changed:
            if self._count == 0:
                return True
            self._hurry = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._count == 0, timeout=seconds)

    def close(self, seconds: float) -> None:
        """Store what was recorded and stop, within about so many seconds; then nothing is taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(seconds)
            with self._changed:
                self._abandoned = True
                self._changed.notify_all()
        if self._count:
            _LOG.error("%d events of the audit could not be stored and are lost", self._count)

    def _put(self, namespace: str, event: dict[str, Any]) -> None:
        with self._changed:
            if self._closed or self._count >= QUEUE_MAX:
                self._lost[namespace] = self._lost.get(namespace, 0) + 1
                self._metrics.add("audit_events_dropped")
                return
            self._count += 1
            self._queue.append((namespace, event))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="palimp-audit", daemon=True)
                self._thread.start()
            elif self._count == 1 or len(self._queue) == BATCH_MAX:
                self._changed.notify_all()

    def _run(self) -> None:
        pause, failing = self._flush_seconds, False
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._count or self._closed)
                self._changed.wait_for(self._is_time, timeout=pause)
                if self._closed and failing:
                    self._changed.wait_for(lambda: self._abandoned, timeout=_CLOSING_PAUSE_SECONDS)
                if self._abandoned:
                    return
                closed, self._hurry = self._closed, False
                taken, self._queue = self._queue, deque()
                lost, self._lost = self._lost, {}
            for namespace, event in taken:
                self._chain(namespace).waiting.append(event)
            for namespace, count in lost.items():
                self._chain(namespace).dropped += count
            failing = not self._store_all()
            if closed and not failing:
                for namespace, chain in self._chains.items():
                    self._keep_head(namespace, chain)
                return
            pause = (
                min(max(pause, 0.05) * 2, _BACKOFF_SECONDS_MAX) if failing else self._flush_seconds
            )

    def _is_time(self) -> bool:
        return self._closed or self._hurry or len(self._queue) >= BATCH_MAX

    def _chain(self, namespace: str) -> _Chain:
        return self._chains.setdefault(namespace, _Chain())

    def _store_all(self) -> bool:
        """Store what waits, of every namespace; False where that failed for one."""
        done = True
        for namespace, chain in self._chains.items():
            # Whatever it was: without this thread nothing would be recorded any more.
            kept = Kept()
            with kept:
                self._store_chain(namespace, chain)
            if kept.error is not None:
                done = False
                self._metrics.add("audit_flushes_failed")
                known = isinstance(kept.error, Error)
                _LOG.warning(
                    "events of the audit of %s wait, storing them failed: %s",
                    namespace,
                    kept.error,
                    exc_info=None if known else kept.error,
                )
        return done

    def _store_chain(self, namespace: str, chain: _Chain) -> None:
        if chain.dropped:
            chain.waiting.append(self._own(DROPPED, None, {"events": chain.dropped}))
            chain.dropped = 0
            with self._changed:
                self._count += 1
        while chain.waiting:
            if chain.link is None:
                first_ts = chain.waiting[0]["ts"]
                chain.link = resume(self._store, namespace, self._node, first_ts)
            if chain.prepared is None:
                first = list(islice(chain.waiting, BATCH_MAX))
                chain.prepared = prepare(namespace, self._node, chain.link, first)
            day = chain.link.ts // DAY_MS
            self._create(chain)
            if chain.link.ts // DAY_MS != day:
                self._keep_head(namespace, chain)

    def _create(self, chain: _Chain) -> None:
        """Store one object. Until that is known to have happened, nothing else follows."""
        prepared = chain.prepared
        assert prepared is not None
        try:
            self._store.create(prepared.key, prepared.data)
        except AlreadyThere:
            found = self._store.get(prepared.key)
            if found is None or found.data != prepared.data:
                chain.link = chain.prepared = None
                raise Internal(
                    f"{self._store.name}: {prepared.key} was written by somebody else who is "
                    f"called {self._node!r} too; give every node a node_id of its own"
                ) from None
        chain.link, chain.key, chain.prepared = prepared.link, prepared.key, None
        for _ in range(prepared.events):
            chain.waiting.popleft()
        self._metrics.add("audit_events_stored", prepared.events)
        with self._changed:
            self._count -= prepared.events
            self._changed.notify_all()

    def _keep_head(self, namespace: str, chain: _Chain) -> None:
        """Say in the head where the chain ends; where that fails, it is found from further back."""
        link, key = chain.link, chain.key
        if link is None or not key:
            return
        try:
            change_head(self._store, namespace, self._node, lambda old: advanced(old, link, key))
        except Error as error:
            _LOG.warning("the head of the audit of %s stays behind: %s", namespace, error)

    def _own(
        self,
        action: str,
        profile: str | None,
        counted: dict[str, int],
        principal: Principal = _NODE,
    ) -> dict[str, Any]:
        return {
            "ts": self._clock.now_ms(),
            "action": action,
            "outcome": "ok",
            "actor": principal.actor,
            "kind": principal.kind,
            "scope": principal.scope,
            "profile": profile,
            "counts": counted,
        }


def _came_to(request: Any, outcome: Any) -> dict[str, Any]:
    """Return what came of an operation, in the fields of an event."""
    fields: dict[str, Any]
    if not isinstance(outcome, Error):
        fields = {"outcome": "ok", "counts": counts(request, outcome)}
        txid = getattr(outcome, "txid", None)
    else:
        fields = {
            "outcome": "denied" if isinstance(outcome, Denied) else "error",
            "code": outcome.code,
            "counts": counts(request, None),
        }
        txid = outcome.details.get("txid")
    if type(txid) is int:
        fields["txid"] = txid
    return fields


def _named(request: Any) -> tuple[str | None, str | None]:
    """Return the two names of a database that is to be made; None where they are none."""
    try:
        return parse_database_name(request.name)
    except Invalid:
        return None, None


def _request_id(options: Options) -> str | None:
    given = options.request_id
    if given is None:
        return None
    try:
        check_request_id(given)
    except (Invalid, TypeError):
        # Not checked yet where an operation was refused early; it might be anything.
        return None
    return given


def _name(value: object) -> str | None:
    """Return a name; None for what cannot be one, which might be anything."""
    try:
        return check_name(value, "name")
    except Invalid:
        return None
