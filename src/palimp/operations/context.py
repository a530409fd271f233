"""What every operation is handed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, TypeVar

import apsw
import msgspec

from ..api import NO_OPTIONS, Options, Target
from ..api.base import Request
from ..clock import Clock
from ..engine import Address, Branch, Committed, Engine, PastDatabase, Repeat
from ..errors import Invalid
from ..ids import NAMESPACE_CHARS_MAX, PUBLIC_ID_KEY, check_name
from ..observe import Metrics
from ..points import Point
from ..profile import Embedder, PlainSealer, Sealer

__all__ = ["Context", "Readable"]

T = TypeVar("T")

# What reads look at: a branch as it is, or as it was.
Readable = Branch | PastDatabase


class Context(msgspec.Struct, frozen=True):
    """The parts of a node, and how this call is to be carried out.

    `wake` is told the address of a branch that has rows to embed. `durable` is what a write is
    where its options do not say.
    """

    engine: Engine
    clock: Clock
    embedder: Embedder | None
    metrics: Metrics
    wake: Callable[[Address], None]
    sealer: Sealer = msgspec.field(default_factory=PlainSealer)
    id_key: bytes = PUBLIC_ID_KEY
    durable: bool = False
    options: Options = NO_OPTIONS
    digest: bytes = b""

    def with_options(self, options: Options, operation: str, request: Request) -> Context:
        """Return the context of one call."""
        digest = b""
        if options.request_id is not None:
            body = msgspec.json.encode(request)
            digest = hashlib.blake2b(
                b"%s\0%s" % (operation.encode(), body), digest_size=16
            ).digest()
        return msgspec.structs.replace(self, options=options, digest=digest)

    def address(self, target: Target) -> Address:
        """Return the checked names of a target; raises `Invalid`."""
        if target.namespace is None or target.profile is None:
            raise Invalid("this operation needs a namespace and a profile")
        return _address(target.namespace, target.profile, target.branch)

    def writing(
        self, target: Target, *, create: bool = True
    ) -> AbstractContextManager[Branch | None]:
        """Give the target's branch; with `create` it is made if this is its first write."""
        return self.engine.use(self.address(target), create=create)

    def reading(self, target: Target) -> AbstractContextManager[Readable | None]:
        """Give what is to be read, or None where nothing was written: reads create none."""
        address = self.address(target)
        if target.at is not None:
            return self.engine.past(address, Point.parse(target.at))
        return self.engine.use(address, create=False)

    def now_ms(self, readable: Readable | None) -> int:
        """Return the time a read takes for now: of an earlier state, when it was."""
        if isinstance(readable, PastDatabase):
            return readable.time_ms
        return self.clock.now_ms()

    def commit(
        self, branch: Branch, operation: Callable[[apsw.Connection], T], answer: Any
    ) -> Committed[T]:
        """Write as the call's options say; `answer` is the type of what `operation` returns."""
        durability = self.options.durability
        durable = self.durable if durability is None else durability == "durable"
        return branch.write(operation, durable=durable, repeat=self.repeat(answer))

    def repeat(self, answer: Any) -> Repeat | None:
        """Return what gives a repeat of this call the first one's answer; None without an id."""
        if self.options.request_id is None:
            return None
        return Repeat(
            self.options.request_id,
            self.digest,
            msgspec.json.encode,
            lambda data: msgspec.json.decode(data, type=answer),
        )


# Every operation passes here, most of them with the same few names.
@lru_cache(maxsize=4_096)
def _address(namespace: str, profile: str, branch: str) -> Address:
    return Address(
        check_name(namespace, "namespace", chars_max=NAMESPACE_CHARS_MAX),
        check_name(profile, "profile"),
        check_name(branch, "branch"),
    )
