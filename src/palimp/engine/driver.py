"""Carries a protocol out: its requests on a real store, with a real clock, until told to stop."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from .. import ltx
from ..clock import Clock
from ..errors import Internal, Unavailable, Unconfigured
from ..ids import random_id
from ..store import AlreadyThere, ObjectStore, VersionMismatch
from .protocol.requests import (
    Create,
    Delete,
    Get,
    InDoubt,
    Join,
    ListKeys,
    Nonce,
    Now,
    RecordEpoch,
    Refused,
    Replace,
    Request,
    Sleep,
    Steps,
    Stored,
)

__all__ = ["Outside", "drive"]

T = TypeVar("T")


class Outside(msgspec.Struct, frozen=True):
    """What a protocol is carried out on.

    `record_epoch` writes durably beside the local files before it returns. Setting `stopping` ends
    every wait: the protocol under way is abandoned where it stands, as a crash would.
    """

    store: ObjectStore
    clock: Clock
    record_epoch: Callable[[RecordEpoch], None]
    stopping: threading.Event = msgspec.field(default_factory=threading.Event)


def drive(steps: Steps[T], outside: Outside, seconds: float | None = None) -> T:
    """Run a protocol to its end in this thread and return what it returns.

    Raises what the protocol raises, and `Unavailable` (`in_doubt`: the last request may have
    happened) when `stopping` is set while it waits for a store that does not answer, or when it
    would wait for longer than `seconds` after the call began. It is abandoned then as by a crash.
    """
    ends = None if seconds is None else outside.clock.monotonic() + seconds
    answer: Any = None
    failure: Exception | None = None
    while True:
        try:
            request = steps.send(answer) if failure is None else steps.throw(failure)
        except StopIteration as end:
            result: T = end.value
            return result
        answer, failure = None, None
        if isinstance(request, Sleep):
            if ends is not None and outside.clock.monotonic() + request.seconds > ends:
                steps.close()
                raise Unavailable(
                    f"{outside.store.name} did not answer for {seconds:g} s; what was being "
                    "written may or may not be there: repeat the request",
                    reason="store",
                    in_doubt=True,
                    retry_after=1.0,
                )
            if outside.stopping.wait(request.seconds):
                steps.close()
                raise Unavailable(
                    f"{outside.store.name} did not answer before this node had to stop; what was "
                    "being written may or may not be there",
                    reason="stopping",
                    in_doubt=True,
                )
            continue
        try:
            answer = _answer(request, outside)
        except (InDoubt, Refused) as error:
            failure = error


def _answer(request: Request, outside: Outside) -> Any:
    if isinstance(request, Nonce):
        return random_id("n")
    if isinstance(request, Now):
        return outside.clock.now_ms()
    if isinstance(request, RecordEpoch):
        outside.record_epoch(request)
        return None
    try:
        return _ask(request, outside.store)
    except Unavailable as error:
        # The one place where the store's errors become the protocol's two answers.
        raise (InDoubt() if error.details.get("in_doubt", True) else Refused()) from error


def _ask(request: Request, store: ObjectStore) -> Any:
    if isinstance(request, Get):
        found = store.get(request.key)
        return None if found is None else Stored(found.data, found.version)
    if isinstance(request, Create):
        try:
            return store.create(request.key, request.data)
        except AlreadyThere:
            return None
    if isinstance(request, Replace):
        try:
            return store.replace(request.key, request.data, request.version)
        except VersionMismatch:
            return None
    if isinstance(request, ListKeys):
        page = store.list(request.prefix, request.after or None)
        return [entry.key for entry in page.entries]
    if isinstance(request, Delete):
        store.delete(request.key)
        return None
    assert isinstance(request, Join), f"no answer to {request}"
    return ltx.compact([_segment(store, key, sha256) for key, sha256 in request.parts])


def _segment(store: ObjectStore, key: str, sha256: str) -> bytes:
    """Return a segment's bytes, checked against the manifest's digest."""
    try:
        found = store.get(key)
    except Unconfigured as error:
        if error.details.get("reason") != "key":
            raise
        # Sealed, and its key was destroyed: it stays as it is, and what is kept needs no key.
        raise Refused from error
    if found is None:
        # Named by the manifest this owner knows; a newer owner may have dropped it since.
        raise Refused
    if hashlib.sha256(found.data).hexdigest() != sha256:
        raise Internal(
            f"{store.name}: {key} is damaged: its SHA-256 is not the manifest's {sha256[:16]}...",
            key=key,
        )
    return found.data
