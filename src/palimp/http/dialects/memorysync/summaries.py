"""What is made of several memories: summaries, prompts, answers with citations."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ....api import Ask, Hit, Recall, RecallRequest, estimate_tokens
from ....api.clusters import Summarize, Summarized
from ....api.embed import EmbedStatus, GetEmbedding, Reembed, Reembedded
from ....errors import Denied, Error, NotFound, Unavailable, Unconfigured
from ..foreign import Reply, Route
from .call import Call
from .refusals import unprocessable
from .seeing import by_handles, handles_of
from .shapes import shape

__all__ = ["ROUTES"]

_PLACEHOLDER = "{memories}"
_QUERY_CHARS_MAX = 8_000
_K, _K_MAX = 5, 50
_TOKENS, _TOKENS_MAX = 4_000, 100_000
_SOURCES, _SOURCES_MAX = 10, 50
_ROUTES = ("factual", "analytical", "hybrid")
_ANALYTICAL = re.compile(
    r"\b(?:why|how come|compare|comparison|difference|differ|trends?|patterns?|over time|overall|"
    r"summari[sz]e|summary|analy[sz]e|analysis|themes?|relationship between|evolv\w+|changed)\b",
    re.IGNORECASE,
)
_FACTUAL = re.compile(
    r"^\W*(?:who|whom|whose|when|where|which|what(?:'s| is| are| was)?|is|are|was|"
    r"does|do|did|has)\b",
    re.IGNORECASE,
)
_ACCEPTED = 202
_SUMMED_MIN = 2


def summarize(call: Call) -> Any:
    """Sum up memories in one that is derived from them; of one alone nothing is made."""
    memories = by_handles(call, handles_of(call, "memory_ids"))
    lossless = call.flag("lossless")
    if len(memories) < _SUMMED_MIN:
        return {
            "status": "skipped",
            "reason": "nothing_to_summarize",
            "memory_ids": [one.handle for one in memories],
            "candidates_extracted": 0,
            "candidates_stored": 0,
        }
    request = Summarize(ids=tuple(one.id for one in memories), lossless=lossless)
    done: Summarized = call.do("clusters.summarize", request)
    handles = [one.handle for one in memories]
    return {**shape(done.memory, call), "summary_of": handles, "method": done.method}


def compose(call: Call) -> Any:
    """Fill a prompt with what is recalled for it, within a budget that splits no memory."""
    template = call.text("prompt_template")
    if not template.strip():
        raise unprocessable("prompt_template is empty", "prompt_template")
    most = call.number("max_tokens", _TOKENS, 1, _TOKENS_MAX)
    k = call.number("recall_k", _K, 1, _K_MAX)
    hits = _recalled(call, template.replace(_PLACEHOLDER, " "), k)
    used = len(hits)
    while used and estimate_tokens(_filled(template, hits[:used])) > most:
        used -= 1
    prompt = _filled(template, hits[:used])
    tokens = estimate_tokens(prompt)
    return {
        "composed_prompt": prompt,
        "memories_used": used,
        "token_count": tokens,
        "truncated": used < len(hits) or tokens > most,
    }


def _filled(template: str, hits: list[Hit]) -> str:
    """Return the prompt with memories where their place is, else behind it; quoted as data."""
    text = Recall(memories=tuple(hits), txid=0).as_context()
    if _PLACEHOLDER in template:
        return template.replace(_PLACEHOLDER, text)
    return f"{template}\n\n{text}" if text else template


def _recalled(call: Call, query: str, k: int) -> list[Hit]:
    """Return the best hits that can be read."""
    words = query.strip()[:_QUERY_CHARS_MAX]
    if not words:
        return []
    request = RecallRequest(query=words, k=k, **call.scoped)
    found: Recall = call.do("recall", request)
    return [one for one in found.memories if not one.decryption_failed]


# -- answers -------------------------------------------------------------------------------------


class _Answer(msgspec.Struct, frozen=True):
    """An answer, and the memories it stands on; `mode` is how it was made."""

    text: str | None
    hits: list[Any]
    cited: list[int]
    mode: str
    note: str | None = None


def routed(call: Call) -> Any:
    """Answer a question in the way its words ask for; refuse where nothing is known of it."""
    clock = call.node.context.clock
    begun = clock.monotonic()
    query = _question(call, "query")
    asked = call.text("route", required=False) or call.text("force_intent", required=False)
    if asked not in (None, "auto", *_ROUTES):
        raise unprocessable(f"route must be auto, {', '.join(_ROUTES)}", "route")
    intent, why = _intent(query)
    route = intent if asked in (None, "auto") else asked
    k = call.number("k", _K, 1, _K_MAX)
    # What is asked about many memories at once needs more of them.
    found = _answered(call, query, k if route == "factual" else max(k, _SOURCES))
    answer: dict[str, Any] = {
        "query": query,
        "route": route,
        "query_intent": intent,
        "answer": found.text,
        "answer_mode": found.mode,
        "refused": found.text is None,
        "memories": [shape(one, call, score=one.score) for one in found.hits[:k]],
        "citations": found.cited,
        "latency_ms": round((clock.monotonic() - begun) * 1_000, 3),
    }
    if found.text is None:
        answer["reason"] = found.note or "no_relevant_memories"
    if call.flag("include_reasoning"):
        answer["reasoning"] = why if asked in (None, "auto") else f"route {route} was asked for"
    return answer


def _intent(query: str) -> tuple[str, str]:
    """Return what kind of question it is, and by which of its words."""
    found = _ANALYTICAL.search(query)
    if found:
        return "analytical", f"{found.group().lower()!r} asks about several memories"
    if _FACTUAL.search(query):
        return "factual", "it asks for one thing"
    return "hybrid", "its words say neither"


def synthesize(call: Call) -> Any:
    """Answer from several memories, those that are named or those that a query finds."""
    most = call.number("max_memories", _SOURCES, 1, _SOURCES_MAX)
    named = call.body.get("memory_ids") is not None
    if not named and call.body.get("query") is None:
        raise unprocessable("give query, or memory_ids", "query")
    if named:
        memories = by_handles(call, handles_of(call, "memory_ids"))[:most]
        found = _quoted(memories, None)
    else:
        found = _answered(call, _question(call, "query"), most)
    places = {one.handle: number for number, one in enumerate(found.hits, 1)}
    cited = [
        {"marker": f"[{places[one]}]", "memory_id": one, "text": found.hits[places[one] - 1].text}
        for one in found.cited
    ]
    return {
        "answer": found.text,
        "synthesis": found.text,
        "mode": found.mode,
        "citations": cited,
        "memory_ids": [one.handle for one in found.hits],
        "memories_used": len(found.cited),
        "note": found.note,
    }


def _question(call: Call, name: str) -> str:
    found = call.text(name)
    if not found.strip():
        raise unprocessable(f"{name} is empty", name)
    return found.strip()[:_QUERY_CHARS_MAX]


def _answered(call: Call, query: str, k: int) -> _Answer:
    """Have a model answer where there is one that may; else quote what was found."""
    try:
        done = call.do("ask", Ask(query=query, k=k, **call.scoped))
    except (Unconfigured, Denied, Unavailable) as error:
        if error.code == "unauthorized":
            raise
        return _quoted(_recalled(call, query, k), _why(error))
    cited = [one.handle for one in done.memories if one.id in done.citations]
    note = done.notes[0] if done.notes else None
    return _Answer(done.answer, list(done.memories), cited, "model", note)


def _why(error: Error) -> str | None:
    """Return what kept a model from answering; nothing where none was configured."""
    return None if isinstance(error, Unconfigured) else str(error)


def _quoted(memories: Any, note: str | None) -> _Answer:
    """Return memories as their own answer: word for word, each with its number."""
    found = [one for one in memories if not one.decryption_failed]
    lines = [f"{' '.join(one.text.split())} [{number}]" for number, one in enumerate(found, 1)]
    text = "\n".join(lines) or None
    return _Answer(text, found, [one.handle for one in found], "extractive", note)


# -- vectors -------------------------------------------------------------------------------------


def refresh(call: Call) -> Any:
    """Have every memory of the end user embedded that lacks a vector of the model of now."""
    try:
        status: EmbedStatus = call.do("embed.status", GetEmbedding())
    except NotFound:
        return Reply(_ACCEPTED, {"status": "accepted", "queued": 0})
    queued = status.remaining
    if queued and status.model is not None:
        call.app.jobs.later(lambda: _embed(call))
    answer = {"status": "accepted", "queued": queued, "model": status.model}
    return Reply(_ACCEPTED, answer)


def _embed(call: Call) -> None:
    remaining = 1
    while remaining:
        done: Reembedded = call.do("embed.reembed", Reembed())
        # Where nothing could be done it is tried again by whoever asks again.
        remaining = done.remaining if done.embedded or done.dropped else 0


_TEST = "tests/dialects/memorysync/test_summaries.py"

ROUTES: tuple[Route, ...] = (
    Route("POST", "/memory/summarize", "user", summarize, _TEST, needs="memory:add"),
    Route("POST", "/memory/compose", "user", compose, _TEST, needs="memory:read"),
    Route("POST", "/memory/search/routed", "user", routed, _TEST, needs="memory:read"),
    Route("POST", "/memory/synthesize", "user", synthesize, _TEST, needs="memory:read"),
    Route("POST", "/memory/refresh", "user", refresh, _TEST, _ACCEPTED, needs="memory:update"),
)
