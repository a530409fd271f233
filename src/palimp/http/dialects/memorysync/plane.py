"""The v1 data plane: turns that become memories, and memories as adapters read them."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from ....api import GetValue, Memory, PutValue, Recall
from ....api.stats import GetStats, MemoryStats
from ....errors import NotFound
from ..foreign import Route
from .call import Call
from .facts import low_value
from .learning import FROM_TURN, Lesson, learn
from .memories import find, identity
from .query import ask
from .refusals import unprocessable
from .seeing import newest
from .shapes import checked_metadata, shape, stamp
from .whom import source_of, user_of

__all__ = ["ROUTES"]

_CHAT = "chat"
_CREATED = 201
_K, _K_MAX, _CHARS_MAX = 5, 50, 8_000
_LIST_DEFAULT, _LIST_MAX, _OFFSET_MAX = 50, 5_000, 10_000_000
# For so long a turn that comes again is known; the key says nothing of what it says.
_REPLAY_SPACE, _REPLAY_SECONDS = "memorysync.turns", 30 * 86_400
_USERS = frozenset("human user customer caller".split())
_OTHERS = frozenset("ai assistant bot system tool function agent model developer".split())
_PREFIX = re.compile(r"\s*([A-Za-z]{2,12})\s*:\s*")


def add_turn(call: Call) -> Any:
    """Write memories of what a user said in one turn; what others said is not kept."""
    about = user_of(call)
    text, speaker = call.text("text"), call.text("speaker", required=False)
    metadata = checked_metadata(call) or {}
    at, source = call.when("occurred_at"), source_of(call, _CHAT)
    said, prefix = _stripped(text)
    if not said.strip():
        raise unprocessable("text is empty", "text")
    head = None if speaker is None else speaker.partition("@")[0]
    if not _is_user(call.text("role", required=False), prefix, head, metadata.get("role")):
        return _turn("skipped_non_user_turn")
    if low_value(said) is not None:
        return _turn("skipped_low_value")
    key = _replay_key(speaker, at, said)
    if _was_said(about, key):
        return _turn("skipped_replay", already=True)
    session = metadata.get("session_id")
    lesson = Lesson(
        text=said,
        source=source,
        metadata=metadata,
        origin=FROM_TURN,
        session=session if isinstance(session, str) and session else None,
        speaker=speaker,
        at=at,
    )
    (outcome,) = learn(about, [lesson])
    # Last: a turn of which nothing was written, because something failed, is no repeat.
    about.do("kv.put", PutValue(ns=_REPLAY_SPACE, key=key, data=b"", ttl=_REPLAY_SECONDS))
    return _turn(outcome, request=call.asked.id)


def recall(call: Call) -> Any:
    """Return what matters to a prompt as text for a model, quoted as data."""
    about = user_of(call)
    k, types = call.number("k", _K, 1, _K_MAX), call.texts("types")
    found = ask(about, _prompt(call), k if types is None else _K_MAX)
    wanted = [
        hit
        for hit, _ in found.hits
        if types is None or {_type(hit, about), hit.type, _content_type(hit, about)} & set(types)
    ][:k]
    quoted: Recall = msgspec.structs.replace(found.recall, memories=tuple(wanted))
    return {
        "context": quoted.as_context(),
        "memories": [_item(hit, about, score=hit.score) for hit in wanted],
        "used_fallback": found.degraded,
    }


def query(call: Call) -> Any:
    """Return what matters to a prompt, best first."""
    about = user_of(call)
    found = ask(about, _prompt(call), call.number("k", _K, 1, _K_MAX))
    return {"memories": [_item(hit, about, score=score) for hit, score in found.hits]}


def status(call: Call) -> Any:
    """Say how far a memory is: what is there was written, whatever is done with it later."""
    memory = find(call, identity(call))
    return {
        "memory_id": memory.handle,
        "status": "completed",
        "processing_status": "completed",
        "retention_status": memory.state,
        "created_at": stamp(memory.created_at),
    }


def list_memories(call: Call) -> Any:
    """Return an end user's memories, the newest first; with the limit 0 all of them."""
    about = user_of(call, call.values["tenant"], call.values["user"])
    limit = call.number("limit", _LIST_DEFAULT, 0, _LIST_MAX)
    offset = call.number("offset", 0, 0, _OFFSET_MAX)
    if about.project is None and limit:
        found = list(newest(about, offset + limit))
        total = _count(about)
    else:
        found = list(newest(about, _OFFSET_MAX))
        total = len(found)
    chosen = found[offset : offset + limit] if limit else found[offset:]
    return {"memories": [_item(one, about) for one in chosen], "total": total}


def _count(call: Call) -> int:
    try:
        found: MemoryStats = call.do("memories.stats", GetStats())
    except NotFound:
        return 0
    return found.all.count


def _prompt(call: Call) -> str:
    found = call.text("prompt").strip()
    if not found:
        raise unprocessable("prompt is empty", "prompt")
    return found[:_CHARS_MAX]


def _item(memory: Memory, call: Call, *, score: float | None = None) -> dict[str, Any]:
    """Return a memory as adapters read it."""
    shown = shape(memory, call)
    found = {
        "memory_id": f"m_{memory.handle}",
        "raw_text": shown["text"],
        **{name: shown[name] for name in ("summary", "metadata", "created_at", "source", "tags")},
        "memory_type": shown["memory_type"],
    }
    return found if score is None else {**found, "score": score}


def _type(memory: Memory, call: Call) -> str:
    return str(shape(memory, call)["memory_type"])


def _content_type(memory: Memory, call: Call) -> str:
    return str(shape(memory, call)["content_type"])


def _turn(status: str, *, already: bool = False, request: str | None = None) -> dict[str, Any]:
    return {
        "memory_id": None,
        "status": "ok" if request is None else "processing",
        "processing_status": status,
        "embed_mode": "async",
        "already_exists": already,
        "request_id": request,
    }


# -- who spoke ---------------------------------------------------------------------------------


def _stripped(text: str) -> tuple[str, str | None]:
    """Return what was said without the name of a role before it, and that name."""
    match = _PREFIX.match(text)
    if match is None or match[1].lower() not in _USERS | _OTHERS:
        return text, None
    return text[match.end() :], match[1]


def _is_user(*named: Any) -> bool:
    """Whether the first role that is one of those we know is a user's; nobody's is one too."""
    for one in named:
        role = one.strip().lower() if isinstance(one, str) else ""
        if role in _USERS or role in _OTHERS:
            return role in _USERS
    return True


# -- what came before --------------------------------------------------------------------------


def _replay_key(speaker: str | None, at: int | None, text: str) -> str:
    data = msgspec.json.encode([speaker, at, text])
    return hashlib.blake2b(data, digest_size=24).hexdigest()


def _was_said(call: Call, key: str) -> bool:
    try:
        call.do("kv.get", GetValue(ns=_REPLAY_SPACE, key=key))
    except NotFound:
        return False
    return True


_TEST = "tests/dialects/memorysync/test_plane.py"
_READ = "memory:read"

ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/memory/add_turn", "user", add_turn, _TEST, _CREATED, needs="memory:add"),
    Route("POST", "/v1/memory/recall", "user", recall, _TEST, needs=_READ),
    Route("POST", "/v1/memory/query", "user", query, _TEST, needs=_READ),
    Route("GET", "/v1/memory/status/{id}", "user", status, _TEST, needs=_READ),
    Route("GET", "/v1/memory/{tenant}/{user}/list", "user", list_memories, _TEST, needs=_READ),
)
