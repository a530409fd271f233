"""What each tool does: arguments in, an answer for programs and one for the model out."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from ..api import (
    Branches,
    CheckpointInfo,
    Checkpoints,
    CreateCheckpoint,
    Forget,
    Forgotten,
    Forked,
    GetMemory,
    GotMemory,
    ListProfiles,
    MemoryPage,
    Recall,
    Target,
    Turns,
    TurnSearch,
    Written,
)
from ..api.base import Request, Result
from ..api.clusters import ClusterPage, Summarized
from ..api.governance import GovernanceReport, GovernanceReports
from ..api.lifecycle import MemoryEvents
from ..api.relations import EntityPage, RelationPage, UnlinkedPage
from ..client import AsyncClient, AsyncPastProfile, AsyncProfile
from ..client.inputs import fork_request
from ..clock import format_ms
from ..errors import Invalid, NotFound
from ..points import Point
from .arguments import (
    BranchAction,
    BranchLine,
    BranchState,
    CheckpointLine,
    Detail,
    ForgetArguments,
    Forgot,
    Found,
    GetArguments,
    HistoryArguments,
    MemoryBatch,
    RecallArguments,
    Recalled,
    RememberArguments,
    RewindArguments,
    RewoundTo,
    Stored,
    SupersedeArguments,
    TurnBatch,
    Version,
    Versions,
    words,
)
from .echoes import NOTE, Echoes, is_quotation

__all__ = [
    "Answer",
    "Call",
    "append",
    "branch",
    "forget",
    "get",
    "history",
    "ingest",
    "list_profiles",
    "operate",
    "recall",
    "remember",
    "rewind",
    "supersede",
]

# Results of the wire that hold what somebody stored.
_STORED = (
    *(MemoryPage, Turns, TurnSearch, RelationPage, EntityPage, UnlinkedPage, ClusterPage),
    *(Summarized, GovernanceReport, GovernanceReports, GotMemory, MemoryEvents),
)
_ECHO = (
    "not written: this text came out of recall, so memory holds it already as {id}; "
    "memory_supersede changes what it says or its topic"
)


class Call(msgspec.Struct, frozen=True):
    """Where a tool works."""

    client: AsyncClient
    profile: AsyncProfile
    echoes: Echoes

    def at(self, point: str | None) -> AsyncProfile | AsyncPastProfile:
        """Return the profile as it is, or as it was at a point."""
        return self.profile if point is None else self.profile.at(Point.parse(point))


class Answer(msgspec.Struct, frozen=True):
    """The structured result, and the text for a model that is shown no structure."""

    structured: dict[str, Any]
    text: str


async def remember(call: Call, given: RememberArguments) -> Answer:
    """Write one memory, unless it is one that recall gave out."""
    _refuse_quotation(given.text, "text")
    known = await _recalled(call, given.text)
    if known is None:
        return _stored(await call.profile.remember(**_given(given)))
    note = _ECHO.format(id=known.memory.id)
    return _answer(Stored(id=known.memory.id, status="duplicate"), known.txid, note=note)


async def recall(call: Call, given: RecallArguments) -> Answer:
    """Rank memories, and keep in mind what was given out."""
    fields = _given(given)
    found = await call.at(fields.pop("at", None)).recall(**fields)
    call.echoes.keep(call.profile, found)
    hits = tuple(Found(**words(hit), score=round(hit.score, 3)) for hit in found)
    text = _quoted(found) if hits else "nothing found"
    return _answer(Recalled(memories=hits), found.txid, note=NOTE, text=text)


async def get(call: Call, given: GetArguments) -> Answer:
    """Read one memory."""
    got = await _got(call, given.id)
    memory = got.memory
    answer = Detail(
        **words(memory),
        superseded_at=_when(memory.superseded_at),
        expires_at=_when(memory.expires_at),
        kind=memory.kind,
        tags=memory.tags,
        source=memory.source,
        session=memory.session,
        speaker=memory.speaker,
        importance=memory.importance,
        supersedes=memory.supersedes,
    )
    return _answer(answer, got.txid, note=NOTE)


async def supersede(call: Call, given: SupersedeArguments) -> Answer:
    """Replace a memory; its text may be one that was recalled, when it holds again."""
    _refuse_quotation(given.text, "text")
    fields = _given(given)
    return _stored(await call.profile.supersede(fields.pop("id"), **fields))


async def forget(call: Call, given: ForgetArguments) -> Answer:
    """Remove one memory from the present."""
    done: Forgotten = await _operate(call, "memories.forget", Forget(id=given.id))
    return _answer(Forgot(forgotten=done.forgotten), done.txid)


async def history(call: Call, given: HistoryArguments) -> Answer:
    """Read how a memory or a topic changed."""
    found = await call.profile.history(given.id, topic=given.topic)
    versions = tuple(Version(**words(memory)) for memory in found)
    return _answer(Versions(memories=versions), found.txid, note=NOTE)


async def branch(call: Call, given: BranchAction) -> Answer:
    """List, name, fork or delete."""
    profile, action, name = call.profile, given.action, given.name
    if action == "list":
        return _answer(_state(await profile.branches(), await profile.checkpoints()))
    if name is None:
        raise Invalid(f"memory_branch: name is missing; {action} needs one")
    txid = None
    if action == "checkpoint":
        made: CheckpointInfo = await _operate(
            call, "checkpoints.create", CreateCheckpoint(name=name)
        )
        txid = made.txid
    elif action == "fork":
        at = None if given.at is None else Point.parse(given.at)
        forked: Forked = await _operate(call, "branches.fork", fork_request(name, at, given.ttl))
        txid = forked.txid
    else:
        await profile.delete_branch(name)
    return _answer(BranchState(name=name), txid)


async def rewind(call: Call, given: RewindArguments) -> Answer:
    """Return the branch to a point."""
    done = await call.profile.rewind(Point.parse(given.to))
    return _answer(RewoundTo(to_txid=done.to_txid, undo=str(done.undo)), done.txid)


async def ingest(call: Call, given: MemoryBatch) -> Answer:
    """Write a batch in which nothing came out of recall."""
    for index, item in enumerate(given.memories):
        text = item.get("text")
        if isinstance(text, str):
            place = f"memories[{index}] (nothing of the batch was written)"
            _refuse_quotation(text, place)
            known = await _recalled(call, text)
            if known is not None:
                raise Invalid(f"{place}: {_ECHO.format(id=known.memory.id)}")
    return _plain(await call.profile.ingest(given.memories))


async def append(call: Call, given: TurnBatch) -> Answer:
    """Append turns to a session."""
    return _plain(await call.profile.session(given.session).extend(given.turns))


def operate(operation: str) -> Callable[[Call, Any], Awaitable[Answer]]:
    """Return what carries out an operation of the table as it is."""

    async def run(call: Call, given: Request) -> Answer:
        return _plain(await _operate(call, operation, given))

    return run


async def list_profiles(call: Call, given: ListProfiles) -> Answer:
    """List the profiles of a namespace."""
    target = Target(call.profile.namespace)
    return _plain(await call.client.call("profiles.list", target, given))


async def _operate(call: Call, operation: str, request: Request) -> Any:
    return await call.client.call(operation, call.profile.target, request)


async def _got(call: Call, id: str) -> GotMemory:
    got: GotMemory = await _operate(call, "memories.get", GetMemory(id=id))
    return got


async def _recalled(call: Call, text: str) -> GotMemory | None:
    """Return the memory that gave out this text, if it holds now: else writing it says something.

    What was superseded or forgotten since may become true again.
    """
    known = call.echoes.find(call.profile, text)
    if known is None:
        return None
    try:
        got = await _got(call, known)
    except NotFound:
        return None
    return got if got.memory.superseded_at is None else None


def _refuse_quotation(text: str, what: str) -> None:
    if is_quotation(text):
        raise Invalid(
            f"{what} quotes recalled memories, which are stored already; "
            "give only what is new, in words of its own"
        )


def _given(arguments: Request) -> dict[str, Any]:
    """Return the arguments that say something, by Python's names."""
    return _said({name: getattr(arguments, name) for name in arguments.__struct_fields__})


def _said(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, ())}


def _state(branches: Branches, checkpoints: Checkpoints) -> BranchState:
    return BranchState(
        branches=tuple(
            BranchLine(name=one.name, txid=one.txid, parent=one.parent) for one in branches
        ),
        checkpoints=tuple(
            CheckpointLine(name=one.name, when=format_ms(one.at)) for one in checkpoints
        ),
    )


def _when(ms: int | None) -> str | None:
    return None if ms is None else format_ms(ms)


def _quoted(found: Recall) -> str:
    ids = ", ".join(f"[{number}] {hit.id}" for number, hit in enumerate(found, 1))
    return f"{found.as_context()}\n\nids: {ids}"


def _stored(done: Written) -> Answer:
    stored = Stored(id=done.id, status=done.status, superseded=done.superseded)
    return _answer(stored, done.txid, note=done.note)


def _plain(result: Result) -> Answer:
    """Return a result of the wire, marked as data where it holds what somebody stored."""
    structured = result.to_dict()
    if isinstance(result, _STORED):
        # What an answer itself has to note comes first.
        said = structured.get("note")
        structured["note"] = f"{said}; {NOTE}" if said else NOTE
    return Answer(structured, _json(structured))


def _answer(
    given: msgspec.Struct, txid: int | None = None, *, note: str | None = None, text: str = ""
) -> Answer:
    """Return an answer; the note and the txid go without saying in the tools' schemas."""
    structured = msgspec.to_builtins(given) | _said({"note": note, "txid": txid})
    return Answer(structured, text or _json(structured))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
