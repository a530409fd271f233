"""What our operations answer, in the shapes of the dialect.

What is not named here travels as it is: the same fields, and a few more.
"""

from __future__ import annotations

from typing import Any

__all__ = ["appended", "ingested", "memory", "recalled", "turns"]

Fields = dict[str, Any]

_MEMORY = (
    "id", "type", "topic_key", "content", "keywords", "session_id", "source", "created_at",
    "superseded_by", "superseded_at", "expires_at",
)  # fmt: skip
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


def appended(given: Fields, _sent: Fields) -> Fields:
    """The number of the one turn."""
    return {"seq": given["seqs"][-1], "txid": given["txid"]}


def turns(given: Fields, _sent: Fields) -> Fields:
    """A piece of a transcript, or what a search in it found."""
    return {"turns": [_turn(one) for one in given["turns"]], "txid": given["txid"]}


def _memory(given: Fields) -> Fields:
    return {**{name: given[name] for name in _MEMORY}, "summary": given["text"]}


def _turn(given: Fields) -> Fields:
    found = {name: given[name] for name in _TURN}
    # A turn that only its words found has no distance.
    return found if given.get("distance") is None else {**found, "distance": given["distance"]}
