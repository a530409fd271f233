"""The tools of that system: each is one or two of its requests, answered as text for a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from ....errors import Conflict, Error, Invalid, NotFound
from .call import Call
from .refusals import unprocessable
from .relay import relay
from .shapes import TYPES

__all__ = ["TOOLS", "Tool", "answer"]

Fields = dict[str, Any]

_TEXT: Fields = {"type": "string"}
_FLAG: Fields = {"type": "boolean"}
_COUNT: Fields = {"type": "integer"}
_OBJECT: Fields = {"type": "object"}
_TEXTS: Fields = {"type": "array", "items": _TEXT}
_KINDS: Fields = {"type": "array", "items": {"type": "string", "enum": list(TYPES)}}
_SCOPE: Fields = {"type": "string", "enum": ["prefer", "only"]}
_STRATEGY: Fields = {"type": "string", "enum": ["append", "accept", "replace"]}
_NAMES: Fields = {"anyOf": [_TEXT, _TEXTS]}

_STORED = ("session_id", "subject_id", "branch", "trust_tier", "extra_metadata")
_ASKED = (
    "query", "top_k", "session_id", "session_scope", "subject_id", "memory_types", "branch",
    "explain",
)  # fmt: skip
_SUMMARY_CHARS = 120

_CAPABILITIES = """\
Memory tools: memory_store, memory_retrieve, memory_search, memory_list, memory_correct, \
memory_purge, memory_profile, memory_observe, memory_feedback.
Upkeep: memory_governance, memory_consolidate, memory_reflect.
Git for memory: memory_snapshot, memory_snapshots, memory_snapshot_delete, memory_rollback, \
memory_branch, memory_branches, memory_checkout, memory_diff, memory_merge, memory_apply, \
memory_pick, memory_branch_delete.
Types: semantic (facts), profile (who the user is), procedural (how to), working (of the task at \
hand), tool_result, episodic (what happened in a session).
Trust tiers: T1 verified, T2 curated, T3 inferred, T4 unverified."""


class Tool(NamedTuple):
    """One tool. `strict` refuses arguments that it does not have; `hidden` ones are not listed."""

    about: str
    arguments: Mapping[str, Fields]
    run: Callable[[Call, Fields], str]
    required: tuple[str, ...] = ()
    strict: bool = False
    hidden: bool = False

    def shown(self, name: str) -> Fields:
        """Return what a client is told of it."""
        schema: Fields = {"type": "object", "properties": dict(self.arguments)}
        if self.required:
            schema["required"] = list(self.required)
        if self.strict:
            schema["additionalProperties"] = False
        return {"name": name, "description": self.about, "inputSchema": schema}


def answer(call: Call, tool: Tool, arguments: Fields) -> str:
    """Return what a tool says; raises what was wrong."""
    given = {name: value for name, value in arguments.items() if value is not None}
    for name in tool.required:
        if name not in given or given[name] == "":
            raise unprocessable(f"{name} is required")
    unknown = sorted(set(given) - set(tool.arguments))
    if tool.strict and unknown:
        raise Invalid(f"unknown argument {', '.join(unknown):.80}")
    return tool.run(call, given)


def _some(given: Fields, *names: str) -> Fields:
    return {name: given[name] for name in names if name in given}


def _result(call: Call, method: str, *words: str, body: Fields | None = None) -> str:
    """Return the text that a route answers with; what it refuses is said in words too."""
    try:
        found = relay(call, method, *words, body=body)
    except (Conflict, NotFound, Invalid) as error:
        if error.details.get("said"):
            return str(error)
        raise
    return str(found["result"])


# -- memories -------------------------------------------------------------------------------------


def _store(call: Call, given: Fields) -> str:
    body = _some(given, "content", *_STORED)
    if given.get("memory_type") in TYPES:
        body["memory_type"] = given["memory_type"]
    done = relay(call, "POST", "v1/memories", body=body)
    return f"Stored memory {done['memory_id']}: {done['content']}"


def _retrieve(call: Call, given: Fields) -> str:
    return _found(relay(call, "POST", "v1/memories/retrieve", body=_some(given, *_ASKED)))


def _search(call: Call, given: Fields) -> str:
    return _found(relay(call, "POST", "v1/memories/search", body=_some(given, *_ASKED)))


def _found(answered: Any) -> str:
    hits = answered["results"] if isinstance(answered, dict) else answered
    text = "\n".join(_line(one) for one in hits) or "No relevant memories found."
    if isinstance(answered, dict):
        explain = msgspec.json.format(msgspec.json.encode(answered["explain"])).decode()
        text += f"\n--- explain ---\n{explain}"
    return text


def _line(memory: Fields) -> str:
    text = f"[{memory['memory_id']}] ({memory['memory_type']}) {memory['content']}"
    metadata = memory.get("extra_metadata")
    if not metadata:
        return text
    return f"{text} | metadata: {msgspec.json.encode(metadata).decode()}"


def _correct(call: Call, given: Fields) -> str:
    body = _some(given, "new_content", "reason", "branch")
    if "memory_id" in given:
        done = relay(call, "PUT", "v1/memories", str(given["memory_id"]), "correct", body=body)
    elif "query" in given:
        names = ("query", "session_id", "session_scope", "subject_id", "memory_types")
        body |= _some(given, *names)
        try:
            done = relay(call, "POST", "v1/memories/correct", body=body)
        except NotFound as error:
            if str(error) != "No matching memory found":
                raise
            return "No matching memory found for query"
    else:
        raise unprocessable("Provide memory_id or query")
    return f"Corrected memory {done['memory_id']}: {done['content']}"


def _purge(call: Call, given: Fields) -> str:
    body = _some(given, "topic", "session_id", "memory_types", "branch", "reason")
    if "memory_id" in given:
        ids = [one.strip() for one in str(given["memory_id"]).split(",")]
        body["memory_ids"] = [one for one in ids if one]
    done = relay(call, "POST", "v1/memories/purge", body=body)
    text = f"Purged {done['purged']} memory(s)"
    if "topic" in given:
        text += f" matching '{given['topic']}'"
    elif "session_id" in given:
        text += f" for session '{given['session_id']}'"
    if done.get("snapshot_name"):
        text += f"\nSafety snapshot: {done['snapshot_name']} (use memory_rollback to undo)"
    return f"{text}\n{done['warning']}" if done.get("warning") else text


def _profile(call: Call, given: Fields) -> str:
    query = _some(given, "subject_id", "branch")
    found = relay(call, "GET", "v1/profiles/me", query=query)
    return found["profile"] or "No profile memories found."


def _list(call: Call, given: Fields) -> str:
    names = ("memory_type", "session_id", "subject_id", "branch")
    query = {"limit": given.get("limit", 20), **_some(given, *names)}
    found = relay(call, "GET", "v1/memories", query=query)
    return "\n".join(_line(one) for one in found["items"]) or "No memories found."


def _capabilities(_call: Call, _given: Fields) -> str:
    return _CAPABILITIES


def _feedback(call: Call, given: Fields) -> str:
    body = _some(given, "signal", "context")
    words = "v1/memories", str(given["memory_id"]), "feedback"
    done = relay(call, "POST", *words, body=body)
    return (
        f"Recorded feedback: memory={done['memory_id']}, signal={done['signal']}, "
        f"feedback_id={done['feedback_id']}"
    )


def _observe(call: Call, given: Fields) -> str:
    body = _some(given, "messages", "session_id", "subject_id", "branch")
    return msgspec.json.encode(relay(call, "POST", "v1/observe", body=body)).decode()


# -- upkeep ---------------------------------------------------------------------------------------


def _skipped(what: str, done: Fields) -> str | None:
    if not done.get("skipped"):
        return None
    left = done.get("cooldown_remaining_s", 0)
    return f"{what} skipped (cooldown: {left}s remaining). Use force=true to override."


def _governance(call: Call, given: Fields) -> str:
    done = relay(call, "POST", "v1/governance", body=_some(given, "force"))
    skipped = _skipped("Governance", done)
    if skipped is not None:
        return skipped
    listed = relay(call, "GET", "v1/snapshots", query={"limit": 500})
    total = listed["total"]
    automatic = sum(not one["registered"] for one in listed["snapshots"])
    share = round(100 * automatic / total) if total else 0
    return (
        f"Governance complete: quarantined={done['quarantined']}, "
        f"cleaned_stale={done['cleaned_stale']}. "
        f"snapshots: {total} total, {share}% auto-generated"
    )


def _consolidate(call: Call, given: Fields) -> str:
    done = relay(call, "POST", "v1/consolidate", body=_some(given, "force"))
    names = "status", "conflicts_detected", "orphaned_scenes", "promoted", "demoted"
    counts = ", ".join(f"{name}={done.get(name)}" for name in names)
    return _skipped("Consolidation", done) or f"Consolidation complete: {counts}"


def _reflect(call: Call, given: Fields) -> str:
    done = relay(call, "POST", "v1/reflect", body=_some(given, "force", "mode"))
    skipped = _skipped("Reflection", done)
    if skipped is not None:
        return skipped
    if "candidates" not in done:
        return (
            f"Reflection complete: scenes_created={done['scenes_created']}, "
            f"candidates_found={done['candidates_found']}"
        )
    lines = []
    for number, one in enumerate(done["candidates"], 1):
        lines.append(f"Cluster {number} ({one['signal']}, importance {one['importance']:.2f}):")
        lines += [f"  [{m['memory_id']}] {m['content']:.{_SUMMARY_CHARS}}" for m in one["memories"]]
    nothing = "No memory clusters found for reflection. Store more memories and try again."
    return "\n".join(lines) or nothing


def _extract_entities(call: Call, given: Fields) -> str:
    found = relay(call, "POST", "v1/extract-entities", body=_some(given, "mode"))
    return msgspec.json.encode(found).decode()


def _link_entities(call: Call, given: Fields) -> str:
    entities = given["entities"]
    if isinstance(entities, str):
        try:
            entities = msgspec.json.decode(entities)
        except msgspec.DecodeError as error:
            raise Invalid(f"entities is not JSON: {error}") from error
    found = relay(call, "POST", "v1/extract-entities/link", body={"entities": entities})
    return msgspec.json.encode(found).decode()


def _params(call: Call, _given: Fields) -> str:
    return msgspec.json.encode(relay(call, "GET", "v1/retrieval-params")).decode()


def _tune(call: Call, _given: Fields) -> str:
    return msgspec.json.encode(relay(call, "POST", "v1/retrieval-params/tune", body={})).decode()


def _rebuild(_call: Call, _given: Fields) -> str:
    return "Nothing to rebuild: every write keeps the indexes complete."


# -- git ------------------------------------------------------------------------------------------


def _snapshot(call: Call, given: Fields) -> str:
    return _result(call, "POST", "v1/snapshots", body=_some(given, "name", "description"))


def _snapshots(call: Call, given: Fields) -> str:
    query = _some(given, "limit", "offset")
    return str(relay(call, "GET", "v1/snapshots", query=query)["result"])


def _snapshot_delete(call: Call, given: Fields) -> str:
    body = _some(given, "names", "prefix", "older_than")
    return _result(call, "POST", "v1/snapshots/delete", body=body)


def _rollback(call: Call, given: Fields) -> str:
    words = "v1/snapshots", str(given["name"]), "rollback"
    return str(relay(call, "POST", *words, body={})["result"])


def _branch(call: Call, given: Fields) -> str:
    body = _some(given, "name", "from_snapshot", "from_timestamp")
    return _result(call, "POST", "v1/branches", body=body)


def _branches(call: Call, _given: Fields) -> str:
    return _result(call, "GET", "v1/branches")


def _checkout(call: Call, given: Fields) -> str:
    words = "v1/branches", str(given["name"]), "checkout"
    return str(relay(call, "POST", *words, body={})["result"])


def _branch_delete(call: Call, given: Fields) -> str:
    name = str(given["name"])
    try:
        relay(call, "DELETE", "v1/branches", name)
    except NotFound:
        return f"Branch '{name}' not found"
    except Error as error:
        if not error.details.get("said"):
            raise
        return str(error)
    return f"Deleted branch '{name}'"


def _diff(call: Call, given: Fields) -> str:
    words = "v1/branches", str(given["source"]), "diff"
    query = {"limit": given.get("limit", 50)}
    return str(relay(call, "GET", *words, query=query)["result"])


def _merge(call: Call, given: Fields) -> str:
    words = "v1/branches", str(given["source"]), "merge"
    return str(relay(call, "POST", *words, body=_some(given, "strategy"))["result"])


def _pick(call: Call, given: Fields) -> str:
    words = "v1/branches", str(given["source"]), "pick"
    body = _some(given, "selector", "target", "strategy", "dry_run")
    found = relay(call, "POST", *words, body=body)
    return msgspec.json.encode(found).decode() if found.get("dry_run") else str(found["result"])


def _apply(call: Call, given: Fields) -> str:
    name = str(given["source"])
    body = _some(given, "adds", "updates", "removes", "accept_branch_conflicts")
    if not any(body.values()):
        return "Nothing to apply. Name adds, updates, removes or accept_branch_conflicts."
    done = relay(call, "POST", "v1/branches", name, "apply", body=body)
    counts = {what: len(done[f"applied_{what}"]) for what in ("adds", "updates", "removes")}
    return (
        f"Applied from '{name}': {counts['adds']} added, {counts['updates']} updated, "
        f"{counts['removes']} removed, {len(done['applied_conflicts'])} conflicts accepted"
    )


_QUESTION = {
    "query": _TEXT, "top_k": _COUNT, "session_id": _TEXT, "session_scope": _SCOPE,
    "subject_id": _TEXT, "memory_types": _KINDS, "branch": _TEXT, "explain": {},
}  # fmt: skip
_CHOICE = {
    "adds": _TEXTS,
    "updates": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"old_id": _TEXT, "new_id": _TEXT},
            "required": ["old_id", "new_id"],
        },
    },
    "removes": _TEXTS,
    "accept_branch_conflicts": _TEXTS,
}

TOOLS: dict[str, Tool] = {
    "memory_store": Tool(
        "Store a memory: a fact, a preference, a procedure, or what the task at hand needs.",
        {
            "content": _TEXT, "memory_type": {"type": "string", "enum": list(TYPES)},
            "session_id": _TEXT, "subject_id": _TEXT, "branch": _TEXT, "trust_tier": _TEXT,
            "extra_metadata": _OBJECT,
        },
        _store, ("content",),
    ),
    "memory_retrieve": Tool("Find the memories that matter to a query.", _QUESTION, _retrieve,
                            ("query",)),
    "memory_search": Tool("Find more memories for a query than memory_retrieve.", _QUESTION,
                          _search, ("query",)),
    "memory_correct": Tool(
        "Replace what a memory says, by its id or the best match of a query.",
        {
            "memory_id": _TEXT, "query": _TEXT, "new_content": _TEXT, "session_id": _TEXT,
            "session_scope": _SCOPE, "subject_id": _TEXT, "memory_types": _KINDS,
            "branch": _TEXT, "reason": _TEXT,
        },
        _correct, ("new_content",),
    ),
    "memory_purge": Tool(
        "Remove memories by their ids, by a topic in their words, or by their session.",
        {
            "memory_id": _TEXT, "topic": _TEXT, "session_id": _TEXT, "memory_types": _KINDS,
            "branch": _TEXT, "reason": _TEXT,
        },
        _purge,
    ),
    "memory_profile": Tool("Read what is known of the user.",
                           {"subject_id": _TEXT, "branch": _TEXT}, _profile),
    "memory_list": Tool(
        "List memories, the newest first.",
        {"limit": _COUNT, "memory_type": _TEXT, "session_id": _TEXT, "subject_id": _TEXT,
         "branch": _TEXT},
        _list,
    ),
    "memory_capabilities": Tool("Read what these tools can do.", {}, _capabilities),
    "memory_governance": Tool("Quarantine what is no longer sure, and clean up.",
                              {"force": _FLAG}, _governance),
    "memory_consolidate": Tool("Look for contradictions, and renew trust.", {"force": _FLAG},
                               _consolidate),
    "memory_reflect": Tool("Look for what memories have in common.",
                           {"force": _FLAG, "mode": _TEXT}, _reflect),
    "memory_feedback": Tool(
        "Say of a memory that was found: useful, irrelevant, outdated or wrong.",
        {"memory_id": _TEXT, "signal": _TEXT, "context": _TEXT}, _feedback,
        ("memory_id", "signal"),
    ),
    "memory_observe": Tool(
        "Store what the turns of a conversation say.",
        {"messages": {"type": "array", "items": _OBJECT}, "session_id": _TEXT,
         "subject_id": _TEXT, "branch": _TEXT},
        _observe, ("messages",),
    ),
    "memory_snapshot": Tool("Name what main holds now.", {"name": _TEXT, "description": _TEXT},
                            _snapshot, ("name",)),
    "memory_snapshots": Tool("List snapshots, the newest first.",
                             {"limit": _COUNT, "offset": _COUNT}, _snapshots),
    "memory_snapshot_delete": Tool("Delete snapshots by name, prefix or age.",
                                   {"names": _NAMES, "prefix": _TEXT, "older_than": _TEXT},
                                   _snapshot_delete),
    "memory_rollback": Tool("Make main what it was at a snapshot.", {"name": _TEXT}, _rollback,
                            ("name",)),
    "memory_branch": Tool("Make a branch of main, as it is or was.",
                          {"name": _TEXT, "from_snapshot": _TEXT, "from_timestamp": _TEXT},
                          _branch, ("name",)),
    "memory_branches": Tool("List branches.", {}, _branches),
    "memory_checkout": Tool("Use a branch from now on.", {"name": _TEXT}, _checkout, ("name",)),
    "memory_merge": Tool("Bring what a branch added into main.",
                         {"source": _TEXT, "strategy": _STRATEGY}, _merge, ("source",)),
    "memory_pick": Tool(
        "Bring chosen memories of a branch into another one.",
        {"source": _TEXT, "selector": _OBJECT, "target": _TEXT, "strategy": _TEXT,
         "dry_run": _OBJECT},
        _pick, ("source", "selector"),
    ),
    "memory_branch_delete": Tool("Delete a branch.", {"name": _TEXT}, _branch_delete, ("name",)),
    "memory_diff": Tool("Show what a branch changed.", {"source": _TEXT, "limit": _COUNT}, _diff,
                        ("source",), strict=True),
    "memory_apply": Tool("Bring chosen changes of a branch into main.",
                         {"source": _TEXT, **_CHOICE}, _apply, ("source",), strict=True),
    "memory_rebuild_index": Tool("", {"table": _TEXT}, _rebuild, hidden=True),
    "memory_extract_entities": Tool("", {"mode": _TEXT}, _extract_entities, hidden=True),
    "memory_link_entities": Tool("", {"entities": _TEXT}, _link_entities, ("entities",),
                                 hidden=True),
    "memory_get_retrieval_params": Tool("", {}, _params, hidden=True),
    "memory_tune_params": Tool("", {}, _tune, hidden=True),
}  # fmt: skip
