"""What a policy does with secrets and personal data on their way in: flag, redact, refuse.

An operation that keeps what users say asks `context.screen(address)`, which is None where the
policy lets everything in. It hands its items over before it checks them, because an error may quote
what it is about, and goes on with what it gets back, `screen.settled(...)` as its context, and
`screen.record()` once it is done:

    screen = context.screen(address)
    if screen is not None:
        seen = screen.memory(given)            # `Invalid` where something is refused
        given, flags, note = seen

Texts are redacted. What something is found by (topics, sessions, tags, ids) is refused instead,
also where the rule is to redact: changed, it would be another one, and nobody would know.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import msgspec

from ..api import (
    PERSONAL_LABELS,
    SECRET_LABELS,
    MemoryInput,
    PutValue,
    RelationInput,
    Statement,
    TurnInput,
    VectorInput,
)
from ..api.annotating import Annotate
from ..api.base import Request
from ..api.relations import MemoryEntities, NewRelation
from ..api.sql import Encoded, SqlValue
from ..engine import Address
from ..errors import Error, Invalid, in_batch
from ..governance.document import Effective
from ..security.redaction import RULES, Finding, replaced, scan, scan_named
from .auditing.actions import REDACTION

if TYPE_CHECKING:
    from .context import Context

__all__ = ["Look", "Screen", "Seen"]

T = TypeVar("T")
S = TypeVar("S")

_LABELS = (*SECRET_LABELS, *PERSONAL_LABELS)
_DONE = {"flag": "flagged", "redact": "redacted", "refuse": "refused"}
_NAMES_OF_MEMORIES = (
    "kind topic source session agent speaker project environment trust dedup_key".split()
)
_DEPTH_MAX = 100
# A whole number of so many digits may be that of a card.
_CARDS = range(10**12, 10**19)
_READS = re.compile(r"\s*(?:select|values|delete|explain|pragma)\b", re.IGNORECASE)
_INSERTS = re.compile(
    r"\s*(?:insert|replace)\b(?!.*\b(?:select|where)\b)", re.IGNORECASE | re.DOTALL
)
_NO_NAME = "what something is found by is not changed"
_NO_LITERAL = "a statement is not changed, so give its values as params"
_NO_VALUE = "params are redacted in INSERT ... VALUES alone; elsewhere they may be compared with"


class Seen(NamedTuple, Generic[T]):
    """An item as it may be kept, what is left in it by permission, and what to say of it."""

    item: T
    flags: tuple[str, ...] = ()
    note: str | None = None


class Screen:
    """What one call brings in, under the policy of one profile; not for several threads."""

    def __init__(self, context: Context, address: Address, policy: Effective) -> None:
        self._context = context
        self._address = address
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self.words = {
            **dict.fromkeys(SECRET_LABELS, policy.redaction_secrets),
            **dict.fromkeys(PERSONAL_LABELS, policy.redaction_personal),
        }
        self.rules = RULES[policy.redaction_rules]
        self._secrets = policy.redaction_secrets != "allow"
        self._personal = policy.redaction_personal != "allow"

    def scan(self, text: str) -> list[Finding]:
        """Return what of a text the policy says something about."""
        return scan(text, self.rules, secrets=self._secrets, personal=self._personal)

    def rule(self, label: str) -> str:
        """Return the rule for a label, as a policy says it."""
        kind = "secrets" if label in SECRET_LABELS else "personal"
        return f"redaction.{kind} = {self.words[label]}"

    def memory(self, given: MemoryInput) -> Seen[MemoryInput]:
        """Look at a memory; a vector that was made of what is redacted is left out."""
        look = Look(self)
        for name in _NAMES_OF_MEMORIES:
            look.name(getattr(given, name), name)
        for name in ("tags", "derived_from"):
            for one in getattr(given, name):
                look.name(one, name)
        for named in given.entities:
            look.name(named.name, "entities")
        changed: dict[str, Any] = {"text": look.text(given.text, "text")}
        if given.keywords is not None:
            changed["keywords"] = look.text(given.keywords, "keywords")
        if given.content is not msgspec.UNSET:
            changed["content"] = look.json(given.content, "content")
        if given.metadata is not None:
            changed["metadata"] = look.json(given.metadata, "metadata")
        if any(one.metadata is not None for one in given.relations):
            changed["relations"] = tuple(_edge(look, one) for one in given.relations)
        return self._with_vector(look, given, changed)

    def named(self, given: MemoryEntities) -> Seen[MemoryEntities]:
        """Look at what a memory is said to name."""
        look = Look(self)
        for one in given.entities:
            look.name(one.name, "entities")
        return self._seen(look, given)

    def relation(self, given: NewRelation) -> Seen[NewRelation]:
        """Look at what is said about an edge; its type is a plain word."""
        look = Look(self)
        if given.metadata is not None:
            metadata = look.json(given.metadata, "metadata")
            given = msgspec.structs.replace(given, metadata=metadata)
        return self._seen(look, given)

    def annotation(self, given: Annotate) -> Seen[Annotate]:
        """Look at what is to be said about a memory."""
        look = Look(self)
        for tag in given.tags or ():
            look.name(tag, "tags")
        look.name(given.trust, "trust")
        if given.metadata is not None:
            metadata = look.json(given.metadata, "metadata")
            given = msgspec.structs.replace(given, metadata=metadata)
        return self._seen(look, given)

    def turn(self, given: TurnInput) -> Seen[TurnInput]:
        """Look at a turn; a vector that was made of what is redacted is left out."""
        look = Look(self)
        look.name(given.role, "role")
        look.name(given.speaker, "speaker")
        return self._with_vector(look, given, {"content": look.json(given.content, "content")})

    def document(self, given: dict[str, Any]) -> Seen[dict[str, Any]]:
        """Look at a document."""
        look = Look(self)
        identity = given.get("_id")
        look.name(identity, "_id")
        changed: dict[str, Any] = look.json(
            {key: value for key, value in given.items() if key != "_id"}, "document"
        )
        if "_id" in given:
            changed["_id"] = identity
        return self._seen(look, changed)

    def update(self, given: dict[str, Any]) -> Seen[dict[str, Any]]:
        """Look at an update of documents: at the values; paths are names."""
        look = Look(self)
        changed: dict[str, Any] = {}
        for name, operands in given.items():
            if not isinstance(operands, dict):
                changed[name] = operands
                continue
            for path in operands:
                look.name(path, "update")
            changed[name] = {
                path: look.named(str(path), operand, "update") for path, operand in operands.items()
            }
        return self._seen(look, changed)

    def value(self, given: PutValue) -> Seen[PutValue]:
        """Look at a value and its key; one that is no UTF-8 is no text."""
        look = Look(self)
        for name in ("ns", "key", "content_type"):
            look.name(getattr(given, name), name)
        data = look.data(given.data, "value")
        return self._seen(look, msgspec.structs.replace(given, data=data))

    def vector(self, given: VectorInput) -> Seen[VectorInput]:
        """Look at a vector's id and metadata; the vector is what the caller wants kept."""
        look = Look(self)
        look.name(given.id, "id")
        if given.metadata is not None:
            metadata = look.json(given.metadata, "metadata")
            given = msgspec.structs.replace(given, metadata=metadata)
        return self._seen(look, given)

    def statement(self, given: Statement) -> Seen[Statement]:
        """Look at a statement that is about to write; one that only reads or deletes keeps none."""
        look = Look(self)
        if _READS.match(given.q):
            return Seen(given)
        look.name(given.q, "q", _NO_LITERAL)
        inserts = _INSERTS.match(given.q) is not None

        def value(name: str, one: SqlValue) -> Any:
            return look.parameter(name, one, _NO_VALUE if not inserts else None)

        params: Any
        if isinstance(given.params, dict):
            params = {name: value(name, one) for name, one in given.params.items()}
        else:
            params = tuple(value("", one) for one in given.params)
        return self._seen(look, msgspec.structs.replace(given, params=params))

    def text(self, value: str, field: str = "text") -> str:
        """Return a text of no item as it may be kept, or handed on."""
        look = Look(self)
        kept = look.text(value, field)
        self.settle(look)
        return kept

    def label(self, value: str | None, field: str) -> None:
        """Look at one name that belongs to no item, for instance a session."""
        look = Look(self)
        look.name(value, field)
        self._seen(look, None)

    def each(self, look: Callable[[S], Seen[S]], items: Sequence[S], field: str) -> list[Seen[S]]:
        """Look at a batch; errors name the item's index."""
        seen = []
        for index, item in enumerate(items):
            try:
                seen.append(look(item))
            except Error as error:
                raise in_batch(error, field, index, len(items)) from error
        return seen

    def settled(self, operation: str, request: Request) -> Context:
        """Return the context to go on with, `request` being what may be kept.

        A repeat is known by a digest of its request, which is kept beside the rows. Of the request
        as it came it would let anybody who has the file try out what was taken from it.
        """
        if not any(word == "redact" for word, _, _ in self._counts):
            return self._context
        return self._context.with_options(self._context.options, operation, request)

    def record(self) -> None:
        """Count what was flagged and redacted in what is now kept, and put it into the audit."""
        self._record(self._counts)

    def settle(self, look: Look) -> None:
        """Take over what was found in an item; raises `Invalid` where some of it is refused."""
        refused = Counter({key: n for key, n in look.counts.items() if key[0] == "refuse"})
        if refused:
            self._record(refused, outcome="error", code="invalid_request")
            raise look.refusal(refused)
        self._counts.update(look.counts)

    def _seen(self, look: Look, item: T) -> Seen[T]:
        if not look.counts:
            return Seen(item)
        self.settle(look)
        return Seen(item, look.flags, look.note)

    def _with_vector(self, look: Look, given: S, changed: dict[str, Any]) -> Seen[S]:
        # Most have nothing in them.
        if not look.counts:
            return Seen(given)
        self.settle(look)
        note = look.note
        if look.redacted and getattr(given, "embedding", None) is not None:
            changed["embedding"] = None
            note = f"{note}; embedding left out: it was made of what is redacted"
        return Seen(msgspec.structs.replace(given, **changed), look.flags, note)  # type: ignore[type-var]

    def _record(self, counts: Counter[tuple[str, str, str]], **about: str) -> None:
        context, address = self._context, self._address
        if not counts:
            return
        for (word, label, _), number in counts.items():
            context.metrics.add("redactions", number, label=label, action=word)
        if context.audit is not None:
            context.audit.record(
                address.namespace,
                REDACTION,
                address.profile,
                principal=context.principal,
                about={"branch": address.branch, **about},
                **{f"{_DONE[w]}.{label}.{field}": n for (w, label, field), n in counts.items()},
            )


def _edge(look: Look, given: RelationInput) -> RelationInput:
    if given.metadata is None:
        return given
    metadata = look.json(given.metadata, "relations")
    return msgspec.structs.replace(given, metadata=metadata)


class Look:
    """One look at one item: what is found in its fields, each by a name that no user gave."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        # By what is done, label and field.
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self._reasons: dict[str, None] = {}

    @property
    def flags(self) -> tuple[str, ...]:
        """What is left in the item because the policy says to flag it."""
        found = {label for word, label, _ in self.counts if word == "flag"}
        return tuple(label for label in _LABELS if label in found)

    @property
    def redacted(self) -> bool:
        """Whether anything was replaced."""
        return any(word == "redact" for word, _, _ in self.counts)

    @property
    def note(self) -> str | None:
        """What to say of it in a result."""
        parts = []
        for word in ("redact", "flag"):
            numbers = Counter[str]()
            for (done, label, _), number in self.counts.items():
                if done == word:
                    numbers[label] += number
            if numbers:
                said = ", ".join(f"{label} ({n})" for label, n in sorted(numbers.items()))
                parts.append(f"{_DONE[word]}: {said}")
        return "; ".join(parts) or None

    def text(self, value: str, field: str) -> str:
        """Return a text as it may be kept."""
        screen = self._screen
        found = screen.scan(value)
        if not found:
            return value
        for one in found:
            self.counts[screen.words[one.label], one.label, field] += 1
        return replaced(value, [one for one in found if screen.words[one.label] == "redact"])

    def name(self, value: Any, field: str, reason: str = _NO_NAME) -> None:
        """Look at what cannot be redacted: the rule to do so refuses it for `reason`."""
        if not isinstance(value, str) or self._screen.rules.texts_only:
            return
        for one in self._screen.scan(value):
            self._keep(one.label, field, reason)

    def json(self, value: Any, field: str, depth: int = 0) -> Any:
        """Return a JSON value as it may be kept, keys too."""
        if isinstance(value, str):
            return self.text(value, field)
        if type(value) is int:
            if value not in _CARDS or self._screen.rules.texts_only:
                return value
            kept = self.text(str(value), field)
            return value if kept == str(value) else kept
        if depth > _DEPTH_MAX and isinstance(value, dict | list | tuple):
            raise Invalid(f"{field} is nested more than {_DEPTH_MAX} levels deep; make it flatter")
        if isinstance(value, list | tuple):
            return [self.json(inner, field, depth + 1) for inner in value]
        if not isinstance(value, dict):
            return value
        changed: dict[Any, Any] = {}
        for key, inner in value.items():
            kept = self.text(key, field) if isinstance(key, str) else key
            if kept in changed:
                raise Invalid(f"two keys of {field} would be the same when redacted; rename one")
            changed[kept] = self.named(str(key), inner, field, depth + 1)
        return changed

    def named(self, name: str, value: Any, field: str, depth: int = 0) -> Any:
        """Return a JSON value as it may be kept; its name may say what it is."""
        if isinstance(value, str) or type(value) is int:
            before = self.counts.total()
            kept = self.json(value, field, depth)
            label = None
            if self.counts.total() == before:
                label = scan_named(name, str(value), self._screen.rules)
            word = "allow" if label is None else self._screen.words[label]
            if label is None or word == "allow":
                return kept
            self.counts[word, label, field] += 1
            return f"[{label}]" if word == "redact" else value
        return self.json(value, field, depth)

    def data(self, value: bytes, field: str) -> bytes:
        """Return bytes as they may be kept. JSON is looked at as such, and written anew if need be.

        What is no UTF-8 is no text.
        """
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return value
        before = self.counts.total()
        if text.lstrip()[:1] in ("{", "["):
            try:
                plain = msgspec.json.decode(text)
            except (msgspec.DecodeError, RecursionError):
                plain = None
            if plain is not None:
                kept = self.json(plain, field)
                return value if self.counts.total() == before else msgspec.json.encode(kept)
        changed = self.text(text, field)
        return value if self.counts.total() == before else changed.encode()

    def parameter(self, name: str, value: SqlValue, fixed: str | None) -> SqlValue:
        """Return a value of SQL as it may be kept; `fixed`: why it cannot be changed, if so."""
        plain = value.base64 if isinstance(value, Encoded) else value
        if fixed is not None:
            self.fixed(name, plain, "params", fixed)
            return value
        if isinstance(plain, bytes):
            return Encoded(base64=self.data(plain, "params"))
        kept: SqlValue = self.named(name, plain, "params")
        return value if plain is None else kept

    def fixed(self, name: str, value: Any, field: str, reason: str) -> None:
        """Look at what may be text or JSON and cannot be redacted, as `name` does at a name."""
        inner = Look(self._screen)
        if isinstance(value, bytes):
            inner.data(value, field)
        elif isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
            inner.data(value.encode("utf-8", "surrogatepass"), field)
        else:
            inner.named(name, value, field)
        for (_, label, _), number in inner.counts.items():
            self._keep(label, field, reason, number)

    def refusal(self, refused: Counter[tuple[str, str, str]]) -> Invalid:
        """Return the error for what is refused; it holds nothing of what was found."""
        found = ", ".join(f"{label} ({n}) in {field}" for (_, label, field), n in refused.items())
        rules = dict.fromkeys(self._screen.rule(label) for _, label, _ in refused)
        reasons = "".join(f"; {reason}" for reason in self._reasons)
        return Invalid(
            f"the policy does not let this in ({', '.join(rules)}): {found}{reasons}; leave it out",
            reason="redaction",
            labels=sorted({label for _, label, _ in refused}),
        )

    def _keep(self, label: str, field: str, reason: str, number: int = 1) -> None:
        word = self._screen.words[label]
        if word == "redact":
            self._reasons[reason] = None
            word = "refuse"
        self.counts[word, label, field] += number
