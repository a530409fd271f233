"""What our operations answer, in the shapes of the dialect.

What is not named here travels as it is: the same fields, and a few more.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "appended",
    "asked",
    "erasing",
    "erasure",
    "erasures",
    "extracted",
    "ingested",
    "memory",
    "recalled",
    "turns",
]

Fields = dict[str, Any]

_MEMORY = (
    "id", "type", "topic_key", "content", "keywords", "session_id", "source", "created_at",
    "superseded_by", "superseded_at", "expires_at",
)  # fmt: skip
_ERASURE = {"done": "completed", "blocked": "blocked", "cancelled": "cancelled"}
_TURN = ("session_id", "seq", "role", "content")


def ingested(given: Fields, _sent: Fields) -> Fields:
    """What happened to each item of a batch."""
    names = ("id", "status", "superseded")
    results = [{name: one[name] for name in names} for one in given["results"]]
    return {"results": results, "txid": given["txid"]}


def memory(given: Fields, _sent: Fields) -> Fields:
    """One memory, with both directions of its chain."""
    found = given["memory"]
    return {**_memory(found), "supersedes": found["supersedes"], "txid": given["txid"]}


def recalled(given: Fields, sent: Fields) -> Fields:
    """The hits, and where turns were asked for, those."""
    hits = [
        {**_memory(one), "score": one["score"], "channels": one["channels"]}
        for one in given["memories"]
    ]
    answer = {"memories": hits, "txid": given["txid"]}
    if sent.get("include_turns"):
        answer["turns"] = [_turn(one) for one in given["turns"]]
    return answer


def asked(given: Fields, _sent: Fields) -> Fields:
    """An answer, and the ids it stands on."""
    return {
        "answer": given["answer"],
        "sources": given["citations"],
        "memories": [_memory(one) for one in given["memories"]],
        "txid": given["txid"],
    }


def extracted(given: Fields, sent: Fields) -> Fields:
    """What was found; where it was written, what happened to each."""
    found = [one for one in given["proposals"] if one["kind"] == "memory"]
    answer: Fields = {"proposed": [_proposed(one) for one in found]}
    if not sent.get("dry_run"):
        written = [one["memory"] for one in found if one["decision"] == "created"]
        results = [{"id": one, "status": "created", "superseded": []} for one in written if one]
        answer.update(results=results, txid=given["txid"])
    return answer


def erasing(given: Fields, _sent: Fields) -> Fields:
    """That an erasure was taken on."""
    return {
        "erasure_id": given["id"],
        "status": _ERASURE.get(given["status"], "pending"),
        "txid": max(given["txids"].values(), default=0),
        "grace_until": given["not_before"],
    }


def erasure(given: Fields, _sent: Fields) -> Fields:
    """How far an erasure is."""
    return {
        "id": given["id"],
        "status": _ERASURE.get(given["status"], "pending"),
        "target": given["kind"],
        "requested_at": given["requested_at"],
        "completed_at": given["steps"].get("signed"),
        "grace_until": given["not_before"],
        "txid": max(given["txids"].values(), default=0),
        "blocked_by": [one["name"] for one in given["blocked_by"]],
        "receipt": given["receipt"],
    }


def erasures(given: Fields, sent: Fields) -> Fields:
    """All of them, the newest first."""
    return {"erasures": [erasure(one, sent) for one in reversed(given["erasures"])]}


def appended(given: Fields, _sent: Fields) -> Fields:
    """The number of the one turn."""
    return {"seq": given["seqs"][-1], "txid": given["txid"]}


def turns(given: Fields, _sent: Fields) -> Fields:
    """A piece of a transcript, or what a search in it found."""
    return {"turns": [_turn(one) for one in given["turns"]], "txid": given["txid"]}


def _memory(given: Fields) -> Fields:
    return {**{name: given[name] for name in _MEMORY}, "summary": given["text"]}


def _proposed(given: Fields) -> Fields:
    draft = given["draft"] or {}
    return {
        "type": draft.get("type", "fact"),
        "topic_key": draft.get("topic"),
        "summary": given["text"],
        "keywords": draft.get("keywords"),
        "confidence": given["confidence"],
        "decision": given["decision"],
    }


def _turn(given: Fields) -> Fields:
    found = {name: given[name] for name in _TURN}
    # A turn that only its words found has no distance.
    return found if given.get("distance") is None else {**found, "distance": given["distance"]}
