"""What becomes a memory of something that is none: a turn, a value of a framework.

Where the node has a language model for it, what the model finds in the words; else the words
themselves. Also where the model fails: then nothing that was said is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from ....api import ListMemories, Memory, MemoryPage, TurnInput
from ....api.annotating import Annotate
from ....api.extraction import Extract, Extracted
from ....api.lifecycle import DeleteMemory
from ....api.limits import EXTRACT_LABEL_BYTES_MAX, PAGE_MAX
from ....clock import format_ms
from ....errors import Conflict, Error, NotFound
from .adding import store_all
from .call import Call
from .facts import low_value
from .shapes import outer, with_inner

__all__ = ["FROM_TURN", "Lesson", "learn", "unlearn"]

# What facts bear of where they are from; a caller's own values of these names are dropped.
_RESERVED = frozenset({"write_origin", "distilled_from", "turn_role", "history_id", "episodic"})
# `skipped`: it was not worth a memory. `failed`: it cannot be one.
Outcome = Literal["completed", "skipped", "failed"]
FROM_TURN = {"write_origin": "turn-extraction", "turn_role": "user"}


class Lesson(NamedTuple):
    """What was said, and what the memories of it are to bear: `metadata` and `origin`."""

    text: str
    source: str | None
    metadata: dict[str, Any]
    origin: dict[str, Any]
    session: str | None = None
    speaker: str | None = None
    at: int | None = None


def learn(call: Call, lessons: Sequence[Lesson]) -> list[Outcome]:
    """Write memories of what was said in one session; return what became of each piece."""
    done: list[Outcome] = ["skipped"] * len(lessons)
    worth = [place for place, one in enumerate(lessons) if low_value(one.text) is None]
    if not worth:
        return done
    chosen = [lessons[place] for place in worth]
    try:
        if call.node.context.extractor is not None:
            _extract(call, chosen)
            outcomes: list[Outcome] = ["completed"] * len(worth)
        else:
            outcomes = _keep(call, chosen)
    except Error:
        if call.node.context.extractor is None:
            raise
        # The model is away, may not be asked, or answers nonsense.
        outcomes = _keep(call, chosen)
    for place, outcome in zip(worth, outcomes, strict=True):
        done[place] = outcome
    return done


def unlearn(call: Call, name: str, values: set[str], *, session: str | None = None) -> list[str]:
    """Delete the memories that were learned of what bears one of these ids; return theirs."""
    gone, cursor = [], None
    found: list[Memory] = []
    while True:
        request = ListMemories(session=session, any_project=True, limit=PAGE_MAX, cursor=cursor)
        page: MemoryPage = call.do("memories.list", request)
        found += [one for one in page.memories if outer(one.metadata).get(name) in values]
        cursor = page.next_cursor
        if cursor is None:
            break
    for memory in found:
        try:
            call.do("memories.delete", DeleteMemory(id=memory.id))
        except (NotFound, Conflict):
            continue
        gone.append(f"m_{memory.handle}")
    return gone


def _scalars(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return what facts take over of metadata: texts, numbers and switches."""
    return {
        name: value
        for name, value in metadata.items()
        if name not in _RESERVED and isinstance(value, str | int | float | bool)
    }


def _keep(call: Call, lessons: Sequence[Lesson]) -> list[Outcome]:
    """Write the words as they are, all in one transaction."""
    bodies = [
        {
            "text": one.text,
            "source": one.source,
            "session_id": one.session,
            "metadata": _metadata(one),
            "occurred_at": None if one.at is None else format_ms(one.at),
        }
        for one in lessons
    ]
    done = store_all([call.item(body) for body in bodies])
    return ["failed" if one.status == "rejected" else "completed" for one in done]


def _extract(call: Call, lessons: Sequence[Lesson]) -> None:
    """Write what a model finds in the words, each with what it is to bear."""
    turns = tuple(
        TurnInput(role="user", content=one.text, speaker=one.speaker, at=one.at) for one in lessons
    )
    first = lessons[0]
    request = Extract(
        turns=turns,
        session=_label(first.session),
        source=_label(first.source),
        project=call.project,
    )
    done: Extracted = call.do("extract", request)
    for one in done.proposals:
        if one.decision == "created" and one.memory is not None:
            kept = {"extracted_type": one.category, "extracted_key": one.extracted_key}
            # Turns are counted from 1.
            metadata = _metadata(lessons[(one.turn or 1) - 1])
            edit = Annotate(id=one.memory, metadata=with_inner(metadata, kept) or {})
            call.do("memories.annotate", edit)


def _metadata(lesson: Lesson) -> dict[str, Any]:
    return {**_scalars(lesson.metadata), **lesson.origin}


def _label(text: str | None) -> str | None:
    """Return a label that fits into the lineage; None for one that does not."""
    if text is None or len(text.encode("utf-8", "surrogatepass")) > EXTRACT_LABEL_BYTES_MAX:
        return None
    return text
