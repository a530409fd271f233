"""Finding memories that matter to a question."""

from __future__ import annotations

from typing import Any

from ....api import Memory, Recall, RecallRequest
from ....api.recall import Hit
from ..foreign import Route
from .call import Call
from .refusals import unprocessable
from .shapes import checked_tags, shape

__all__ = ["ROUTES", "Found", "ask"]

_K, _K_MAX = 5, 50
_DEPTH, _DEPTH_MAX = 2, 3
_QUERY_CHARS_MAX = 8_000
_COMPUTATION = ("low", "medium", "high")
# Their factors that are ours too; of the others the weight is 0, and stays so.
_FACTORS = ("semantic", "cluster", "recency", "importance", "usage")
_UNWEIGHED = ("quality", "decay", "graph")
_SESSION_BOOST = 0.05
_SUMMARY = "summary"


class Found:
    """What a query found: hits with their scores, best first, and how it was looked for."""

    def __init__(self, recall: Recall, hits: list[tuple[Hit, float]], applied: dict[str, Any]):
        self.recall = recall
        self.hits = hits
        self.applied = applied

    @property
    def memories(self) -> list[Memory]:
        """The memories, best first."""
        return [hit for hit, _ in self.hits]

    @property
    def degraded(self) -> bool:
        """Whether it was looked for by words alone, as nothing embeds just now."""
        return self.recall.degraded


def query(call: Call) -> Any:
    """Return what matters to a query, best first; what is not there is not made up."""
    clock = call.node.context.clock
    begun = clock.monotonic()
    found = ask(call)
    return {
        "memories": [shape(hit, call, score=score) for hit, score in found.hits],
        "context": found.recall.as_context(),
        "latency_ms": round((clock.monotonic() - begun) * 1000, 3),
        "session_id": call.text("session_id", required=False),
        "query_intent": None,
        "degraded": found.degraded,
        "applied_filters": found.applied,
    }


def ask(call: Call, text: str | None = None, k: int | None = None) -> Found:
    """Return what matters to the query of a body, or to another text; raises 422."""
    given = call.text("query") if text is None else text
    given = given.strip()
    if not given:
        raise unprocessable("query is empty", "query")
    if len(given) > _QUERY_CHARS_MAX:
        raise unprocessable(f"query has more than {_QUERY_CHARS_MAX:,} characters", "query")
    wanted = call.number("k", _K, 1, _K_MAX) if k is None else k
    filters = call.item(call.fields("filters") or {})
    summaries = filters.flag("include_summaries", default=True)
    steps = call.number("traversal_depth", _DEPTH, 1, _DEPTH_MAX)
    request = RecallRequest(
        query=given,
        # Those that are left out afterwards leave room.
        k=wanted if summaries else 2 * wanted,
        **call.scoped,
        # A tier that is asked for is searched alone, however deep.
        depth=_depth(call) if filters.body.get("tier") is None else None,
        weights=_weights(call),
        steps=steps,
        **_filters(call, filters),
    )
    recall: Recall = call.do("recall", request)
    hits = [hit for hit in recall.memories if summaries or hit.kind != _SUMMARY]
    scored = _boosted(hits[:wanted], call.text("session_id", required=False))
    applied = {
        **{name: value for name, value in filters.body.items() if value is not None},
        "project_id": call.project,
        "k": wanted,
        "traversal_depth": steps,
        "expansion_used": recall.widened,
    }
    return Found(recall, scored, applied)


def _depth(call: Call) -> Any:
    found = call.text("computation_tier", required=False) or "medium"
    if found not in _COMPUTATION:
        raise unprocessable(
            f"computation_tier is {found!r:.40}; give {', '.join(_COMPUTATION)}", "computation_tier"
        )
    return found


def _weights(call: Call) -> dict[str, float] | None:
    """Return the weights that are asked for; None: those of the policy, which is theirs."""
    given = call.fields("weights")
    if not given:
        return None
    asked = call.item(given)
    unknown = sorted(set(given) - {*_FACTORS, *_UNWEIGHED})
    if unknown:
        raise unprocessable(f"weights has no factor {unknown[0]!r:.40}", "weights")
    found = {name: asked.real(name, 0, 1_000) for name in _FACTORS if name in given}
    return {name: value for name, value in found.items() if value is not None} or None


def _filters(call: Call, filters: Call) -> dict[str, Any]:
    """Return the filters of a body in our words; keys nobody knows are left out, as there."""
    source, kind = filters.text("source", required=False), filters.body.get("memory_type")
    kinds = [kind] if isinstance(kind, str) else filters.texts("memory_type") or []
    since, until = filters.when("since"), filters.when("until")
    if since is not None and until is not None and since >= until:
        raise unprocessable("since is not before until", "since")
    return {
        "sources": tuple(filters.texts("sources") or ()) or ((source,) if source else ()),
        "tags_any": checked_tags(filters) or (),
        "kinds": tuple(kinds),
        "tier": filters.tier(),
        "since": since,
        "until": until,
        "metadata": call.fields("metadata_filter") or None,
    }


def _boosted(hits: list[Hit], session: str | None) -> list[tuple[Hit, float]]:
    """Return hits with their scores, those of the session that goes on a little higher."""
    scored = []
    for hit in hits:
        boost = _SESSION_BOOST if session is not None and hit.session == session else 0.0
        scored.append((hit, min(1.0, hit.score + boost)))
    return sorted(scored, key=lambda one: -one[1])


_TEST = "tests/dialects/memorysync/test_query.py"

ROUTES: tuple[Route, ...] = (
    Route("POST", "/memory/query", "user", query, _TEST, needs="memory:read"),
    Route("POST", "/memory/retrieve", "user", query, _TEST, needs="memory:read"),
)
