"""OPERATIONS: everything that can be asked of Palimpsest, once.

Routes, scope checks, the client's calls and the reference pages are made from this table; an
operation outside it does not exist, and a test holds every surface against it. Its rows stand
beside the requests and results they are about.
"""

from __future__ import annotations

from . import (
    annotating,
    arcs,
    ask,
    audit,
    branches,
    catalog,
    clusters,
    compare,
    control,
    credentials,
    documents,
    embed,
    erasure,
    events,
    extraction,
    feedback,
    governance,
    keys,
    kv,
    lifecycle,
    memories,
    plugins,
    policy,
    profiles,
    recall,
    relations,
    scores,
    sessions,
    sql,
    stats,
    subject,
    tasks,
    tenants,
    usage,
    vectors,
)
from .operation import Operation

__all__ = ["OPERATIONS"]

# In the order in which people are shown them: what everybody needs first.
_ROOMS = (
    memories, annotating, scores, stats, feedback, lifecycle, governance, relations, clusters,
    recall, ask, sessions, events, extraction, documents, kv, vectors, sql, branches, compare,
    erasure, subject, profiles, control, usage, policy, audit, embed, keys, tasks, credentials,
    tenants, arcs, catalog, plugins,
)  # fmt: skip
OPERATIONS: dict[str, Operation] = {row.name: row for room in _ROOMS for row in room.ROWS}
