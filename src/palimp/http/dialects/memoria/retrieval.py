"""Finding memories: by meaning and words, by words alone; and what is said of what was found."""

from __future__ import annotations

import re
from typing import Any

from ....api import Hit, Recall, RecallRequest, Target
from ....api.feedback import FeedbackSummary, GiveFeedback, SummarizeFeedback
from ....errors import Invalid, NotFound
from ....ids import random_bytes
from ..foreign import Route
from .asking import Rule, asked_of, session_rule
from .call import Call
from .refusals import missing, unprocessable
from .shapes import shape

__all__ = ["ROUTES", "best"]

_TOP_MAX = 100
# Of what is asked for without a session filter, to be narrowed here.
_WIDE = 1_000
_FULLTEXT_FIELDS = {
    "query", "extra_metadata_filter", "subject_id", "memory_types", "session_id", "trust_tier",
    "branch", "limit",
}  # fmt: skip
_FULLTEXT_BYTES_MAX, _FULLTEXT_DEFAULT = 4_096, 20
_WEIGHTS = "memoria"
_WORD = re.compile(r"\w")
_LEVELS = ("none", "basic", "verbose", "analyze")
_SCORES = {
    "vector_score": ("vector", "semantic"),
    "keyword_score": ("keyword",),
    "temporal_score": ("recency",),
    "confidence_score": ("confidence",),
}
_SIGNALS = ("useful", "irrelevant", "outdated", "wrong")
_FEEDBACK_BYTES = 16
_PARAMS = "retrieval_params"
# Each number, what it is unless set, and its bounds.
_NUMBERS = {
    "feedback_weight": (0.1, 0.01, 0.5),
    "temporal_decay_hours": (168.0, 1.0, 720.0),
    "confidence_weight": (0.1, 0.0, 0.5),
}
_TUNE_MIN = 10
_USEFUL, _USELESS = 0.7, 0.5
_WEIGHT_MAX, _WEIGHT_MIN = 0.2, 0.05


def retrieve(call: Call) -> Any:
    """Return the 5 best memories for a query, or as many as are asked for."""
    return _found(call, 5)


def search(call: Call) -> Any:
    """Return the 10 best memories for a query, or as many as are asked for."""
    return _found(call, 10)


def best(
    call: Call, target: Target, query: str, count: int, rule: Rule, *, explain: bool = False
) -> list[Hit]:
    """Return the best hits for a query; with a session its own and those that have none.

    Feedback counts as much as the user has it count.
    """
    if not query.strip():
        return []
    fields: dict[str, Any] = {
        "query": query,
        "explain": explain,
        "weights": _WEIGHTS,
        # The set has no weight for it: what is related to a hit is found, and ranked as any other.
        "channels": ("keyword", "vector", "relation"),
        "feedback_weight": _params(call)["feedback_weight"],
        **rule.fields(),
    }

    def hits(**more: Any) -> tuple[Hit, ...]:
        found: Recall = call.do("recall", RecallRequest(**fields, **more), target=target)
        return found.memories

    if rule.session is None:
        return list(hits(k=count))
    loose = [one for one in hits(k=_WIDE) if one.session is None]
    both = [*hits(k=count, session=rule.session), *loose]
    return sorted(both, key=lambda one: one.score, reverse=True)[:count]


def _found(call: Call, default: int) -> Any:
    query, rule = call.text("query"), session_rule(call)
    count = call.number("top_k", default, 1, _TOP_MAX)
    level = _level(call.fields.get("explain"))
    target = call.target(call.text("branch", required=False))
    begun = call.node.context.clock.monotonic()
    hits = best(call, target, query, count, rule, explain=level != "none")
    results = [shape(one, call.user, score=one.score) for one in hits]
    if level == "none":
        return results
    taken = (call.node.context.clock.monotonic() - begun) * 1000
    return {"results": results, "explain": _explained(call, hits, level, taken)}


def _level(given: Any) -> str:
    if isinstance(given, bool):
        return "basic" if given else "none"
    if given is not None and not isinstance(given, str):
        raise unprocessable("Validation error: explain must be true, false or a level")
    return given if given in _LEVELS else "none"


def _explained(call: Call, hits: list[Hit], level: str, taken_ms: float) -> dict[str, Any]:
    """Return how the hits were found. What is not measured by itself is null."""
    channels = {channel for one in hits for channel in one.channels}
    vector, graph = "vector" in channels, "relation" in channels
    if graph:
        path = "graph+vector"
    elif vector:
        path = "hybrid"
    else:
        path = "fulltext" if hits else "none"
    found: dict[str, Any] = {
        "level": level,
        "path": path,
        "vector_attempted": call.node.context.embedder is not None,
        "vector_hit": vector,
        "fulltext_attempted": True,
        "fulltext_hit": "keyword" in channels,
        "graph_attempted": True,
        "graph_hit": graph,
        "graph_candidates": sum("relation" in one.channels for one in hits),
        "result_count": len(hits),
        **dict.fromkeys(("embedding_ms", "vector_ms", "fulltext_ms", "graph_ms")),
        "total_ms": round(taken_ms, 3),
    }
    if level in ("verbose", "analyze") and hits:
        found["candidate_scores"] = [_scores(one, rank) for rank, one in enumerate(hits, 1)]
    return found


def _scores(hit: Hit, rank: int) -> dict[str, Any]:
    values = {} if hit.explain is None else {one.name: one.value for one in hit.explain.features}
    parts = {
        name: round(next((values[one] for one in names if one in values), 0.0), 4)
        for name, names in _SCORES.items()
    }
    return {"memory_id": hit.id, "rank": rank, "final_score": round(hit.score, 4), **parts}


def fulltext(call: Call) -> Any:
    """Return what has the words of a query, without a model."""
    fields = asked_of(call, _FULLTEXT_FIELDS)
    query = call.text("query")
    if len(query.encode("utf-8", "surrogatepass")) > _FULLTEXT_BYTES_MAX:
        raise unprocessable(f"Validation error: query has more than {_FULLTEXT_BYTES_MAX:,} bytes")
    if not _WORD.search(query):
        raise unprocessable("Validation error: query has no letter, digit or underscore")
    limit = call.fields.get("limit", _FULLTEXT_DEFAULT)
    if type(limit) is not int or not 1 <= limit <= _TOP_MAX:
        raise unprocessable(f"Validation error: limit must be 1 to {_TOP_MAX}")
    target = call.target(call.text("branch", required=False))
    request = RecallRequest(query=query, k=limit, channels=("keyword",), **fields)
    found: Recall = call.do("recall", request, target=target)
    hits = sorted(found.memories, key=lambda one: (one.score, one.id), reverse=True)
    return [shape(one, call.user, score=one.score) for one in hits]


# -- feedback -------------------------------------------------------------------------------------


def feedback(call: Call) -> Any:
    """Say of a memory what it was worth."""
    identity, signal = call.values["id"], call.text("signal")
    if signal not in _SIGNALS:
        raise unprocessable(f"Validation error: signal must be one of {', '.join(_SIGNALS)}")
    call.text("context", required=False)
    request = GiveFeedback(id=identity, signal=signal)  # type: ignore[arg-type]
    try:
        call.do("memories.feedback", request)
    except (NotFound, Invalid) as error:
        raise missing(f"Memory not found: {identity:.100}") from error
    name = random_bytes(_FEEDBACK_BYTES).hex()
    return {"feedback_id": name, "memory_id": identity, "signal": signal}


def feedback_stats(call: Call) -> Any:
    """Return how often each signal was given."""
    return _signals(call)


def feedback_by_tier(call: Call) -> Any:
    """Return how often each signal was given, by trust tier."""
    found: FeedbackSummary = call.do("feedback.summary", SummarizeFeedback())
    rows = [
        {"tier": trust or "T3", "signal": signal, "count": count}
        for trust, counts in found.by_trust.items()
        for signal, count in counts.items()
        if count
    ]
    return {"breakdown": rows}


def _signals(call: Call) -> dict[str, int]:
    found: FeedbackSummary = call.do("feedback.summary", SummarizeFeedback())
    counts = {name: found.by_signal.get(name, 0) for name in _SIGNALS}  # type: ignore[call-overload]
    return {"total": sum(counts.values()), **counts}


# -- what a user's searches weigh ------------------------------------------------------------------


def params(call: Call) -> Any:
    """Return the numbers of a user."""
    return {"user_id": call.user, **_params(call)}


def set_params(call: Call) -> Any:
    """Set some of the numbers, moved within their bounds."""
    found = _params(call)
    for name, (_, least, most) in _NUMBERS.items():
        given = call.real(name)
        if given is not None:
            found[name] = min(max(given, least), most)
    call.keep(_PARAMS, found)
    return params(call)


def tune(call: Call) -> Any:
    """Let feedback weigh more where it was good, and less where it was not."""
    old, counts = _params(call), _signals(call)
    total = counts["total"]
    if total < _TUNE_MIN:
        message = f"Not enough feedback to tune: {total} of at least {_TUNE_MIN} signals"
        return {"tuned": False, "message": message, "current_params": params(call)}
    weight = old["feedback_weight"]
    if counts["useful"] / total > _USEFUL:
        weight = min(_WEIGHT_MAX, weight * 1.1)
    elif (counts["irrelevant"] + counts["wrong"]) / total > _USELESS:
        weight = max(_WEIGHT_MIN, weight * 0.9)
    new = {**old, "feedback_weight": round(weight, 3)}
    call.keep(_PARAMS, new)
    user = {"user_id": call.user}
    return {"tuned": True, "old_params": {**user, **old}, "new_params": {**user, **new}}


def _params(call: Call) -> dict[str, float]:
    kept = call.kept(_PARAMS, {})
    return {name: kept.get(name, default) for name, (default, _, _) in _NUMBERS.items()}


_TEST = "tests/dialects/memoria/test_retrieval.py"

ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/memories/retrieve", "user", retrieve, _TEST),
    Route("POST", "/v1/memories/search", "user", search, _TEST),
    Route("POST", "/v1/memories/fulltext-search", "user", fulltext, _TEST),
    Route("POST", "/v1/memories/{id}/feedback", "user", feedback, _TEST, 201),
    Route("GET", "/v1/feedback/stats", "user", feedback_stats, _TEST),
    Route("GET", "/v1/feedback/by-tier", "user", feedback_by_tier, _TEST),
    Route("GET", "/v1/retrieval-params", "user", params, _TEST),
    Route("PUT", "/v1/retrieval-params", "user", set_params, _TEST),
    Route("POST", "/v1/retrieval-params/tune", "user", tune, _TEST),
)
