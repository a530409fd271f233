"""What every operation is handed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import apsw
import msgspec

from ..api import NO_OPTIONS, NodeInfo, Options, Target
from ..api.base import Request
from ..clock import Clock
from ..decoding import from_json
from ..engine import Address, Branch, Committed, Engine, PastDatabase, Repeat
from ..errors import Invalid
from ..governance import Policies
from ..ids import NAMESPACE_CHARS_MAX, PUBLIC_ID_KEY, check_name
from ..observe import Metrics
from ..points import Point
from ..profile import Embedder, PlainSealer, Sealer
from .access import OWNER, Access, Principal
from .auditing import Audit
from .embedding import Embedding
from .governing import Governing

if TYPE_CHECKING:
    from ..governance.document import Effective
    from ..models.language import LanguageModel
    from .owners import Owners
    from .redacting import Screen

__all__ = ["Context", "Readable"]

T = TypeVar("T")


def _every_profile(_namespace: str, _profile: str) -> bool:
    return True


_PLAIN = PlainSealer()

# What reads look at: a branch as it is, or as it was.
Readable = Branch | PastDatabase


class Context(msgspec.Struct, frozen=True):
    """The parts of a node, and how this call is to be carried out.

    `wake` is told the address of a branch that has rows to embed. `durable` is what a write is
    where its options do not say. `about` is what the node says of itself,
    `principal` who is calling. `tokens` raises `Invalid` where there is no key to sign them with.
    `extractor` and `assistant` are asked within `egress.outgoing` only.
    """

    engine: Engine
    clock: Clock
    embedder: Embedder | None
    metrics: Metrics
    wake: Callable[[Address], None]
    about: NodeInfo
    access: Access
    tokens: Callable[[], Any]
    receipt_key: Callable[[], Any]
    # A `security.keyring.Keys` where there is a master key.
    keys: Any = None
    policies: Policies = msgspec.field(default_factory=Policies)
    audit: Audit | None = None
    durable: bool = False
    principal: Principal = OWNER
    # A `usage.Usage`, whose room is imported only where one is.
    usage: Any = None
    # A `tasks.Tasks` where there is a catalog.
    tasks: Any = None
    # Where there is a catalog: a `credentials.Credentials`, a `catalog.key_rows.BindingTable`,
    # another for what is of passing interest, and a `catalog.recovering.Recovery`.
    credentials: Any = None
    bindings: Any = None
    notes: Any = None
    recovery: Any = None
    # An `events.EventStores` where profiles may keep their events in a store of their own.
    event_stores: Any = None
    # A `governance.strategy.Strategies` where something besides the built-in rules may be bound.
    strategies: Any = None
    governing: Governing = msgspec.field(default_factory=Governing)
    extractor: LanguageModel | None = None
    assistant: LanguageModel | None = None
    embedding: Embedding = msgspec.field(default_factory=Embedding)
    # Whether this node looks after a profile without being asked: of several, one does.
    mine: Callable[[str, str], bool] = _every_profile
    # Rows that could not be read and were recorded, see `fields`.
    unreadable: dict[Any, None] = msgspec.field(default_factory=dict)
    options: Options = NO_OPTIONS
    digest: bytes = b""
    # Where several nodes share the store.
    owners: Owners | None = None

    def with_options(self, options: Options, operation: str, request: Request) -> Context:
        """Return the context of one call."""
        digest = b""
        if options.request_id is not None:
            digest = hashlib.blake2b(
                b"%s\0%s" % (operation.encode(), _content(operation, request)), digest_size=16
            ).digest()
        return msgspec.structs.replace(self, options=options, digest=digest)

    def address(self, target: Target) -> Address:
        """Return the checked names of a target; raises `Invalid`."""
        if target.namespace is None or target.profile is None:
            raise Invalid("this operation needs a namespace and a profile")
        return _address(target.namespace, target.profile, target.branch)

    def hold(self, target: Target) -> None:
        """Be the node at which a profile is, where one is named and several nodes share the store.

        What is looked at from then on holds every write that was acknowledged before. Raises
        `Unavailable`: reason `owned` where another node has it, `moving`, `lease`.
        """
        if self.owners is not None and target.profile is not None:
            self.owners.hold(self.address(target))

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

    def embedder_of(self, namespace: str, profile: str) -> Embedder | None:
        """Return what may embed texts of a profile; None where nothing may, or nothing can."""
        embedder = self.embedder
        if embedder is None:
            return None
        may = self.policies.may_embed(namespace, profile, egress=embedder.egress)
        return embedder if may else None

    def sealer_of(self, place: Address | Target) -> Sealer:
        """Return what seals the texts of a profile, where its policy says so, and opens them."""
        if self.keys is None:
            return _PLAIN
        from .fields import sealer_of

        return sealer_of(self, place)

    def id_key_of(self, place: Address | Target) -> bytes:
        """Return the key of the memory ids of a profile that is written to."""
        if self.keys is None:
            return PUBLIC_ID_KEY
        found: bytes = self.keys.id_key(place)
        return found

    def screen(self, address: Address, policy: Effective | None = None) -> Screen | None:
        """Return what looks at what comes into a profile; None where its policy lets all in.

        `policy` is what is in force, where that is known. Raises `Unavailable` where it never could
        be read: what is kept once stays in the history.
        """
        if policy is None:
            policy = self.policies.effective(address.namespace, address.profile)
        if not policy.screens:
            return None
        # Most profiles have no such policy, and its patterns take a while to be compiled.
        from .redacting import Screen

        return Screen(self, address, policy)

    def now_ms(self, readable: Readable | None) -> int:
        """Return the time a read takes for now: of an earlier state, when it was."""
        if isinstance(readable, PastDatabase):
            return readable.time_ms
        return self.clock.now_ms()

    def commit(
        self,
        branch: Branch,
        operation: Callable[[apsw.Connection], T],
        answer: Any,
        *,
        alone: bool = False,
        kept: Callable[[T], T] | None = None,
    ) -> Committed[T]:
        """Write as the call's options say; `answer` is the type of what `operation` returns.

        `kept` says what of it is kept for a repeat, where that is not all.
        """
        durability = self.options.durability
        durable = self.durable if durability is None else durability == "durable"
        repeat = self.repeat(answer)
        if repeat is not None and kept is not None:
            repeat = repeat._replace(encode=lambda value: msgspec.json.encode(kept(value)))
        return branch.write(operation, durable=durable, repeat=repeat, alone=alone)

    def repeat(self, answer: Any) -> Repeat | None:
        """Return what gives a repeat of this call the first one's answer; None without an id."""
        if self.options.request_id is None:
            return None
        return Repeat(
            self.options.request_id,
            self.digest,
            msgspec.json.encode,
            lambda data: from_json(data, answer),
        )


def _content(operation: str, request: Request) -> bytes:
    """Return bytes that are the same for the same request only; `Invalid` where it has none."""
    data = getattr(request, "data", None)
    if isinstance(data, bytes):
        # A file: not as text, which would be as large again, several times.
        rest = {n: getattr(request, n) for n in request.__struct_fields__ if n != "data"}
        return hashlib.sha256(data).digest() + msgspec.json.encode(rest)
    try:
        return msgspec.json.encode(request)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Invalid(f"{operation}: a value cannot be kept as JSON: {error}") from error


# Every operation passes here, most of them with the same few names.
@lru_cache(maxsize=4_096)
def _address(namespace: str, profile: str, branch: str) -> Address:
    return Address(
        check_name(namespace, "namespace", chars_max=NAMESPACE_CHARS_MAX),
        check_name(profile, "profile"),
        check_name(branch, "branch"),
    )
