"""The sealer of a profile's rows: under its keys, as its policy says.

Imported only where there is a master key, or an erasure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..engine import Address
from ..profile import PlainSealer, Sealer
from .auditing.actions import UNREADABLE

if TYPE_CHECKING:
    from ..api import Target
    from .context import Context

__all__ = ["sealer_of", "sealer_of_database"]

_TOLD_MAX = 10_000


def sealer_of(context: Context, place: Address | Target) -> Sealer:
    """Return the sealer of a profile, for one operation; keys are asked for when one is needed."""
    from ..security.fields import FieldSealer

    assert place.namespace is not None
    assert place.profile is not None
    namespace, profile = place.namespace, place.profile
    address = Address(namespace, profile)

    def failed(table: str, identity: str, version: int) -> None:
        context.metrics.add("fields_unreadable")
        told = context.unreadable
        mark = (namespace, profile, table, identity, version)
        if mark in told or context.audit is None:
            return
        if len(told) >= _TOLD_MAX:
            told.clear()
        told[mark] = None
        about = {"row": f"{table}/{_shown(table, identity)}"}
        context.audit.record(namespace, UNREADABLE, profile, about=about, key_version=version)

    ring = _Ring(
        context.keys,
        lambda: context.engine.renewing.database(address, create=True) or "",
        lambda: _sealing(context, address),
    )
    return FieldSealer(ring, failed)


def sealer_of_database(keys: Any, db_id: str) -> Sealer:
    """Return what opens the rows of a database in whatever state, and seals nothing anew."""
    if keys is None:
        return PlainSealer()
    from ..security.fields import FieldSealer

    return FieldSealer(_Ring(keys, lambda: db_id, lambda: None), lambda *_: None)


class _Ring:
    """The keys of a database; each is looked up once."""

    def __init__(
        self,
        keys: Any,
        database: Callable[[], str],
        sealing: Callable[[], tuple[int, bytes] | None],
    ) -> None:
        self._keys = keys
        self._find = database
        self._decide = sealing
        self._database: str | None = None
        self._decided: tuple[tuple[int, bytes] | None] | None = None
        self._versions: dict[int, bytes] | None = None
        self._looked_again = False
        self._token_key: tuple[bytes | None] | None = None

    def database(self) -> str:
        """Return the id of the database."""
        if self._database is None:
            self._database = self._find()
        return self._database

    def sealing(self) -> tuple[int, bytes] | None:
        """Return version and key that seal now."""
        if self._decided is None:
            self._decided = (self._decide(),)
        return self._decided[0]

    def tokens(self) -> bytes | None:
        """Return the key of the tokens."""
        if self._token_key is None:
            self._token_key = (self._keys.tokens_of(self.database()),)
        return self._token_key[0]

    def opening(self, version: int) -> bytes | None:
        """Return a version of the key."""
        if self._versions is None:
            self._versions = dict(self._keys.fields_of(self.database()))
        if version not in self._versions and not self._looked_again:
            # Another node may have made it since.
            self._looked_again = True
            self._keys.forget(self.database())
            self._versions = dict(self._keys.fields_of(self.database()))
        return self._versions.get(version)


def _sealing(context: Context, address: Address) -> tuple[int, bytes] | None:
    # Raises where the policy cannot be read: what is kept once in plain stays in the history.
    if not context.policies.effective(*address[:2]).encryption_fields:
        return None
    newest: tuple[int, bytes] = context.keys.fields(address, create=True)[0]
    return newest


def _shown(table: str, identity: str) -> str:
    """Return what tells a row from others and says nothing: the audit holds no words of users."""
    if table in ("memories", "proposals"):
        return identity
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:16]
