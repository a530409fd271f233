"""What a host can load without a tool call: resources and a prompt, all of them bounded."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import msgspec

from ..api import ListMemories, ListSessions, Memory, MemoryPage, SessionPage
from ..api.limits import PAGE_MAX
from ..client import AsyncClient, AsyncProfile
from ..clock import format_ms
from ..errors import Invalid, NotFound
from .echoes import NOTE, Echoes
from .places import CHOICES, Place

__all__ = ["PROMPT", "RESOURCES", "Resource", "prompt_arguments", "read", "recall_prompt", "uri"]

LATEST_MAX = 10
SESSIONS_MAX = 20
TEXT_CHARS_MAX = 300
CONTEXT_TOKENS_MAX = 4_000

PROMPT = "recall"
_URI = re.compile(r"palimp://(?P<namespace>[^/]*)/(?P<profile>[^/]*)/(?P<name>[^/]*)\Z")


class Resource(msgspec.Struct, frozen=True):
    """One kind of resource."""

    name: str
    description: str


RESOURCES: dict[str, Resource] = {
    one.name: one
    for one in (
        Resource("summary", "Counts by type, latest topics, facts and instructions of a profile"),
        Resource("sessions", f"The {SESSIONS_MAX} most recently active sessions of a profile"),
    )
}


def uri(name: str, place: Place | None = None) -> str:
    """Return the address of a resource of a place, or the template of all of its kind."""
    owner = "{namespace}/{profile}" if place is None else str(place)
    return f"palimp://{owner}/{name}"


async def read(client: AsyncClient, place: Place, address: str) -> str:
    """Return a resource as JSON; `NotFound` for an unknown one, `Invalid` for one out of reach."""
    match = _URI.match(address)
    if match is None or match["name"] not in RESOURCES:
        known = ", ".join(uri(name) for name in RESOURCES)
        raise NotFound(f"there is no resource {address!r:.200}; there are {known}")
    named = Place(match["namespace"], match["profile"])
    if place.pinned and str(named) != str(place):
        raise Invalid(f"resource {address!r:.200} is out of reach: this address serves {place}")
    profile = named.open(client)
    found = await (_summary(profile) if match["name"] == "summary" else _sessions(profile))
    return json.dumps(found, ensure_ascii=False, indent=1)


def prompt_arguments(pinned: bool) -> dict[str, str]:
    """Return the prompt's arguments with what each is; only the first is needed."""
    arguments = {"question": "What to load memories for"}
    if not pinned:
        arguments |= dict.fromkeys(CHOICES, "Whose memories, if not the default's")
    return arguments


async def recall_prompt(
    client: AsyncClient, place: Place, echoes: Echoes, given: dict[str, str]
) -> str:
    """Return a question with the memories that matter to it, quoted as data."""
    question = given.get("question")
    if not question:
        raise Invalid(f"prompt {PROMPT} needs a question")
    profile = place.choose(dict(given)).open(client)
    found = await profile.recall(question, max_tokens=CONTEXT_TOKENS_MAX)
    echoes.keep(profile, found)
    context = found.as_context(CONTEXT_TOKENS_MAX) or "No memories matter to this."
    return f"{context}\n\nQuestion: {question}"


async def _summary(profile: AsyncProfile) -> dict[str, Any]:
    """Return what the newest memories are about; a long profile is read no further than a page."""
    request = ListMemories(limit=PAGE_MAX)
    page: MemoryPage = await profile.client.call("memories.list", profile.target, request)
    topics: dict[str, Memory] = {}
    for memory in page.memories:
        if memory.topic is not None:
            topics.setdefault(memory.topic, memory)
    return {
        "profile": str(profile),
        "note": NOTE,
        "counts": Counter(memory.type for memory in page.memories),
        "counted": f"the newest {PAGE_MAX:,}" if page.next_cursor else "all",
        "topics": [_line(memory) for memory in list(topics.values())[:LATEST_MAX]],
        "latest": [_line(memory) for memory in page.memories[:LATEST_MAX]],
        "txid": page.txid,
    }


async def _sessions(profile: AsyncProfile) -> dict[str, Any]:
    request = ListSessions(limit=SESSIONS_MAX)
    page: SessionPage = await profile.client.call("sessions.list", profile.target, request)
    return {
        "profile": str(profile),
        "sessions": [
            {
                "session": one.id,
                "last_active": format_ms(one.last_active_at),
                "turns": one.turns,
                "memories": one.memories,
                "ended": one.ended_at is not None,
            }
            for one in page.sessions
        ],
        "more": page.next_cursor is not None,
        "txid": page.txid,
    }


def _line(memory: Memory) -> dict[str, Any]:
    text = memory.text
    if len(text) > TEXT_CHARS_MAX:
        text = text[:TEXT_CHARS_MAX] + "..."
    line = {"id": memory.id, "type": memory.type, "text": text}
    return line if memory.topic is None else {**line, "topic": memory.topic}
