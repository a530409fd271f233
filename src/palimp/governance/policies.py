"""The policies of a store as one node sees them: read, kept for a while, changed.

What is asked when the store cannot be: with a policy that was read before, that one holds on. With
none, what would let data out is refused, and what would remove or shorten is left undone, loudly.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from ..clock import Clock
from ..errors import Conflict, Error, Kept
from ..ids import NAMESPACE_CHARS_MAX, check_name, random_id
from ..observe import logger
from ..store import ObjectStore, VolatileStore, change_object
from .document import (
    Document,
    Effective,
    Values,
    decode,
    effective,
    loosened,
    nested,
    strictest,
    with_override,
    with_policy,
)

__all__ = ["Policies"]

_LOG = logger("governance")
_PREFIX = "v1/policy/"
_ENTRIES_MAX = 10_000
_CLOSE_SECONDS = 1.0


class _Entry:
    """The document of a namespace, when it was asked for last, and what was made of it."""

    __slots__ = ("audits", "base", "checked", "document", "failing", "values", "with_override")

    def __init__(self, document: Document, ceiling: Mapping[str, Any], checked: float) -> None:
        self.document = document
        self.checked = checked
        self.failing = False
        self.values = strictest(ceiling, document.policy)
        self.base = effective(self.values)
        self.with_override: dict[str, Effective] = {}
        overrides = document.profiles.values()
        self.audits = any(one.get("audit.enabled") for one in (self.values, *overrides))

    def of(self, profile: str | None) -> Effective:
        """Return what is in force for a profile."""
        overrides = self.document.profiles
        if profile is None or profile not in overrides:
            return self.base
        found = self.with_override.get(profile)
        if found is None:
            found = effective(strictest(self.values, overrides[profile]))
            self.with_override[profile] = found
        return found


class Policies:
    """Says what is in force for a profile. Thread-safe.

    What it says is at most `cache_seconds` old while the store answers; a namespace in steady use
    is read again beside its operations, not in them. `ceiling` is what the node itself limits.
    """

    def __init__(
        self,
        store: ObjectStore | None = None,
        clock: Clock | None = None,
        *,
        ceiling: Mapping[str, Any] | None = None,
        cache_seconds: float = 30.0,
    ) -> None:
        self._store = store or VolatileStore()
        self._clock = clock or Clock()
        self._ceiling: Values = strictest(ceiling or {})
        self._seconds = cache_seconds
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._due: dict[str, None] = {}
        self._refresher: threading.Thread | None = None

    def effective(self, namespace: str, profile: str | None = None) -> Effective:
        """Return what is in force; raises where no policy of the namespace was ever readable."""
        return self._entry(namespace).of(profile)

    def audits(self, namespace: str) -> bool:
        """Whether anything of a namespace is to be recorded; raises as `effective` does."""
        return self._entry(namespace).audits

    def knows(self, namespace: str) -> bool:
        """Whether `effective` answers without asking anybody, or can do without the answer."""
        return namespace in self._entries

    def lenient(self, namespace: str, profile: str | None = None) -> Effective:
        """Return what is in force, or the node's own limits where that cannot be known."""
        try:
            return self.effective(namespace, profile)
        except Error as error:
            _LOG.error(
                "the policy of namespace %s cannot be read; only this node's limits are applied: "
                "%s",
                namespace,
                error,
            )
            return effective(self._ceiling)

    def may_embed(
        self,
        namespace: str,
        profile: str | None,
        *,
        egress: Literal["none", "self_hosted", "outside"],
    ) -> bool:
        """Whether texts may go to an embedder that is so far away."""
        try:
            word = self.effective(namespace, profile).ai_egress_embed
        except Error as error:
            _LOG.error(
                "the policy of namespace %s cannot be read; nothing is embedded: %s",
                namespace,
                error,
            )
            return False
        return word == "allow" or (word == "self_hosted_only" and egress != "outside")

    def history(self, namespace: str, profile: str) -> tuple[int | None, int | None]:
        """Return for how many ms every boundary, and each day's last snapshot, may stay at most."""
        policy = self.lenient(namespace, profile)
        fine, daily = policy.retention_pitr_secs, policy.retention_pitr_snapshot_secs
        return (
            None if fine is None else fine * 1000,
            None if daily is None else daily * 1000,
        )

    def document(self, namespace: str) -> Document:
        """Return the document as the store has it now."""
        return self._load(namespace, failing=False).document

    def in_force(self, document: Document, profile: str) -> dict[str, Any]:
        """Return in sections what is in force under a document."""
        override = document.profiles.get(profile, {})
        return nested(strictest(self._ceiling, document.policy, override))

    def set_namespace(self, namespace: str, values: Values | None) -> Document:
        """Replace the policy of a namespace; `Conflict` where it is looser than the node's."""
        if values is not None:
            self._refuse_looser(values, self._ceiling, "this node")
        return self._change(namespace, lambda old: with_policy(old, values, random_id("n")))

    def set_profile(self, namespace: str, profile: str, values: Values | None) -> Document:
        """Replace what a profile has beyond its namespace; `Conflict` where that is looser."""

        def change(old: Document) -> bytes:
            if values is not None:
                above = strictest(self._ceiling, old.policy)
                self._refuse_looser(values, above, f"namespace {namespace!r} or this node")
            return with_override(old, profile, values, random_id("n"))

        return self._change(namespace, change)

    def namespaces(self) -> Iterator[str]:
        """Yield every namespace of the store for which something was ever set."""
        after, more = None, True
        while more:
            page = self._store.list(_PREFIX, after)
            for entry in page.entries:
                yield entry.key.removeprefix(_PREFIX).removesuffix(".json")
            after, more = page.after, page.after is not None

    def close(self) -> None:
        """Wait a moment for what is being read."""
        with self._lock:
            refresher = self._refresher
        if refresher is not None:
            refresher.join(_CLOSE_SECONDS)

    def _entry(self, namespace: str) -> _Entry:
        entry = self._entries.get(namespace)
        if entry is None:
            return self._load(namespace, failing=False)
        age = self._clock.monotonic() - entry.checked
        if age * 2 <= self._seconds:
            return entry
        if age <= self._seconds or entry.failing:
            # Nobody waits for a store that is away, nor for one that answers.
            self._refresh_soon(namespace)
            return entry
        return self._load(namespace, failing=True)

    def _load(self, namespace: str, *, failing: bool) -> _Entry:
        """Read a document; with `failing` the one that is known holds on where that fails."""
        key = _key(namespace)
        checked = self._clock.monotonic()
        try:
            found = self._store.get(key)
            document = decode(found.data if found else None, f"{self._store.name}: {key}")
        except Error as error:
            known = self._entries.get(namespace)
            if known is None or not failing:
                raise
            _LOG.warning(
                "the policy of namespace %s cannot be read; the one read before holds on: %s",
                namespace,
                error,
            )
            known.checked, known.failing = checked, True
            return known
        return self._keep(namespace, document, checked)

    def _keep(self, namespace: str, document: Document, checked: float) -> _Entry:
        entry = _Entry(document, self._ceiling, checked)
        with self._lock:
            known = self._entries.pop(namespace, None)
            if known is not None and known.document.version > document.version:
                # Read before a change, and answered after it.
                entry = known
            while len(self._entries) >= _ENTRIES_MAX:
                del self._entries[next(iter(self._entries))]
            self._entries[namespace] = entry
        return entry

    def _change(self, namespace: str, change: Callable[[Document], bytes]) -> Document:
        key = _key(namespace)
        place = f"{self._store.name}: {key}"
        data = change_object(self._store, key, lambda old: change(decode(old, place)))
        document = decode(data, place)
        self._keep(namespace, document, self._clock.monotonic())
        return document

    def _refresh_soon(self, namespace: str) -> None:
        with self._lock:
            self._due[namespace] = None
            if self._refresher is None:
                self._refresher = threading.Thread(
                    target=self._refresh, name="palimp-policies", daemon=True
                )
                self._refresher.start()

    def _refresh(self) -> None:
        """Read again what is due, and end."""
        while True:
            with self._lock:
                if not self._due:
                    self._refresher = None
                    return
                namespace = next(iter(self._due))
            # Whatever it was: without this thread nothing would be read again.
            kept = Kept()
            with kept:
                self._load(namespace, failing=True)
            if kept.error is not None:
                _LOG.warning("reading a policy failed: %s", kept.error, exc_info=kept.error)
            with self._lock:
                self._due.pop(namespace, None)

    def _refuse_looser(self, values: Values, above: Mapping[str, Any], whose: str) -> None:
        looser = loosened(values, above)
        if looser:
            raise Conflict(
                f"the policy would be looser than that of {whose}, which holds anyway: "
                f"{', '.join(looser)}; leave these out or make them stricter",
                fields=[phrase.partition(" ")[0] for phrase in looser],
            )


def _key(namespace: str) -> str:
    check_name(namespace, "namespace", chars_max=NAMESPACE_CHARS_MAX)
    return f"{_PREFIX}{namespace}.json"
