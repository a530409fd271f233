"""How something is to be read, as a caller says it and as it travels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp.api import NO_OPTIONS, Options, Target
from palimp.api.operations import OPERATIONS
from palimp.api.wire import decode_call, encode_call
from palimp.client.inputs import apart, reading
from palimp.errors import Invalid, Unavailable

HOW: dict[str, Any] = {"min_txid": 7, "consistency": "cached"}
READS: dict[str, Callable[..., object]] = {
    "get": lambda one, **how: one.get("mem_" + "0" * 32, **how),
    "list": lambda one, **how: list(one.list(type="fact", **how)),
    "history": lambda one, **how: one.history(topic="seat", **how),
    "recall": lambda one, **how: one.recall("seat", **how),
    "sessions": lambda one, **how: list(one.sessions(**how)),
    "proposals": lambda one, **how: list(one.proposals(**how)),
    "kv.get": lambda one, **how: one.kv.get("k", **how),
    "kv.keys": lambda one, **how: list(one.kv.keys(**how)),
    "find": lambda one, **how: list(one.documents("trips").find(**how)),
    "find_one": lambda one, **how: one.documents("trips").find_one(**how),
    "count": lambda one, **how: one.documents("trips").count(**how),
    "window": lambda one, **how: one.session("s").window(**how),
    "search": lambda one, **how: one.session("s").search("seat", **how),
    "nearest": lambda one, **how: one.vectors("v").search([1.0, 0.0], **how),
    "vector": lambda one, **how: one.vectors("v").get("a", **how),
}


class Noting:
    """A transport that notes the options and answers nothing."""

    source = None

    def __init__(self) -> None:
        self.seen: list[Options] = []

    def call(self, operation: str, target: Target, request: Any, options: Options) -> Any:
        self.seen.append(options)
        raise Unavailable("noted")

    def aside(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("read", READS)
def test_every_read_says_how(read: str) -> None:
    transport = Noting()
    one = palimp.Client(transport).profile("alice")  # type: ignore[arg-type]
    for given, wanted in (({}, NO_OPTIONS), ({"min_txid": 7}, Options(min_txid=7))):
        with pytest.raises(Unavailable):
            READS[read](one, **given)
        assert transport.seen.pop() == wanted
    with pytest.raises(Unavailable):
        READS[read](one, consistency="primary")
    if not read.startswith("kv.get"):
        assert transport.seen.pop() == Options(consistency="primary")


def test_it_travels() -> None:
    row = OPERATIONS["kv.list"]
    request = row.request(ns="s")
    call = encode_call(row, Target("acme", "alice"), request, Options(**HOW))
    assert call.headers == {"palimp-min-txid": "7", "palimp-consistency": "cached"}
    values = {"db": "acme--alice", "ns": "s"}
    assert decode_call(row, values, b"", call.headers, b"")[2] == Options(**HOW)


def test_what_is_none_of_it_is_refused() -> None:
    assert reading({}) is NO_OPTIONS
    with pytest.raises(Invalid, match=r"'min_tx'.*min_txid and consistency"):
        reading({"min_tx": 1})
    assert apart({"type": "fact", **HOW}) == ({"type": "fact"}, Options(**HOW))


@pytest.mark.parametrize(("field", "value"), [("min_txid", -1), ("consistency", "fresh")])
def test_what_cannot_be_meant_is_refused(tmp_path: Path, field: str, value: object) -> None:
    with palimp.open(tmp_path / "m", embed_provider="none") as mem:
        alice = mem.profile("alice")
        alice.remember("aisle")
        assert (
            len(list(alice.list(**{field: {"min_txid": 1, "consistency": "cached"}[field]}))) == 1
        )  # type: ignore[misc]
        with pytest.raises(Invalid, match=field):
            list(alice.list(**{field: value}))  # type: ignore[misc]


def test_an_older_state_than_was_seen_is_not_returned(tmp_path: Path) -> None:
    with palimp.open(tmp_path / "m", embed_provider="none") as mem:
        alice = mem.profile("alice")
        wrote = alice.remember("aisle")
        assert alice.get(wrote.id, min_txid=wrote.txid).text == "aisle"
        with pytest.raises(Unavailable, match="not yet"):
            alice.get(wrote.id, min_txid=wrote.txid + 1)
