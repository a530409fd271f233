"""Transcripts that an agent reads back: turns as they were given, which are no memories."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from ....api import Append, Turn, TurnInput, Turns, Window
from ....api.limits import BATCH_ITEMS_MAX, LABEL_BYTES_MAX
from ....api.sessions import FindTurns, RemoveTurns
from ....errors import NotFound
from ..foreign import Route
from .call import Call, moment
from .learning import FROM_TURN, Lesson, learn, unlearn
from .refusals import unprocessable
from .shapes import checked_metadata, stamp
from .whom import SOURCE, source_of, user_of

__all__ = ["ROUTES"]

_TURNS_MAX, _LIST_MAX = 100, 5_000
_ROLE_CHARS_MAX = 64
_KEY_CHARS_MAX = 512
_SEQ_MAX = 1 << 53
_ROLES = {"human": "user", "ai": "assistant"}
_ID = "h_"
_ID_DIGITS_MAX = 18


def append(call: Call) -> Any:
    """Store turns in order; one that was stored before is what is returned for it."""
    about = user_of(call)
    session, source = _session(call), source_of(call) or SOURCE
    turns = [_turn(call.item(one), source) for one in call.items("turns", _TURNS_MAX)]
    wants, metadata = call.flag("extract", default=True), checked_metadata(call)
    done = about.do("sessions.append", Append(session=session, turns=tuple(turns)))
    found: Turns = about.do("sessions.find", FindTurns(handles=done.handles))
    stored = {turn.handle: turn for turn in found.turns}
    items, lessons = [], []
    for handle, created in zip(done.handles, done.created, strict=True):
        turn = stored.get(handle)
        # Another call may have removed it by now.
        if turn is None:
            continue
        item = _shape(turn)
        items.append({**item, "created": created})
        if created and wants and turn.role == "user":
            lesson = Lesson(
                text=item["content"],
                source=source,
                metadata={**(metadata or {}), "session_id": session},
                origin={**FROM_TURN, "history_id": item["id"]},
                session=session,
                at=turn.at,
            )
            lessons.append(lesson)
    learned = [
        f"{call.asked.id}-{lesson.origin['history_id']}"
        for lesson, outcome in zip(lessons, learn(about, lessons), strict=True)
        if outcome != "skipped"
    ]
    return {"items": items, "request_ids": learned, "status": "ok"}


def list_turns(call: Call) -> Any:
    """Return the turns of a session, the oldest first; by their `seq` where any has one."""
    about = user_of(call)
    session, source = _session(call), source_of(call, None)
    limit = call.number("limit", 0, 0, _LIST_MAX)
    items = [_shape(turn) for turn in _all(about, session, source)]
    if any(one["seq"] is not None for one in items):
        # Those without stay in the order they came in, behind.
        items.sort(key=lambda one: _SEQ_MAX + 1 if one["seq"] is None else one["seq"])
    return {"items": items[-limit:] if limit else items, "total": len(items)}


def delete(call: Call) -> Any:
    """Remove a session's turns, or turns by their ids; with what was learned of them if asked."""
    about = user_of(call)
    source = source_of(call, None)
    named, ids = call.text("session_id", required=False), call.body.get("ids")
    if (named is None) == (ids is None):
        raise unprocessable("give one of session_id and ids", "session_id")
    facts = call.flag("delete_derived_facts")
    if ids is None:
        turns = _all(about, _session(call), source)
    else:
        turns = _by_ids(about, _numbers(ids), source)
    handles = [turn.handle for turn in turns if turn.handle is not None]
    removed: list[int] = []
    for start in range(0, len(handles), BATCH_ITEMS_MAX):
        some = tuple(handles[start : start + BATCH_ITEMS_MAX])
        removed += about.do("sessions.remove", RemoveTurns(handles=some)).handles
    gone: list[str] = []
    if facts:
        names = {_name(handle) for handle in removed}
        for session in sorted({turn.session for turn in turns}):
            gone += unlearn(about, "history_id", names, session=session)
    return {"deleted_ids": [_name(one) for one in removed], "deleted_fact_ids": gone}


def _session(call: Call) -> str:
    found = call.text("session_id")
    if not found or len(found.encode("utf-8", "surrogatepass")) > LABEL_BYTES_MAX:
        raise unprocessable(f"session_id must have 1 to {LABEL_BYTES_MAX} bytes", "session_id")
    return found


def _turn(given: Call, source: str) -> TurnInput:
    """Return one turn of a body as ours: its words first, for it is found by them."""
    role = given.text("role").strip().lower()
    if not 1 <= len(role) <= _ROLE_CHARS_MAX:
        raise unprocessable(f"role must have 1 to {_ROLE_CHARS_MAX} characters", "role")
    role = _ROLES.get(role, role)
    text, seq = given.text("content"), given.body.get("seq")
    if seq is not None and not (type(seq) is int and 0 <= seq <= _SEQ_MAX):
        raise unprocessable("seq must be a whole number from 0", "seq")
    key = given.text("idempotency_key", required=False)
    if key is not None and not 1 <= len(key) <= _KEY_CHARS_MAX:
        raise unprocessable(
            f"idempotency_key must have 1 to {_KEY_CHARS_MAX} characters", "idempotency_key"
        )
    keys = [] if key is None else [_key(source, "key", key)]
    if seq is not None:
        keys.append(_key(source, "seq", seq, role, text))
    content: dict[str, Any] = {"text": text, "source": source}
    if seq is not None:
        content["seq"] = seq
    if given.body.get("payload") is not None:
        content["payload"] = given.body["payload"]
    return TurnInput(
        role=role,
        content=content,
        at=moment(given.text("occurred_at", required=False), "occurred_at"),
        keys=tuple(keys),
    )


def _key(*parts: Any) -> str:
    # It stands in the database in plain, and the words do not.
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=24).hexdigest()


def _shape(turn: Turn) -> dict[str, Any]:
    kept = turn.content if isinstance(turn.content, dict) else {"text": turn.content}
    text = kept.get("text")
    return {
        "id": _name(turn.handle or 0),
        "session_id": turn.session,
        "role": turn.role,
        "content": text if isinstance(text, str) else "",
        "seq": kept.get("seq"),
        "occurred_at": None if turn.at is None else stamp(turn.at),
        "payload": kept.get("payload"),
        "source": kept.get("source") or SOURCE,
        "created_at": stamp(turn.created_at),
    }


def _all(call: Call, session: str, source: str | None) -> list[Turn]:
    """Return the turns of a session, of one source or of all, the oldest first."""
    pages: list[tuple[Turn, ...]] = []
    before = None
    while True:
        request = Window(session=session, last=BATCH_ITEMS_MAX, before=before)
        try:
            found: Turns = call.do("sessions.window", request)
        except NotFound:
            break
        pages.append(found.turns)
        if len(found.turns) < BATCH_ITEMS_MAX:
            break
        before = found.turns[0].seq
    return [turn for page in reversed(pages) for turn in page if _is_of(turn, source)]


def _by_ids(call: Call, handles: list[int], source: str | None) -> list[Turn]:
    found: list[Turn] = []
    for start in range(0, len(handles), BATCH_ITEMS_MAX):
        some = tuple(handles[start : start + BATCH_ITEMS_MAX])
        found += call.do("sessions.find", FindTurns(handles=some)).turns
    return [turn for turn in found if _is_of(turn, source)]


def _is_of(turn: Turn, source: str | None) -> bool:
    return source is None or _shape(turn)["source"] == source


def _name(handle: int) -> str:
    return f"{_ID}{handle}"


def _numbers(ids: Any) -> list[int]:
    if not isinstance(ids, list) or not ids:
        raise unprocessable("ids must be a list of turns' ids, and not empty", "ids")
    found = []
    for one in ids:
        digits = one.removeprefix(_ID) if isinstance(one, str) else str(one)
        known = type(one) in (str, int) and digits.isascii() and digits.isdigit()
        if not known or len(digits) > _ID_DIGITS_MAX or not int(digits):
            raise unprocessable(f"ids has {one!r:.40}, which is no turn's id like h_12", "ids")
        found.append(int(digits))
    return found


_TEST = "tests/dialects/memorysync/test_history.py"

ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/history/append", "user", append, _TEST, needs="memory:add"),
    Route("POST", "/v1/history/list", "user", list_turns, _TEST, needs="memory:read"),
    Route("POST", "/v1/history/delete", "user", delete, _TEST, needs="memory:delete"),
)
