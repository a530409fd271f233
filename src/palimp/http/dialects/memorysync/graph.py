"""What is known of an end user beyond single memories: relations, clusters, disagreements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from ....api import Memory
from ....api.clusters import Cluster, ClusterBy, ListClusters
from ....api.extraction import DecideProposal, ListProposals, Proposal
from ....api.limits import PAGE_MAX
from ....api.relations import ListEntities, ListRelations, Relation
from ....api.stats import GetStats, MemoryStats
from ....errors import NotFound
from ....models.rules.entities import names_in
from ..foreign import Route
from .call import Call
from .names import check_project_id
from .refusals import forbidden, missing, unprocessable
from .seeing import by_handles, by_id, holds, newest
from .shapes import shape, stamp

__all__ = ["ROUTES"]

_NODES, _NODES_MAX = 100, 500
_DEPTH, _DEPTH_MAX = 2, 3
# Edges of a whole profile that are looked through for those between its newest memories.
_EDGES_MAX = 10_000
_LABEL_CHARS = 120
_CLUSTERS, _CLUSTERS_MAX = 50, 200
_MEMBERS_MAX = 50
_CLUSTERED_BY: tuple[ClusterBy, ...] = ("key", "relations")
_DECISIONS, _DECISIONS_MAX = 50, 200
_LOOKED_AT, _LOOKED_AT_MAX = 100, 500
_COUNTED_MAX = 100_000
_THEMES_MAX = 20
_RECENT_DAYS, _DAY_MS = 7, 86_400_000
_DISMISSING = ("dismiss", "dismissed", "keep_both", "both", "ignore", "no_conflict")


# -- the graph -----------------------------------------------------------------------------------


def graph(call: Call) -> Any:
    """Return memories and what relates them: those around one, else the newest."""
    limit = call.number("limit", _NODES, 1, _NODES_MAX)
    if "memory_id" in call.query:
        handle = call.number("memory_id", 0, 0, 1 << 53)
        (start,) = by_handles(call, (handle,))
        nodes, edges = _around(call, start, call.number("depth", _DEPTH, 1, _DEPTH_MAX), limit)
    else:
        nodes = {one.id: one for one in newest(call, limit)}
        edges = _edges(call, limit=_EDGES_MAX)
    between = [one for one in edges if one.source in nodes and one.target in nodes]
    return {
        "nodes": [_node(call, one) for one in nodes.values()],
        "edges": [_edge(one, nodes) for one in between],
        "total_nodes": len(nodes),
        "total_edges": len(between),
    }


def _around(
    call: Call, start: Memory, depth: int, limit: int
) -> tuple[dict[str, Memory], list[Relation]]:
    """Return what is reached from a memory in so many steps, whichever way an edge points."""
    nodes = {start.id: start}
    edges: dict[tuple[str, str, str], Relation] = {}
    reached = [start.id]
    for _ in range(depth):
        further: list[str] = []
        for identity in reached:
            for one in _edges(call, memory=identity, limit=PAGE_MAX):
                edges[(one.source, one.target, one.type)] = one
                other = one.target if one.source == identity else one.source
                if other in nodes or len(nodes) >= limit:
                    continue
                memory = by_id(call, other)
                if memory is not None and holds(call, memory):
                    nodes[other] = memory
                    further.append(other)
        reached = further
    return nodes, list(edges.values())


def _edges(call: Call, *, memory: str | None = None, limit: int) -> list[Relation]:
    found: list[Relation] = []
    cursor = None
    while len(found) < limit:
        request = ListRelations(memory=memory, limit=PAGE_MAX, cursor=cursor)
        try:
            page = call.do("relations.list", request)
        except NotFound:
            # Of an end user of whom nothing was written.
            break
        found += page.relations
        cursor = page.next_cursor
        if cursor is None:
            break
    return found


def _node(call: Call, memory: Memory) -> dict[str, Any]:
    whole = shape(memory, call)
    names = ("id", "tags", "tier", "importance", "memory_type", "source", "created_at")
    return {"label": memory.text[:_LABEL_CHARS], **{name: whole[name] for name in names}}


def _edge(edge: Relation, nodes: dict[str, Memory]) -> dict[str, Any]:
    source, target = nodes[edge.source].handle, nodes[edge.target].handle
    return {
        "source": source,
        "target": target,
        "from_memory_id": source,
        "to_memory_id": target,
        "type": edge.type,
        "relationship_type": edge.type,
        "confidence": edge.weight,
        "metadata": edge.metadata,
        "created_at": stamp(edge.created_at),
    }


# -- clusters ------------------------------------------------------------------------------------


def clusters(call: Call) -> Any:
    """Return which memories belong together: by what they are about, then by their relations."""
    limit = call.number("limit", _CLUSTERS, 1, _CLUSTERS_MAX)
    found: list[dict[str, Any]] = []
    for by in _CLUSTERED_BY:
        if len(found) < limit:
            request = ListClusters(by=by, **call.scoped, limit=limit - len(found))
            found += [_cluster(call, one) for one in call.do("clusters.list", request).clusters]
    return {"clusters": found, "total": len(found)}


def _cluster(call: Call, cluster: Cluster) -> dict[str, Any]:
    there = [by_id(call, one) for one in cluster.memories[:_MEMBERS_MAX]]
    members = [one for one in there if one is not None]
    summary = None if cluster.summary is None else by_id(call, cluster.summary)
    return {
        "cluster_id": cluster.id,
        "kind": cluster.by,
        "extracted_key": cluster.key,
        "size": cluster.size,
        "memory_ids": [one.handle for one in members],
        "memories": [{"id": one.handle, "text": one.text} for one in members],
        "summary": None if summary is None else shape(summary, call),
        "project_id": cluster.project,
    }


# -- what disagrees ------------------------------------------------------------------------------


def decisions(call: Call) -> Any:
    """Return the pairs of memories that cannot both be true, until somebody decides."""
    limit = call.number("limit", _DECISIONS, 1, _DECISIONS_MAX)
    found = [
        {
            "decision_id": one.id,
            "id": one.id,
            "kind": "contradiction",
            "status": "open",
            "reason": one.reason,
            "confidence": one.score,
            "memories": [shape(side, call) for side in sides],
            "created_at": stamp(one.created_at),
        }
        for one, sides in _open(call, limit)
    ]
    return {"decisions": found, "contradictions": found, "total": len(found)}


def resolve(call: Call) -> Any:
    """Let one of two memories win, or say that both may stand."""
    named = call.text("decision_id", required=False)
    resolution = call.text("resolution", required=False)
    note = call.text("note", required=False)
    winner = None
    if call.body.get("winning_memory_id") is not None:
        (winner,) = by_handles(call, (call.handle("winning_memory_id"),))
    dismissed = resolution is not None and resolution.lower() in _DISMISSING
    if named is None and winner is None:
        raise unprocessable("give decision_id, or winning_memory_id", "decision_id")
    if winner is None and not dismissed:
        raise unprocessable(
            f"give winning_memory_id, or resolution as one of {', '.join(_DISMISSING)}",
            "winning_memory_id",
        )
    proposal, sides = _decision(call, named, winner)
    keep = None if dismissed or winner is None else winner.id
    request = DecideProposal(
        id=proposal.id, decision="dismiss" if dismissed else "accept", keep=keep
    )
    done = call.do("proposals.decide", request)
    handles = {one.id: one.handle for one in sides}
    return {
        "decision_id": proposal.id,
        "status": "dismissed" if dismissed else "resolved",
        "resolution": resolution or "winner_selected",
        "winning_memory_id": None if winner is None or dismissed else winner.handle,
        "superseded_memory_ids": [handles[one] for one in done.superseded if one in handles],
        "note": note,
    }


def _decision(
    call: Call, named: str | None, winner: Memory | None
) -> tuple[Proposal, list[Memory]]:
    for proposal, sides in _open(call, _EDGES_MAX):
        of_winner = winner is None or winner.id in (proposal.memory, proposal.other)
        if (named is None or named == proposal.id) and of_winner:
            return proposal, sides
    if named is None:
        assert winner is not None
        raise missing(f"No open decision about memory {winner.handle}")
    raise missing(f"Decision not found: {named:.100}")


def _open(call: Call, limit: int) -> Iterable[tuple[Proposal, list[Memory]]]:
    """Yield up to `limit` undecided contradictions, both of whose memories the request may see."""
    cursor = None
    while True:
        request = ListProposals(
            kind="contradiction", decision="pending", limit=PAGE_MAX, cursor=cursor
        )
        page = call.do("proposals.list", request)
        for one in page.proposals:
            both = [by_id(call, name) for name in (one.memory, one.other) if name is not None]
            sides = [side for side in both if side is not None and holds(call, side)]
            if len(sides) == 2:
                yield one, sides
                limit -= 1
            if limit <= 0:
                return
        cursor = page.next_cursor
        if cursor is None:
            return


# -- in numbers ----------------------------------------------------------------------------------


def intelligence(call: Call) -> Any:
    """Return what the newest memories are about: themes, entities, and what is recent of it.

    `scope` is `user` (else), or `project`, which has to be named: nothing is inferred.
    """
    scope = call.query.get("scope") or "user"
    if scope not in ("user", "project"):
        raise unprocessable("scope must be user or project", "scope")
    named = call.query.get("project_id")
    if scope == "project" and not named:
        raise unprocessable("scope project needs project_id", "project_id")
    if named:
        call = _within(call, named)
    found = list(newest(call, call.number("limit", _LOOKED_AT, 1, _LOOKED_AT_MAX)))
    since = call.node.context.clock.now_ms() - _RECENT_DAYS * _DAY_MS
    recent = [one for one in found if one.created_at >= since]
    tags = Counter(tag for one in found for tag in one.tags)
    kinds = Counter(shape(one, call)["memory_type"] for one in found)
    return {
        "scope": scope,
        "project_id": call.project,
        "memories_analyzed": len(found),
        "themes": _counted(tags),
        "entities": _entities(call, found),
        "patterns": [{"type": "memory_type", **one} for one in _counted(kinds)],
        "dual_horizon": {
            "short_term": {"days": _RECENT_DAYS, **_horizon(recent)},
            "long_term": _horizon(found),
        },
        "open_decisions": sum(1 for _ in _open(call, _DECISIONS_MAX)),
        "generated_at": stamp(call.node.context.clock.now_ms()),
    }


def _within(call: Call, project: str) -> Call:
    """Return the same request about one project; raises 403, and 404 for one that is not there."""
    if call.project not in (None, project):
        raise forbidden("the request is about another project")
    if call.app.admission.project(call.tenant, check_project_id(project)) is None:
        raise missing(f"Project not found: {project}")
    return Call(call.app, call.caller._replace(project=project), call.asked, call.body)


def _horizon(memories: list[Memory]) -> dict[str, Any]:
    tags = Counter(tag for one in memories for tag in one.tags)
    return {"memories": len(memories), "themes": _counted(tags)}


def _counted(names: Counter[str]) -> list[dict[str, Any]]:
    return [{"name": name, "count": count} for name, count in names.most_common(_THEMES_MAX)]


def _entities(call: Call, memories: list[Memory]) -> list[dict[str, Any]]:
    """Return what these memories name, most often named first; no name of another project.

    Those that are not linked with anything are read by rules.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for one in memories:
        page = call.do("entities.list", ListEntities(memory=one.id))
        names = page.entities or (() if one.decryption_failed else names_in(one.text))
        counts.update((name.name, name.type) for name in names)
    return [
        {"name": name, "type": kind, "count": count}
        for (name, kind), count in counts.most_common(_THEMES_MAX)
    ]


def knowledge_stats(call: Call) -> Any:
    """Return how much is known; of a project it is counted, up to 100,000 memories."""
    if call.project is not None:
        found = list(newest(call, _COUNTED_MAX))
        kinds = Counter(one.type for one in found)
        times = [one.created_at for one in found]
        return {
            "scope": "project",
            "project_id": call.project,
            "total_memories": len(found),
            "by_type": dict(kinds),
            "oldest": stamp(min(times)) if times else None,
            "newest": stamp(max(times)) if times else None,
        }
    stats: MemoryStats = call.do("memories.stats", GetStats())
    total = stats.all.count
    return {
        "scope": "user",
        "total_memories": total,
        "superseded": stats.superseded,
        "by_status": stats.by_state,
        "by_type": {name: one.count for name, one in stats.by_type.items()},
        "embedded": stats.embedded,
        "coverage": round(stats.embedded / total, 4) if total else 1.0,
        "last_30_days": stats.last_30_days,
        "average_importance": stats.all.importance,
        "oldest": None if stats.oldest is None else stamp(stats.oldest),
        "newest": None if stats.newest is None else stamp(stats.newest),
    }


_TEST = "tests/dialects/memorysync/test_graph.py"

ROUTES: tuple[Route, ...] = (
    Route("GET", "/memory/graph", "user", graph, _TEST, needs="memory:read"),
    Route("GET", "/memory/clusters", "user", clusters, _TEST, needs="memory:read"),
    Route("GET", "/memory/decisions", "user", decisions, _TEST, needs="memory:read"),
    Route("POST", "/memory/decision/resolve", "user", resolve, _TEST, needs="memory:update"),
    Route("GET", "/memory/intelligence", "user", intelligence, _TEST, needs="memory:read"),
    Route("GET", "/memory/knowledge/stats", "user", knowledge_stats, _TEST, needs="memory:read"),
)
