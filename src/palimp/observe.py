"""Counters and durations of one node, kept in memory and read as one snapshot.

A library configures no logging: every room logs to `palimp.*` loggers and leaves handlers to the
program. No log line and no metric label carries memory text.
"""

from __future__ import annotations

import logging
import threading
from bisect import bisect_left
from collections import defaultdict
from functools import lru_cache
from typing import Literal, NamedTuple

__all__ = ["BUCKETS", "METRICS", "Metric", "Metrics", "logger"]

# Upper ends of the buckets of durations, in seconds.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metric(NamedTuple):
    """One row of `METRICS`; the labels are those that each of its series has."""

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


# Every metric there is, by its name without `palimp_`: its text in /metrics and in the reference.
METRICS: dict[str, Metric] = {
    "operations_done": Metric("counter", "Operations that were carried out.", ("operation",)),
    "operations_failed": Metric(
        "counter", "Operations that ended in an error, by its code.", ("operation", "code")
    ),
    "http_requests": Metric(
        "counter",
        "HTTP requests; operation `none` where the path is of none, a dialect and its route where "
        "that takes several, status 0 without an answer.",
        ("operation", "status"),
    ),
    "http_request_seconds": Metric(
        "histogram", "From the head of an HTTP request to the end of its answer.", ("operation",)
    ),
    "http_requests_shed": Metric(
        "counter",
        "HTTP requests answered `overloaded` (429): `requests` under way or `bodies` being read, "
        "`queue` of a profile, `backlog` of the store, `rate` of a credential, `failures` of an "
        "address, `control` operations.",
        ("reason",),
    ),
    "http_requests_in_flight": Metric("gauge", "HTTP requests under way."),
    "http_requests_waiting": Metric("gauge", "HTTP requests that wait for a thread."),
    "requests_forwarded": Metric(
        "counter", "Operations that were sent to the node that has the database.", ("operation",)
    ),
    "requests_forwarded_failed": Metric(
        "counter",
        "Those that ended in an error there, or did not arrive: its reason, else its code.",
        ("reason",),
    ),
    "request_forwarded_seconds": Metric(
        "histogram", "From sending one on to its answer.", ("operation",)
    ),
    "writes_committed": Metric("counter", "Writes that were committed, also those without effect."),
    "rounds_committed": Metric("counter", "Transactions they were committed in, up to 64 in each."),
    "writes_shed": Metric(
        "counter",
        "Writes refused before they ran: `queue` of the branch full, `backlog` of the store too "
        "large, `disk` full.",
        ("reason",),
    ),
    "writes_waiting": Metric("gauge", "Writes that wait for their turn, in all branches."),
    "writes_refused": Metric("gauge", "1 while all writes are refused: backlog or disk space."),
    "memories_merged": Metric("counter", "Memories brought over from another branch."),
    "memories_written": Metric("counter", "Memories in ingests, also those that were there."),
    "rows_sealed": Metric("counter", "Rows sealed that were plain or under an older key."),
    "fields_unreadable": Metric("counter", "Sealed values that could not be read."),
    "memories_cooled": Metric("counter", "Memories moved to a colder tier, as not used for long."),
    "governance_runs": Metric(
        "counter", "Runs of governance that ended, by the task and how.", ("task", "status")
    ),
    "governance_decisions": Metric(
        "counter", "What they did to memories, dry runs left out.", ("action",)
    ),
    "governance_degraded": Metric(
        "counter", "Runs that went on without the strategy that was to be asked.", ("task",)
    ),
    "memories_swept": Metric("counter", "Memories deleted because a policy says for how long."),
    "memories_moved": Metric(
        "counter",
        "Memories whose time in a state was over: `archived`, `soft_deleted` or `purged`.",
        ("state",),
    ),
    "plugin_calls": Metric(
        "counter",
        "Calls of plugins of governance: `done`, or the code of the error they ended in.",
        ("outcome",),
    ),
    "vectors_written": Metric("counter", "Rows that got a vector of the embedder."),
    "recalls_by_channel": Metric(
        "counter", "Recalls in whose result a channel found something.", ("channel",)
    ),
    "recalls_without_embedder": Metric(
        "counter", "Recalls whose query could not be embedded, by the error's code.", ("code",)
    ),
    "backlog_bytes": Metric("gauge", "About what is committed here and not in the store."),
    "backlog_seconds": Metric("gauge", "How long the oldest of that has waited."),
    "segments_shipped": Metric("counter", "Segments and snapshots that the store took."),
    "segment_bytes_shipped": Metric("counter", "Their size."),
    "store_requests": Metric("counter", "Requests to the object store.", ("kind",)),
    "store_errors": Metric("counter", "Requests to it that failed.", ("kind",)),
    "store_lost_races": Metric(
        "counter", "Writes to it that another writer had come before.", ("kind",)
    ),
    "store_seconds": Metric("counter", "Time that requests to it took, together.", ("kind",)),
    "store_bytes_sent": Metric("counter", "Bytes of objects written to it."),
    "store_bytes_received": Metric("counter", "Bytes of objects read from it."),
    "branches_resident": Metric("gauge", "Branches this node has in memory, open or not."),
    "branches_open": Metric("gauge", "Branches with open files (hot)."),
    "branches_restored": Metric("counter", "Branches whose file was made from the store (wakes)."),
    "branches_cooled": Metric("counter", "Branches whose file was given up; the store has it."),
    "leases_granted": Metric("counter", "Times this node got a lease."),
    "leases_lost": Metric("counter", "Times it lost one, with every database it had."),
    "lease_requests_failed": Metric("counter", "Renewals and requests for a lease that failed."),
    "databases_claimed": Metric("counter", "Databases this node attached to its lease."),
    "databases_released": Metric(
        "counter", "Databases this node gave up, so that another can have them."
    ),
    "branches_owned": Metric("counter", "Times this node took the right to write a branch."),
    "branches_taken_over": Metric("counter", "Of these, from a node that had not given it up."),
    "branches_fenced": Metric("counter", "Times another node took it from this one."),
    "branches_recovered": Metric(
        "counter", "Branches `recovered-...` made of commits that could not continue theirs."
    ),
    "replicas_followed": Metric(
        "counter",
        "Times a branch that is only read here was made what its owner had shipped: by the "
        "`segments` it lacked, or `whole`.",
        ("how",),
    ),
    "replica_bytes_applied": Metric("counter", "Size of the segments and snapshots of that."),
    "replica_lag_seconds": Metric(
        "histogram", "From the time of the last of these segments until it could be read here."
    ),
    "pushes_sent": Metric("counter", "Shipments that nodes which read the branch were told of."),
    "pushes_failed": Metric(
        "counter",
        "Shipments they were not told of: `dropped` as too many waited, or `unreachable`.",
        ("reason",),
    ),
    "pushes_received": Metric("counter", "Shipments of other nodes that this one was told of."),
    "pushes_refused": Metric(
        "counter",
        "Those it did not take: the branch is `unknown` here or this node its `owner`, the owner's "
        "`epoch` is over, it is `old`, a segment has another `digest`, or the `format` is newer.",
        ("reason",),
    ),
    "branches_rewound": Metric("counter", "Rewinds."),
    "past_states_restored": Metric("counter", "Earlier states made for reading; others were kept."),
    "objects_collected": Metric("counter", "Objects deleted because nothing names them any more."),
    "background_failed": Metric(
        "counter", "Embedding in the background that failed and is tried again.", ("code",)
    ),
    "objects_reencrypted": Metric(
        "counter", "Segments stored again because an older key had sealed them, or none."
    ),
    "maintenance_passes": Metric("counter", "Looks at what is due: erasures, expiry, policies."),
    "maintenance_seconds": Metric("counter", "Time that these took together, with what was done."),
    "maintenance_failed": Metric(
        "counter",
        "What was due and failed, and is tried again: `erasure`, `profile` or `listing`, by the "
        "error's code.",
        ("duty", "code"),
    ),
    "points_cleansed": Metric(
        "counter", "Earlier states that an erasure stored again, without what it erased."
    ),
    "arc_events_sent": Metric("counter", "Events that an Arc took."),
    "arc_batches_sent": Metric("counter", "Writes they came in."),
    "arc_batches_failed": Metric(
        "counter",
        "Writes to an Arc that failed, and events it refused: `away`, `timeout`, `cut`, `5xx`, "
        "`answer` (not one of Arc), `429`, `denied` (the key), `settings` (URL, database), `400` "
        "or `413` (the event is parked), or the code of an error here.",
        ("reason",),
    ),
    "arc_events_settled": Metric(
        "counter", "Events whose answer was lost, and of which Arc was asked whether it has them."
    ),
    "arc_dedup_unasked": Metric(
        "counter", "Appends whose dedup keys an Arc could not be asked for; they count as new."
    ),
    "arc_spool_events": Metric("gauge", "Events in the spool for Arc, those parked included."),
    "arc_spool_bytes": Metric("gauge", "What they count as, of PALIMP_ARC_SPOOL_BYTES."),
    "arc_spool_parked": Metric("gauge", "Events that an Arc refused: retry or drop them."),
    "arc_spool_seconds": Metric("gauge", "How long the oldest has been on its way, none parked."),
    "erasures_completed": Metric("counter", "Erasures that were completed, with a receipt."),
    "erasures_failed": Metric(
        "counter",
        "Steps of erasures that failed and are tried again, by the error's code.",
        ("code",),
    ),
    "audit_events_stored": Metric("counter", "Audit events that the store took."),
    "audit_events_dropped": Metric(
        "counter", "Audit events lost because too many waited; the stream says how many."
    ),
    "audit_flushes_failed": Metric(
        "counter", "Times audit events could not be stored; they are tried again."
    ),
    "memory_pairs_found": Metric(
        "counter",
        "Pairs of memories noted as `duplicates` or `contradictions`, and of these `superseded`.",
        ("what",),
    ),
    "model_calls": Metric(
        "counter",
        "Calls to models on other hosts or ports: `embed`, `extract` or `ask`.",
        ("purpose",),
    ),
    "model_tokens": Metric("counter", "Tokens that those read and wrote.", ("purpose",)),
    "embeddings_reused": Metric("counter", "Texts whose vector was in memory from before."),
    "embeddings_given_up": Metric(
        "counter", "Texts that an embedder does not take: they are found by words only."
    ),
    "model_requests": Metric(
        "counter",
        "Requests to endpoints of models, each try: `embed`, `extract` or `assistant`; `answered`, "
        "`limited` (429), `refused` (another 4xx) or `failed`.",
        ("purpose", "outcome"),
    ),
    "pending_embeddings": Metric(
        "gauge",
        "Rows of main branches without a vector, when they were last looked into for the catalog.",
    ),
    "redactions": Metric(
        "counter",
        "Secrets and personal data found in what was written: `flag`, `redact` or `refuse`.",
        ("label", "action"),
    ),
    "gateway_requests": Metric(
        "counter",
        "HTTP requests to a gateway; operation `none` where the path is of none, status 0 without "
        "an answer.",
        ("operation", "status"),
    ),
    "gateway_request_seconds": Metric(
        "histogram",
        "From the head of an HTTP request to a gateway to the end of its answer.",
        ("operation",),
    ),
    "gateway_retries": Metric(
        "counter",
        "Requests a gateway sent to one more node: `refused` the connection, `lost` the answer, "
        "or the reason that a node gave.",
        ("reason",),
    ),
    "gateway_failures": Metric(
        "counter",
        "Nodes that failed a gateway: `refused` the connection, `lost` the answer, or too `slow`.",
        ("reason",),
    ),
    "gateway_holds": Metric(
        "gauge",
        "What a gateway has now: `requests` under way, `nodes` alive, `databases` of which it "
        "knows the node.",
        ("what",),
    ),
    "task_profiles": Metric(
        "counter",
        "Profiles that tasks came to here: `done`, `again` (not available), `failed` or `gone`.",
        ("kind", "outcome"),
    ),
    "tasks_ended": Metric("counter", "Tasks that were `done` here or `failed`.", ("kind", "state")),
    "usage_dropped": Metric("counter", "Uses not counted: the catalog was away for too long."),
    "usage_failed": Metric("counter", "Batches of usage that the catalog did not take yet."),
}


def logger(room: str) -> logging.Logger:
    """Return the logger `palimp.{room}`."""
    return logging.getLogger(f"palimp.{room}")


class Metrics:
    """Thread-safe counters; a name is `subject_verb` in the plural, labels are few and bounded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, float] = defaultdict(float)
        self._durations: dict[str, list[float]] = {}

    def add(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Add to a counter."""
        key = _key(name, *labels.items()) if labels else name
        with self._lock:
            self._counts[key] += amount

    def observe(self, name: str, seconds: float, /, **labels: str) -> None:
        """Count a duration in the buckets of `BUCKETS`; `name` ends in `_seconds`."""
        key = _key(name, *labels.items()) if labels else name
        place = bisect_left(BUCKETS, seconds)
        with self._lock:
            counts = self._durations.get(key)
            if counts is None:
                # One for each bucket, one for what is longer than all, and the sum.
                counts = self._durations[key] = [0.0] * (len(BUCKETS) + 2)
            counts[place] += 1
            counts[-1] += seconds

    def count(self, name: str) -> float:
        """Return a counter without labels."""
        with self._lock:
            return self._counts.get(name, 0.0)

    def snapshot(self) -> dict[str, float]:
        """Return a copy of all counters, sorted by name."""
        with self._lock:
            return dict(sorted(self._counts.items()))

    def durations(self) -> dict[str, tuple[float, ...]]:
        """Return, by name, how many fell into each bucket and above them all, and their sum."""
        with self._lock:
            return {key: tuple(counts) for key, counts in sorted(self._durations.items())}


# Labels are few and bounded, so that most calls find theirs.
@lru_cache(maxsize=4_096)
def _key(name: str, *labels: tuple[str, str]) -> str:
    inner = ",".join(f'{k}="{v}"' for k, v in sorted(labels))
    return f"{name}{{{inner}}}"
